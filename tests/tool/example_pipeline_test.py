#!/usr/bin/env python3
"""The pipeline counts what a plain loop counts, from a file and from a pipe."""

import collections
import random
import re
import subprocess
import tempfile
import unittest

import example_support


class Pipeline(unittest.TestCase):
    def setUp(self):
        r = random.Random(7)
        words = ["w%d" % i for i in range(500)]
        self.text = "".join(" ".join(r.choice(words[: r.randrange(1, 500)]) for _ in range(12)) + "\n" for _ in range(20000))
        found = collections.Counter(re.findall(r"\w+", self.text))
        self.expected = [f"{n} {w}" for w, n in sorted(found.items(), key=lambda e: (-e[1], e[0]))[:10]]

    def check(self, done):
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([" ".join(line.split()) for line in done.stdout.splitlines()], self.expected)

    def test_file(self):
        with tempfile.NamedTemporaryFile("w") as f:
            f.write(self.text)
            f.flush()
            self.check(subprocess.run([example_support.path("pipeline"), f.name], capture_output=True, text=True, check=False))

    def test_standard_input(self):
        self.check(subprocess.run([example_support.path("pipeline")], input=self.text, capture_output=True, text=True, check=False))

    def test_no_such_file(self):
        done = subprocess.run([example_support.path("pipeline"), "no such file"], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (1, "", 1))


unittest.main()
