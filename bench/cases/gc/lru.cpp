// gc/lru/entries:N
//
// One operation  one look-up in a cache of N entries of 64 bytes: a hit moves the entry to the front of a doubly linked list, a miss makes
//                one, puts it to the front and into the map, and drops the entry at the end. Keys are skewed: about two in three hit.
// Kept equal     one mutator in a fresh process; the same keys. The map is the subject's own: tern's gc::hash_map, Go's map,
//                std::unordered_map elsewhere (Boehm's with its gc_allocator).
//                An entry that is dropped leads nowhere: else a word on a stack that a conservative scan takes for a pointer to one
//                would keep all that were dropped after it (gc/README.md).
// Best form      With counting the links own forwards and look backwards; `manual` lets the map own the entries, and links are bare.
//                An LRU cache is what ownership does best, and what a collector does worst: everything dies old.
#include "bench/cases/gc/node.hpp"

namespace tern_bench {
namespace {

template <class S>
class lru {
 public:
  static constexpr bool evolves = true;
  static constexpr bool reports_cpu = true;

  explicit lru(const row_params& p)
      : before_(memory_now().resident_bytes), entries_(p.size_of("entries")), random_(7) {
    for (std::size_t i = 0; i < 4 * entries_; ++i) static_cast<void>(look_up());
  }
  lru(const lru&) = delete;
  lru& operator=(const lru&) = delete;
  ~lru() {
    // Entry by entry: a chain of owners would recurse.
    if constexpr (!std::is_same_v<S, manual_subject>)
      for (ref at = std::move(head_); at;) at = take_next(*at);
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < batch; ++i) sum = fold(sum, look_up());
    return sum;
  }
  void finish(measurement& m) const {
    m.counters["rss_bytes"] = static_cast<double>(peak_resident_bytes() - before_);
  }

 private:
  using node = list_node<S>;
  using ref = typename S::template ref<node>;
  static constexpr std::uint64_t batch = 16384;

  std::uint64_t look_up() {
    const std::uint64_t key = random_.below(random_.below(4 * entries_) + 1);
    if (node* hit = map_.find(key)) {
      const std::uint64_t seen = ++hit->words[0];
      if (hit == &*head_) return seen;
      ref owner = reference_to(*hit);
      unlink(*hit);
      push_front(std::move(owner));
      return seen;
    }
    ref fresh = S::template make<node>();
    fresh->key = key;
    fresh->words[1] = ++made_;
    if (size_ == entries_) {
      node* last = tail_;
      const std::uint64_t old = last->key;
      unlink(*last);
      last->previous = nullptr;
      map_.erase(old);
    } else {
      ++size_;
    }
    map_.set(key, fresh);
    push_front(std::move(fresh));
    return 0;
  }
  // An owner of an entry that is in the list, so that unlinking does not end it.
  ref reference_to(node& n) {
    if constexpr (std::is_pointer_v<ref>)
      return &n;
    else
      return S::take(S::peek(n.previous)->next);
  }
  // Nothing of n is touched any more once what owned it has let go.
  void unlink(node& n) {
    auto* const previous = S::peek(n.previous);
    ref next = take_next(n);
    if (next)
      next->previous = previous;
    else
      tail_ = previous;
    if (previous != nullptr)
      previous->next = std::move(next);
    else
      head_ = std::move(next);
  }
  static ref take_next(node& n) {
    if constexpr (std::is_pointer_v<ref>) {
      node* const next = S::peek(n.next);
      n.next = nullptr;
      return next;
    } else {
      return std::move(n.next);
    }
  }
  void push_front(ref n) {
    n->previous = nullptr;
    if (head_)
      head_->previous = &*n;
    else
      tail_ = &*n;
    n->next = std::move(head_);
    head_ = std::move(n);
  }

  std::int64_t before_;
  std::size_t entries_;
  typename S::template map<node> map_;
  ref head_{};
  node* tail_ = nullptr;
  std::size_t size_ = 0;
  std::uint64_t made_ = 0;
  sequence random_;
};

const registration<lru, owning_collectors> lru_registered{{
    .area = "gc",
    .name = "lru",
    .smoke = {{"entries", 64}},
    .points = {{{{"entries", 16384}}, tier::standard, false, 60},
               {{{"entries", 262144}}, tier::full, false, 1500}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench
