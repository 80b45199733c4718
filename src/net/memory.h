/* How much memory there is for this process. Linux: files of /sys and /proc, limits of the process. */
#pragma once

#include <stdint.h>

/* Bytes: of the machine, of the control group, of the limit of the address space; the least of them. */
uint64_t memory_there_is(void);
/* Bytes of memory that this process has to itself, freed ones included that the allocator keeps; 0: not known. */
uint64_t memory_anonymous(void);
/* The least number in a file of a control group ("max" is none), and `most`. For tests. */
uint64_t memory_of_file(const char *path, uint64_t most);
