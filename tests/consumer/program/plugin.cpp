#include <tern/alloc.hpp>
#include <tern/sched.hpp>

// Leaves behind what the thread that calls it runs at its end, and a handler of faults.
extern "C" __attribute__((visibility("default"))) int use_tern() {
  tern::deallocate(tern::allocate(100));
  return tern::run([] { return 42; });
}
