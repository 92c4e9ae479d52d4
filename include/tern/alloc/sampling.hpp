#pragma once

// Sampled blocks: a heap profile that pprof opens, and guards that catch overflows and uses after a free.
//
// Context     Off until asked for: tern::heap_profile, or TERN_DEBUG=heapprofile=FILE,guardsamples=1,sampleinterval=BYTES. The fast paths know
//             nothing of it: while it is on, bins are veiled (thread_cache.hpp), so that each allocation comes here.
// Structure   A sampled block has a span of its own, of kind `sampled` and the block's class, whose bits[0] is its record:
//
//               | ... block | guard |     the block ends where the guard begins; without guards it begins with its span
//
//             A freed block under guards loses all access, and its span is kept until `quarantine` more have been freed.
// Protocol    Each allocation's bytes count down its cache's clock, whose length is drawn anew each time, exponentially: a block of n bytes is
//             a sample with probability 1 - exp(-n / interval), whatever the rhythm of the program, which is what pprof divides by. Huge
//             blocks stay where they are; while a sampler is on, no block grows where it lies but those, and each growth counts anew.
// Invariants  I1 Whoever takes a sample has stopped its cache's clock meanwhile: what the unwinder allocates is never a sample.
//             I2 A block that came back by a free with its size, into a bin without a veil, may serve its class again before it reaches its
//                span: it is as long as any of the class. It counts as live until then.
// Ordering    lock_ before every other lock of the allocator. Under list_lock_ none is taken; it is taken under the shared cache's, which may
//             give samples back.
// Rejected    Counting refills, a batch each, and a sample in place of one: what a program recycles within its caches, in the long run nearly
//             all, was not seen, of two sites in turns always the same one was, and a batch as long as the interval counted up to twice.
// Limits      A bin of another thread that holds blocks when a sampler starts is veiled when it next runs dry or over; from the start of a
//             program (TERN_DEBUG) all are. One interval is written: samples that live from before a change are scaled by the new one.
//             An overflow is seen where it leaves the size of the class. Stacks need unwind tables and libgcc_s; without, samples have none.
// References  pprof's heap_v2 text format, with its correction for the sampling interval.

#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <tern/alloc/central.hpp>
#include <tern/alloc/huge.hpp>
#include <tern/base/random.hpp>
#include <tern/os/clock.hpp>

namespace tern::inline v1::detail {

// Bytes until the next sample, one in each cache. Its bound thread's; of the shared cache all threads'.
struct sample_clock {
  static constexpr std::int64_t stopped = std::int64_t{1} << 62;
  atomic<std::int64_t> left{0};
  atomic<std::uint32_t> era{0};  // of the sampler when it was drawn
};

class heap_sampler {
 public:
  constexpr heap_sampler() noexcept = default;

  // relaxed: an allocation beside the start or the stop may go either way.
  TERN_ALWAYS_INLINE bool is_on() const noexcept { return interval_.load(memory_order_relaxed) != 0; }

  // From now on one sample for about `interval` bytes; 0: none. Samples that live stay known. The same seed draws the same intervals.
  void start(std::size_t interval, bool guards, std::uint64_t seed = 0) noexcept {
    void* pc = nullptr;
    if (interval != 0) ::backtrace(&pc, 1);  // loads the unwinder, which allocates, before any lock is held
    lock_scope hold{lock_};
    if (guards && !handles_faults_) {
      handles_faults_ = true;
      struct sigaction action = {};
      action.sa_sigaction = &on_fault;
      action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
      ::sigaction(SIGSEGV, &action, &earlier_);
    }
    sampled_free.store(&free_returned, memory_order_relaxed);  // relaxed: before the first sample
    // relaxed, all: as is_on().
    guards_.store(guards, memory_order_relaxed);
    if (seed != 0)
      random_.store(seed, memory_order_relaxed);
    else if (random_.load(memory_order_relaxed) == 0)
      random_.store(static_cast<std::uint64_t>(os::now()) | 1, memory_order_relaxed);
    interval_.store(interval, memory_order_relaxed);
    era_.fetch_add(1, memory_order_relaxed);
  }

  std::size_t interval() const noexcept { return interval_.load(memory_order_relaxed); }

