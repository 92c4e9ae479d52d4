// scenario/gateway/connections:C
//
// One operation  one HTTP/1.1 request (GET, five fields, 160 bytes) over a connection that is kept, and its small answer. C connections; the client writes
//                a request to each, reads the answer of each, and begins anew.
// Kept equal     as in scenario/echo. tern, raw and pthread share one parser and one answer (subjects/http_session.hpp); 4 KiB each for
//                requests and answers of a connection.
// Best form      tern: a fiber per connection, its buffers on its stack. raw: buffers in the heap. pthread: on the thread's stack. go: net/http,
//                which also adds a date and starts a goroutine that watches each connection: what a Go program would have.
// Also           qps: requests per second. errors: requests that got no answer, or a wrong one, at which the connection was made anew.
//                bytes_per_op: by how much the server's resident memory and page tables have grown per connection, without the kernel's part.
#include "bench/cases/scenario/gateway.hpp"

namespace tern_bench {
namespace {

const registration<closed_gateway, servers<http_session>> gateway_registered{{
    .area = "scenario",
    .name = "gateway",
    .smoke = {{"connections", 4}},
    .points = {{{{"connections", 10}}, tier::quick, false, 100},
               {{{"connections", 1000}}, tier::quick, false, 300},
               {{{"connections", 10'000}}, tier::full, false, 3000}},
    .isolated = true,
}};

}  // namespace
}  // namespace tern_bench
