// Heap graphs: what lives, and what keeps it.
//
// Context     gc::find_root_path() and gc::write_heap_graph(). Both ask the collector's thread, which answers at the
//             end of the next marking, with the world stopped: then marks say what lives.
// Protocol    1. a request is hung up, one at a time, and a cycle asked for
//             2. path    breadth first from the roots: for each cell of the heap one word says what led there first. So
//                the way found
//                        is a shortest one.
//                graph   one line for each root that leads somewhere, and for each live object
//             3. the request is taken down and marked as done, in this order: its asker may go then.
// Invariants  Nothing is taken from the managed heap, nor from any other but the OS: who is stopped may hold its locks.
// Limits      The asker's own stack leads to the object, since the asker names it: those words count only where nothing
//             else leads there. An object that became unreachable while the cycle ran lives on without a root.
#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <tern/gc/world.hpp>
#include <tern/os/memory.hpp>

namespace tern::inline v1 {

namespace gc {

/// How an object is kept alive: a root, and the way from there to the object. The addresses say what was where at that
/// moment.
struct root_path {
  enum class root_kind : std::uint8_t { none, handle, thread, fiber, range };
  struct step {
    const void* object;
    std::string_view type;  ///< one of the types that share its shape
    std::size_t bytes;      ///< of its cell
    std::size_t leaves_at;  ///< where in it the member lies that leads to the next step; 0 in the last one
  };

  root_kind root = root_kind::none;  ///< none: no managed object, or nothing leads there any more
  const void* root_at = nullptr;     ///< the handle's slot, the range, the low end of the stack
  std::string root_name;             ///< of the thread or fiber
  std::vector<step> steps;           ///< the object comes last

  explicit operator bool() const noexcept { return root != root_kind::none; }
};

}  // namespace gc

namespace detail::gc {

// Zeroed words of address space, committed on touch.
template <class T>
class scratch {
 public:
  scratch() noexcept = default;
  explicit scratch(std::size_t n) noexcept : bytes_{round_up((n + 1) * sizeof(T), os::page_size())} {
    words_ = static_cast<T*>(os::reserve(bytes_));
  }
  scratch(scratch&& o) noexcept : bytes_{o.bytes_}, words_{std::exchange(o.words_, nullptr)} {}
  scratch& operator=(scratch&& o) noexcept {
    std::swap(bytes_, o.bytes_);
    std::swap(words_, o.words_);
    return *this;
  }
  ~scratch() {
    if (words_ != nullptr) os::unreserve(words_, bytes_);
  }
  explicit operator bool() const noexcept { return words_ != nullptr; }
  T& operator[](std::size_t i) noexcept { return words_[i]; }

 private:
  std::size_t bytes_ = 0;
  T* words_ = nullptr;
};

struct graph_request {
  std::uintptr_t target = 0;  // a path to it; else a graph
  const mutator* asker = nullptr;
  int file = -1;

  atomic<bool> is_done{false};
  int error = 0;  // errno
  root_origin root;
  bool has_root = false;
  char root_name[64] = {};
  scratch<::tern::gc::root_path::step> steps;  // from the object to the root
  std::size_t step_count = 0;
};
inline constinit atomic<graph_request*> wanted_graph{nullptr};

inline ::tern::gc::root_path::step step_of(object_ref o, std::size_t leaves_at) noexcept {
  return {reinterpret_cast<const void*>(o.address()), o.where->kind_of->newest_type(), o.where->cell_bytes,
          leaves_at};
}

inline void name_root(const root_origin& r, char* text, std::size_t size) noexcept {
  text[0] = 0;
  if (r.is == root_origin::kind::fiber)
    std::snprintf(text, size, "#%" PRIu64 " %s", r.runs->id,
                  has_flag(*r.runs, fiber::has_name) ? r.runs->name : "");
  else if (r.is == root_origin::kind::thread)
    static_cast<void>(::pthread_getname_np(r.who->thread, text, size));
}

// ---- a shortest path ----

class path_search {
 public:
  explicit path_search(graph_request& r) noexcept
      : request_{r},
        cells_before_{pages.statistics().mapped / page_bytes},
        cells_{number_cells()},
        parents_{cells_},
        queue_{cells_},
        roots_{cells_} {}