  // Counts an allocation of class c: a sampled block for it, or nullptr. `asker`: the return address at which its stack begins, that of the
  // slow path that asks; what is called below it is of no use to anybody who reads the profile.
  void* try_take(unsigned c, sample_clock& clock, const void* asker,
                 std::size_t alignment = block_alignment) noexcept {
    return is_due(class_table[c].size, clock) ? take(c, clock, asker, alignment) : nullptr;
  }

  // Counts a fresh huge block. `asker`: as for try_take(); null: who calls this.
  TERN_COLD void note_huge(void* p, sample_clock& clock, const void* asker) noexcept {
    span* s = heap.map().find(p).get<span>();
    if (!is_due(s->mapped_bytes, clock)) return;
    const pause while_taking{*this, clock};
    if (record* r = make_record(s, s->mapped_bytes, asker != nullptr ? asker : __builtin_return_address(0));
        r != nullptr)
      set_record(*s, r);
  }

  // A block of class c that a cache is given: true if it was a sample, which is freed.
  TERN_COLD bool try_free(unsigned c, void* p) noexcept {
    const page_entry e = heap.map().find(p);
    if (e.kind() != span_kind::sampled || e.size_class() != c) return false;
    free(p);
    return true;
  }

  // resize() of a huge block, which is forgotten; where that fails, and gives null, it stays as it is, and known.
  template <class F>
  void* resize_huge(span* s, F&& resize) noexcept {
    record* r = record_of(*s);
    if (TERN_LIKELY(r == nullptr)) return resize();
    set_record(*s, nullptr);
    void* const p = resize();
    if (p == nullptr)
      set_record(*s, r);
    else
      forget(r);
    return p;
  }

  // A huge block that is about to be freed.
  void forget_huge(span* s) noexcept {
    if (record* r = record_of(*s); TERN_UNLIKELY(r != nullptr)) {
      set_record(*s, nullptr);
      forget(r);
    }
  }

  // Requires: the map says `sampled` for p. What is wrong with p is fatal.
  TERN_COLD void free(void* p) noexcept {
    span* s = heap.map().find(p).get<span>();
    record* r = record_of(*s);
    if (to_word(p) != s->start + s->mapped_bytes) fatal("deallocate: pointer into the middle of a block");
    span* out = nullptr;
    {
      lock_scope hold{list_lock_};
      if (!r->live) fatal("deallocate: block freed twice");
      r->live = false;
      samples_.erase(*r);
      if (r->guard_bytes != 0) {
        os::protect_none(s->memory(), s->bytes());
        span*& slot = quarantine_[quarantine_at_++ % quarantine];
        out = slot;
        slot = s;
      } else {
        out = s;
      }
    }
    if (out != nullptr) retire(out);
  }

  // In pprof's text form, to an open file. False where it cannot be written.
  bool write_to(int fd) noexcept {
    char line[64 + max_depth * 20];
    bool good = true;
    const auto put = [&](int n) noexcept {
      good = good && n > 0 && ::write(fd, line, static_cast<std::size_t>(n)) == n;
    };
    lock_scope hold{list_lock_};
    std::size_t bytes = 0;
    std::size_t count = 0;
    for (record* r = samples_.front(); r != nullptr; r = samples_.next(*r), ++count) bytes += r->bytes;
    put(std::snprintf(line, sizeof line, "heap profile: %zu: %zu [%zu: %zu] @ heap_v2/%zu\n", count, bytes,
                      count, bytes, last_interval_));
    for (record* r = samples_.front(); r != nullptr; r = samples_.next(*r)) {
      int n = std::snprintf(line, sizeof line, "1: %zu [1: %zu] @", r->bytes, r->bytes);
      for (int i = 0; i < r->depth; ++i)
        n += std::snprintf(line + n, sizeof line - static_cast<std::size_t>(n), " 0x%zx",
                           to_word(r->stack[i]));
      line[n++] = '\n';
      put(n);
    }
    put(std::snprintf(line, sizeof line, "\nMAPPED_LIBRARIES:\n"));
    if (const int maps = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC); maps >= 0) {
      ssize_t n = 0;
      while (good && (n = ::read(maps, line, sizeof line)) > 0) put(static_cast<int>(n));
      ::close(maps);
    }
    return good;
  }

