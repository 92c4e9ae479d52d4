// Mutators that do one thing at a time, as a test tells them, for tests that step the collector.
#pragma once

#include <signal.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include <tern/gc.hpp>

namespace gc_test {

// What a test knows of an object without holding it: an address that no stack of a mutator has.
inline bool is_marked(std::uintptr_t word) { return tern::detail::gc::is_marked_object(word); }
inline std::uintptr_t word_of(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }

// On a thread that is attached meanwhile, and gone afterwards: so are the words that its stack held.
template <class F>
void as_mutator(F&& f) {
  std::thread t{[&f] {
    const tern::gc::attach_thread attached;
    f();
  }};
  t.join();
}

// An attached thread. Between its jobs it is idle, so that the collector acts for it; or silent: it runs, polls nothing, takes no signal,
// and so answers when it is told to.
template <class Node>
class actor {
 public:
  // Pointers that it holds from one job to the next: a frame of its stack.
  struct frame {
    Node* first = nullptr;
    Node* second = nullptr;
  };

  actor() : thread_{[this] { live(); }} {
    does([](frame&) {});
  }
  ~actor() {
    {
      const std::lock_guard hold{lock_};
      ends_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  actor(const actor&) = delete;
  actor& operator=(const actor&) = delete;

  // Returns when it is done, and the actor idle or silent again.
  template <class F>
  void does(F&& f) {
    std::unique_lock hold{lock_};
    job_ = std::ref(f);
    changed_.notify_all();
    changed_.wait(hold, [this] { return job_ == nullptr && waits_; });
  }
  void acknowledges() {
    does([](frame&) { tern::gc::safepoint(); });
  }
  void is_silent(bool yes) {
    does([&](frame&) { silent_ = yes; });
  }

 private:
  void live() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    const tern::gc::attach_thread attached;
    frame mine;
    for (;;) {
      std::function<void(frame&)> job;
      const auto wait = [&] {
        std::unique_lock hold{lock_};
        waits_ = true;
        changed_.notify_all();
        changed_.wait(hold, [this] { return job_ != nullptr || ends_; });
        waits_ = false;
        job = job_;
      };
      if (silent_)
        wait();
      else
        tern::gc::without_managed_access(wait);
      if (job == nullptr) return;
      job(mine);
      wipe_the_stack_below();
      const std::lock_guard hold{lock_};
      job_ = nullptr;
    }
  }

  // A job's words in frames that are gone would be taken for pointers.
  [[gnu::noinline]] static void wipe_the_stack_below() {
    volatile char a[2048];
    for (volatile char& c : a) c = 0;
  }

  std::mutex lock_;
  std::condition_variable changed_;
  std::function<void(frame&)> job_;  // lock_
  bool waits_ = false;               // lock_
  bool ends_ = false;                // lock_
  bool silent_ = false;              // its own
  std::thread thread_;
};

}  // namespace gc_test