  void run(const stopped_world& world) noexcept {
    const object_ref target = object_at(request_.target);
    if (!target || !target.where->is_marked(target.index)) return;
    if (!cells_before_ || !parents_ || !queue_ || !roots_) {
      request_.error = ENOMEM;
      return;
    }
    for_each_root_word(world, [&](const root_origin& from, std::uintptr_t word) noexcept {
      for_each_meaning(word, [&](object_ref o) noexcept {
        if (o.address() == target.address() && request_.asker != nullptr && from.who == request_.asker) {
          asker_ = from;
          asker_leads_there_ = true;
        } else if (visit(o, 0)) {
          parent_of(o) = note_root(from);
        }
      });
    });
    for (std::size_t next = 0; next != queued_ && parent_of(target) == 0; ++next) {
      const object_ref o = object_at(queue_[next]);
      for_each_member(o, [&](const std::uintptr_t* slot) noexcept {
        const std::uintptr_t word = slot_word(slot);
        if (const object_ref to = word == 0 ? object_ref{} : object_at(word)) visit(to, to_word(slot));
      });
    }
    tell(target);
  }

 private:
  // Cells of all spans before the one that begins at a page, in address order.
  std::size_t number_cells() noexcept {
    std::size_t n = 0;
    if (cells_before_)
      for_each_span([&](span& s) noexcept {
        cells_before_[(s.start - pages.map().base()) / page_bytes] = n;
        n += s.cells;
      });
    return n;
  }

  // The slot that led to the object first; or, with the lowest bit set, the number of a root. 0: nothing did.
  std::uintptr_t& parent_of(object_ref o) noexcept {
    return parents_[cells_before_[(o.where->start - pages.map().base()) / page_bytes] + o.index];
  }

  // False where it was visited before.
  bool visit(object_ref o, std::uintptr_t parent) noexcept {
    if (!o.where->is_marked(o.index)) return false;
    std::uintptr_t& p = parent_of(o);
    if (p != 0) return false;
    p = parent;
    queue_[queued_++] = o.address();
    return true;
  }

  std::uintptr_t note_root(const root_origin& r) noexcept {
    if (root_count_ == 0 || roots_[root_count_ - 1].at != r.at || roots_[root_count_ - 1].is != r.is)
      roots_[root_count_++] = r;
    return (root_count_ - 1) * 2 + 1;
  }

  void tell(object_ref target) noexcept {
    std::size_t length = 1;
    std::uintptr_t p = parent_of(target);
    for (; p != 0 && (p & 1) == 0; p = parent_of(object_at(p))) ++length;
    if (p != 0)
      answer(roots_[p / 2], target, length);
    else if (asker_leads_there_)
      answer(asker_, target, 1);
  }

  void answer(const root_origin& r, object_ref target, std::size_t length) noexcept {
    scratch<::tern::gc::root_path::step> steps{length};
    if (!steps) {
      request_.error = ENOMEM;
      return;
    }
    request_.root = r;
    request_.has_root = true;
    name_root(r, request_.root_name, sizeof request_.root_name);
    steps[0] = step_of(target, 0);
    std::uintptr_t slot = parent_of(target);
    for (std::size_t i = 1; i < length; ++i) {
      const object_ref holder = object_at(slot);
      steps[i] = step_of(holder, slot - holder.address());
      slot = parent_of(holder);
    }
    request_.steps = std::move(steps);
    request_.step_count = length;
  }

  graph_request& request_;
  scratch<std::size_t> cells_before_;  // by the page where a span begins
  std::size_t cells_;
  scratch<std::uintptr_t> parents_;
  scratch<std::uintptr_t> queue_;
  scratch<root_origin> roots_;
  std::size_t queued_ = 0;
  std::size_t root_count_ = 0;
  root_origin asker_;
  bool asker_leads_there_ = false;
};

// ---- a graph ----

// JSON lines into a file, through a page of its own.
class json_lines {
 public:
  explicit json_lines(int file) noexcept : file_{file}, buffer_{capacity} {}

  bool is_ready() const noexcept { return static_cast<bool>(buffer_); }
  int error() const noexcept { return error_; }

