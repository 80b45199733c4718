#include "net/memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, LINE_BYTES = 4200 };

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

uint64_t memory_of_file(const char *path, uint64_t most) {
    FILE *in = fopen(path, "re");
    char line[32];
    if (in == NULL) {
        return most;
    }
    if (fgets(line, sizeof line, in) != NULL && line[0] >= '0' && line[0] <= '9') {
        most = least(most, strtoull(line, NULL, 10));
    }
    (void)fclose(in);
    return most;
}

/* The limits of the control group (version 2) and of those above it. */
static uint64_t memory_of_group(uint64_t most) {
    char line[LINE_BYTES];
    FILE *in = fopen("/proc/self/cgroup", "re");
    bool found = false;
    while (in != NULL && !found && fgets(line, sizeof line, in) != NULL) {
        found = strncmp(line, "0::/", 4) == 0;
    }
    if (in != NULL) {
        (void)fclose(in);
    }
    if (!found) {
        return memory_of_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", most);
    }
    char *group = line + 3;
    group[strcspn(group, "\n")] = '\0';
    while (group[0] != '\0') {
        char path[PATH_BYTES + LINE_BYTES];
        (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
        most = memory_of_file(path, most);
        *strrchr(group, '/') = '\0';
    }
    return memory_of_file("/sys/fs/cgroup/memory.max", most);
}

uint64_t memory_anonymous(void) {
    FILE *in = fopen("/proc/self/statm", "re");
    char line[128] = "";
    char *at = line;
    if (in == NULL) {
        return 0;
    }
    bool read = fgets(line, sizeof line, in) != NULL;
    (void)fclose(in);
    (void)strtoull(at, &at, 10); /* address space, resident, of that shared with files */
    uint64_t resident = strtoull(at, &at, 10);
    uint64_t shared = strtoull(at, NULL, 10);
    return read && resident > shared ? (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

uint64_t memory_there_is(void) {
    uint64_t most = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        most = least(most, limit.rlim_cur);
    }
    if (getrlimit(RLIMIT_DATA, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        most = least(most, limit.rlim_cur);
    }
    return memory_of_group(most);
}
