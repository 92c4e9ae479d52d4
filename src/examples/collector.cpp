// Managed memory: a graph with cycles that nobody frees by hand, built by fibers while the collector runs.
#include <cstdio>

#include <tern/gc.hpp>
#include <tern/sched.hpp>

namespace gc = tern::gc;

struct person {
  gc::member<person> friend_of;
  gc::member<person> best_friend;
  int number = 0;
};

int main() {
  gc::handle<person> kept;  // a root outside every stack
  tern::run([&kept] {
    tern::nursery n;
    for (int f = 0; f < 8; ++f)
      n.spawn([] {
        for (int i = 0; i < 100'000; ++i) {
          person* a = gc::make<person>();  // raw pointers on a fiber's stack are roots
          person* b = gc::make<person>();
          a->best_friend = b;
          b->best_friend = a;  // a cycle: reference counts would keep it for ever
        }
      });
    n.wait();
    kept = gc::make<person>();
    kept->number = 1;
  });
  gc::collect();
  std::printf("kept: %d\n%s", kept->number, gc::to_string(gc::read_statistics()).c_str());
}