  void text(std::string_view s) noexcept {
    for (const char c : s) {
      if (used_ == capacity) flush();
      buffer_[used_++] = c;
    }
  }
  void string(std::string_view s) noexcept {
    text("\"");
    for (const char c : s) {
      char plain[8];
      if (c == '"' || c == '\\')
        text({plain, static_cast<std::size_t>(std::snprintf(plain, sizeof plain, "\\%c", c))});
      else if (static_cast<unsigned char>(c) < ' ')
        text({plain, static_cast<std::size_t>(std::snprintf(plain, sizeof plain, "\\u%04x", c))});
      else
        text({&c, 1});
    }
    text("\"");
  }
  void number(std::uint64_t n) noexcept {
    char digits[24];
    text({digits, static_cast<std::size_t>(std::snprintf(digits, sizeof digits, "%" PRIu64, n))});
  }
  void address(std::uintptr_t a) noexcept {
    char digits[24];
    text({digits, static_cast<std::size_t>(std::snprintf(digits, sizeof digits, "\"%#" PRIxPTR "\"", a))});
  }
  void flush() noexcept {
    for (std::size_t done = 0; done < used_ && error_ == 0;) {
      const ssize_t n = ::write(file_, &buffer_[done], used_ - done);
      if (n >= 0)
        done += static_cast<std::size_t>(n);
      else if (errno != EINTR)
        error_ = errno;
    }
    used_ = 0;
  }

 private:
  static constexpr std::size_t capacity = std::size_t{64} << 10;
  int file_;
  int error_ = 0;
  scratch<char> buffer_;
  std::size_t used_ = 0;
};

class graph_writer {
 public:
  explicit graph_writer(int file) noexcept : out_{file} {}

  // errno.
  int run(const stopped_world& world) noexcept {
    if (!out_.is_ready()) return ENOMEM;
    std::uint64_t objects = 0;
    std::uint64_t bytes = 0;
    for_each_live_object([&](object_ref o) noexcept {
      ++objects;
      bytes += o.where->cell_bytes;
    });
    out_.text("{\"schema\":\"tern.heap_graph/1\",\"objects\":");
    out_.number(objects);
    out_.text(",\"bytes\":");
    out_.number(bytes);
    out_.text("}\n");
    for_each_root_word(world, [this](const root_origin& from, std::uintptr_t word) noexcept {
      for_each_meaning(word, [&](object_ref o) noexcept {
        if (o.where->is_marked(o.index)) root(from, o.address());
      });
    });
    end_root();
    for_each_live_object([this](object_ref o) noexcept { object(o); });
    out_.flush();
    return out_.error();
  }

 private:
  // Words come root by root.
  void root(const root_origin& from, std::uintptr_t object) noexcept {
    if (!in_root_ || from.at != root_.at || from.is != root_.is) {
      end_root();
      begin_root(from);
    } else {
      out_.text(",");
    }
    out_.address(object);
  }
  void begin_root(const root_origin& from) noexcept {
    constexpr std::string_view kinds[] = {"handle", "thread", "fiber", "range"};
    root_ = from;
    in_root_ = true;
    out_.text("{\"root\":");
    out_.string(kinds[static_cast<unsigned>(from.is)]);
    char name[64];
    name_root(from, name, sizeof name);
    if (name[0] != 0) {
      out_.text(",\"name\":");
      out_.string(name);
    }
    out_.text(",\"at\":");
    out_.address(to_word(from.at));
    out_.text(",\"to\":[");
  }
  void end_root() noexcept {
    if (in_root_) out_.text("]}\n");
    in_root_ = false;
  }

  void object(object_ref o) noexcept {
    const shape& k = *o.where->kind_of;
    out_.text("{\"object\":");
    out_.address(o.address());
    out_.text(",\"types\":[");
    unsigned n = 0;
    for (const type_note* t = k.types.load(memory_order_acquire); t != nullptr && n < most_types;
         t = t->next) {
      if (n++ != 0) out_.text(",");
      out_.string(t->name);
    }
    out_.text("],\"bytes\":");
    out_.number(o.where->cell_bytes);
    if (k.is_array) {
      out_.text(",\"length\":");
      out_.number(slot_word(reinterpret_cast<const std::uintptr_t*>(o.address())));
    }
    out_.text(",\"to\":[");
    bool is_first = true;
    for_each_member(o, [&](const std::uintptr_t* slot) noexcept {
      const std::uintptr_t word = slot_word(slot);
      const object_ref to = word == 0 ? object_ref{} : object_at(word);
      if (!to) return;
      out_.text(is_first ? "[" : ",[");
      is_first = false;
      out_.number(to_word(slot) - o.address());
      out_.text(",");
      out_.address(to.address());
      out_.text("]");
    });
    out_.text("]}\n");
  }

  static constexpr unsigned most_types = 4;  // of those that share a shape

