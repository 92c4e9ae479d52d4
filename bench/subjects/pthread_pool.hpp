// A fixed pool of OS threads: the best form of pthreads for tasks that do not block.
//
// Structure   One deque under one lock. Workers take the oldest task. A join runs tasks itself, the newest first, until its own
//             is done, so that fork-join neither deadlocks nor piles up; with nothing to run it sleeps.
// Limits      A task that blocks keeps its thread: cases whose tasks wait for one another have no row for this subject.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "bench/subjects/pthread.hpp"

namespace tern_bench {

class thread_pool {
 public:
  struct task {
    virtual ~task() = default;
    virtual void run() = 0;
    std::atomic<bool> done{false};
    bool detached = false;  // the pool deletes it; set before submit()
  };

  explicit thread_pool(int threads) {
    for (int i = 0; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }
  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;
  ~thread_pool() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void submit(task& t) {
    bool sleeper = false;
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(&t);
      sleeper = sleepers_ > 0;
    }
    if (sleeper) changed_.notify_one();
  }

  /// From outside the pool: sleeps until the task is done, and runs none itself.
  void await(task& t) {
    std::unique_lock lock(mutex_);
    outside_waits_ = true;
    outside_.wait(lock, [&] { return t.done.load(std::memory_order_acquire); });  // pairs with execute()
    outside_waits_ = false;
  }

  /// From a task of this pool.
  void join(task& t) {
    // pairs with execute(): what the task wrote is seen after its flag
    help_until([&] { return t.done.load(std::memory_order_acquire); });
  }

  /// From a task of this pool: runs tasks until `over()`, which the end of some task must make true.
  template <class Over>
  void help_until(Over over) {
    std::unique_lock lock(mutex_);
    while (!over()) {
      if (queue_.empty()) {
        sleep(lock);
        continue;
      }
      task* next = queue_.back();
      queue_.pop_back();
      execute(*next, lock);
    }
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      if (!queue_.empty()) {
        task* next = queue_.front();
        queue_.pop_front();
        execute(*next, lock);
      } else if (stopping_) {
        return;
      } else {
        sleep(lock);
      }
    }
  }

  // Runs it without the lock, and wakes joiners if any sleep.
  void execute(task& t, std::unique_lock<std::mutex>& lock) {
    lock.unlock();
    t.run();
    if (t.detached) {
      delete &t;
      lock.lock();
    } else {
      lock.lock();
      t.done.store(
          true,
          std::memory_order_release);  // pairs with join(); the joiner may free t once it has the lock
    }
    if (sleepers_ > 0) changed_.notify_all();
    if (outside_waits_) outside_.notify_one();
  }

  void sleep(std::unique_lock<std::mutex>& lock) {
    ++sleepers_;
    changed_.wait(lock);
    --sleepers_;
  }

  std::mutex mutex_;
  std::condition_variable changed_;  // a task came, one ended, or the pool stops; every sleeper can run tasks
  std::condition_variable outside_;  // one ended: await()
  std::deque<task*> queue_;
  int sleepers_ = 0;
  bool outside_waits_ = false;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

struct pthread_pool_subject {
  static constexpr const char* name = "pthread_pool";
  static constexpr role subject_role = role::baseline;
  static std::string version() { return pthread_subject::version(); }
  static std::string unfit(const row_params& p) { return on_processors::unfit(p); }

  /// fn runs as a task of the pool, whose threads are as many as the row's processors.
  template <class F>
  static void run(const row_params& params, F&& fn) {
    const confine here(on_processors::count(params));
    thread_pool pool(on_processors::count(params));
    current_ = &pool;
    struct root final : thread_pool::task {
      explicit root(std::remove_reference_t<F>& f) : fn(f) {}
      void run() override { fn(); }
      std::remove_reference_t<F>& fn;
    } first(fn);
    pool.submit(first);
    pool.await(first);
    current_ = nullptr;
  }

  class thread {
   public:
    template <class F>
    explicit thread(F fn) : task_(std::make_unique<closure<F>>(std::move(fn))) {
      current_->submit(*task_);
    }
    void join() { current_->join(*task_); }

   private:
    friend pthread_pool_subject;
    template <class F>
    struct closure final : thread_pool::task {
      explicit closure(F f) : fn(std::move(f)) {}
      void run() override { fn(); }
      F fn;
    };
    std::unique_ptr<thread_pool::task> task_;
  };

  using mutex = std::mutex;
  /// From tasks and from other threads. As thread and its detach(), in one call.
  template <class F>
  static void start_detached(F fn) {
    auto task = std::make_unique<thread::closure<F>>(std::move(fn));
    task->detached = true;
    current_->submit(*task.release());
  }
  template <class F>
  static void start_from_outside(F fn) {
    start_detached(std::move(fn));
  }
  /// A wait runs tasks, as a join does.
  class wait_group {
   public:
    void add(std::int64_t n) { count_.fetch_add(n, std::memory_order_relaxed); }
    void done() { count_.fetch_sub(1, std::memory_order_acq_rel); }
    void wait() {
      current_->help_until([&] { return count_.load(std::memory_order_acquire) <= 0; });  // pairs with done()
    }

   private:
    std::atomic<std::int64_t> count_{0};
  };

 private:
  // Written by the one thread that runs rows, while no task exists.
  static inline thread_pool* current_ = nullptr;
};

}  // namespace tern_bench
