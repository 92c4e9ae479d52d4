// Channel: hands values from senders to receivers, through a buffer of fixed size or none.
//
// Structure   A ring of `capacity` values, and two lists of waiting nodes; at most one of the lists is not empty, except that a
//             select may wait on both sides. All under guard_.
// Protocol    send     1. closed: throw   2. a receiver waits: construct the value in its frame, wake it   3. room: into the ring
//                      4. queue and park; the receiver takes the value out of this frame.
//             receive  1. the ring holds one: take it, and move the first waiting sender's value into the ring   2. a sender waits:
//                      take its value   3. closed: none   4. queue and park.
//             A node of a select stands in several lists: whoever takes it out must also win its claim word, else it goes on.
// Invariants  I1 receivers wait => the ring is empty; senders wait => it is full. I2 a plain node that was taken out is unparked
//             after guard_ is dropped; a select's node before, since the select takes guard_ of all its channels before it returns.
// Ordering    guard_ orders the values; unpark orders what was put into a waiter's frame.
// Limits      Values must move without throwing. A buffered channel of managed pointers is a root for the collector: for pointer types,
//             and for types that specialise is_crossing_rooted. Other holders of managed pointers need gc::handle.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <tern/alloc/allocator.hpp>
#include <tern/alloc/root_ranges.hpp>
#include <tern/base/assert.hpp>
#include <tern/sched/hooks.hpp>
#include <tern/sync/waiting.hpp>

namespace tern::inline v1 {

/// Thrown by a send on a closed channel.
class channel_closed : public std::logic_error {
 public:
  channel_closed() : std::logic_error{"tern: send on a closed channel"} {}
};

/// True for types whose buffered values the collector must take for roots. Specialise it for structs that hold managed pointers.
template <class T>
inline constexpr bool is_crossing_rooted = std::is_pointer_v<T>;

}  // namespace tern::inline v1

namespace tern::inline v1::detail {

template <class T, class F>
class receive_case;
template <class T, class F>
class send_case;
struct channel_tasks;

// Which case of a select has won: set once, by whoever ends the wait.
template <class Atomics = native_atomics>
class claim_word {
 public:
  static constexpr std::uint32_t nobody = UINT32_MAX;
  static constexpr std::uint32_t timeout = UINT32_MAX - 1;

  bool claim(std::uint32_t who) noexcept {
    std::uint32_t expected = nobody;
    // relaxed: the winner works under the lock of a channel, which the select takes before it looks.
    return winner_.compare_exchange_strong(expected, who, memory_order_relaxed, memory_order_relaxed);
  }
  std::uint32_t winner() const noexcept { return winner_.load(memory_order_relaxed); }

 private:
  typename Atomics::template atomic<std::uint32_t> winner_{nobody};
};

// A waiting send or receive. The channel's lock protects it.
struct channel_node {
  list_hook hook{};
  wait_core* who = nullptr;
  claim_word<>* select = nullptr;  // null: a plain send or receive
  std::uint32_t index = 0;         // of the case in its select
  bool ok = false;                 // the value was handed over; false: the channel was closed
  void* value = nullptr;           // send: the value; receive: room for one
};

enum class channel_outcome : std::uint8_t { blocked, done, closed };

// What does not depend on the type of the values.
class channel_base {
 public:
  using node_list = list<channel_node, &channel_node::hook>;

  channel_base(const channel_base&) = delete;
  channel_base& operator=(const channel_base&) = delete;

  // Ends the process when used wrongly, see channel.
  ~channel_base() {
    if (!receivers_.is_empty() || !senders_.is_empty())
      fatal("a channel was destroyed while somebody waits on it");
  }

  bool close() noexcept {
    node_list later;
    guard_.lock();
    const bool first = !closed_.load(memory_order_relaxed);  // relaxed, all: guard_
    closed_.store(true, memory_order_relaxed);
    for (node_list* waiting : {&receivers_, &senders_})
      while (channel_node* n = take_claimed(*waiting)) {
        n->ok = false;
        if (n->select != nullptr)
          unpark(*n->who);
        else
          later.push_back(*n);
      }
    guard_.unlock();
    while (channel_node* n = later.pop_front()) unpark(*n->who);
    return first;
  }

  bool is_closed() const noexcept {
    guard_.lock();
    const bool c = closed_.load(memory_order_relaxed);
    guard_.unlock();
    return c;
  }