  std::size_t live_samples() noexcept {
    lock_scope hold{list_lock_};
    std::size_t n = 0;
    for (record* r = samples_.front(); r != nullptr; r = samples_.next(*r)) ++n;
    return n;
  }

  // Two parts of the order, see Ordering.
  template <class F>
  void for_each_outer_lock(F&& f) noexcept {
    f(lock_);
  }
  template <class F>
  void for_each_inner_lock(F&& f) noexcept {
    f(list_lock_);
    records_.for_each_lock(f);
  }

 private:
  static constexpr int max_depth = 30;
  static constexpr unsigned quarantine = 64;
  // Two mappings each; vm.max_map_count allows a process 65,530.
  static constexpr std::uint32_t max_guarded = 8192;

  struct record {
    span* where = nullptr;
    std::size_t bytes = 0;
    std::size_t guard_bytes = 0;
    bool live = false;
    int depth = 0;
    void* stack[max_depth] = {};
    list_hook hook;
    record* pool_next = nullptr;
  };

  static record* record_of(const span& s) noexcept { return reinterpret_cast<record*>(s.bits[0]); }
  static void set_record(span& s, record* r) noexcept { s.bits[0] = to_word(r); }

  // Stops a clock for its lifetime; the next interval is drawn at its end.
  struct pause {
    pause(heap_sampler& of, sample_clock& clock) noexcept : of_{of}, clock_{clock} {
      clock_.left.store(sample_clock::stopped, memory_order_relaxed);  // relaxed, both: see is_due()
    }
    pause(const pause&) = delete;
    pause& operator=(const pause&) = delete;
    ~pause() { clock_.left.store(of_.draw(), memory_order_relaxed); }

   private:
    heap_sampler& of_;
    sample_clock& clock_;
  };

  bool is_due(std::size_t bytes, sample_clock& clock) noexcept {
    // relaxed, all: a countdown; who brings it below zero takes the sample. In the shared cache two may draw at first, one of them for both.
    const std::uint32_t era = era_.load(memory_order_relaxed);
    if (TERN_UNLIKELY(clock.era.load(memory_order_relaxed) != era)) {
      clock.left.store(draw(), memory_order_relaxed);
      clock.era.store(era, memory_order_relaxed);
    }
    const auto n = static_cast<std::int64_t>(bytes);
    const std::int64_t before = clock.left.fetch_sub(n, memory_order_relaxed);
    return before > 0 && before <= n;
  }

  std::int64_t draw() noexcept {
    const std::size_t interval =
        interval_.load(memory_order_relaxed);  // relaxed, both: any value of either will do
    fast_random random{random_.fetch_add(0x9e3779b97f4a7c15u, memory_order_relaxed)};
    // -ln(u) of a uniform u = m * 2^-k, 1 <= m < 2: log2(m) by a parabola, right to a hundredth, since libm is not to be linked for this.
    const std::uint64_t bits = random.next() >> 32 | 1;
    const unsigned width = static_cast<unsigned>(std::bit_width(bits));
    const double m = static_cast<double>(bits) / static_cast<double>(std::uint64_t{1} << (width - 1));
    const double log2_m = (2 - m / 3) * m - 5.0 / 3;
    const double drawn = (33 - width - log2_m) * 0.6931 * static_cast<double>(interval);
    constexpr std::int64_t most = sample_clock::stopped;
    return drawn < static_cast<double>(most) ? static_cast<std::int64_t>(drawn) + 1 : most;
  }

  record* make_record(span* s, std::size_t bytes, const void* asker) noexcept {
    record* r = records_.take();
    if (r == nullptr) return nullptr;
    r->where = s;
    r->bytes = bytes;
    r->guard_bytes = 0;
    r->depth = ::backtrace(r->stack, max_depth);
    // Where the asker is not among them, all stay.
    void** const end = r->stack + r->depth;
    if (void** first = std::find(r->stack, end, asker); first != end)
      r->depth = static_cast<int>(std::copy(first, end, r->stack) - r->stack);
    lock_scope hold{list_lock_};
    last_interval_ = interval_.load(memory_order_relaxed);  // relaxed: as is_on()
    r->live = true;
    samples_.push_back(*r);
    return r;
  }

