// Verifier: with the world stopped at the end of marking, compares the marks with what the program can reach.
//
// Context     Tests and debugging: gc::testing::verify_each_cycle(), verify_unmanaged_memory().
// Protocol    1. stop the world
//             2. each member of each marked object, and each handle, must lead to a marked object: by induction from
//                the roots this is the same as marking anew and comparing, and it also finds wrong marks that nothing
//                leads to just now. What does not, counts as lost.
//             3. words of stacks and registered ranges that lead to unmarked objects count as suspects: a stack holds
//                dead words too (a frame grown over old ones), so they prove nothing, but a stack that was never
//                scanned shows up as many.
//             4. the same for words that nobody scans: of managed objects, what their types do not name, and, if asked
//                for, of the allocator's live blocks (heap-held closures, coroutine frames, channel buffers, nodes of
//                one's own). There is a line for each of the first ones: where a word that is exactly a dead object's
//                address is no accident, the program has hidden a pointer, and the object goes though the program may
//                still use it.
// Limits      Stops the world for the time of a walk over the heap. Blocks of another malloc are not looked at, nor are
//             those that live_blocks.hpp leaves out.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string_view>

#include <tern/alloc/live_blocks.hpp>
#include <tern/gc/world.hpp>

namespace tern::inline v1::detail::gc {

class verifier {
 public:
  void run() noexcept {
    {
      const stopped_world world;
      check_heap();
      check_roots(world);
      if (testing.verify_unmanaged_memory.load(memory_order_relaxed)) check_unmanaged();
    }
    gc_counters& c = state.counters;
    // relaxed, all: read by tests after the cycle.
    c.verified_cycles.fetch_add(1, memory_order_relaxed);
    c.verified.fetch_add(objects_, memory_order_relaxed);
    c.lost.fetch_add(lost_, memory_order_relaxed);
    c.suspects.fetch_add(suspects_, memory_order_relaxed);
    c.suspects_in_objects.fetch_add(in_objects_, memory_order_relaxed);
    c.suspects_in_blocks.fetch_add(in_blocks_, memory_order_relaxed);
  }

  static constexpr std::uint32_t most_lines = 32;  // of a process

 private:
  void check_heap() noexcept {
    for_each_live_object([&](object_ref o) noexcept {
      ++objects_;
      const bool is_exact = o.where->kind_of->unit.is_exact;
      for_each_member(o, [&](const std::uintptr_t* slot) noexcept {
        if (is_exact)
          check_exact(slot_word(slot));
        else if (dead_object_at(slot_word(slot)))
          ++in_objects_;  // the program may have written a number since the cycle looked
      });
      for_each_plain_word(o, [&](const std::uintptr_t* word) noexcept {
        const object_ref dead = dead_object_at(slot_word(word));
        if (!dead) return;
        ++in_objects_;
        report(to_word(word) - o.address(), "a managed", o.where->kind_of, o.address(), o.where->cell_bytes,
               dead);
      });
    });
  }

  void check_exact(std::uintptr_t word) noexcept {
    if (word == 0 || !pages.map().contains(reinterpret_cast<const void*>(word))) return;
    const object_ref o = object_at(word);
    if (!o || !o.where->is_marked(o.index)) ++lost_;
  }

  void check_roots(const stopped_world& world) noexcept {
    for_each_root_word(world, [&](const root_origin& origin, std::uintptr_t w) noexcept {
      if (origin.is == root_origin::kind::handle) return check_exact(w);
      // Only the plain meaning: the one-past-the-end one belongs to a neighbour as likely as not.
      const object_ref o = object_at(w);
      if (o && !o.where->is_marked(o.index)) ++suspects_;
    });
  }

  void check_unmanaged() noexcept {
    static_cast<void>(for_each_live_block([&](std::uintptr_t block, std::size_t bytes) noexcept {
      std::size_t at = 0;
      auto check = [&](std::uintptr_t w) noexcept {
        if (const object_ref dead = dead_object_at(w)) {
          ++in_blocks_;
          report(at, "the allocated", nullptr, block, bytes, dead);
        }
        at += sizeof w;
      };
      for_each_stack_word(block, block + bytes, nullptr, check);
    }));
  }

  // What the word is the address of, or of the elements of, if that was not marked: numbers look like this less than
  // like some address within an object.
  static object_ref dead_object_at(std::uintptr_t word) noexcept {
    if (TERN_LIKELY(!pages.map().contains(reinterpret_cast<const void*>(word)))) return {};
    const object_ref o = object_at(word);
    if (!o || o.where->is_marked(o.index)) return {};
    const std::uintptr_t offset = word - o.address();
    return offset == 0 || (offset == sizeof(array_header) && o.where->kind_of->is_array) ? o : object_ref{};
  }

  static void report(std::size_t at, const char* what, const shape* type, std::uintptr_t holder,
                     std::size_t bytes, object_ref dead) noexcept {
    static constinit atomic<std::uint32_t> lines{0};
    const std::uint32_t line = lines.fetch_add(1, memory_order_relaxed);  // relaxed: a count
    if (line > most_lines) return;
    if (line == most_lines) {
      std::fprintf(stderr, "gc: suspect: more of them are only counted\n");
      return;
    }
    const std::string_view of = type == nullptr ? std::string_view{"block"} : type->newest_type();
    const std::string_view to = dead.where->kind_of->newest_type();
    std::fprintf(stderr,
                 "gc: suspect: byte %zu of %s %.*s%s at %#zx (%zu bytes) leads to %#zx, a %.*s%s that "
                 "nothing else keeps\n",
                 at, what, static_cast<int>(of.size()), of.data(),
                 type != nullptr && type->is_array ? " array" : "", static_cast<std::size_t>(holder), bytes,
                 static_cast<std::size_t>(dead.address()), static_cast<int>(to.size()), to.data(),
                 dead.where->kind_of->is_array ? " array" : "");
  }

  std::uint64_t objects_ = 0;
  std::uint64_t lost_ = 0;
  std::uint64_t suspects_ = 0;
  std::uint64_t in_objects_ = 0;
  std::uint64_t in_blocks_ = 0;
};

inline void verify_marks() noexcept { verifier{}.run(); }

}  // namespace tern::inline v1::detail::gc
