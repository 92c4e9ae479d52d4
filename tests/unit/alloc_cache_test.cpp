#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include <tern/alloc.hpp>

namespace {

using namespace tern::detail;

std::size_t count_caches() { return tern::allocation_statistics().caches; }

TEST(ThreadCache, APlainThreadGetsOneLazilyAndGivesItBack) {
  const std::size_t before = count_caches();
  std::thread{[&] {
    EXPECT_EQ(current_cache_if_any(), nullptr);
    tern::deallocate(tern::allocate(40));
    EXPECT_NE(current_cache_if_any(), nullptr);
    EXPECT_EQ(current_cache(), current_cache_if_any());
    EXPECT_EQ(count_caches(), before + 1);
  }}.join();
  EXPECT_EQ(count_caches(), before);
}

TEST(ThreadCache, BindingNestsAndMovesBetweenThreads) {
  thread_cache* mine = current_cache();
  thread_cache* a = create_cache();
  thread_cache* b = create_cache();
  ASSERT_NE(a, nullptr);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(bind_cache(a), mine);
  void* p = tern::allocate(100);
  EXPECT_EQ(bind_cache(b), a);
  tern::deallocate(p);
  EXPECT_EQ(b->cached(class_of(100)), 1u);
  EXPECT_EQ(bind_cache(a), b);
  EXPECT_EQ(bind_cache(mine), a);
  const std::size_t in_a = a->cached(class_of(100));
  EXPECT_GT(in_a, 0u);
  std::thread{[&] {
    EXPECT_EQ(bind_cache(a), nullptr);
    tern::deallocate(tern::allocate(100));
    EXPECT_EQ(a->cached(class_of(100)), in_a);
    EXPECT_EQ(bind_cache(nullptr), a);
  }}.join();
  destroy_cache(a);
  destroy_cache(b);
  EXPECT_EQ(a->cached(class_of(100)), 0u);
}

// More in use at once than a cache may hold, of many classes in turn: a bin that gave room up takes none back at its next block.
TEST(ThreadCache, BinsInUseDoNotTakeEachOthersRoomBlockByBlock) {
  thread_cache* mine = current_cache();
  thread_cache* c = create_cache();
  ASSERT_NE(c, nullptr);
  bind_cache(c);
  std::vector<unsigned> classes;
  for (std::size_t size = 64; size <= 2048; size += 64)
    if (classes.empty() || classes.back() != class_of(size)) classes.push_back(class_of(size));
  std::vector<void*> blocks(classes.size() * 400);
  std::vector<std::size_t> held(classes.size());
  std::size_t taken = 0;
  for (int round = 0; round < 6; ++round) {
    for (std::size_t i = 0; i < blocks.size(); ++i)
      blocks[i] = tern::allocate(class_table[classes[i % classes.size()]].size);
    for (std::size_t k = 0; k < classes.size(); ++k) held[k] = c->cached(classes[k]);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      tern::deallocate(blocks[i]);
      for (std::size_t k = 0; k < classes.size(); ++k) {
        const std::size_t now = c->cached(classes[k]);
        if (now < held[k] && k != i % classes.size()) ++taken;
        held[k] = now;
      }
    }
  }
  bind_cache(mine);
  destroy_cache(c);
  // A few halvings of each bin in each round.
  EXPECT_LT(taken, 6 * classes.size() * 4);
}

TEST(ThreadCache, ADestroyedRecordIsReusedClean) {
  thread_cache* a = create_cache();
  a->attachments[0] = a->attachments[1] = &a;
  destroy_cache(a);
  thread_cache* b = create_cache();
  EXPECT_EQ(a, b) << "records are recycled";
  EXPECT_EQ(b->attachments[0], nullptr);
  EXPECT_EQ(b->attachments[1], nullptr);
  destroy_cache(b);
}

int exits_seen = 0;

TEST(ThreadCache, TheExitHookSeesTheBoundCacheAndItsAttachment) {
  set_attachment_exit(thread_cache::sched_slot, [](thread_cache* c) {
    EXPECT_EQ(current_cache_if_any(), c);
    EXPECT_EQ(c->attachments[thread_cache::sched_slot], &exits_seen);
    tern::deallocate(tern::allocate(64));
    ++exits_seen;
  });
  std::thread{[] { current_cache()->attachments[thread_cache::sched_slot] = &exits_seen; }}.join();
  std::thread{[] { tern::deallocate(tern::allocate(64)); }}.join();
  set_attachment_exit(thread_cache::sched_slot, nullptr);
  EXPECT_EQ(exits_seen, 1) << "only for caches with an attachment";
}

