// sync_channel_stress.cpp with a yield of the CPU at random atomic operations, in the scheduler too.
#define TERN_PERTURB 1

#include "sync_channel_stress.cpp"
