/* What the kernel knows about the broker's process, read from /proc. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct process_sample {
    uint64_t cpu_ns;               /* user and system time of all its threads, in steps of a clock tick */
    uint64_t rss_bytes;            /* resident memory */
    uint64_t pss_bytes;            /* the same with shared pages divided among their users; 0: not allowed to know */
    uint64_t peak_bytes;           /* the highest resident memory so far */
    uint64_t voluntary_switches;   /* of all threads that live now: times that they waited */
    uint64_t involuntary_switches; /* of all threads that live now: times that they were interrupted */
    uint64_t write_bytes;          /* caused to be written to disks; 0: not allowed to know */
};

/* Reads all of it; false when there is no such process. */
bool process_sample(uint64_t pid, struct process_sample *sample, struct error *error);
/* The value in "Key:   123 kB" lines such as those of /proc/PID/status; 0 when the key is not there. */
uint64_t process_field(const char *text, const char *key);
