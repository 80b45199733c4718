#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define MEM_WATCHED true
#else
#define MEM_WATCHED false
#endif

enum { LARGE_BYTES = 4 << 20 }; /* more than a packet or a frame has in general: those come and go */
enum { OWN_BYTES_MAX = 64 * 1024, CHUNK_BYTES = 8 /* of the allocator, for each allocation */ };

/* What there is of allocations is one number for the process, whoever asks: no structure could carry it through every
 * call. */
static _Atomic int64_t live_bytes;
static _Thread_local int64_t own_bytes; /* of this thread's, what live_bytes does not have yet */

static void mem_count(int64_t bytes) {
    own_bytes += bytes;
    if (__builtin_expect((uint64_t)(own_bytes + OWN_BYTES_MAX) > 2 * (uint64_t)OWN_BYTES_MAX, 0)) {
        (void)atomic_fetch_add_explicit(&live_bytes, own_bytes, memory_order_relaxed);
        own_bytes = 0;
    }
}

static int64_t mem_size(void *memory) {
    return (int64_t)malloc_usable_size(memory) + CHUNK_BYTES;
}

size_t mem_live(void) {
    int64_t bytes = atomic_load_explicit(&live_bytes, memory_order_relaxed);
    return bytes > 0 ? (size_t)bytes : 0;
}

static _Noreturn void mem_exhausted(size_t bytes) {
    (void)fprintf(stderr, "out of memory: %zu bytes were refused by the system\n", bytes);
    abort();
}

void *mem_alloc(size_t bytes) {
    void *memory = malloc(bytes > 0 ? bytes : 1);
    if (memory == NULL) {
        mem_exhausted(bytes);
    }
    mem_count(mem_size(memory));
    return memory;
}

static int64_t mem_sized(size_t bytes) {
    return (int64_t)((bytes + 2 * CHUNK_BYTES - 1) & ~(size_t)(2 * CHUNK_BYTES - 1)) + CHUNK_BYTES;
}

void *mem_alloc_sized(size_t bytes) {
    void *memory = malloc(bytes);
    if (memory == NULL) {
        mem_exhausted(bytes);
    }
    mem_count(mem_sized(bytes));
    return memory;
}

void mem_free_sized(void *memory, size_t bytes) {
    mem_count(-mem_sized(bytes));
    free(memory);
}

void *mem_zero(size_t count, size_t bytes) {
    void *memory = calloc(count > 0 ? count : 1, bytes > 0 ? bytes : 1);
    if (memory == NULL) {
        mem_exhausted(count * bytes);
    }
    mem_count(mem_size(memory));
    return memory;
}

void *mem_resize(void *old, size_t bytes) {
    int64_t before = old != NULL ? mem_size(old) : 0;
    void *memory = realloc(old, bytes > 0 ? bytes : 1);
    if (memory == NULL) {
        mem_exhausted(bytes);
    }
    mem_count(mem_size(memory) - before);
    return memory;
}

void *mem_copy(const void *from, size_t bytes) {
    char *memory = mem_alloc(bytes + 1);
    if (bytes > 0) {
        memcpy(memory, from, bytes);
    }
    memory[bytes] = '\0';
    return memory;
}

void mem_free(void *memory) {
    if (memory != NULL) {
        mem_count(-mem_size(memory));
    }
    free(memory);
}

/* Any setting ends that the allocator raises the threshold with each large allocation that is freed. */
void mem_keep_little(void) {
    (void)mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, 2 * LARGE_BYTES);
}

void mem_give_back(void) {
    (void)malloc_trim(0);
}

bool mem_is_watched(void) {
    return MEM_WATCHED;
}
