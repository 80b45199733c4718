#include "base/mem.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void mem_exhausted(size_t bytes) {
    (void)fprintf(stderr, "out of memory: %zu bytes were refused by the system\n", bytes);
    abort();
}

void *mem_alloc(size_t bytes) {
    void *memory = malloc(bytes > 0 ? bytes : 1);
    if (memory == NULL) {
        mem_exhausted(bytes);
    }
    return memory;
}

void *mem_zero(size_t count, size_t bytes) {
    void *memory = calloc(count > 0 ? count : 1, bytes > 0 ? bytes : 1);
    if (memory == NULL) {
        mem_exhausted(count * bytes);
    }
    return memory;
}

void *mem_resize(void *old, size_t bytes) {
    void *memory = realloc(old, bytes > 0 ? bytes : 1);
    if (memory == NULL) {
        mem_exhausted(bytes);
    }
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
    free(memory);
}

void mem_give_back(void) {
    (void)malloc_trim(0);
}
