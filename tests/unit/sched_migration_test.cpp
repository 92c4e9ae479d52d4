#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/seed.hpp"
#include "tests/unit/sched_migration_cases.hpp"

namespace {

// TERN_MIGRATIONS=1000000 for the full claim.
TEST(SchedMigration, ThreadLocalsAndExceptionsFollowTheFiber) {
  const char* wanted = std::getenv("TERN_MIGRATIONS");
  const auto n = wanted != nullptr ? std::strtoull(wanted, nullptr, 10)
                                   : static_cast<unsigned long long>(tern_test::scale(20'000));
  const migration_cases::counts c = migration_cases::migrate(n);
  EXPECT_GE(c.migrations, n);
  std::printf("%llu migrations in %llu crossings\n", static_cast<unsigned long long>(c.migrations),
              static_cast<unsigned long long>(c.crossings));
}

TEST(SchedMigration, HandlersOfTwoFibersInterleaveOnOneWorker) {
  migration_cases::handlers_interleave(tern_test::scale(2'000));
}

}  // namespace
