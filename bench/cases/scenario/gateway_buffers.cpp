// scenario/gateway/connections:C/buffers:stack|pooled|heap|managed
//
// One operation  as in scenario/gateway; where the 4 KiB each for a request and its answer lie is what differs.
// Kept equal     as there. stack: in the session, on the stack of the fiber or thread. pooled: taken from a list of the process under a lock, which
//                is filled as needed, when a request is awaited, given back when its answer has gone. heap: allocated and freed at these
//                times, by tern's allocator and by malloc. managed: allocated so, and left to the collector.
// Also           as there.
#include <mutex>
#include <vector>

#include <tern/alloc.hpp>
#include <tern/gc.hpp>
#include <tern/sync.hpp>

#include "bench/cases/scenario/gateway.hpp"

namespace tern_bench {
namespace {

constexpr std::size_t both_buffers = 2 * http_inline_buffers::bytes;

// Memory: take() -> char* of both_buffers, give(pointer).
template <class Memory>
class borrowed_buffers {
 public:
  static constexpr std::size_t bytes = http_inline_buffers::bytes;
  borrowed_buffers() = default;
  borrowed_buffers(const borrowed_buffers&) = delete;
  borrowed_buffers& operator=(const borrowed_buffers&) = delete;
  ~borrowed_buffers() { end(); }
  void begin() {
    if (both_ == nullptr) both_ = Memory::take();
  }
  void end() noexcept {
    if (both_ != nullptr) Memory::give(std::exchange(both_, nullptr));
  }
  char* in() noexcept { return both_; }
  char* out() noexcept { return both_ + bytes; }

 private:
  char* both_ = nullptr;
};

struct tern_heap_buffers {
  static char* take() { return static_cast<char*>(tern::allocate(both_buffers)); }
  static void give(char* p) noexcept { tern::deallocate(p, both_buffers); }
};
struct malloc_buffers {
  static char* take() {
    if (void* const p = std::malloc(both_buffers)) return static_cast<char*>(p);
    throw std::bad_alloc();
  }
  static void give(char* p) noexcept { std::free(p); }
};
struct managed_buffers {
  // The pointer is into the array, and lies on the stack of the connection's fiber.
  static char* take() { return tern::gc::make_array<char>(both_buffers)->data(); }
  static void give(char*) noexcept {}
};
template <class Heap, class Mutex>
struct pooled_buffers {
  static char* take() {
    {
      const std::lock_guard hold(lock);
      if (!idle.empty()) {
        char* const p = idle.back();
        idle.pop_back();
        return p;
      }
    }
    return Heap::take();
  }
  static void give(char* p) noexcept {
    const std::lock_guard hold(lock);
    idle.push_back(p);
  }
  static inline Mutex lock;
  static inline std::vector<char*> idle;
};

// Of the server that is forked next.
std::string buffers_next;  // NOLINT: one thread

template <template <class> class Server, class Heap, class Mutex>
void serve_with_buffers(int pipe) {
  using pooled = pooled_buffers<Heap, Mutex>;
  if (buffers_next == "pooled") return Server<basic_http_session<borrowed_buffers<pooled>>>::serve(pipe);
  if (buffers_next == "heap") return Server<basic_http_session<borrowed_buffers<Heap>>>::serve(pipe);
  if (buffers_next == "stack") return Server<http_session>::serve(pipe);
}

struct gateway_buffers_tern : tern_server<http_session> {
  static void serve(int pipe) {
    if (buffers_next == "managed")
      tern_server<basic_http_session<borrowed_buffers<managed_buffers>>>::serve(pipe);
    serve_with_buffers<tern_server, tern_heap_buffers, tern::mutex>(pipe);
  }
};
struct gateway_buffers_pthread : pthread_server<http_session> {
  static void serve(int pipe) { serve_with_buffers<pthread_server, malloc_buffers, std::mutex>(pipe); }
  static std::string unfit(const row_params& p) {
    return p.word("buffers") == "managed" ? "has no collector" : "";
  }
};

struct gateway_buffers_setting {
  explicit gateway_buffers_setting(const row_params& p) { buffers_next = p.word("buffers"); }
};

template <class S>
class gateway_buffers : gateway_buffers_setting, public closed_gateway<S> {
 public:
  explicit gateway_buffers(const row_params& p) : gateway_buffers_setting(p), closed_gateway<S>(p) {}
};

case_info buffer_rows(tier of_claims) {
  return {
      .area = "scenario",
      .name = "gateway",
      .smoke = {{"connections", 4}, {"buffers", "pooled"}},
      .points = {{{{"connections", 1000}, {"buffers", "stack"}}, of_claims, false, 300},
                 {{{"connections", 1000}, {"buffers", "heap"}}, of_claims, false, 300},
                 {{{"connections", 1000}, {"buffers", "pooled"}}, tier::standard, false, 300},
                 {{{"connections", 1000}, {"buffers", "managed"}}, tier::standard, false, 300}},
      .isolated = true,
  };
}
const registration<gateway_buffers, subjects<gateway_buffers_tern>> gateway_buffers_registered{
    buffer_rows(tier::quick)};
const registration<gateway_buffers, subjects<gateway_buffers_pthread>> gateway_buffers_of_others_registered{
    buffer_rows(tier::standard)};

}  // namespace
}  // namespace tern_bench
