// The parser and the serialiser of scenario/log_agent: documents there and back, escapes, what is no JSON, and that both memories get all back.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "bench/subjects/json_lines.hpp"

namespace {

using tern_bench::drop_json;
using tern_bench::json_output;
using tern_bench::json_parser;
using tern_bench::json_value;

struct counting_memory {
  long blocks = 0;
  json_value* node() {
    ++blocks;
    return new json_value;
  }
  char* bytes(std::size_t n) {
    ++blocks;
    return static_cast<char*>(std::malloc(n));
  }
  void free_node(json_value* v) {
    --blocks;
    delete v;
  }
  void free_bytes(const char* p) {
    --blocks;
    std::free(const_cast<char*>(p));
  }
};

// Through the tree and back; "" for what is no JSON.
std::string json_round_trip(std::string_view text, bool owns) {
  counting_memory memory;
  std::string out;
  json_value* made = nullptr;
  json_parser<counting_memory> parser(memory, owns);
  if (const json_value* const v = parser.parse(text, made)) {
    json_output<counting_memory> o(memory, 4);
    o.value(*v);
    out = o.text();
    memory.free_bytes(o.text().data());
  }
  drop_json(memory, made);
  EXPECT_EQ(memory.blocks, 0) << text;
  return out;
}

TEST(JsonLines, ThereAndBack) {
  for (const bool owns : {false, true}) {
    for (const char* text :
         {"{}", "[]", "null", "true", "false", "0", "-0.5e+10", "1E7", "\"\"",
          R"([1,[2,{"a":[]}],{"b":null}])", R"({"a":1,"":"x","a":{"b":[true,false,null]}})",
          R"("tab\tquote\"back\\slash\u0001")"})
      EXPECT_EQ(json_round_trip(text, owns), text);
    EXPECT_EQ(json_round_trip(" { \"a\" : [ 1 , 2 ] }\r\n", owns), R"({"a":[1,2]})");
    EXPECT_EQ(json_round_trip(R"("\/\b\f\n\r\t\u0041")", owns), R"("/\b\f\n\r\tA")");
    EXPECT_EQ(json_round_trip(R"("\u00e9\u20AC\ud83d\ude00\u0000")", owns),
              "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\\u0000\"");
    EXPECT_EQ(json_round_trip(R"({"k\n":"v"})", owns), R"({"k\n":"v"})");
  }
}

TEST(JsonLines, WhatIsNone) {
  for (const bool owns : {false, true})
    for (const char* text : {"",           " ",           "{",           "}",           "[",
                             "[1",         "[1,",         "[1,]",        "[1 2]",       "{1:2}",
                             R"({"a"})",   R"({"a":})",   R"({"a":1,})", R"({"a":1)",   R"({"a\n":)",
                             "nul",        "truefalse",   "01",          "1.",          ".5",
                             "-",          "1e",          "+1",          "0x1",         "\"",
                             "\"a",        "\"\\",        "\"\\\"",      "\"a\nb\"",    R"("\x")",
                             R"("\u12")",  R"("\u12g4")", R"("\ud800")", R"("\udc00")", R"("\ud800\u0041")",
                             "\"\\n\nb\"", "1 2",         "'a'"})
      EXPECT_EQ(json_round_trip(text, owns), "") << text;
  EXPECT_NE(json_round_trip(std::string(32, '[') + std::string(32, ']'), true), "");
  EXPECT_EQ(json_round_trip(std::string(100'000, '['), true), "");
}

TEST(JsonLines, CountsWhatItCopies) {
  counting_memory memory;
  json_value* made = nullptr;
  constexpr std::string_view line = R"({"abc":"de","f":12,"g":"\n"})";
  json_parser<counting_memory> views(memory, false);
  views.parse(line, made);
  EXPECT_EQ(views.copied(), 1u);  // the escape
  drop_json(memory, made);
  json_parser<counting_memory> owned(memory, true);
  owned.parse(line, made);
  EXPECT_EQ(owned.copied(), 10u);
  json_output<counting_memory> o(memory, 64);
  o.value(*made);
  EXPECT_EQ(o.copied(), 10u);
  memory.free_bytes(o.text().data());
  drop_json(memory, made);
}

}  // namespace
