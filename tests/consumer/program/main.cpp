#include <dlfcn.h>

#include <cstddef>
#include <cstdio>
#include <future>
#include <tern/tern.hpp>
#include <thread>
#include <vector>

#include "other.hpp"

// A thread that has used a library ends after the library was closed.
static int use_plugin() {
  std::promise<int> used;
  std::promise<void> closed;
  void* const plugin = dlopen(PLUGIN, RTLD_NOW | RTLD_LOCAL);
  if (plugin == nullptr) return 0;
  const auto use = reinterpret_cast<int (*)()>(dlsym(plugin, "use_tern"));
  std::thread thread{[&] {
    used.set_value(use());
    closed.get_future().wait();
  }};
  const int result = used.get_future().get();
  dlclose(plugin);
  closed.set_value();
  thread.join();
  return result;
}

// Each primitive once, on both sides of a translation unit's border.
int main() {
  std::vector<std::size_t, tern::allocator<std::size_t>> numbers;
  for (std::size_t i = 1; i <= 100; ++i) numbers.push_back(i);
  std::size_t sum = 0;
  for (const std::size_t number : numbers) sum += number;

  std::size_t received = 0;
  std::size_t length = 0;
  tern::run([&] {
    tern::channel<std::size_t> channel{4};
    tern::thread producer{[&] { send_all(channel, 100); }};
    while (const auto value = channel.receive()) received += *value;
    producer.join();

    const chain_link* first = make_chain(100);
    tern::gc::collect();
    for (const chain_link* at = first; at != nullptr; at = at->next.get()) ++length;
  });

  std::printf("allocator %zu, scheduler %zu, collector %zu\n", sum, received, length);
  return sum == 5050 && received == 5050 && length == 100 && use_plugin() == 42 ? 0 : 1;
}
