// Holds the program to OS pages of the size that it was told, where the kernel below has smaller ones (qemu-user with QEMU_PAGESIZE): what such a
// kernel would refuse, or round up to more than was meant, ends the program.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

void expect_pages(const char* call, const void* p, std::size_t bytes) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  if (reinterpret_cast<std::uintptr_t>(p) % page == 0 && bytes % page == 0) return;
  std::fprintf(stderr, "%s(%p, %zu): not whole OS pages of %zu\n", call, p, bytes,
               static_cast<std::size_t>(page));
  std::abort();
}

}  // namespace

extern "C" {

int madvise(void* p, std::size_t bytes, int advice) noexcept {
  expect_pages("madvise", p, bytes);
  return static_cast<int>(::syscall(SYS_madvise, p, bytes, advice));
}

int mprotect(void* p, std::size_t bytes, int protection) noexcept {
  expect_pages("mprotect", p, bytes);
  return static_cast<int>(::syscall(SYS_mprotect, p, bytes, protection));
}

int munmap(void* p, std::size_t bytes) noexcept {
  expect_pages("munmap", p, 0);  // a length is rounded up, which is what others rely on for files
  return static_cast<int>(::syscall(SYS_munmap, p, bytes));
}

void* mremap(void* p, std::size_t bytes, std::size_t new_bytes, int flags, ...) noexcept {
  expect_pages("mremap", p, bytes);
  expect_pages("mremap", p, new_bytes);
  va_list rest;
  va_start(rest, flags);
  void* const to = (flags & MREMAP_FIXED) != 0 ? va_arg(rest, void*) : nullptr;
  va_end(rest);
  return reinterpret_cast<void*>(::syscall(SYS_mremap, p, bytes, new_bytes, flags, to));
}

}  // extern "C"
