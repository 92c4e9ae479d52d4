#pragma once

// The floating-point mode: what fesetround, feenableexcept and flush-to-zero set. MXCSR and the x87 control word; FPCR on ARM64.
//
// Context     The thread's, and so common to all fibers that it runs, unless TERN_KEEP_FP_MODE is set (base/config.hpp): then the
//             switch carries it along, and a fiber begins with the mode of a new process.
// Limits      MXCSR's exception flags travel with it; those of x87 and FPSR do not.

#include <cstdint>

#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

inline constexpr bool fp_mode_travels = TERN_KEEP_FP_MODE != 0;

#if defined(__x86_64__)
struct fp_mode {
  std::uint32_t mxcsr = 0x1f80;
  std::uint16_t x87 = 0x037f;
};
TERN_ALWAYS_INLINE void read_fp_mode(fp_mode& m) noexcept {
  asm volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(m.mxcsr), "=m"(m.x87));
}
TERN_ALWAYS_INLINE void set_fp_mode(const fp_mode& m) noexcept {
  asm volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(m.mxcsr), "m"(m.x87) : "memory");
}
#else
struct fp_mode {
  std::uint64_t fpcr = 0;
};
TERN_ALWAYS_INLINE void read_fp_mode(fp_mode& m) noexcept { asm volatile("mrs %0, fpcr" : "=r"(m.fpcr)); }
TERN_ALWAYS_INLINE void set_fp_mode(const fp_mode& m) noexcept {
  asm volatile("msr fpcr, %0" : : "r"(m.fpcr) : "memory");
}
#endif

// Around a switch: the mode as it was made, again. Nothing unless it travels.
class kept_fp_mode {
 public:
  TERN_ALWAYS_INLINE kept_fp_mode() noexcept {
    if constexpr (fp_mode_travels) read_fp_mode(mode_);
  }
  TERN_ALWAYS_INLINE void restore() const noexcept {
    if constexpr (fp_mode_travels) set_fp_mode(mode_);
  }

 private:
  fp_mode mode_;
};

}  // namespace tern::inline v1::detail
