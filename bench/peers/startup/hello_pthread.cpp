// The same work as hello_tern's, with a thread, malloc and shared_ptr.
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "bench/peers/startup/until_end.hpp"

struct greeting {
  std::shared_ptr<greeting> next;
  int letters = 0;
};

int main() {
  std::thread{[] {
    const auto counted = std::make_shared<greeting>();
    const std::unique_ptr<char[]> text{new char[64]};
    counted->letters = std::snprintf(text.get(), 64, "hello");
    if (counted->letters == 5) std::puts(text.get());
  }}.join();
  std::fflush(stdout);
  return until_end();
}
