#include "net/thread.h"

#include <signal.h>

#include "base/must.h"

int thread_try(pthread_t *thread, const char *name, void *(*body)(void *argument), void *argument) {
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    must(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int code = pthread_create(thread, NULL, body, argument);
    must(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (code == 0) {
        (void)pthread_setname_np(*thread, name);
    }
    return code;
}

pthread_t thread_start(const char *name, void *(*body)(void *argument), void *argument) {
    pthread_t thread;
    must(thread_try(&thread, name, body, argument) == 0);
    return thread;
}
