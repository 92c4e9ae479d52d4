// How the dynamic linker binds the program: its calls resolved at the start, or each when it is first made.
#pragma once

#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdlib>

namespace tern::inline v1::detail::os {

// Of one object, by its dynamic section.
inline bool is_bound_lazily(const ElfW(Dyn) * d) noexcept {
  bool has_table = false;
  bool now = false;
  for (; d->d_tag != DT_NULL; ++d) {
    has_table |= d->d_tag == DT_JMPREL;
    now |= d->d_tag == DT_BIND_NOW || (d->d_tag == DT_FLAGS && (d->d_un.d_val & DF_BIND_NOW) != 0) ||
           (d->d_tag == DT_FLAGS_1 && (d->d_un.d_val & DF_1_NOW) != 0);
  }
  return has_table && !now;
}

// True if no call that the main program makes is still to be resolved. Of the libraries that it has loaded nothing is said.
inline bool is_program_bound() noexcept {
  if (const char* now = std::getenv("LD_BIND_NOW"); now != nullptr && *now != 0) return true;
  bool lazy = false;
  // The first object is the program itself; without a dynamic section it is linked statically.
  ::dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* found) -> int {
        for (std::size_t i = 0; i < object->dlpi_phnum; ++i) {
          const ElfW(Phdr)& header = object->dlpi_phdr[i];
          if (header.p_type == PT_DYNAMIC)
            *static_cast<bool*>(found) =
                is_bound_lazily(reinterpret_cast<const ElfW(Dyn)*>(object->dlpi_addr + header.p_vaddr));
        }
        return 1;
      },
      &lazy);
  return !lazy;
}

}  // namespace tern::inline v1::detail::os
