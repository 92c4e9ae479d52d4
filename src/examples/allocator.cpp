// The allocator by hand, as a standard allocator, as a memory resource, and as an arena.
#include <cstdio>
#include <map>
#include <memory_resource>
#include <string>
#include <vector>

#include <tern/tern.hpp>

int main() {
  void* block = tern::allocate(64);  // throws std::bad_alloc when memory is exhausted
  tern::deallocate(block, 64);       // with the size: no look-up

  std::vector<int, tern::allocator<int>> numbers{1, 2, 3};
  numbers.push_back(4);

  std::pmr::map<std::pmr::string, int> words{tern::memory_resource()};
  words["tern"] = 1;

  tern::arena records;  // bump allocation, freed whole
  auto* first = static_cast<int*>(records.allocate(sizeof(int), alignof(int)));
  *first = numbers.back();

  const tern::allocator_statistics s = tern::allocation_statistics();
  std::printf("%d, %zu word; %zu bytes live in the heap\n", *first, words.size(), s.live);
}
