// Lists of managed objects, for tests of the collector.
#pragma once

#include <tern/gc.hpp>

namespace gc_test {

struct node {
  tern::gc::member<node> next;
  long value = 0;
  void trace(tern::gc::visitor& v) const { v(next); }
};

// Not inlined, both: what they have in registers and frames is gone when they return.
[[gnu::noinline]] inline node* make_list(long n, long value) {
  node* head = nullptr;
  for (long i = 0; i < n; ++i) {
    node* x = tern::gc::make<node>();
    x->value = value;
    x->next = head;
    head = x;
  }
  return head;
}
[[gnu::noinline]] inline bool is_list(const node* x, long n, long value) {
  long i = 0;
  for (; x != nullptr; x = x->next, ++i)
    if (x->value != value) return false;
  return i == n;
}

}  // namespace gc_test
