// C++'s runtime, weakly: C programs are run with this library too, and should not load one for it. It is there where the program has
// one, and only such a program calls operator new. The compiler refers to these names by itself.
#pragma once

asm(".weak __gxx_personality_v0\n\t"
    ".weak __cxa_allocate_exception\n\t"
    ".weak __cxa_throw\n\t"
    ".weak __cxa_begin_catch\n\t"
    ".weak __cxa_end_catch\n\t"
    ".weak _Unwind_Resume\n\t"
    ".weak _ZSt9terminatev\n\t"
    ".weak _ZSt15get_new_handlerv\n\t"
    ".weak _ZTISt9bad_alloc\n\t"
    ".weak _ZTVSt9bad_alloc\n\t"
    ".weak _ZNSt9bad_allocD1Ev");
