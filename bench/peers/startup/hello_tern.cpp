// A program that uses each of tern's layers once: a runtime with its defaults, a fiber, a block, a managed object.
#include <cstdio>

#include <tern/alloc.hpp>
#include <tern/gc.hpp>
#include <tern/sched.hpp>

#include "bench/peers/startup/until_end.hpp"

struct greeting {
  tern::gc::member<greeting> next;
  int letters = 0;
  void trace(tern::gc::visitor& v) const { v(next); }
};

int main() {
  tern::run([] {
    tern::thread{[] {
      greeting* const managed = tern::gc::make<greeting>();
      auto* const text = static_cast<char*>(tern::allocate(64));
      managed->letters = std::snprintf(text, 64, "hello");
      if (managed->letters == 5) std::puts(text);
      tern::deallocate(text, 64);
    }}.join();
    std::fflush(stdout);
    tern::blocking(until_end);
  });
}
