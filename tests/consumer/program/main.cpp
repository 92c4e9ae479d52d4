#include <cstddef>
#include <cstdio>
#include <tern/tern.hpp>
#include <vector>

std::size_t sum_elsewhere(std::size_t count);

// Each primitive once, on both sides of a translation unit's border.
int main() {
  std::vector<std::size_t, tern::allocator<std::size_t>> numbers;
  for (std::size_t i = 1; i <= 100; ++i) numbers.push_back(i);
  std::size_t sum = 0;
  for (const std::size_t number : numbers) sum += number;
  if (sum != 5050 || sum_elsewhere(100) != 5050) {
    std::puts("consumer: wrong sum");
    return 1;
  }
  return 0;
}
