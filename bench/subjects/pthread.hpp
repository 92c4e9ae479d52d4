// A thread per task: what a program does that has only pthreads, each in its good form (small stacks, no wake-up unless
// somebody waits).
#pragma once

#include <gnu/libc-version.h>
#include <pthread.h>
#include <sched.h>

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "bench/subjects/concepts.hpp"

namespace tern_bench {

/// Blocking primitives over std::mutex and std::condition_variable, shared by the subjects whose tasks may block a thread.
namespace blocking {

class wait_group {
 public:
  void add(std::int64_t n) {
    const std::lock_guard lock(mutex_);
    count_ += n;
  }
  void done() {
    // Notified under the lock: the waiter may destroy this object as soon as it can take the lock.
    const std::lock_guard lock(mutex_);
    if (--count_ == 0) zero_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    zero_.wait(lock, [&] { return count_ <= 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable zero_;
  std::int64_t count_ = 0;
};

/// A bounded queue; capacity 0 is a rendezvous: send returns when the value has been taken.
template <class T>
class channel {
 public:
  explicit channel(std::size_t capacity) : ring_(capacity == 0 ? 1 : capacity), rendezvous_(capacity == 0) {}

  void send(T value) {
    std::unique_lock lock(mutex_);
    not_full_.wait(lock, [&] { return count_ < ring_.size(); });
    const std::uint64_t ticket = sent_++;
    ring_[ticket % ring_.size()] = std::move(value);
    ++count_;
    if (!rendezvous_) {
      lock.unlock();
      not_empty_.notify_one();
      return;
    }
    not_empty_.notify_one();
    taken_.wait(lock, [&] { return received_ > ticket; });
  }

  std::optional<T> receive() {
    std::unique_lock lock(mutex_);
    not_empty_.wait(lock, [&] { return count_ > 0 || closed_; });
    if (count_ == 0) return std::nullopt;
    std::optional<T> value(std::move(ring_[received_ % ring_.size()]));
    ++received_;
    --count_;
    lock.unlock();
    if (rendezvous_) taken_.notify_all();  // only the sender of this value waits there, or senders before it
    not_full_.notify_one();
    return value;
  }

  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    not_empty_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable not_full_;
  std::condition_variable not_empty_;
  std::condition_variable taken_;
  std::vector<T> ring_;
  std::size_t count_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
  bool rendezvous_;
  bool closed_ = false;
};

}  // namespace blocking

/// Confinement to the row's processors, and why a row cannot have them.
struct on_processors {
  static int count(const row_params& p) { return static_cast<int>(p.value_or("processors", 1)); }
  static std::string unfit(const row_params& p) {
    if (count(p) <= usable_cpus()) return {};
    return "needs " + std::to_string(count(p)) + " processors, this host has " +
           std::to_string(usable_cpus());
  }
};

struct pthread_subject {
  static constexpr const char* name = "pthread";
  static constexpr role subject_role = role::baseline;
  static constexpr bool tasks_are_threads = true;
  static std::string version() { return std::string("NPTL, glibc ") + gnu_get_libc_version(); }
  static std::string unfit(const row_params& p) { return on_processors::unfit(p); }

  template <class F>
  static void run(const row_params& params, F&& fn) {
    const confine here(on_processors::count(params));
    become_threaded();
    fn();
  }

  /// A thread with a stack of 64 KiB and a guard, the slot size of tern's fibers; glibc keeps such stacks for reuse.
  class thread {
   public:
    template <class F>
    explicit thread(F fn) {
      auto closure = std::make_unique<F>(std::move(fn));
      const int error = pthread_create(
          &id_, &attributes(),
          [](void* raw) -> void* {
            const std::unique_ptr<F> own(static_cast<F*>(raw));
            (*own)();
            return nullptr;
          },
          closure.get());
      if (error != 0) throw std::system_error(error, std::generic_category(), "pthread_create");
      static_cast<void>(closure.release());
    }
    thread(thread&& other) noexcept : id_(other.id_), joined_(std::exchange(other.joined_, true)) {}
    thread& operator=(thread&&) = delete;
    ~thread() {
      if (!joined_) std::terminate();
    }
    void join() {
      pthread_join(id_, nullptr);
      joined_ = true;
    }

   private:
    static const pthread_attr_t& attributes() {
      static const pthread_attr_t shared = [] {
        pthread_attr_t a;
        pthread_attr_init(&a);
        pthread_attr_setstacksize(&a, std::size_t{64} * 1024);
        return a;
      }();
      return shared;
    }

    pthread_t id_{};
    bool joined_ = false;
  };

  static void yield() { sched_yield(); }
  using mutex = std::mutex;
  using wait_group = blocking::wait_group;
  template <class T>
  using channel = blocking::channel<T>;
};
static_assert(scheduler_subject<pthread_subject>);

}  // namespace tern_bench
