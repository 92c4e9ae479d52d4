// Servers of the case bidding: each request looks at a user's recent events, makes candidates, takes the best and remembers it.
//
// Structure   `live_mb` MB of users with eight events each, in a table. A request makes 64 candidates in a list, with what each would show, which are
//             garbage when it is answered (some 12 KiB), and replaces one event of the user. What is answered depends on the request alone; that
//             the events are the user's own is checked.
// Kept equal  objects, work and answers; the server's process has one CPU, the collector's threads on it too. tern: a fiber per connection. shared_ptr:
//             a loop over epoll in one thread, with atomic counters, as in any process that has threads. go: a goroutine per connection.
#pragma once

#include <array>
#include <cstring>
#include <string>

#include "bench/harness/keep.hpp"
#include "bench/subjects/collectors.hpp"
#include "bench/subjects/servers.hpp"

namespace tern_bench {

/// Of the server that is forked next.
struct bidding_settings {
  std::size_t live_mb = 1;
  unsigned percent = 100;
};
inline bidding_settings bidding_next;

struct bid_frame {
  std::int64_t intended = 0;
  std::uint64_t number = 0;  ///< bid_ask: how many collections there were, is the answer's price
  std::uint64_t price = 0;
  std::uint64_t unused = 0;
};
inline constexpr std::uint64_t bid_ask = ~std::uint64_t{0};
static_assert(sizeof(bid_frame) == 32);

inline constexpr std::size_t bid_events = 8;
inline constexpr std::size_t bid_candidates = 64;
/// What a user takes, without headers.
inline constexpr std::size_t bid_user_bytes = 640;

struct bid_event {
  std::uint64_t user = 0;
  std::uint64_t words[7] = {};
};
struct bid_detail {
  std::uint64_t words[16] = {};
};

template <class S>
struct bid_candidate {
  typename S::template field<bid_candidate> next{};
  typename S::template field<bid_detail> detail{};
  std::uint64_t score = 0;
  std::uint64_t words[4] = {};
  template <class V>
  void trace(V& v) const {
    v(next);
    v(detail);
  }
};

template <class S>
struct bid_user {
  typename S::template field<bid_event> events[bid_events];
  std::uint64_t words[7] = {};
  template <class V>
  void trace(V& v) const {
    for (const auto& e : events) v(e);
  }
};

/// On the stack that serves; `here` is the only one of the process.
template <class S>
class bid_book {
 public:
  bid_book() : count_(bidding_next.live_mb * (std::size_t{1} << 20) / bid_user_bytes), users_(count_) {
    become_threaded();
    if constexpr (requires { S::set_growth_percent(1u); }) S::set_growth_percent(bidding_next.percent);
    for (std::size_t i = 0; i < count_; ++i) {
      auto user = S::template make<bid_user<S>>();
      for (auto& e : user->events) {
        auto event = S::template make<bid_event>();
        event->user = i;
        e = event;
      }
      users_.set(i, user);
    }
    here = this;
  }
  bid_book(const bid_book&) = delete;
  bid_book& operator=(const bid_book&) = delete;
  ~bid_book() { here = nullptr; }

  std::uint64_t answer(std::uint64_t number) {
    sequence random(number + 1);
    const std::size_t i = random.below(count_);
    bid_user<S>* const user = users_.peek(i);
    std::uint64_t interest = 0;
    for (const auto& e : user->events) interest += S::peek(e)->user - i;  // 0
    typename S::template ref<bid_candidate<S>> list = nullptr;
    for (std::size_t k = 0; k < bid_candidates; ++k) {
      auto detail = S::template make<bid_detail>();
      detail->words[k % 16] = random();
      auto candidate = S::template make<bid_candidate<S>>();
      candidate->score = detail->words[k % 16] >> 8;
      candidate->detail = detail;
      candidate->next = list;
      list = candidate;
    }
    std::uint64_t best = 0;
    for (bid_candidate<S>* c = &*list; c != nullptr; c = S::peek(c->next))
      best = std::max(best, c->score + S::peek(c->detail)->words[0] % 8);
    auto won = S::template make<bid_event>();
    won->user = i;
    won->words[0] = best;
    user->events[number % bid_events] = won;
    return best + interest;
  }

  static inline bid_book* here = nullptr;

 private:
  std::size_t count_;
  typename S::template table<bid_user<S>> users_;
};

template <class S>
struct bid_session {
  frame_reader<bid_frame> in;
  std::array<char, frame_reader<bid_frame>::bytes> out;
  std::size_t end = 0;
  bid_session() noexcept {}  // NOLINT: the buffer is written before it is read

  static bid_book<S> world() { return bid_book<S>(); }
  std::span<char> room() noexcept { return in.room(); }
  bool accept(std::size_t n) {
    in.take(n, [this](bid_frame f) {
      f.price = f.number == bid_ask ? collections() : bid_book<S>::here->answer(f.number);
      std::memcpy(out.data() + end, &f, sizeof f);
      end += sizeof f;
    });
    return true;
  }
  std::span<const char> answer() noexcept { return std::span{out}.first(std::exchange(end, 0)); }
  static std::uint64_t collections() {
    if constexpr (requires { S::collections(); }) return S::collections();
    return 0;
  }
};

using bidding_tern = tern_server<bid_session<tern_collector>>;

struct bidding_shared_ptr : raw_server<bid_session<shared_ptr_subject>> {
  static constexpr const char* name = "shared_ptr";
  static std::string version() { return shared_ptr_subject::version(); }
  static std::string unfit(const row_params& p) {
    return p["percent"] == 100 ? "" : "has no collector that could be set";
  }
};

struct bidding_go : go_server<void> {
  static void serve(int pipe) {
    serve_by_go(
        pipe, "bidding:" + std::to_string(bidding_next.live_mb) + ":" + std::to_string(bidding_next.percent));
  }
};

}  // namespace tern_bench
