#pragma once

/// Managed memory: objects that live as long as a stack, a handle or another object leads to them, cycles included.
///
///   struct node {
///     tern::gc::member<node> next;        // found by itself; a class that is no aggregate had better name it in trace()
///     int value = 0;
///   };
///   node* n = tern::gc::make<node>();     // a raw pointer on a stack is a root
///   tern::gc::handle<node> h{n};          // so is a handle, anywhere
///
/// A concurrent mark-sweep collector, without a global stop. gc/README.md tells what a program must keep.

#include <tern/gc/control.hpp>
#include <tern/gc/handle.hpp>
#include <tern/gc/hash_map.hpp>
#include <tern/gc/make.hpp>
#include <tern/gc/member.hpp>
#include <tern/gc/stepper.hpp>
#include <tern/gc/string.hpp>
#include <tern/gc/vector.hpp>
