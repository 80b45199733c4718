/* A mutual exclusion lock. The only thread-aware thing below net/: it guards the few structures that shards share. */
#pragma once

#include <pthread.h>

#include "base/must.h"

struct lock {
    pthread_mutex_t mutex;
};

static inline void lock_init(struct lock *l) {
    must(pthread_mutex_init(&l->mutex, NULL) == 0);
}
static inline void lock_deinit(struct lock *l) {
    must(pthread_mutex_destroy(&l->mutex) == 0);
}
static inline void lock_take(struct lock *l) {
    must(pthread_mutex_lock(&l->mutex) == 0);
}
static inline void lock_give(struct lock *l) {
    must(pthread_mutex_unlock(&l->mutex) == 0);
}
