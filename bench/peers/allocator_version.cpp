// Prints the version that a preloaded allocator says of itself. CMake runs it once for each library that it found.
#include <dlfcn.h>

#include <cstddef>
#include <cstdio>

template <class F>
static F* find(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_DEFAULT, name));
}

int main() {
  if (auto* mimalloc = find<int()>("mi_version")) {
    const int v = mimalloc();
    std::printf("mimalloc %d.%d.%d\n", v / 100, v / 10 % 10, v % 10);
  } else if (auto* jemalloc = find<int(const char*, void*, std::size_t*, void*, std::size_t)>("mallctl")) {
    const char* text = "";
    std::size_t bytes = sizeof text;
    jemalloc("version", &text, &bytes, nullptr, 0);
    std::printf("jemalloc %s\n", text);
  } else if (auto* tcmalloc = find<const char*(int*, int*, const char**)>("tc_version")) {
    int numbers[2];
    const char* patch = "";
    std::puts(tcmalloc(&numbers[0], &numbers[1], &patch));
  } else {
    return 1;
  }
  return 0;
}
