// Symbols: names for code addresses, from the symbol tables of the program and its libraries.
//
// Context     For dumps; the library depends on libc only. dladdr knows exported names alone, which a program's own functions are not:
//             the files are read instead, where they were not stripped.
// Rejected    Containers and ordered tables: this is compiled into every program, and a dump asks for few addresses, many times each. A file's
//             table is searched from end to end, and what was found is kept by address.
// Limits      Of inlined functions the outermost is named. Line numbers: module and offset are what addr2line takes.
#pragma once

#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include <tern/base/bits.hpp>

namespace tern::inline v1::detail::os {

// The symbols of one ELF file, mapped while it lives. Every offset in the file is checked before it is used.
class elf_symbols {
 public:
  explicit elf_symbols(const char* path) noexcept {
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    struct stat info{};
    if (::fstat(file, &info) == 0 && info.st_size >= static_cast<off_t>(sizeof(ElfW(Ehdr)))) {
      bytes_ = static_cast<std::size_t>(info.st_size);
      void* image = ::mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, file, 0);
      if (image != MAP_FAILED) image_ = static_cast<const char*>(image);
    }
    ::close(file);
    // The second is a part of the first.
    if (image_ != nullptr && !find_table(std::uint32_t{SHT_SYMTAB}))
      static_cast<void>(find_table(std::uint32_t{SHT_DYNSYM}));
  }
  ~elf_symbols() {
    if (image_ != nullptr) ::munmap(const_cast<char*>(image_), bytes_);
  }
  elf_symbols(const elf_symbols&) = delete;
  elf_symbols& operator=(const elf_symbols&) = delete;

  // The function that holds the address (relative to where the module was loaded) as it was linked, and where it begins; or null. O(symbols).
  const char* find(std::uintptr_t at, std::uintptr_t& begin) const noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      ElfW(Sym) s;
      std::memcpy(&s, image_ + table_ + i * sizeof s, sizeof s);
      if ((s.st_info & 0xf) != STT_FUNC || at - s.st_value >= s.st_size || s.st_name >= names_bytes_)
        continue;
      begin = s.st_value;
      return image_ + names_ + s.st_name;
    }
    return nullptr;
  }

 private:
  bool find_table(std::uint32_t type) noexcept {
    ElfW(Ehdr) header;
    std::memcpy(&header, image_, sizeof header);
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_shentsize != sizeof(ElfW(Shdr)))
      return false;
    if (!is_inside(header.e_shoff, header.e_shnum * sizeof(ElfW(Shdr)))) return false;
    const auto section = [&](std::size_t i) noexcept {
      ElfW(Shdr) s;
      std::memcpy(&s, image_ + header.e_shoff + i * sizeof s, sizeof s);
      return s;
    };
    for (std::size_t i = 0; i < header.e_shnum; ++i) {
      const ElfW(Shdr) symbols = section(i);
      if (symbols.sh_type != type || symbols.sh_link >= header.e_shnum) continue;
      const ElfW(Shdr) names = section(symbols.sh_link);
      if (!is_inside(symbols.sh_offset, symbols.sh_size) || !is_inside(names.sh_offset, names.sh_size))
        continue;
      // So that every name ends inside.
      if (names.sh_size == 0 || image_[names.sh_offset + names.sh_size - 1] != 0) continue;
      table_ = symbols.sh_offset;
      count_ = symbols.sh_size / sizeof(ElfW(Sym));
      names_ = names.sh_offset;
      names_bytes_ = names.sh_size;
      return true;
    }
    return false;
  }
  bool is_inside(std::uint64_t offset, std::uint64_t size) const noexcept {
    return offset <= bytes_ && size <= bytes_ - offset;
  }

  const char* image_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t table_ = 0;
  std::size_t count_ = 0;
  std::size_t names_ = 0;
  std::size_t names_bytes_ = 0;
};

// Texts for code addresses. One thread at a time.
class symbolizer {
 public:
  symbolizer() noexcept = default;
  ~symbolizer() {
    for (known& k : known_) std::free(k.text);
    while (module* m = modules_) {
      modules_ = m->next;
      m->symbols.~elf_symbols();
      std::free(m);
    }
  }
  symbolizer(const symbolizer&) = delete;
  symbolizer& operator=(const symbolizer&) = delete;

  // "function+0x1c (module+0x2f40)", or "module+0x2f40", or "?". For a return address the call before it counts. Valid until the next call.
  const char* describe(const void* return_address) noexcept {
    const std::uintptr_t pc = to_word(return_address) - 1;
    known& k = known_[(pc ^ pc >> 8) % (sizeof known_ / sizeof known_[0])];
    if (k.pc != pc) {
      std::free(k.text);
      k.pc = pc;
      k.text = make(pc);
    }
    return k.text != nullptr ? k.text : "?";
  }

 private:
  struct known {
    std::uintptr_t pc = 0;
    char* text = nullptr;  // malloc
  };
  struct module {
    module* next;
    std::uintptr_t base;
    elf_symbols symbols;
    const char* shown;  // the file's name without its folder
    char path[512];
  };
  struct lookup {
    std::uintptr_t pc;
    std::uintptr_t base;
    bool found;
    char path[512];
  };

  static int match(dl_phdr_info* info, std::size_t, void* argument) noexcept {
    auto& l = *static_cast<lookup*>(argument);
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const ElfW(Phdr)& h = info->dlpi_phdr[i];
      if (h.p_type != PT_LOAD || l.pc - (info->dlpi_addr + h.p_vaddr) >= h.p_memsz) continue;
      l.base = info->dlpi_addr;
      l.found = true;
      std::snprintf(l.path, sizeof l.path, "%s", info->dlpi_name);
      return 1;
    }
    return 0;
  }

  module* module_of(const lookup& l) noexcept {
    for (module* m = modules_; m != nullptr; m = m->next)
      if (m->base == l.base && std::strcmp(m->path, l.path) == 0) return m;
    void* memory = std::malloc(sizeof(module));
    if (memory == nullptr) return nullptr;
    const bool is_program = l.path[0] == 0;
    auto* m = ::new (memory)
        module{modules_, l.base, elf_symbols{is_program ? "/proc/self/exe" : l.path}, nullptr, {}};
    std::memcpy(m->path, l.path, sizeof m->path);
    m->shown = program_invocation_short_name;
    if (!is_program) {
      const char* slash = std::strrchr(m->path, '/');
      m->shown = slash != nullptr ? slash + 1 : m->path;
    }
    return modules_ = m;
  }

  char* make(std::uintptr_t pc) noexcept {
    lookup l{pc, 0, false, {}};
    ::dl_iterate_phdr(&match, &l);
    module* m = l.found ? module_of(l) : nullptr;
    char* text = nullptr;
    if (m == nullptr) {
      if (::asprintf(&text, "%#" PRIxPTR, pc) < 0) return nullptr;
      return text;
    }
    const std::uintptr_t offset = pc - l.base;
    std::uintptr_t begin = 0;
    const char* linked = m->symbols.find(offset, begin);
    char* plain = linked != nullptr ? abi::__cxa_demangle(linked, nullptr, nullptr, nullptr) : nullptr;
    const int n = linked != nullptr
                      ? ::asprintf(&text, "%s+%#" PRIxPTR " (%s+%#" PRIxPTR ")",
                                   plain != nullptr ? plain : linked, offset - begin, m->shown, offset)
                      : ::asprintf(&text, "%s+%#" PRIxPTR, m->shown, offset);
    std::free(plain);
    return n < 0 ? nullptr : text;
  }

  known known_[256];
  module* modules_ = nullptr;
};

}  // namespace tern::inline v1::detail::os
