// A fixed crew of OS threads for cases that need several: started once, then all told to run a function at a time.
#pragma once

#include <barrier>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace tern_bench {

/// Owner's thread only, except rendezvous().
class crew {
 public:
  explicit crew(std::size_t size)
      : size_(size), gate_(static_cast<std::ptrdiff_t>(size + 1)), inner_(static_cast<std::ptrdiff_t>(size)) {
    for (std::size_t i = 0; i < size; ++i) {
      members_.emplace_back([this, i] {
        for (;;) {
          gate_.arrive_and_wait();
          if (!job_) return;
          job_(i);
          gate_.arrive_and_wait();
        }
      });
    }
  }
  crew(const crew&) = delete;
  crew& operator=(const crew&) = delete;
  ~crew() {
    job_ = nullptr;
    gate_.arrive_and_wait();
    for (std::thread& member : members_) member.join();
  }

  /// job(i) for i = 0 ... size - 1, each on its own thread; returns when all have returned.
  void run(std::function<void(std::size_t)> job) {
    job_ = std::move(job);
    gate_.arrive_and_wait();
    gate_.arrive_and_wait();
  }

  /// From within a job: waits until every member has come here.
  void rendezvous() { inner_.arrive_and_wait(); }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  std::size_t size_;
  std::barrier<> gate_;                   // crew and owner
  std::barrier<> inner_;                  // crew alone
  std::function<void(std::size_t)> job_;  // written by the owner while the crew waits at the gate
  std::vector<std::thread> members_;
};

}  // namespace tern_bench
