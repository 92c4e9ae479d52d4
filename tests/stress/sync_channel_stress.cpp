// Seeded stress of channels and select: every value that was sent arrives once, in order per sender, whatever mixture of
// plain, try, select and timed operations fibers and plain threads use at 1, 2 and 4 processors.

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <vector>

#include <tern/base/random.hpp>

#include "tests/support/seed.hpp"
#include "tests/unit/sync_support.hpp"

using namespace std::chrono_literals;
using tern::detail::fast_random;

namespace {

// A value that owns memory, so that ASan sees one that is lost, doubled or torn.
struct message {
  std::unique_ptr<std::uint64_t> word;
  std::uint64_t sender = 0;
};

struct tally {
  std::vector<std::uint64_t> next;  // of each sender, as one receiver sees it; order only holds per receiver
  std::uint64_t count = 0, sum = 0;
  bool in_order = true;

  void take(message m) {
    if (*m.word < next[m.sender]) in_order = false;
    next[m.sender] = *m.word;
    ++count;
    sum += *m.word * (m.sender + 1);
  }
};

void pause_at_random(fast_random& r) {
  const unsigned what = r.below(24);
  if (what == 0) tern::this_thread::yield();
  if (what == 1) tern::this_thread::sleep_for(std::chrono::microseconds(r.below(40)));
}

// A yield alone would let spinning workers take the CPUs from the plain threads that they wait for.
void let_others_run(fast_random& r) {
  if (r.below(4) != 0)
    tern::this_thread::yield();
  else
    tern::this_thread::sleep_for(10us);
}

void one_round(unsigned processors, unsigned fibers, unsigned threads, std::uint64_t seed) {
  fast_random r{seed};
  tern::channel<message> first{r.below(3) == 0 ? 0 : r.below(5)};
  tern::channel<message> second{r.below(3)};
  const unsigned all = fibers + threads;
  const unsigned senders = 1 + r.below(all - 1);
  const std::uint64_t each = 150;
  std::vector<tally> tallies(all);
  for (tally& t : tallies) t.next.resize(senders);
  tern::wait_group sending{senders};

  tern::runtime rt{{.processors = processors}};
  rt.run([&] {
    sync_test::in_parallel(fibers, threads, [&](unsigned i) {
      fast_random mine{seed + i};
      if (i < senders) {
        for (std::uint64_t k = 1; k <= each; ++k) {
          pause_at_random(mine);
          message m{std::make_unique<std::uint64_t>(k), i};
          switch (mine.below(5)) {
            case 0: first.send(std::move(m)); break;
            case 1: second.send(std::move(m)); break;
            case 2:
              while (!first.try_send(std::move(m))) let_others_run(mine);
              break;
            case 3:
              tern::select(tern::on_send(first, std::move(m), [] {}),
                           tern::on_send(second, std::move(m), [] {}));
              break;
            default:
              for (bool sent = false; !sent;)
                tern::select(tern::on_send(second, std::move(m), [&] { sent = true; }),
                             tern::on_send(first, std::move(m), [&] { sent = true; }),
                             tern::after(20us, [] {}));
          }
        }
        sending.done();
        if (i == 0) {
          sending.wait();
          first.close();
          second.close();
        }
        return;
      }
      tally& t = tallies[i];
      bool first_open = true, second_open = true;
      const auto from_first = [&](std::optional<message> m) {
        if (m)
          t.take(std::move(*m));
        else
          first_open = false;
      };
      const auto from_second = [&](std::optional<message> m) {
        if (m)
          t.take(std::move(*m));
        else
          second_open = false;
      };
      while (first_open || second_open) {
        pause_at_random(mine);
        switch (mine.below(4)) {
          case 0:
            if (first_open && second_open)
              tern::select(tern::on_receive(first, from_first), tern::on_receive(second, from_second));
            else if (first_open)
              from_first(first.receive());
            else
              from_second(second.receive());
            break;
          case 1:
            tern::select(tern::on_receive(second, from_second), tern::on_receive(first, from_first),
                         tern::after(20us, [] {}));
            break;
          case 2:
            if (auto m = first.try_receive()) from_first(std::move(m));
            if (auto m = second.try_receive()) from_second(std::move(m));
            break;
          default:
            tern::select(tern::on_receive(first, from_first), tern::on_receive(second, from_second),
                         tern::otherwise([&] { let_others_run(mine); }));
        }
      }
    });
  });

  std::uint64_t count = 0, sum = 0, expected = 0;
  for (const tally& t : tallies) count += t.count, sum += t.sum;
  for (std::uint64_t s = 1; s <= senders; ++s) expected += s * each * (each + 1) / 2;
  EXPECT_EQ(count, senders * each);
  EXPECT_EQ(sum, expected);
  EXPECT_EQ(first.size() + second.size(), 0u);
  EXPECT_EQ(rt.statistics().live_fibers, 0u);
}

}  // namespace

TEST(sync_channel_stress, everything_arrives_once) {
  fast_random r{tern_test::seed()};
  for (int round = 0; round < tern_test::scale(8); ++round)
    for (unsigned processors : {1u, 2u, 4u}) one_round(processors, 3 + r.below(12), r.below(4), r.next());
}

TEST(sync_channel_stress, one_channel_keeps_each_senders_order) {
  fast_random r{tern_test::seed() + 1};
  for (int round = 0; round < tern_test::scale(8); ++round)
    for (unsigned processors : {1u, 2u, 4u}) {
      tern::channel<message> c{r.below(4)};
      const unsigned senders = 1 + r.below(4);
      tally t;
      t.next.resize(senders);
      tern::runtime rt{{.processors = processors}};
      rt.run([&] {
        sync_test::in_parallel(senders + 1, 0, [&](unsigned i) {
          if (i < senders) {
            for (std::uint64_t k = 1; k <= 500; ++k) c.send({std::make_unique<std::uint64_t>(k), i});
          } else {
            for (std::uint64_t k = 0; k < senders * 500; ++k) t.take(std::move(*c.receive()));
          }
        });
      });
      EXPECT_TRUE(t.in_order);
      EXPECT_EQ(t.count, senders * 500);
    }
}
