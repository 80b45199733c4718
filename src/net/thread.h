/* Threads of the broker: named, and deaf to signals, which are the main thread's. */
#pragma once

#include <pthread.h>

/* Starts `body(argument)`; `name` has at most 15 bytes. */
pthread_t thread_start(const char *name, void *(*body)(void *argument), void *argument);
