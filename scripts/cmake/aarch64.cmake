# Cross build for ARM64 Linux: GNU cross compiler, results run under qemu's user-mode emulation.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu /usr/lib/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
find_program(TERN_QEMU NAMES qemu-aarch64 qemu-aarch64-static REQUIRED)
mark_as_advanced(TERN_QEMU)
# The C library of the architecture's own packages where they are installed, else that of the cross compiler. The latter
# is not patched with the former: in Debian 12 its fork() never returns in the child under emulation (death tests hang).
if(EXISTS "/lib/ld-linux-aarch64.so.1")
  set(CMAKE_CROSSCOMPILING_EMULATOR "${TERN_QEMU}")
else()
  set(CMAKE_CROSSCOMPILING_EMULATOR "${TERN_QEMU};-L;/usr/aarch64-linux-gnu")
endif()
# The sanitizer's runtime has no package of its own there.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static-libubsan")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-static-libubsan")
