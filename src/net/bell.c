#include "net/bell.h"

#include <time.h>

#include "base/must.h"

void bell_init(struct bell *b) {
    pthread_condattr_t attributes;
    must(pthread_condattr_init(&attributes) == 0);
    must(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    must(pthread_cond_init(&b->heard, &attributes) == 0);
    must(pthread_condattr_destroy(&attributes) == 0);
    must(pthread_mutex_init(&b->mutex, NULL) == 0);
    b->rung = false;
}

void bell_deinit(struct bell *b) {
    must(pthread_cond_destroy(&b->heard) == 0);
    must(pthread_mutex_destroy(&b->mutex) == 0);
}

void bell_ring(struct bell *b) {
    must(pthread_mutex_lock(&b->mutex) == 0);
    bool first = !b->rung;
    b->rung = true;
    must(pthread_mutex_unlock(&b->mutex) == 0);
    if (first) {
        must(pthread_cond_signal(&b->heard) == 0);
    }
}

static struct timespec in_milliseconds(int64_t ms) {
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += ms % 1000 * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

bool bell_wait(struct bell *b, int64_t timeout_ms) {
    struct timespec until = {0};
    if (timeout_ms != BELL_FOR_EVER) {
        until = in_milliseconds(timeout_ms);
    }
    must(pthread_mutex_lock(&b->mutex) == 0);
    int waited = 0;
    while (!b->rung && waited == 0) {
        waited = timeout_ms == BELL_FOR_EVER ? pthread_cond_wait(&b->heard, &b->mutex)
                                             : pthread_cond_timedwait(&b->heard, &b->mutex, &until);
    }
    bool heard = b->rung;
    b->rung = false;
    must(pthread_mutex_unlock(&b->mutex) == 0);
    return heard;
}
