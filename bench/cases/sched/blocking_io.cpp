// sched/blocking_io/readers:N/rounds:R/processors:P
//
// One operation  one byte that a plain thread writes to a pipe and a task reads with a read(2) that blocks in the kernel, and the byte
//                that the task writes back. N tasks have a pipe each; the writer serves them out of order and begins
//                the next of R rounds when all have answered, so nearly every read finds an empty pipe.
// Kept equal     P processors, to which all threads are confined, the writer too. Reads block: as with files, devices and
//                libraries that know no poller. (A Go program would read a pipe through its poller.)
// Best form      tern: inside tern::blocking. go: syscall.Read, which hands the processor on. pthread: a thread per pipe. In
//                Boost.Fiber a call that blocks stops every fiber of the thread: no rows.
// Limits         N blocked reads need N threads in every subject.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "bench/subjects/schedulers.hpp"

namespace tern_bench {
namespace {

class pipe_ends {
 public:
  pipe_ends() {
    if (pipe2(ends_, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
  }
  pipe_ends(const pipe_ends&) = delete;
  pipe_ends& operator=(const pipe_ends&) = delete;
  ~pipe_ends() {
    close(ends_[0]);
    close_writer();
  }
  int reader() const noexcept { return ends_[0]; }
  int writer() const noexcept { return ends_[1]; }
  void close_writer() noexcept {
    if (ends_[1] >= 0) close(ends_[1]);
    ends_[1] = -1;
  }

 private:
  int ends_[2];
};

bool write_byte(int fd, unsigned char byte) { return write(fd, &byte, 1) == 1; }

template <class S>
class blocking_io {
 public:
  explicit blocking_io(const row_params& p)
      : count_(p.size_of("readers")),
        rounds_(p.size_of("rounds")),
        pipes_(new pipe_ends[count_]),
        sums_(count_) {
    threads_.reserve(count_);
    for (std::size_t i = 0; i < count_; ++i) {
      threads_.emplace_back([this, i] { answer(i); });
    }
  }
  static std::string unfit(const row_params& p) {
    const auto need = static_cast<rlim_t>(2 * p["readers"] + 64);
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < need && limit.rlim_max >= need) {
      limit.rlim_cur = need;
      setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < need) return "needs " + std::to_string(need) + " file descriptors";
    if (p["readers"] > usable_threads()) return "needs " + std::to_string(p["readers"]) + " threads";
    return {};
  }
  std::uint64_t operations() const { return count_ * rounds_; }
  std::uint32_t run() {
    bool ok = true;
    typename S::thread waiter([&] {
      // The writer is a plain thread; the task that waits for it blocks in the kernel as the others do.
      unsigned char byte = 0;
      ok = S::read(over_.reader(), &byte, 1) == 1 && byte == 1;
    });
    std::thread writer([&] { write_byte(over_.writer(), write_all() ? 1 : 0); });
    waiter.join();
    writer.join();
    std::uint32_t sum = ok ? 0 : 1;
    for (std::uint64_t& s : sums_) sum = fold(sum, std::exchange(s, 0));
    return sum;
  }
  void finish(measurement&) {
    for (std::size_t i = 0; i < count_; ++i) pipes_[i].close_writer();
    for (auto& t : threads_) t.join();
  }

 private:
  void answer(std::size_t i) {
    unsigned char byte = 0;
    while (S::read(pipes_[i].reader(), &byte, 1) == 1) {
      sums_[i] += byte;
      if (!write_byte(answers_.writer(), byte)) return;
    }
  }
  bool write_all() {
    std::size_t at = 0;
    for (std::size_t round = 0; round < rounds_; ++round) {
      for (std::size_t i = 0; i < count_; ++i) {
        at = (at + stride) % count_;
        if (!write_byte(pipes_[at].writer(), static_cast<unsigned char>(at + round))) return false;
      }
      unsigned char bytes[256];
      for (std::size_t back = 0; back < count_;) {
        const std::size_t left = count_ - back;
        const ssize_t n = ::read(answers_.reader(), bytes, left < sizeof bytes ? left : sizeof bytes);
        if (n <= 0) return false;
        back += static_cast<std::size_t>(n);
      }
    }
    return true;
  }

  static constexpr std::size_t stride = 7919;  // a prime that divides no count
  std::size_t count_;
  std::size_t rounds_;
  std::unique_ptr<pipe_ends[]> pipes_;
  pipe_ends answers_;
  pipe_ends over_;
  std::vector<std::uint64_t> sums_;
  std::vector<typename S::thread> threads_;
};

const registration<blocking_io, subjects<tern_scheduler, pthread_subject, go_peer>> blocking_io_registered{{
    .area = "sched",
    .name = "blocking_io",
    .smoke = {{"readers", 4}, {"rounds", 2}, {"processors", 1}},
    .points = {{{{"readers", 64}, {"rounds", 4}, {"processors", 2}}, tier::quick, false, 20},
               {{{"readers", 1000}, {"rounds", 1}, {"processors", 2}}, tier::standard, false, 300}},
}};

}  // namespace
}  // namespace tern_bench