 protected:
  friend class select_engine;
  friend struct channel_tasks;

  explicit channel_base(std::size_t capacity) noexcept : capacity_{capacity} {
    static_assert(offsetof(channel_base, count_) - offsetof(channel_base, guard_) >= 128);
  }

  // Requires: guard_. The first node that is still to be had, which then is the caller's.
  static channel_node* take_claimed(node_list& l) noexcept {
    while (channel_node* n = l.pop_front())
      if (n->select == nullptr || n->select->claim(n->index)) return n;
    return nullptr;
  }

  // Requires: guard_; n was taken by take_claimed(). What the caller must unpark after it has dropped guard_, if anything.
  static wait_core* served(channel_node& n) noexcept {
    n.ok = true;
    wait_core* who = n.who;
    if (n.select == nullptr) return who;
    unpark(*who);
    return nullptr;
  }

  // Drops guard_ and wakes the counterpart.
  void leave(wait_core* wake) noexcept {
    guard_.unlock();
    if (wake != nullptr) unpark(*wake);
  }

  // As wait_in(), at most until the deadline. Here a node has a claim word, as that of a select: the end of the time claims it too.
  TERN_NOINLINE channel_outcome wait_in_until(node_list& l, void* value, const char* what,
                                              os::nanoseconds deadline) {
    claim_word<> claim;
    waiter w{what, this, waiter_kind::multi};
    channel_node me;
    me.who = &w;
    me.select = &claim;
    me.value = value;
    l.push_back(me);
    const bool in_time = fiber_parking::wait_until(w, deadline, guard_);
    const bool late = !in_time && claim.claim(claim_word<>::timeout);
    // Whoever took the node out is done with this frame once guard_ is to be had.
    guard_.lock();
    if (me.hook.is_linked()) node_list::erase(me);
    guard_.unlock();
    if (late) {
      throw_if_cancelled(w);
      return channel_outcome::blocked;
    }
    return me.ok ? channel_outcome::done : channel_outcome::closed;
  }

  // Queues and parks; guard_ is dropped on the way. True if the value was handed over.
  bool wait_in(node_list& l, void* value, const char* what) {
    waiter w{what, this};
    if (is_cancellable(w)) return wait_in_until(l, value, what, os::never) == channel_outcome::done;
    channel_node me;
    me.who = &w;
    me.value = value;
    l.push_back(me);
    fiber_parking::park(w, guard_);
    return me.ok;
  }

  // For whoever is about to take guard_ and may as well look first. relaxed: true at some moment; what it leads to is tried under guard_.
  // Without a buffer it depends on who waits, which only guard_ tells.
  bool has_buffer() const noexcept { return capacity_ != 0; }
  bool looks_receivable() const noexcept {
    return count_.load(memory_order_relaxed) != 0 || closed_.load(memory_order_relaxed);
  }
  bool looks_sendable() const noexcept {
    return count_.load(memory_order_relaxed) != capacity_ || closed_.load(memory_order_relaxed);
  }

  // Who polls a buffered channel reads count_ and closed_ alone. They lie 128 bytes behind guard_, and so on another line, and another
  // pair of lines, wherever the channel lies: on the line of guard_ each look takes it from whoever is inside. Two fibers that poll for
  // each other's messages (ping_pong/spinning:1) take half of the time for it on an EPYC, and a seventh more on a Xeon.
  mutable wait_lock<> guard_;
  node_list receivers_;  // guard_
  node_list senders_;    // guard_
  const std::size_t capacity_;
  void* ring_ = nullptr;  // room for capacity_ values
  std::size_t head_ = 0;  // index of the first one; guard_
  unsigned char unused_[64];
  atomic<std::size_t> count_{0};  // of buffered values; written under guard_
  atomic<bool> closed_{false};    // written under guard_
};

}  // namespace tern::inline v1::detail

namespace tern::inline v1 {

/// A first-in, first-out channel of T between fibers and plain threads. Neither copied nor moved: pass references.
///
/// T moves without throwing. Each operation is O(1). Destruction drops what is buffered; while somebody waits it ends the process.
template <class T>
class channel : public detail::channel_base {
  static_assert(std::is_object_v<T> && std::is_nothrow_move_constructible_v<T> &&
                    std::is_nothrow_destructible_v<T>,
                "the values of a channel move and die without throwing");

 public:
  using value_type = T;