  // With an alignment beyond a page the block begins with its span: the guard may lie some bytes behind its end.
  TERN_COLD void* take(unsigned c, sample_clock& clock, const void* asker, std::size_t alignment) noexcept {
    const pause while_taking{*this, clock};
    const std::size_t unit = os::page_size() < page_bytes ? page_bytes : os::page_size();
    // relaxed, both: a span that is just losing its guard counts or not, and a few may exceed the most together.
    const bool guards = guards_.load(memory_order_relaxed);
    const std::size_t guard = guards && guarded_.load(memory_order_relaxed) < max_guarded ? unit : 0;
    const std::size_t body = round_up(std::size_t{class_table[c].size}, unit);
    span* s = heap.allocate({.pages = (body + guard) / page_bytes,
                             .kind = span_kind::sampled,
                             .size_class = static_cast<std::uint8_t>(c),
                             .alignment = alignment > unit ? alignment : unit});
    if (s == nullptr) return nullptr;
    record* r = make_record(s, class_table[c].size, asker);
    if (r == nullptr) return heap.free(s), nullptr;
    if constexpr (hardened_build) {
      if (!s->zeroed) std::memset(s->memory(), 0, body);  // no seals of what was here before
    }
    set_record(*s, r);
    s->mapped_bytes = guard != 0 && alignment <= unit ? body - class_table[c].size : 0;
    void* const p = reinterpret_cast<void*>(s->start + s->mapped_bytes);
    if (guard != 0 && os::protect_none(reinterpret_cast<void*>(s->start + body), guard)) {
      r->guard_bytes = guard;
      guarded_.fetch_add(1, memory_order_relaxed);  // relaxed: a count
    }
    return p;
  }

  void forget(record* r) noexcept {
    {
      lock_scope hold{list_lock_};
      r->live = false;
      samples_.erase(*r);
    }
    records_.give(r);
  }

  void retire(span* s) noexcept {
    record* r = record_of(*s);
    if (r->guard_bytes != 0) {
      // Without a mapping to be had nobody may use the span any more: it stays as it is, and counts.
      if (!os::protect_read_write(s->memory(), s->bytes())) return;
      guarded_.fetch_sub(1, memory_order_relaxed);  // relaxed: a count
    }
    unpoison(s->memory(), s->bytes());
    heap.free(s);
    records_.give(r);
  }

  static void free_returned(void* p) noexcept;
  static void on_fault(int signal, siginfo_t* info, void* context) noexcept;

  atomic<std::size_t> interval_{0};  // bytes
  atomic<std::uint32_t> era_{0};     // starts so far
  spin_lock<> lock_;
  atomic<std::uint32_t> guarded_{0};  // spans with a guard
  atomic<bool> guards_{false};
  atomic<std::uint64_t> random_{0};
  bool handles_faults_ = false;    // lock_
  struct sigaction earlier_ = {};  // lock_
  spin_lock<> list_lock_;
  list<record, &record::hook> samples_;  // list_lock_
  std::size_t last_interval_ = 0;        // list_lock_
  span* quarantine_[quarantine] = {};    // list_lock_
  std::size_t quarantine_at_ = 0;        // list_lock_
  type_stable_pool<record> records_;
};

inline constinit heap_sampler samples;

inline void heap_sampler::free_returned(void* p) noexcept { samples.free(p); }

// A fault in a sampled span ends the process with a message; any other goes where it would have gone.
inline void heap_sampler::on_fault(int signal, siginfo_t* info, void* context) noexcept {
  const bool sent = info->si_code <= 0;  // by kill: no address
  const page_entry e = sent ? page_entry{} : heap.map().find(info->si_addr);
  if (e.kind() == span_kind::sampled)
    fatal(record_of(*e.get<span>())->live ? "a write or read beyond the end of a block (guarded sample)"
                                          : "use of a block after its free (guarded sample)");
  const struct sigaction& earlier = samples.earlier_;
  if ((earlier.sa_flags & SA_SIGINFO) != 0) return earlier.sa_sigaction(signal, info, context);
  if (earlier.sa_handler != SIG_DFL && earlier.sa_handler != SIG_IGN) return earlier.sa_handler(signal);
  if (sent && earlier.sa_handler == SIG_IGN) return;
  ::signal(signal, SIG_DFL);
  if (sent) ::raise(signal);  // else the instruction faults again
}

}  // namespace tern::inline v1::detail
