// alloc/arena/records:N, alloc/pool/objects:N
//
// One operation  arena: one record of 64 bytes, written in its first 8; N records are made and then freed as a whole, by whatever the subject
//                has for that (malloc: one by one). pool: an object of 48 bytes made in place of one of N, drawn at random.
// Kept equal     one thread, in a process that has others; linked in, so that each subject has its best form.
#include <optional>
#include <vector>

#include <tern/alloc.hpp>

#include "bench/subjects/allocators.hpp"

namespace tern_bench {
namespace {

struct record {
  std::uint64_t value;
  std::uint64_t rest[7];
};
struct object {
  explicit object(std::uint64_t v) : value(v) {}
  std::uint64_t value;
  std::uint64_t rest[5] = {};
};

// malloc's: a record is a block, an object is new and delete.
template <class S>
struct typed {
  std::vector<record*> records;
  record* make_record() { return records.emplace_back(static_cast<record*>(S::allocate(sizeof(record)))); }
  void free_records() {
    for (record* r : records) S::deallocate(r);
    records.clear();
  }
  object* make_object(std::uint64_t v) { return new object(v); }
  void free_object(object* o) { delete o; }
};
template <>
struct typed<tern_allocator> {
  tern::arena records;
  tern::pool<object> objects;
  record* make_record() { return static_cast<record*>(records.allocate(sizeof(record))); }
  void free_records() { records.release(); }
  object* make_object(std::uint64_t v) { return objects.create(v); }
  void free_object(object* o) { objects.destroy(o); }
};

template <allocator_subject S>
class arena {
 public:
  explicit arena(const row_params& p) : count_(p.size_of("records")) {}
  std::uint64_t operations() const { return count_; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    for (std::uint64_t i = 0; i < count_; ++i) {
      record* r = own_.make_record();
      r->value = i;
      keep(r);
      sum += static_cast<std::uint32_t>(r->value);
    }
    own_.free_records();
    return sum;
  }

 private:
  std::uint64_t count_;
  typed<S> own_;
};

template <allocator_subject S>
class pool {
 public:
  explicit pool(const row_params& p) : objects_(p.size_of("objects")) {}
  pool(const pool&) = delete;
  pool& operator=(const pool&) = delete;
  ~pool() {
    for (object* o : objects_) own_.free_object(o);
  }
  std::uint64_t operations() const { return batch; }
  std::uint32_t run() {
    std::uint32_t sum = 0;
    sequence random(5);
    for (std::uint64_t i = 0; i < batch; ++i) {
      object*& slot = objects_[random.below(objects_.size())];
      own_.free_object(slot);
      slot = own_.make_object(i);
      keep(slot);
      sum = fold(sum, slot->value);
    }
    return sum;
  }

 private:
  static constexpr std::uint64_t batch = 16384;
  typed<S> own_;
  std::vector<object*> objects_;
};

const registration<arena, linked_allocators> arena_registered{{
    .area = "alloc",
    .name = "arena",
    .smoke = {{"records", 1000}},
    .points = {{{{"records", 10000}}, tier::standard}, {{{"records", 1000000}}, tier::standard, false, 100}},
}};
const registration<pool, linked_allocators> pool_registered{{
    .area = "alloc",
    .name = "pool",
    .smoke = {{"objects", 100}},
    .points = {{{{"objects", 1000}}, tier::standard}},
}};

}  // namespace
}  // namespace tern_bench
