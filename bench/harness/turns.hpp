// Processes that measure one at a time: a row waits for its turn, and passes it on.
//
// Protocol   `--tern_turns=FD` names a socket that the process inherits. It writes a byte when it is ready for its first turn; each call of
//            a row, set-up and warm-up included, reads a byte before it and writes one after it. It begins on the usable CPU of
//            that number, modulo how many there are. So whoever holds the other end lets several processes do a few ms each in turn, on one CPU,
//            and what disturbs the machine for longer than that disturbs all of them (`ternbench duet`).
#pragma once

#include <string_view>

namespace tern_bench {

class turns {
 public:
  /// False: that is not a descriptor of this process.
  [[nodiscard]] bool parse(std::string_view text);
  /// Waits for the turn; nothing without a socket. Ends the process when nobody is left to give one.
  void take();
  void pass();

 private:
  void tell() const;

  int socket_ = -1;
  bool ready_ = false;
};

}  // namespace tern_bench
