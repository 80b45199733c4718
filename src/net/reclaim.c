#include "net/reclaim.h"

#include <stdatomic.h>
#include <urcu-qsbr.h>

#include "base/list.h"
#include "base/mem.h"
#include "net/bell.h"

struct reclaim_item {
    struct rcu_head head;
    void *memory;
    void (*free_function)(void *memory);
};

static _Atomic size_t items_waiting;
static struct bell none_waits = BELL_INITIALISED;

/* The thread sanitizer does not see into liburcu: these two say that all turns before a grace period come before what
 * is done after it. */
#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#include <sanitizer/tsan_interface.h>
static char grace;
static void turn_seen(void) {
    __tsan_release(&grace);
}
static void grace_over(void) {
    __tsan_acquire(&grace);
}
#else
static void turn_seen(void) {
}
static void grace_over(void) {
}
#endif

void reclaim_enter(void) {
    rcu_register_thread();
}

void reclaim_leave(void) {
    turn_seen();
    rcu_unregister_thread();
}

void reclaim_online(void) {
    rcu_thread_online();
}

void reclaim_offline(void) {
    turn_seen();
    rcu_thread_offline();
}

static void reclaim_now(struct rcu_head *head) {
    struct reclaim_item *item = container_of(head, struct reclaim_item, head);
    grace_over();
    item->free_function(item->memory);
    mem_free(item);
    if (atomic_fetch_sub(&items_waiting, 1) == 1) {
        bell_ring(&none_waits);
    }
}

void reclaim_later(void *user, void *memory, void (*free_function)(void *memory)) {
    (void)user;
    struct reclaim_item *item = mem_alloc(sizeof *item);
    item->memory = memory;
    item->free_function = free_function;
    turn_seen();
    atomic_fetch_add_explicit(&items_waiting, 1, memory_order_relaxed);
    call_rcu(&item->head, reclaim_now);
}

void reclaim_finish(void) {
    reclaim_offline();
    while (atomic_load(&items_waiting) > 0) {
        (void)bell_wait(&none_waits, BELL_FOR_EVER);
    }
    reclaim_online();
}
