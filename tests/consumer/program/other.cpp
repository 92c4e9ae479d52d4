#include <cstddef>
#include <tern/tern.hpp>
#include <vector>

std::size_t sum_elsewhere(std::size_t count);

std::size_t sum_elsewhere(std::size_t count) {
  std::vector<std::size_t, tern::allocator<std::size_t>> numbers(count);
  std::size_t sum = 0;
  for (std::size_t i = 0; i < count; ++i) numbers[i] = i + 1;
  for (const std::size_t number : numbers) sum += number;
  return sum;
}
