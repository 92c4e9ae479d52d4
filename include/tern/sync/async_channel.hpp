// Channels for tasks: co_await async_receive(c) and async_send(c, v) wait without a stack.
//
// Context     The lists, the lock and the order are channel.hpp's: tasks, fibers and plain threads meet in one channel.
// Protocol    As channel.hpp. The node and the waiter lie in the coroutine's frame, which is suspended before they are queued; the lock is
//             dropped right after, and from then on the task may run elsewhere.
// Limits      Not cancelled, not timed. What is handed over lies in the frame, which is no root of the collector.
#pragma once

#include <coroutine>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <tern/sched/task.hpp>
#include <tern/sync/channel.hpp>

namespace tern::inline v1::detail {

struct channel_tasks {
  // Requires: guard_, and that the operation would wait. Drops it; the frame is not touched after that.
  static void wait(channel_base& c, channel_base::node_list& l, channel_node& me, task_waiter& w,
                   task_node& node, void* value) noexcept {
    w.suspend(node);
    me.who = &w;
    me.value = value;
    l.push_back(me);
    c.guard_.unlock();
  }

  template <class T>
  class receive {
   public:
    explicit receive(channel<T>& c) noexcept : from_{c}, w_{"channel receive", &c} {}
    bool await_ready() const noexcept { return false; }
    template <task_like P>
    TERN_NOINLINE bool await_suspend(std::coroutine_handle<P> h) noexcept {
      from_.guard_.lock();
      wait_core* wake = nullptr;
      const channel_outcome o = from_.receive_locked(to_.bytes, wake);
      if (o == channel_outcome::blocked) {
        wait(from_, from_.receivers_, me_, w_, h.promise().node, to_.bytes);
        return true;
      }
      me_.ok = o == channel_outcome::done;
      from_.leave(wake);
      return false;
    }
    std::optional<T> await_resume() noexcept {
      if (!me_.ok) return std::nullopt;
      return to_.take();
    }

   private:
    channel<T>& from_;
    channel_node me_{};
    task_waiter w_;
    typename channel<T>::place to_;
  };

  template <class T>
  class send {
   public:
    send(channel<T>& c, T v) noexcept : to_{c}, w_{"channel send", &c}, value_{std::move(v)} {}
    bool await_ready() const noexcept { return false; }
    template <task_like P>
    TERN_NOINLINE bool await_suspend(std::coroutine_handle<P> h) noexcept {
      to_.guard_.lock();
      wait_core* wake = nullptr;
      const channel_outcome o = to_.send_locked(value_, wake);
      if (o == channel_outcome::blocked) {
        wait(to_, to_.senders_, me_, w_, h.promise().node, std::addressof(value_));
        return true;
      }
      me_.ok = o == channel_outcome::done;
      to_.leave(wake);
      return false;
    }
    void await_resume() const {
      if (!me_.ok) throw channel_closed{};
    }

   private:
    channel<T>& to_;
    channel_node me_{};
    task_waiter w_;
    T value_;
  };
};

}  // namespace tern::inline v1::detail

namespace tern::inline v1 {

/// co_await it in a task: as c.receive(), without a fiber that waits. O(1).
template <class T>
[[nodiscard]] auto async_receive(channel<T>& c) noexcept {
  return detail::channel_tasks::receive<T>{c};
}

/// co_await it in a task: as c.send(v), without a fiber that waits. Throws channel_closed. O(1).
template <class T>
[[nodiscard]] auto async_send(channel<T>& c, std::type_identity_t<T> v) noexcept {
  return detail::channel_tasks::send<T>{c, std::move(v)};
}

}  // namespace tern::inline v1
