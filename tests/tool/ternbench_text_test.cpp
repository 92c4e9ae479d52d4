// Names, numbers, JSON errors and hashes: what the tool reads and writes as text.
#include <gtest/gtest.h>

#include <regex>

#include "bench/harness/host_facts.hpp"
#include "collect.hpp"
#include "error.hpp"
#include "format.hpp"
#include "json_io.hpp"
#include "row_name.hpp"
#include "schema_id.hpp"
#include "session.hpp"
#include "sha256.hpp"

namespace {

using namespace ternbench;

std::string error_of(std::string_view text) {
  try {
    static_cast<void>(parse_json(text, "f"));
  } catch (const tool_error& e) {
    EXPECT_EQ(e.code(), exit_code::failed);
    return e.what();
  }
  return "no error";
}

TEST(json_io, names_the_usual_mistakes) {
  EXPECT_EQ(error_of(""), "f: is empty");
  EXPECT_EQ(error_of(" \n"), "f: is empty");
  EXPECT_EQ(error_of("hello"), "f: is not JSON");
  EXPECT_EQ(error_of("<html>"), "f: is not JSON");
  EXPECT_EQ(error_of("{\"a\": [1,\n 2"), "f: is truncated: it ends at line 2 inside a value");
  EXPECT_EQ(error_of("{\"a\": \"x"), "f: is truncated: it ends at line 1 inside a value");
  EXPECT_EQ(error_of("{\"a\": 1,\n \"b\": NaN}"), "f: holds nan at line 2, which JSON has no number for");
  EXPECT_EQ(error_of("{\"a\": -nan}"), "f: holds -nan at line 1, which JSON has no number for");
  EXPECT_EQ(error_of("{\"a\": Infinity}"), "f: holds infinity at line 1, which JSON has no number for");
  EXPECT_EQ(error_of("{\"a\": -inf}"), "f: holds -inf at line 1, which JSON has no number for");
  EXPECT_EQ(error_of("{\"a\": 1e999}"), "f: holds a number that no double can hold");
  EXPECT_EQ(error_of("{\"a\": {\"b\": 1, \"b\": 2}}"), "f: has the key \"b\" twice in one object");
  EXPECT_EQ(error_of("{\"a\": 1} x"), "f: is not valid JSON at line 1, column 10");
  EXPECT_EQ(error_of("{\"a\": {\"b\": 1}, \"c\": {\"b\": 2}}"), "no error");
}

TEST(row_names, follow_the_grammar) {
  const row_name n = parse_row_name("gc/binary_trees/shared_ptr/depth:16/threads:2");
  EXPECT_TRUE(n.in_grammar());
  EXPECT_EQ(n.area, "gc");
  EXPECT_EQ(n.case_name, "binary_trees");
  EXPECT_EQ(n.subject, "shared_ptr");
  EXPECT_EQ(n.group(), "gc/binary_trees/depth:16/threads:2");
  EXPECT_EQ(n.params_text(), "depth:16 threads:2");
  for (const char* foreign :
       {"BM_foo", "BM_foo/64", "a/b", "a/b/c/d", "a/b/c/:1", "a/b/c/x:", "a//c", "a/b:1/c"}) {
    EXPECT_FALSE(parse_row_name(foreign).in_grammar()) << foreign;
    EXPECT_EQ(parse_row_name(foreign).group(), foreign);
  }
}

TEST(row_names, lose_only_the_suffixes_of_the_library) {
  EXPECT_EQ(strip_suffixes("a/b/c/iterations:5/manual_time"), "a/b/c");
  EXPECT_EQ(strip_suffixes("a/b/c/size:64/min_time:0.100/process_time/real_time"), "a/b/c/size:64");
  EXPECT_EQ(strip_suffixes("a/b/c/threads:4/manual_time"), "a/b/c/threads:4");
  EXPECT_EQ(strip_suffixes("manual_time"), "manual_time");
}

TEST(row_names, known_rows_are_found_behind_any_suffix) {
  const std::vector<std::string> known{"a/b/c", "a/b/c/threads:4"};
  EXPECT_EQ(match_known("a/b/c/manual_time", known), "a/b/c");
  EXPECT_EQ(match_known("a/b/c/manual_time/threads:2", known), "a/b/c");
  EXPECT_EQ(match_known("a/b/c/threads:4/manual_time", known), "a/b/c/threads:4");
  EXPECT_EQ(match_known("a/b/d/manual_time", known), "");
  EXPECT_EQ(match_known("a/b/c/size:1", known), "");
}

TEST(row_names, a_filter_matches_exactly_its_rows) {
  const std::regex plain(filter_for({"a/b/c", "a/b/c.d/size:6"}), std::regex::extended);
  for (const char* hit :
       {"a/b/c", "a/b/c/manual_time", "a/b/c/iterations:10/manual_time/threads:2", "a/b/c.d/size:6"}) {
    EXPECT_TRUE(std::regex_search(hit, plain)) << hit;
  }
  for (const char* miss : {"a/b/c/size:6", "xa/b/c", "a/b/cc", "a/b/cxd/size:6", "a/b/c.d/size:64"}) {
    EXPECT_FALSE(std::regex_search(miss, plain)) << miss;
  }
  const std::regex threads(filter_for({"a/b/c/threads:1"}), std::regex::extended);
  EXPECT_TRUE(std::regex_search("a/b/c/threads:1/manual_time", threads));
  EXPECT_FALSE(std::regex_search("a/b/c/threads:1/threads:2", threads));
}

TEST(format, keeps_three_digits) {
  EXPECT_EQ(format_time(0.3214), "0.32 ns");
  EXPECT_EQ(format_time(9.994), "9.99 ns");
  EXPECT_EQ(format_time(99.94), "99.9 ns");
  EXPECT_EQ(format_time(999.4), "999 ns");
  EXPECT_EQ(format_time(999.6), "1.00 us");
  EXPECT_EQ(format_time(12345), "12.3 us");
  EXPECT_EQ(format_time(2.5e9), "2.50 s");
  EXPECT_EQ(format_bytes(4096), "4.00 KiB");
  EXPECT_EQ(format_ratio(1e-9), "1.00e-09");
  EXPECT_EQ(format_ratio(0.012345), "0.0123");
  EXPECT_EQ(format_ratio(0.12345), "0.123");
  EXPECT_EQ(format_ratio(0.9996), "1.000");
  EXPECT_EQ(format_ratio(1.0024), "1.002");
  EXPECT_EQ(format_ratio(1.3049), "1.30");
  EXPECT_EQ(format_ratio(12.345), "12.3");
  EXPECT_EQ(format_ratio(412.3), "412");
  EXPECT_EQ(format_percent(0.031), "3.1%");
  EXPECT_EQ(format_percent(0.5), "50%");
  EXPECT_EQ(format_duration(12.4), "12 s");
  EXPECT_EQ(format_duration(65), "1:05");
}

TEST(format, wraps_and_pads_by_code_points) {
  EXPECT_EQ(wrap("aa bb cc", 5, "  "), "aa bb\n  cc");
  EXPECT_EQ(wrap("longword x", 4, ""), "longword\nx");
  EXPECT_EQ(width_of("µs"), 2U);
  EXPECT_EQ(pad_left("µs", 4), "  µs");
}

TEST(schema_ids, older_is_unreadable_and_newer_is_not_comparable) {
  const auto code_of = [](std::string_view id) {
    try {
      require_schema(id, "tern.summary", "f");
    } catch (const tool_error& e) {
      return e.code();
    }
    return exit_code::ok;
  };
  EXPECT_EQ(code_of("tern.summary/1"), exit_code::ok);
  EXPECT_EQ(code_of("tern.summary/0"), exit_code::failed);
  EXPECT_EQ(code_of("tern.summary/2"), exit_code::not_comparable);
  EXPECT_EQ(code_of("tern.manifest/1"), exit_code::failed);
  EXPECT_EQ(code_of("tern.summary"), exit_code::failed);
  EXPECT_EQ(code_of("tern.summary/1x"), exit_code::failed);
}

// The examples of FIPS 180-2, appendix B, and one of a length that needs a second padding block.
TEST(sha256, matches_the_standard) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(slugs, are_safe_directory_names) {
  EXPECT_EQ(slug("Intel(R) Xeon(R) CPU @ 2.80GHz"), "intel-r-xeon-r-cpu-2-80ghz");
  EXPECT_EQ(slug("../../etc"), "etc");
  EXPECT_EQ(slug("\xc3\xa9"), "unknown");
  EXPECT_EQ(slug(std::string(100, 'a')).size(), 40U);
}

TEST(host_facts, survive_the_way_through_a_context) {
  const tern_bench::host_facts facts = tern_bench::collect_host_facts();
  EXPECT_TRUE(facts.arch.has_value());
  EXPECT_TRUE(facts.os_page_size.has_value());
  EXPECT_TRUE(facts.emulated.has_value());
  json context = json::object();
  for (const auto& [key, text] : tern_bench::to_context(facts)) {
    EXPECT_TRUE(key.starts_with("tern_"));
    context[key] = text;
  }
  EXPECT_EQ(tern_bench::to_json(tern_bench::from_context(context)), tern_bench::to_json(facts));
  const json unknown = tern_bench::to_json(tern_bench::host_facts{});
  EXPECT_EQ(unknown.size(), tern_bench::to_json(facts).size());
  for (const auto& [key, value] : unknown.items()) EXPECT_TRUE(value.is_null()) << key;
  EXPECT_TRUE(tern_bench::to_context(tern_bench::host_facts{}).empty());
}

}  // namespace
