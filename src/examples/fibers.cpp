// Fibers: spawn and join, a nursery with an exception, sleeping, a blocking call, and the counters afterwards.
#include <cstdio>
#include <stdexcept>
#include <vector>

#include <tern/sched.hpp>

using namespace std::chrono_literals;

// Counts the leaves of a binary tree with one fiber per inner node.
static long leaves(int depth) {
  if (depth == 0) return 1;
  long left = 0;
  tern::thread t{[&] { left = leaves(depth - 1); }};
  const long right = leaves(depth - 1);
  t.join();
  return left + right;
}

int main() {
  tern::runtime rt{{.processors = 2}};
  const long n = rt.run([] {
    std::vector<tern::thread> sleepers;
    for (int i = 0; i < 1000; ++i) sleepers.emplace_back([] { tern::this_thread::sleep_for(10ms); });
    for (auto& t : sleepers) t.join();  // about 10 ms, not 10 s

    try {
      tern::nursery nursery;
      nursery.spawn([] { throw std::runtime_error("one child fails"); });
      nursery.spawn([](std::stop_token stop) {
        while (!stop.stop_requested()) tern::this_thread::yield();  // its sibling is told
      });
      nursery.wait();
    } catch (const std::runtime_error& e) {
      std::printf("caught: %s\n", e.what());
    }

    tern::blocking([] { std::fflush(stdout); });  // a call that may block the thread: others run meanwhile
    return leaves(12);
  });
  std::printf("%ld leaves\n%s", n, rt.statistics().text().c_str());
  return n == 4096 ? 0 : 1;
}
