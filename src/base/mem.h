/* Memory that is there or ends the process.
 *
 * What a peer can make us allocate is bounded by limits that are checked before; what is left are our own small
 * needs. When the system has no memory for those the process stops: a stop is a crash, and a crash loses nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Returns at least `bytes` bytes, not initialised; the caller frees them with mem_free(). */
void *mem_alloc(size_t bytes) __attribute__((malloc, returns_nonnull, alloc_size(1)));
/* The same for what is made and freed with every message: who frees it with mem_free_sized() says how much it was, so
 * that the allocator need not be asked. */
void *mem_alloc_sized(size_t bytes) __attribute__((malloc, returns_nonnull, alloc_size(1)));
void mem_free_sized(void *memory, size_t bytes);
/* Returns zeroed memory for `count` objects of `bytes` bytes; the caller frees it with mem_free(). */
void *mem_zero(size_t count, size_t bytes) __attribute__((malloc, returns_nonnull, alloc_size(1, 2)));
/* Changes the size of an allocation (NULL for a new one); returns its new place. */
void *mem_resize(void *old, size_t bytes) __attribute__((returns_nonnull, alloc_size(2)));
/* Returns a copy of `bytes` bytes followed by one zero byte. */
void *mem_copy(const void *from, size_t bytes) __attribute__((malloc, returns_nonnull));
/* Frees what the functions above returned; NULL is allowed. */
void mem_free(void *memory);
/* Bytes that are allocated and not freed, with what the allocator adds to each: of the whole process, counted since its
 * start. Each thread keeps up to 64 KiB to itself, so that the count costs nothing; the sum is wrong by no more. */
size_t mem_live(void);
/* True when a tool looks at the end whether all was freed; else a process that ends need not do what the system does at
 * once. */
bool mem_is_watched(void);
/* From now on what is large goes back to the system as soon as it is freed: segments that are folded, tables of maps.
 * The allocator would else keep what has once been freed of it, in each thread's arena. Once, before other threads. */
void mem_keep_little(void);
/* Gives what was freed back to the system, which the allocator else keeps for the next need; takes milliseconds. */
void mem_give_back(void);
