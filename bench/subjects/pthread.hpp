// A thread per task: what a program does that has only pthreads, each in its good form (small stacks, no wake-up unless
// somebody waits).
#pragma once

#include <gnu/libc-version.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <system_error>
#include <thread>
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

  /// Requires a buffer.
  std::optional<T> try_receive() {
    std::unique_lock lock(mutex_);
    if (count_ == 0) return std::nullopt;
    std::optional<T> value(std::move(ring_[received_ % ring_.size()]));
    ++received_;
    --count_;
    lock.unlock();
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

/// Two bounded queues of which a receiver takes whichever has something, from each in turn if both have: one lock over both.
template <class T>
class either {
 public:
  explicit either(std::size_t capacity) : rendezvous_(capacity == 0) {
    for (side& s : sides_) s.ring.resize(capacity == 0 ? 1 : capacity);
  }

  void send(std::size_t which, T value) {
    side& s = sides_[which];
    std::unique_lock lock(mutex_);
    s.not_full.wait(lock, [&] { return s.sent - s.received < s.ring.size(); });
    const std::uint64_t ticket = s.sent++;
    s.ring[ticket % s.ring.size()] = std::move(value);
    if (!rendezvous_) {
      lock.unlock();
      not_empty_.notify_one();
      return;
    }
    not_empty_.notify_one();
    s.taken.wait(lock, [&] { return s.received > ticket; });
  }

  T receive() {
    std::unique_lock lock(mutex_);
    not_empty_.wait(lock, [&] { return !sides_[0].is_empty() || !sides_[1].is_empty(); });
    first_ ^= 1U;
    side& s = sides_[sides_[first_].is_empty() ? first_ ^ 1U : first_];
    T value(std::move(s.ring[s.received % s.ring.size()]));
    ++s.received;
    lock.unlock();
    if (rendezvous_) s.taken.notify_all();
    s.not_full.notify_one();
    return value;
  }

 private:
  struct side {
    bool is_empty() const noexcept { return sent == received; }
    std::vector<T> ring;
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::condition_variable not_full;
    std::condition_variable taken;
  };
  std::mutex mutex_;
  std::condition_variable not_empty_;
  side sides_[2];
  std::size_t first_ = 0;
  bool rendezvous_;
};

/// One set() lets one wait through.
template <class Mutex, class Condition>
class basic_event {
 public:
  void set() {
    const std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_one();
  }
  /// False when the time has passed without a set().
  bool wait_for(std::int64_t ns) {
    std::unique_lock lock(mutex_);
    const bool in_time = changed_.wait_for(lock, std::chrono::nanoseconds(ns), [&] { return set_; });
    set_ = false;
    return in_time;
  }

 private:
  Mutex mutex_;
  Condition changed_;
  bool set_ = false;
};
using event = basic_event<std::mutex, std::condition_variable>;

}  // namespace blocking

/// A time of now_ns() for the standard's sleeping functions.
inline std::chrono::steady_clock::time_point at_ns(std::int64_t ns) {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(ns));
}

/// Confinement to the row's processors, and why a row cannot have them.
struct on_processors {
  static int count(const row_params& p) { return static_cast<int>(p.value_or("processors", 1)); }
  static std::string unfit(const row_params& p) {
    if (count(p) <= usable_cpus()) return {};
    return "needs " + std::to_string(count(p)) + " processors, this host has " +
           std::to_string(usable_cpus());
  }
};

/// Why a subject with a thread per task cannot have so many at once; empty if it can, or if its tasks are no threads.
template <class S>
std::string unfit_for_tasks(std::int64_t tasks) {
  if constexpr (requires { S::tasks_are_threads; }) {
    if (tasks > usable_threads()) {
      return "a thread per task: " + std::to_string(tasks) + " threads at once, this host allows " +
             std::to_string(usable_threads());
    }
  }
  return {};
}

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
    void detach() {
      pthread_detach(id_);
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
  static void pin() {}  // a task is a thread
  using mutex = std::mutex;
  using rw_mutex = std::shared_mutex;  // a pthread_rwlock_t of the default kind
  using wait_group = blocking::wait_group;
  template <class T>
  using channel = blocking::channel<T>;
  template <class T>
  using either = blocking::either<T>;
  using event = blocking::event;
  static void sleep_until(std::int64_t ns) { std::this_thread::sleep_until(at_ns(ns)); }
  static ssize_t read(int fd, void* to, std::size_t n) { return ::read(fd, to, n); }
};
static_assert(scheduler_subject<pthread_subject>);

}  // namespace tern_bench