  /// `capacity` values are buffered; 0: each send meets a receive. Throws std::bad_alloc.
  explicit channel(std::size_t capacity = 0) : channel_base{capacity} {
    if (capacity == 0) return;
    if (capacity > SIZE_MAX / 2 / sizeof(T)) throw std::bad_alloc{};
    ring_ = allocate(bytes(), alignment());
    if constexpr (is_crossing_rooted<T>) {
      std::memset(ring_, 0, bytes());
      try {
        detail::register_root_range(ring_, bytes());
      } catch (...) {
        deallocate(ring_, bytes(), alignment());
        throw;
      }
    }
  }
  ~channel() {
    while (size() > 0) drop_first();
    if (ring_ == nullptr) return;
    if constexpr (is_crossing_rooted<T>) detail::unregister_root_range(ring_);
    deallocate(ring_, bytes(), alignment());
  }

  /// Hands the value over or buffers it; waits while neither is possible. Throws channel_closed, also when the channel is
  /// closed while it waits; the value is lost then. Throws cancelled when the fiber is cancelled while it waits, as all waits here do.
  void send(T value) {
    guard_.lock();
    detail::wait_core* wake = nullptr;
    switch (send_locked(value, wake)) {
      case outcome::done: return leave(wake);
      case outcome::closed: guard_.unlock(); throw channel_closed{};
      case outcome::blocked: break;
    }
    if (!wait_in(senders_, std::addressof(value), "channel send")) throw channel_closed{};
  }

  /// As send() where it need not wait; else false, and the value stays as it is. Throws channel_closed.
  [[nodiscard]] bool try_send(T&& value) {
    guard_.lock();
    detail::wait_core* wake = nullptr;
    const outcome o = send_locked(value, wake);
    leave(wake);
    if (o == outcome::closed) throw channel_closed{};
    return o == outcome::done;
  }
  [[nodiscard]] bool try_send(const T& value)
    requires std::is_copy_constructible_v<T>
  {
    T copy{value};
    return try_send(std::move(copy));
  }

  /// The next value; waits for one. Empty once the channel is closed and all that was buffered has been taken.
  TERN_ALWAYS_INLINE std::optional<T> receive() {
    place to;
    if (!receive_into(to.bytes)) return std::nullopt;
    return to.take();
  }

  /// A value if one is there. Empty also when the channel is closed.
  TERN_ALWAYS_INLINE std::optional<T> try_receive() noexcept {
    // Who polls must not keep the lock from those who send. relaxed: empty at this moment; nothing is read. Senders wait only at a full ring.
    if (capacity_ != 0 && size() == 0) return std::nullopt;
    place to;
    if (!try_receive_into(to.bytes)) return std::nullopt;
    return to.take();
  }