// Destructors of thread-specific data may run after the cache went: what they free must not be lost or crash.
TEST(ThreadCache, FreesAfterTeardownWork) {
  static pthread_key_t key;
  static bool ran = false;
  ASSERT_EQ(::pthread_key_create(&key,
                                 [](void* p) {
                                   for (int i = 0; i < 100; ++i) tern::deallocate(tern::allocate(700));
                                   tern::deallocate(p);
                                   ran = true;
                                 }),
            0);
  const std::size_t live = tern::allocation_statistics().live;
  const std::size_t caches_before = count_caches();
  std::thread{[] {
    void* p = tern::allocate(700);
    ::pthread_setspecific(key, p);
  }}.join();
  EXPECT_TRUE(ran);
  EXPECT_EQ(tern::allocation_statistics().live, live);
  EXPECT_EQ(count_caches(), caches_before);
  ::pthread_key_delete(key);
}

TEST(ThreadCache, TheSharedCacheServesManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      thread_cache* previous = bind_cache(shared_cache());
      std::vector<unsigned char*> blocks;
      for (int i = 0; i < 2000; ++i) {
        auto* p = static_cast<unsigned char*>(tern::allocate(48));
        std::memset(p, static_cast<int>(t), 48);
        blocks.push_back(p);
        if (i % 3 == 0) {
          for (int k = 0; k < 48; ++k) ASSERT_EQ(blocks.back()[k], t);
          tern::deallocate(blocks.back(), 48);
          blocks.pop_back();
        }
      }
      for (unsigned char* p : blocks) {
        ASSERT_EQ(p[47], t);
        tern::deallocate(p);
      }
      EXPECT_EQ(bind_cache(previous), shared_cache());
    });
  for (std::thread& t : threads) t.join();
}

TEST(ThreadCache, CapacityFollowsUseAndStaysWithinBounds) {
  thread_cache* c = create_cache();
  thread_cache* mine = bind_cache(c);
  for (const std::size_t size : {16u, 64u, 1000u, 32768u, 100000u, 2000000u}) {
    const unsigned k = class_of(size);
    const class_info& info = class_table[k];
    std::vector<void*> blocks;
    for (int round = 0; round < 3; ++round) {
      for (unsigned i = 0; i < info.max_cached * 2 + 8; ++i) blocks.push_back(tern::allocate(size));
      for (void* p : blocks) tern::deallocate(p);
      blocks.clear();
      EXPECT_LE(c->cached(k), info.max_cached * 2 + 1) << size;
    }
    if (is_small(k)) {
      EXPECT_GE(c->cached(k), info.max_cached / 4) << size << ": a busy bin grew";
    }
  }
  bind_cache(mine);
  destroy_cache(c);
}

// A thread that only frees holds no more than the first capacity of a bin.
TEST(ThreadCache, AThreadThatOnlyFreesHoldsLittle) {
  constexpr std::size_t size = 200;
  std::vector<void*> blocks;
  for (int i = 0; i < 20000; ++i) blocks.push_back(tern::allocate(size));
  std::thread{[&] {
    for (void* p : blocks) {
      tern::deallocate(p);
      ASSERT_LE(current_cache()->cached(class_of(size)), 2 * max_batch);
    }
  }}.join();
}

// Two words that agree in the low 12 bits cost a pair some 15 ns: see slot_arrays.
TEST(ThreadCache, ShortSlotArraysKeepOutOfTheirBinsWay) {
  struct alignas(64) page {
    char bytes[4096];
  };
  static page users;
  slot_arrays pool;
  for (unsigned order = 1; order <= 8; ++order)
    for (std::size_t at = 0; at < 4096; at += 16) {
      const char* user = users.bytes + at;
      void** a = pool.take(order, user);
      ASSERT_NE(a, nullptr);
      ASSERT_EQ(a[0], nullptr);
      for (std::size_t i = 0; i < (std::size_t{1} << order); ++i) {
        ASSERT_NE(to_word(a + i) & 4088, to_word(user) & 4088);
        ASSERT_NE(to_word(a + i) & 4088, to_word(user + 8) & 4088);
      }
      pool.give(a, order);
    }
}

TEST(ThreadCacheDeathTest, DestroyingTheSharedCacheIsFatal) {
  EXPECT_DEATH(destroy_cache(shared_cache()), "destroy_cache");
}

}  // namespace