  json_lines out_;
  root_origin root_;
  bool in_root_ = false;
};

// ---- who asks, and who answers ----

inline void serve_graph_request() noexcept {
  graph_request* const r = wanted_graph.load(memory_order_acquire);  // pairs-with: ask_for_graph()
  if (r == nullptr) return;
  {
    const stopped_world world;
    if (r->file >= 0)
      r->error = graph_writer{r->file}.run(world);
    else
      path_search{*r}.run(world);
  }
  wanted_graph.store(nullptr, memory_order_release);
  r->is_done.store(true, memory_order_release);  // pairs-with: ask_for_graph(); *r may be gone now
}

// Throws std::system_error.
inline void ask_for_graph(graph_request& r) {
  ensure_started();
  r.asker = own_mutator_if_any();
  const auto cycle = [] {
    if (state.dead.load(memory_order_relaxed))
      throw std::system_error(ENOTSUP, std::generic_category(), "tern: heap graph in a fork child");
    collect_and_wait();
  };
  // One that another thread asks for comes first.
  for (graph_request* none = nullptr;
       !wanted_graph.compare_exchange_strong(none, &r, memory_order_acq_rel, memory_order_relaxed);
       none = nullptr)
    cycle();
  while (!r.is_done.load(memory_order_acquire)) cycle();  // pairs-with: serve_graph_request()
  if (r.error != 0) throw std::system_error(r.error, std::generic_category(), "tern: heap graph");
}

}  // namespace detail::gc

namespace gc {

/// Why the object is still alive: the shortest way from a root to it. `object` may point into it. The caller's own
/// stack, which leads to the object as the caller does, is told only where nothing else is. Runs a cycle of the
/// collector and stops the world for a walk over the heap: O(live objects and members), 24 bytes of address space for
/// each cell. For debugging. From any thread or fiber, as collect(); not from a destructor. Throws std::system_error
/// without memory (ENOMEM), or in a fork child (ENOTSUP).
inline root_path find_root_path(const void* object) {
  detail::gc::graph_request r;
  r.target = detail::to_word(object);
  detail::gc::ask_for_graph(r);
  root_path p;
  if (!r.has_root) return p;
  p.root = static_cast<root_path::root_kind>(static_cast<std::uint8_t>(r.root.is) + 1);
  p.root_at = r.root.at;
  p.root_name = r.root_name;
  p.steps.reserve(r.step_count);
  for (std::size_t i = r.step_count; i-- > 0;) p.steps.push_back(r.steps[i]);
  return p;
}

/// A line for the root, then one for each object.
inline std::string to_string(const root_path& p) {
  if (!p) return "gc: no root leads to the object\n";
  constexpr const char* kinds[] = {"none", "handle", "thread", "fiber", "range"};
  std::string text = std::string{"gc: "} + kinds[static_cast<unsigned>(p.root)] + " ";
  if (!p.root_name.empty()) text += p.root_name + " ";
  char line[96];
  std::snprintf(line, sizeof line, "at %#zx\n", static_cast<std::size_t>(detail::to_word(p.root_at)));
  text += line;
  for (const root_path::step& s : p.steps) {
    text += "gc:   -> ";
    text += s.type;
    std::snprintf(line, sizeof line, " at %#zx (%zu bytes)",
                  static_cast<std::size_t>(detail::to_word(s.object)), s.bytes);
    text += line;
    if (&s != &p.steps.back()) {
      std::snprintf(line, sizeof line, ", its member at byte %zu", s.leaves_at);
      text += line;
    }
    text += "\n";
  }
  return text;
}

/// Writes what lives to a file, as JSON lines: {"schema":"tern.heap_graph/1","objects":N,"bytes":N}; then for each root
/// that leads to objects {"root":"handle|thread|fiber|range","name":...,"at":address,"to":[address...]}; then for each
/// object {"object":address, "types":[names],"bytes":N,"length":N of an array,"to":[[byte,address]...]}. Types that
/// agree in size and layout share a shape: one of the names is right. Runs a cycle and stops the world while it writes.
/// From any thread or fiber, as collect(); not from a destructor. Throws std::system_error, and ENOTSUP in a fork
/// child.
inline void write_heap_graph(const char* path) {
  struct file_scope {
    int file;
    ~file_scope() {
      if (file >= 0) ::close(file);
    }
  };
  const file_scope f{::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
  if (f.file < 0) throw std::system_error(errno, std::generic_category(), "tern: heap graph");
  detail::gc::graph_request r;
  r.file = f.file;
  detail::gc::ask_for_graph(r);
}

}  // namespace gc
}  // namespace tern::inline v1
