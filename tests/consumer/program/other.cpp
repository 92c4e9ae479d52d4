#include "other.hpp"

chain_link* make_chain(std::size_t count) {
  chain_link* first = nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    chain_link* added = tern::gc::make<chain_link>();
    added->next = first;
    first = added;
  }
  return first;
}

void send_all(tern::channel<std::size_t>& channel, std::size_t count) {
  for (std::size_t i = 1; i <= count; ++i) channel.send(i);
  channel.close();
}
