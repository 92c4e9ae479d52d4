// The face of net: sockets and other descriptors that fibers wait for. See net/README.md.
#pragma once

#include <tern/net/endpoint.hpp>
#include <tern/net/pollable.hpp>
#include <tern/net/stream.hpp>
#include <tern/net/tcp.hpp>
