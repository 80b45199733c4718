/* A bell that one thread waits for: rung before or while it waits, it is heard once. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct bell {
    pthread_mutex_t mutex;
    pthread_cond_t heard;
    bool rung;
};

#define BELL_FOR_EVER (-1)
/* A bell that is only ever waited for without a timeout may begin like this. */
#define BELL_INITIALISED                                                                                               \
    { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false }

void bell_init(struct bell *b);
void bell_deinit(struct bell *b);
/* Any thread. */
void bell_ring(struct bell *b);
/* Waits until the bell was rung; false when `timeout_ms` passed first. */
bool bell_wait(struct bell *b, int64_t timeout_ms);
