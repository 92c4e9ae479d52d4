// The same stress with a chance of a yield before every atomic operation: interleavings that a quiet machine never shows.
#define TERN_PERTURB 1
#include "tests/stress/ds_chase_lev_stress.cpp"
