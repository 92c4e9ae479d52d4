#!/usr/bin/env python3
"""Managed types whose members nothing would mark do not compile, and the compiler says what to do; those that it cannot look into do."""
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("TERN_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))

COMMON = """
#include <functional>
#include <string>
#include <vector>
#include <tern/gc.hpp>
namespace gc = tern::gc;
struct node { gc::member<node> next; };
struct traced { gc::member<node> own; void trace(gc::visitor& v) const { v(own); } };
struct good {
  std::string name; std::vector<int> numbers; std::function<void()> call; gc::member<node> links[3];
  gc::vector<node*> all;
};
class opaque { public: opaque(const opaque&); opaque(); private: gc::member<node> m; };
struct adds : traced { gc::member<node> more; };
struct derived : node { long n; };
union either { either(); ~either(); gc::member<node> m; long n; };
struct counts { int* ended; ~counts() { ++*ended; } };
void* make_good() { return gc::make<good>(); }
void* make_opaque() { gc::make<adds>(); gc::make<derived>(); gc::make<either>(); gc::make<counts>(); return gc::make<opaque>(); }
"""

# Definitions of `bad`, and a part of what the compiler says where one is made.
REJECTED = {
    "struct bad { std::vector<gc::member<node>> all; };": "use gc::vector, gc::hash_map or gc::make_array",
    "struct bad { long& n; gc::member<node> m; };": "cannot be counted",
    "struct bad { const long& n; gc::member<node> m; };": "is a reference",
    "struct bad { gc::member<node> " + ", ".join(f"m{i}" for i in range(65)) + "; };": "more than 64 fields",
    # The compiler's own words.
    "struct bad { union { gc::member<node> m; long n; }; };": "anonymous union",
}


def compile_errors(text):
    compiler = os.environ.get("CXX", "c++")
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "case.cpp"
        source.write_text(text)
        return subprocess.run([compiler, "-std=c++20", "-fsyntax-only", f"-I{ROOT / 'include'}", source],
                              capture_output=True, text=True, check=False)


class Rejected(unittest.TestCase):
    # One compilation: a failed assertion ends none.
    def test_each_with_its_message(self):
        text = COMMON
        for number, definition in enumerate(REJECTED):
            text += f"namespace n{number} {{ {definition} void* make() {{ return gc::make_array<bad>(1); }} }}\n"
        done = compile_errors(text)
        self.assertNotEqual(done.returncode, 0)
        for number, message in enumerate(REJECTED.values()):
            self.assertIn(message, done.stderr)
            self.assertIn(f"n{number}::bad", done.stderr)

    def test_the_rest_compiles(self):
        done = compile_errors(COMMON)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
