// A program, a machine and a collector's thread, as arithmetic over the pacer and the CPU cap.
//
// Structure   Time goes in slices of 100 us. Who wants to run shares the CPUs evenly: allocating threads, and the marker while a cycle marks.
//             A thread takes refills, and before each does what make.hpp does: it pays its assist where the marker has no CPU just then
//             (else that holds the mark lock), and sleeps beyond the brake line; at the hard limit it waits for
//             the end of a cycle.
//             A cycle marks what lived when it began; what is allocated meanwhile counts as live until the next one.
// Limits      Sweeping and handshakes cost one sum for each cycle, and no memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include <tern/gc/cpu_cap.hpp>
#include <tern/gc/pacer.hpp>

namespace gc_test {

struct simulated_machine {
  unsigned cpus = 2;
  double marking = 1.0;        // bytes for each ns of CPU
  double marker_share = 1;     // of what it would have of the CPUs
  std::int64_t rest = 50'000;  // ns of CPU that a cycle takes besides
};

struct simulated_program {
  unsigned threads = 1;
  double allocation = 0.2;  // bytes for each ns of CPU of a thread; at most what it does with all of its time
  std::size_t live = std::size_t{64} << 20;  // what it holds, as far as it has allocated so much
};

struct simulated_cycle {
  std::size_t goal = 0;  // that it worked towards when it ended
  std::size_t brake = 0;
  std::size_t peak = 0;
  std::size_t live = 0;       // of what it was measured by
  std::size_t allocated = 0;  // since the last one ended
  std::size_t while_marking = 0;
  std::size_t most_debt = 0;
  bool gave_way = false;  // the soft limit, at any time since the last one ended
};

class pacing_simulation {
 public:
  simulated_machine machine;
  simulated_program program;
  bool with_cap = true;

  explicit pacing_simulation(simulated_machine m = {}, simulated_program p = {}, std::uint64_t seed = 1)
      : machine{m}, program{p}, random_{seed} {
    cap_.set_processors(machine.cpus);
  }

  void set(tern::detail::gc::pacer_settings s) { pacer_.set(s); }

  void run_for(std::int64_t ns) {
    for (const std::int64_t end = now_ + ns; now_ < end;) slice();
  }

  const tern::detail::gc::pacer& pacer() const { return pacer_; }
  const tern::detail::gc::cpu_cap& cap() const { return cap_; }
  const std::vector<simulated_cycle>& cycles() const { return cycles_; }
  std::size_t heap() const { return heap_; }
  std::size_t allocated() const { return allocated_; }
  // As the cap has taken it, with what was held from an idle CPU; what the program got.
  std::int64_t collector_ns() const { return cap_.taken(); }
  std::int64_t program_ns() const { return sum_.process - sum_.collector; }
  std::size_t most_paid_at_once() const { return most_paid_; }

  // The highest heap since it was last asked.
  std::size_t take_peak() {
    const std::size_t peak = peak_;
    peak_ = heap_;
    return peak;
  }

 private:
  static constexpr std::int64_t slice_ns = 100'000;
  static constexpr std::int64_t window_ns = 10'000'000;
  static constexpr std::size_t refill = std::size_t{16} << 10;

  struct thread {
    tern::detail::gc::assist_account assists;
    std::int64_t sleeps_until = 0;
    bool is_braked = false;
    double carried = 0;  // ns of CPU: not used up by the last refill, or spent in advance
  };

  void slice() {
    threads_.resize(program.threads);
    unsigned wanting = marking_ ? 1 : 0;
    for (const thread& t : threads_)
      if (t.sleeps_until <= now_) ++wanting;
    const double share = wanting == 0 ? 1 : std::min(1.0, static_cast<double>(machine.cpus) / wanting);
    const double budget = share * static_cast<double>(slice_ns);
    marker_share_ = share * machine.marker_share;
    bool braked = false;
    for (thread& t : threads_) {
      if (t.sleeps_until <= now_) {
        t.is_braked = false;
        allocate(t, budget);
      }
      if (t.is_braked) spend(sum_.held, slice_ns);
      braked = braked || t.is_braked;
    }
    if (marking_) mark(budget * machine.marker_share);
    now_ += slice_ns;
    sum_.wall += slice_ns;
    if (braked && sum_.wall - ended_.wall >= window_ns) end_window();
  }

