// Parallel pipeline: lines of text go through stages that are joined by channels. Reading, counting words on every processor, adding up. A stage that is
// slow makes those before it wait, so memory stays bounded however long the input is.
//
//   pipeline [FILE]            counts words and prints the ten most frequent; without FILE of standard input
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <string>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <vector>

#include <tern/sched.hpp>
#include <tern/sync.hpp>

using counts = std::unordered_map<std::string, std::size_t>;

// Pieces of some 64 KiB that end with a line.
static void read_pieces(int file, tern::channel<std::string>& out) {
  std::string piece;
  std::vector<char> buffer(64 * 1024);
  for (;;) {
    // A file blocks its thread; others run meanwhile.
    const ssize_t n = tern::blocking([&] { return ::read(file, buffer.data(), buffer.size()); });
    if (n < 0) throw std::system_error(errno, std::generic_category(), "read");
    if (n == 0) break;
    piece.append(buffer.data(), static_cast<std::size_t>(n));
    const std::size_t end = piece.rfind('\n');
    if (end == std::string::npos) continue;
    std::string rest = piece.substr(end + 1);
    piece.resize(end + 1);
    out.send(std::move(piece));
    piece = std::move(rest);
  }
  if (!piece.empty()) out.send(std::move(piece));
}

static counts count_words(const std::string& piece) {
  counts found;
  std::string word;
  for (const char c : piece) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!word.empty()) {
      ++found[word];
      word.clear();
    }
  }
  if (!word.empty()) ++found[word];
  return found;
}

static counts count_file(int file) {
  tern::channel<std::string> pieces{8};
  tern::channel<counts> parts{8};
  tern::wait_group counting;
  counts total;

  // An exception in any stage cancels the others, and leaves wait().
  tern::nursery stages;
  stages.spawn([&] {
    read_pieces(file, pieces);
    pieces.close();
  });
  const int width = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  counting.add(width);
  for (int i = 0; i < width; ++i)
    stages.spawn([&] {
      while (auto piece = pieces.receive()) parts.send(count_words(*piece));
      counting.done();
    });
  stages.spawn([&] {
    counting.wait();
    parts.close();
  });
  stages.spawn([&] {
    while (auto part = parts.receive())
      for (const auto& [word, n] : *part) total[word] += n;
  });
  stages.wait();
  return total;
}

int main(int argc, char** argv) {
  const int file = argc > 1 ? ::open(argv[1], O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
  if (file < 0) return std::fprintf(stderr, "pipeline: cannot open %s\n", argv[1]), 1;
  try {
    const counts total = tern::run([file] { return count_file(file); });
    std::vector<std::pair<std::string, std::size_t>> words{total.begin(), total.end()};
    std::sort(words.begin(), words.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    if (words.size() > 10) words.resize(10);
    for (const auto& [word, n] : words) std::printf("%8zu %s\n", n, word.c_str());
  } catch (const std::exception& e) {
    return std::fprintf(stderr, "pipeline: %s\n", e.what()), 1;
  }
}
