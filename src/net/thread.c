#include "net/thread.h"

#include <signal.h>

#include "base/must.h"

pthread_t thread_start(const char *name, void *(*body)(void *argument), void *argument) {
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    must(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    pthread_t thread;
    must(pthread_create(&thread, NULL, body, argument) == 0);
    must(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    (void)pthread_setname_np(thread, name);
    return thread;
}
