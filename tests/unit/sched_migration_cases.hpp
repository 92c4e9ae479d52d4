#pragma once

// What a fiber must find right after it was resumed on another worker, as plain functions that end the process on failure:
// sched_migration_test.cpp runs them under googletest, tests/tool/context_matrix_test.sh builds this file alone at -O3, with link-time
// optimisation, with and without PIC, under every compiler.

#include <sched.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include <tern/arch/tls.hpp>
#include <tern/os/thread.hpp>
#include <tern/sched.hpp>

namespace tern::inline v1::detail {
TERN_TLS_POINTER(migration_worker_word);
TERN_TLS_POINTER(migration_thread_word);
}  // namespace tern::inline v1::detail

namespace migration_cases {

using namespace tern::detail;

inline void check(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "migration case failed: %s\n", what);
  std::abort();
}

// A fiber that parks here is woken by a carrier that runs on the other processor, and goes on there.
class ferry {
 public:
  // Returns on another worker, but for the times when a carrier was itself moved meanwhile.
  void cross() noexcept {
    waiter w{"the ferry", this};
    quay* const other = &quays_[1 - (current_processor()->index & 1)];
    auto board = [other](waiter& x) noexcept -> bool {
      lock_scope hold{other->lock};
      other->waiting.push_back(x);
      return true;
    };
    // The lambda lives on the stack that is left: its copy of `other` is read before the waiter is in the list.
    park_with(w, board);
  }
  // Brings over whoever waits on this processor's side. Several fibers do so, and are stolen until each processor has one.
  bool carry() noexcept {
    quay& here = quays_[current_processor()->index & 1];
    list<waiter, &waiter::hook> arrived;
    {
      lock_scope hold{here.lock};
      while (waiter* w = here.waiting.pop_front()) arrived.push_back(*w);
    }
    const bool any = !arrived.is_empty();
    while (waiter* w = arrived.pop_front()) unpark(*w, wake_place::tail);
    return any;
  }

 private:
  struct quay {
    spin_lock<> lock;
    list<waiter, &waiter::hook> waiting;
  };
  quay quays_[2];
};

// Every thread-local that the runtime keeps names the worker that the fiber is on now, and so do two of the test's own.
struct here_now {
  worker* on;
  int thread;
};
TERN_ALWAYS_INLINE here_now look(fiber* me, bool ask_kernel) {
  worker* const w = current_worker();
  processor* const p = current_processor();
  check(w != nullptr && p != nullptr, "a worker holds a processor");
  check(w->held == p && p->runner == w, "the worker's and the processor's words agree");
  check(w->current == me && p->current == me && current_fiber() == me, "this fiber is the current one");
  if (migration_worker_word_get() == nullptr) {
    migration_worker_word_set(w);
    migration_thread_word_set(reinterpret_cast<void*>(static_cast<std::intptr_t>(os::thread_id())));
  }
  check(migration_worker_word_get() == w, "a word that this worker has set is this worker's");
  const int noted = static_cast<int>(reinterpret_cast<std::intptr_t>(migration_thread_word_get()));
  if (ask_kernel) check(noted == os::thread_id(), "the kernel agrees on the thread");
  return {w, noted};
}

struct crosses_when_destroyed {
  ferry& f;
  fiber* me;
  int uncaught;
  ~crosses_when_destroyed() {
    check(std::uncaught_exceptions() == uncaught, "uncaught exceptions before a park in a destructor");
    f.cross();
    check(std::uncaught_exceptions() == uncaught, "uncaught exceptions right after the migration");
    look(me, false);
  }
};

// A park in a handler, in a handler within a handler, and in a destructor while the stack is unwound.
[[gnu::noinline]] inline void exceptions_cross(ferry& f, fiber* me, int id, int k) {
  const int mine = id * 1'000 + k;
  try {
    const crosses_when_destroyed unwinding{f, me, 1};
    throw std::runtime_error(std::to_string(mine));
  } catch (const std::runtime_error& outer) {
    const std::exception_ptr before = std::current_exception();
    check(std::uncaught_exceptions() == 0, "caught");
    f.cross();
    check(std::current_exception() == before, "the handled exception right after the migration");
    check(std::uncaught_exceptions() == 0, "nothing is in flight");
    try {
      throw mine;
    } catch (int inner) {
      const std::exception_ptr second = std::current_exception();
      check(second != before && inner == mine, "the inner one");
      f.cross();
      check(std::current_exception() == second && inner == mine, "the inner one after a migration");
    }
    check(std::current_exception() == before, "the outer one is handled again");
    check(outer.what() == std::to_string(mine), "its text");
    try {
      f.cross();
      throw;
    } catch (const std::runtime_error& again) {
      check(&again == &outer, "a rethrow takes this fiber's");
    }
  }
  check(std::current_exception() == nullptr, "none is left");
}

// `wanted` migrations by `fibers` fibers between two workers. How many there were, and of those with an exception along.
struct counts {
  std::uint64_t migrations = 0;
  std::uint64_t crossings = 0;
};
inline counts migrate(std::uint64_t wanted, int fibers = 256) {
  ferry f;
  atomic<std::uint64_t> moved{0}, crossed{0};
  atomic<int> left{fibers};
  tern::runtime rt{{.processors = 2, .max_extra_processors = 1}};
  rt.run([&] {
    std::vector<tern::thread> all;
    for (int i = 0; i < 4; ++i)
      all.emplace_back([&] {
        while (left.load() != 0) {
          if (!f.carry()) ::sched_yield();  // the other worker may want this CPU
          tern::this_thread::yield();
        }
      });
    for (int i = 0; i < fibers; ++i)
      all.emplace_back([&, i] {
        fiber* const me = current_fiber();
        long a = i, b = i + 1, c = i + 2;
        double x = i;
        for (int k = 0; moved.load(memory_order_relaxed) < wanted; ++k) {
          const here_now before = look(me, k % 64 == 0);
          f.cross();
          const here_now after = look(me, k % 64 == 1);
          check((before.on == after.on) == (before.thread == after.thread),
                "another worker is another thread");
          if (before.on != after.on) moved.fetch_add(1, memory_order_relaxed);
          crossed.fetch_add(1, memory_order_relaxed);
          a += 1, b += 2, c += 3, x += 0.5;
          check(a == i + k + 1L && b == i + 1 + 2L * (k + 1) && c == i + 2 + 3L * (k + 1) &&
                    x == i + 0.5 * (k + 1),
                "values in registers");
          if (k % 8 == i % 8) exceptions_cross(f, me, i, k);
        }
        left.fetch_sub(1);
      });
    for (auto& t : all) t.join();
  });
  return {moved.load(), crossed.load()};
}

// Two fibers in handlers take turns on one worker.
inline void handlers_interleave(int rounds) {
  tern::run(tern::runtime_options{.processors = 1}, [rounds] {
    const auto body = [rounds](int id) {
      for (int k = 0; k < rounds; ++k) try {
          throw id;
        } catch (int n) {
          const std::exception_ptr before = std::current_exception();
          tern::this_thread::yield();
          check(n == id && std::current_exception() == before,
                "the handled exception after the other's turn");
          try {
            throw std::string(1, static_cast<char>('a' + id));
          } catch (const std::string& s) {
            tern::this_thread::yield();
            check(s[0] == 'a' + id && std::uncaught_exceptions() == 0,
                  "the inner one after the other's turn");
          }
          check(std::current_exception() == before, "the outer one again");
        }
    };
    tern::thread one{body, 1}, two{body, 2};
    one.join();
    two.join();
  });
}

}  // namespace migration_cases
