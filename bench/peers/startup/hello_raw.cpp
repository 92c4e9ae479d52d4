// A line, and nothing else: what any program of this language costs.
#include <cstdio>

#include "bench/peers/startup/until_end.hpp"

int main() {
  std::puts("hello");
  std::fflush(stdout);
  return until_end();
}
