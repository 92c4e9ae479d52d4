// Runs the tests of one of the source files that a test program is made of: --file=<stem>; without it, all.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <string_view>

namespace {

constexpr std::string_view file_flag = "--file=";

// "a/b/sched_task_test.cpp" is "sched_task_test".
std::string_view stem_of(std::string_view path) {
  path.remove_prefix(path.rfind('/') + 1);
  return path.substr(0, path.find('.'));
}

// The filter that has the tests of that file run; empty if there is none.
std::string filter_for(std::string_view file) {
  std::string filter;
  const testing::UnitTest& all = *testing::UnitTest::GetInstance();
  for (int s = 0; s < all.total_test_suite_count(); ++s) {
    const testing::TestSuite& suite = *all.GetTestSuite(s);
    for (int t = 0; t < suite.total_test_count(); ++t)
      if (const testing::TestInfo& test = *suite.GetTestInfo(t); stem_of(test.file()) == file)
        filter.append(filter.empty() ? "" : ":").append(suite.name()).append(".").append(test.name());
  }
  return filter;
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  // A filter that was given is narrower: that of a death test's child, or of somebody who looks for a failure.
  if (GTEST_FLAG_GET(filter) == "*")
    for (int i = 1; i < argc; ++i)
      if (const std::string_view word = argv[i]; word.starts_with(file_flag)) {
        const std::string_view file = word.substr(file_flag.size());
        const std::string filter = filter_for(file);
        if (filter.empty()) {
          std::fprintf(stderr, "no test is from a file called '%.*s'\n", static_cast<int>(file.size()),
                       file.data());
          return 2;
        }
        GTEST_FLAG_SET(filter, filter);
      }
  return RUN_ALL_TESTS();
}
