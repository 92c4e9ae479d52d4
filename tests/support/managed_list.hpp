// Lists of managed objects, for tests of the collector.
#pragma once

#include <tern/gc.hpp>

namespace gc_test {

struct node {
  tern::gc::member<node> next;
  long value = 0;
  void trace(tern::gc::visitor& v) const { v(next); }
};

// Of nodes, or of another type that has a next and a value. Not inlined, both: what they have in registers and frames is gone when they return.
template <class Node = node>
[[gnu::noinline]] Node* make_list(long n, long value) {
  Node* head = nullptr;
  for (long i = 0; i < n; ++i) {
    Node* x = tern::gc::make<Node>();
    x->value = value;
    x->next = head;
    head = x;
  }
  return head;
}
template <class Node>
[[gnu::noinline]] bool is_list(const Node* x, long n, long value) {
  long i = 0;
  for (; x != nullptr; x = x->next, ++i)
    if (x->value != value) return false;
  return i == n;
}

}  // namespace gc_test
