// The objects of the gc cases.
#pragma once

#include <cstdint>
#include <type_traits>

#include "bench/harness/process.hpp"
#include "bench/subjects/collectors.hpp"

namespace tern_bench {

/// 32 bytes of payload that refer to nothing.
struct plain_object {
  std::uint64_t words[4] = {};
};

/// One reference and one word.
template <class S>
struct link_node {
  typename S::template field<link_node> next{};
  std::uint64_t value = 0;

  template <class V>
  void trace(V& v) const {
    v(next);
  }
};

/// Two references.
template <class S>
struct tree_node {
  typename S::template field<tree_node> left{};
  typename S::template field<tree_node> right{};

  template <class V>
  void trace(V& v) const {
    v(left);
    v(right);
  }
};

/// Two references and one word.
template <class S>
struct graph_node {
  typename S::template field<graph_node> first{};
  typename S::template field<graph_node> second{};
  std::uint64_t value = 0;

  template <class V>
  void trace(V& v) const {
    v(first);
    v(second);
  }
};

/// 64 bytes of payload, one of the words a reference.
template <class S>
struct record_node {
  typename S::template field<record_node> next{};
  std::uint64_t words[7] = {};

  template <class V>
  void trace(V& v) const {
    v(next);
  }
};

/// f(i) for each i below n, which 4,096 divides, and a poll after so many: what the inner loop does is then the same for those that poll
/// nothing, whose compiler drops a test of i.
template <class S, class F>
void for_each_polled(std::uint64_t n, F&& f) {
  for (std::uint64_t i = 0; i < n; S::poll())
    for (const std::uint64_t end = i + 4096; i < end; ++i) f(i);
}

/// One with its first word set.
template <class S>
auto make_record(std::uint64_t value) {
  auto fresh = S::template make<record_node<S>>();
  fresh->words[0] = value;
  return fresh;
}

/// What the process has grown by since `before`, at its most, and how many collections there were, where the subject knows.
template <class S>
void add_heap_counters(measurement& m, std::int64_t before) {
  m.counters["rss_bytes"] = static_cast<double>(peak_resident_bytes() - before);
  if constexpr (requires { S::collections(); })
    m.counters["collections"] = static_cast<double>(S::collections());
}

/// An entry of a doubly linked list, 64 bytes of payload. With counting the list's links own forwards and look backwards; with unique
/// ownership something else owns the entries.
template <class S>
struct list_node {
  std::conditional_t<std::is_same_v<S, manual_subject>, typename S::template link<list_node>,
                     typename S::template field<list_node>>
      next{};
  typename S::template link<list_node> previous{};
  std::uint64_t key = 0;
  std::uint64_t words[5] = {};

  template <class V>
  void trace(V& v) const {
    v(next);
    v(previous);
  }
};

}  // namespace tern_bench
