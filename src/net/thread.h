/* Threads: named, and deaf to signals, which are the main thread's. */
#pragma once

#include <pthread.h>

/* Starts `body(argument)`; `name` has at most 15 bytes. 0, or the number of the error. */
int thread_try(pthread_t *thread, const char *name, void *(*body)(void *argument), void *argument);
/* Starts `body(argument)`; `name` has at most 15 bytes. A system that refuses ends the process. */
pthread_t thread_start(const char *name, void *(*body)(void *argument), void *argument);