  void allocate(thread& t, double budget) {
    t.carried += budget;
    while (t.carried > 0) {
      if (!marking_ && heap_ >= pacer_.trigger()) begin_cycle();
      if (marking_) assist(t);
      if (marking_ && heap_ >= pacer_.brake()) {
        t.sleeps_until = now_ + pacer_.brake_ns(heap_);
        t.is_braked = true;
        t.carried = 0;
        return;
      }
      if (heap_ + refill > pacer_.settings().hard_limit) {
        if (!marking_) begin_cycle();
        t.sleeps_until = now_ + slice_ns;
        t.carried = 0;
        return;
      }
      heap_ += refill;
      allocated_ += refill;
      since_cycle_ += refill;
      if (marking_) while_marking_ += refill;
      peak_ = std::max(peak_, heap_);
      cycle_peak_ = std::max(cycle_peak_, heap_);
      const double took = static_cast<double>(refill) / program.allocation;
      t.carried -= took;
      spend(sum_.process, took);
    }
  }

  void assist(thread& t) {
    using namespace tern::detail::gc;
    if (pacer_.gives_way()) t.assists.forgive();
    const std::size_t pay =
        t.assists.charge(pacer_.assist_due(refill, heap_, marked_), pacer_.work_left(marked_));
    most_debt_ = std::max(most_debt_, t.assists.debt());
    if (pay < assist_cap_bytes / 4) return;
    if (std::uniform_real_distribution<>{}(random_) < marker_share_) return;  // the marker has the lock
    t.assists.paid(pay);
    marked_ += pay;
    most_paid_ = std::max(most_paid_, pay);
    const double took = static_cast<double>(pay) / machine.marking;
    t.carried -= took;
    spend(sum_.process, took);
    spend(sum_.collector, took);
  }

  void begin_cycle() {
    marking_ = true;
    marked_ = 0;
    lived_ = std::min(program.live, heap_);
    while_marking_ = 0;
    rest_ = static_cast<double>(machine.rest);
    end_window();
  }

  void mark(double budget) {
    spend(sum_.process, budget);
    spend(sum_.collector, budget);
    const double rest = std::min(rest_, budget);
    rest_ -= rest;
    marked_ += static_cast<std::size_t>((budget - rest) * machine.marking);
    if (marked_ < lived_ || rest_ > 0) return;
    marking_ = false;
    end_window();
    const std::size_t live = lived_ + while_marking_;
    cycles_.push_back({pacer_.goal(), pacer_.brake(), cycle_peak_, live, since_cycle_, while_marking_,
                       most_debt_, gave_way_});
    cap_.cycle_ended();
    if (with_cap) pacer_.set_gives_way(cap_.gives_way());
    pacer_.cycle_done({live, while_marking_});
    gave_way_ = pacer_.gives_way();
    heap_ = cycle_peak_ = live;
    since_cycle_ = most_debt_ = 0;
    for (thread& t : threads_) {
      t.assists.forgive();
      if (t.is_braked) t.sleeps_until = now_;
    }
  }

  void end_window() {
    cap_.add({sum_.wall - ended_.wall, sum_.process - ended_.process, sum_.collector - ended_.collector,
              sum_.held - ended_.held});
    ended_ = sum_;
    if (!with_cap || cap_.gives_way() == pacer_.gives_way()) return;
    pacer_.set_gives_way(cap_.gives_way());
    gave_way_ = gave_way_ || pacer_.gives_way();
  }

  template <class Ns>
  static void spend(std::int64_t& on, Ns ns) {
    on += static_cast<std::int64_t>(ns);
  }

  std::mt19937_64 random_;
  tern::detail::gc::pacer pacer_;
  tern::detail::gc::cpu_cap cap_;
  std::vector<thread> threads_;
  std::vector<simulated_cycle> cycles_;
  tern::detail::gc::cpu_window sum_;    // since the start
  tern::detail::gc::cpu_window ended_;  // of that, in windows that have ended
  std::int64_t now_ = 0;
  double marker_share_ = 1;
  std::size_t heap_ = 0;
  std::size_t allocated_ = 0;
  std::size_t since_cycle_ = 0;
  std::size_t peak_ = 0;
  std::size_t cycle_peak_ = 0;
  std::size_t most_debt_ = 0;
  std::size_t most_paid_ = 0;
  bool gave_way_ = false;
  // Of the cycle that runs.
  bool marking_ = false;
  std::size_t marked_ = 0;
  std::size_t lived_ = 0;
  std::size_t while_marking_ = 0;
  double rest_ = 0;
};

}  // namespace gc_test
