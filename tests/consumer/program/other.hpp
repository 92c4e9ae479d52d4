#pragma once

#include <cstddef>
#include <tern/tern.hpp>

struct chain_link {
  tern::gc::member<chain_link> next;
  void trace(tern::gc::visitor& visit) const { visit(next); }
};

// A chain of `count` links; the caller keeps the first one alive.
chain_link* make_chain(std::size_t count);

// Sends 1 to `count` and closes.
void send_all(tern::channel<std::size_t>& channel, std::size_t count);
