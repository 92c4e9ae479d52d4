// The parser of scenario/gateway: requests whole, in pieces, and several at a time; what is no request.
#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>

#include "bench/subjects/http_session.hpp"

namespace {

using tern_bench::http_parse;
using tern_bench::http_request;
using tern_bench::http_session;
using tern_bench::parse_http;

constexpr std::string_view get = "GET /a HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n";
constexpr std::string_view post = "POST /a HTTP/1.1\r\nhost: x\r\nContent-Length: \t5 \r\n\r\nab\r\nc";

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string all;
  for (const std::string_view p : parts) all.append(p);
  return all;
}

TEST(HttpSession, WholeRequestsAndTheirPieces) {
  for (const std::string_view text : {get, post}) {
    http_request r;
    EXPECT_EQ(parse_http(text, r), http_parse::complete);
    EXPECT_EQ(r.length, text.size());
    EXPECT_TRUE(r.keep_alive);
    for (std::size_t n = 0; n < text.size(); ++n)
      EXPECT_EQ(parse_http(text.substr(0, n), r), http_parse::incomplete) << n;
    EXPECT_EQ(parse_http(joined({text, "GET"}), r), http_parse::complete);
    EXPECT_EQ(r.length, text.size());
  }
}

TEST(HttpSession, WhoHangsUp) {
  http_request r;
  EXPECT_EQ(parse_http("GET / HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n", r), http_parse::complete);
  EXPECT_FALSE(r.keep_alive);
  EXPECT_EQ(parse_http("GET / HTTP/1.0\r\n\r\n", r), http_parse::complete);
  EXPECT_FALSE(r.keep_alive);
}

TEST(HttpSession, WhatIsNoRequest) {
  for (const char* text :
       {"\r\n\r\n", "GET\r\n\r\n", "GET /\r\n\r\n", "GET  HTTP/1.1\r\nHost: x\r\n\r\n",
        " / HTTP/1.1\r\nHost: x\r\n\r\n", "GET x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/2\r\nHost: x\r\n\r\n", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"}) {
    http_request r;
    EXPECT_EQ(parse_http(text, r), http_parse::bad) << text;
  }
}

// Feeds `text` in pieces of `piece` bytes; what is answered, up to where it hangs up.
std::string talk(std::string_view text, std::size_t piece) {
  http_session s;
  std::string said;
  while (!text.empty()) {
    const std::size_t n = std::min({piece, text.size(), s.room().size()});
    std::copy_n(text.data(), n, s.room().data());
    text.remove_prefix(n);
    if (!s.accept(n)) break;
    for (auto out = s.answer(); !out.empty(); out = s.answer()) said.append(out.data(), out.size());
  }
  return said;
}

TEST(HttpSession, AnswersEachOnce) {
  std::string many;
  std::string answers;
  for (int i = 0; i < 100; ++i) {
    many += i % 3 == 0 ? post : get;
    answers += http_session::text;
  }
  for (const std::size_t piece : {1U, 7U, 100U, 4096U}) EXPECT_EQ(talk(many, piece), answers) << piece;
  EXPECT_EQ(talk(joined({get, "nonsense\r\n\r\n", get}), 30), http_session::text);
  EXPECT_EQ(talk(joined({"GET / HTTP/1.0\r\n\r\n", get}), 18), http_session::text);
  EXPECT_EQ(talk(joined({"GET /", std::string(10'000, 'a')}), 1000), "");  // longer than it takes
}

}  // namespace