  /// As send(), at most for the time: then false, and the value stays as it is.
  template <class Rep, class Period>
  [[nodiscard]] bool send_for(T&& value, const std::chrono::duration<Rep, Period>& d) {
    return send_until_ns(value, detail::deadline_in(d));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool send_until(T&& value, const std::chrono::time_point<Clock, Duration>& t) {
    return send_until_ns(value, detail::deadline_at(t));
  }
  /// As receive(), at most for the time: then empty. is_closed() tells the two apart.
  template <class Rep, class Period>
  std::optional<T> receive_for(const std::chrono::duration<Rep, Period>& d) {
    return receive_until_ns(detail::deadline_in(d));
  }
  template <class Clock, class Duration>
  std::optional<T> receive_until(const std::chrono::time_point<Clock, Duration>& t) {
    return receive_until_ns(detail::deadline_at(t));
  }

  /// No more sends. Receivers get what is buffered, then nothing; those that wait are woken. False if it was closed already.
  bool close() noexcept { return channel_base::close(); }
  using channel_base::is_closed;

  std::size_t capacity() const noexcept { return capacity_; }
  /// How many values are buffered now.
  std::size_t size() const noexcept {
    return count_.load(detail::memory_order_relaxed);
  }  // relaxed: a figure

 private:
  template <class, class>
  friend class detail::receive_case;
  template <class, class>
  friend class detail::send_case;
  friend struct detail::channel_tasks;

  using outcome = detail::channel_outcome;

  // Room for one value in a frame.
  struct place {
    alignas(T) unsigned char bytes[sizeof(T)];
    std::optional<T> take() noexcept {
      T& v = *std::launder(reinterpret_cast<T*>(bytes));
      std::optional<T> out{std::move(v)};
      v.~T();
      return out;
    }
  };

  // The receives proper. They answer in a register, and the optional is made in the caller: returned from here its flag would be
  // written as a byte and read at once as a part of a word, which stalls for longer than all the rest takes.
  TERN_NOINLINE bool receive_into(void* to) {
    guard_.lock();
    detail::wait_core* wake = nullptr;
    const outcome o = receive_locked(to, wake);
    if (TERN_UNLIKELY(o == outcome::blocked)) return wait_in(receivers_, to, "channel receive");
    leave(wake);
    return o == outcome::done;
  }
  TERN_NOINLINE bool try_receive_into(void* to) noexcept {
    guard_.lock();
    detail::wait_core* wake = nullptr;
    const outcome o = receive_locked(to, wake);
    leave(wake);
    return o == outcome::done;
  }

  bool send_until_ns(T& value, detail::os::nanoseconds deadline) {
    guard_.lock();
    detail::wait_core* wake = nullptr;
    outcome o = send_locked(value, wake);
    if (o == outcome::blocked)
      o = wait_in_until(senders_, std::addressof(value), "channel send", deadline);
    else
      leave(wake);
    if (o == outcome::closed) throw channel_closed{};
    return o == outcome::done;
  }
  std::optional<T> receive_until_ns(detail::os::nanoseconds deadline) {
    place to;
    guard_.lock();
    detail::wait_core* wake = nullptr;
    outcome o = receive_locked(to.bytes, wake);
    if (o == outcome::blocked)
      o = wait_in_until(receivers_, to.bytes, "channel receive", deadline);
    else
      leave(wake);
    if (o != outcome::done) return std::nullopt;
    return to.take();
  }

  std::size_t bytes() const noexcept { return capacity_ * sizeof(T); }
  static constexpr std::size_t alignment() noexcept {
    return alignof(T) > sizeof(void*) ? alignof(T) : sizeof(void*);
  }

  // Requires for all below: guard_.
  void put(void* at, T& value) noexcept {
    // Words that a move leaves in `value` may be shaded after it, where no register has to outlive the call.
    constexpr bool stays = std::is_trivially_copyable_v<T>;
    if constexpr (!stays) detail::crossing(std::addressof(value), sizeof(T));
    ::new (at) T(std::move(value));
    if constexpr (stays) detail::crossing(std::addressof(value), sizeof(T));
  }
  T* slot(std::size_t at) noexcept { return static_cast<T*>(ring_) + at; }
  T& first() noexcept { return *slot(head_); }
  void drop_first() noexcept {
    first().~T();
    // A stale copy would keep its object alive.
    if constexpr (is_crossing_rooted<T>) std::memset(static_cast<void*>(slot(head_)), 0, sizeof(T));
    if (++head_ == capacity_) head_ = 0;
    count_.store(size() - 1, detail::memory_order_relaxed);  // relaxed, here and below: guard_
  }
  void append(T& value) noexcept {
    std::size_t at = head_ + size();
    if (at >= capacity_) at -= capacity_;
    put(slot(at), value);
    count_.store(size() + 1, detail::memory_order_relaxed);
  }

  outcome send_locked(T& value, detail::wait_core*& wake) noexcept {
    if (TERN_UNLIKELY(closed_.load(detail::memory_order_relaxed))) return outcome::closed;
    if (detail::channel_node* n = take_claimed(receivers_)) {
      put(n->value, value);
      wake = served(*n);
      return outcome::done;
    }
    if (size() == capacity_) return outcome::blocked;
    append(value);
    return outcome::done;
  }

  // Inlined by decree: whether GCC does so by itself depends on how much else the translation unit holds, and a call is a fifth of a receive.
  TERN_ALWAYS_INLINE outcome receive_locked(void* to, detail::wait_core*& wake) noexcept {
    if (size() > 0) {
      put(to, first());
      drop_first();
      if (detail::channel_node* n = take_claimed(senders_)) {
        append(*static_cast<T*>(n->value));
        wake = served(*n);
      }
      return outcome::done;
    }
    if (detail::channel_node* n = take_claimed(senders_)) {
      put(to, *static_cast<T*>(n->value));
      wake = served(*n);
      return outcome::done;
    }
    return closed_.load(detail::memory_order_relaxed) ? outcome::closed : outcome::blocked;
  }
};

}  // namespace tern::inline v1
