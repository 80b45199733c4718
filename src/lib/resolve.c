#include "lib/resolve.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "net/thread.h"

struct resolving {
    _Atomic unsigned references; /* the thread's and the asker's */
    _Atomic bool ready;          /* the thread has written the rest */
    struct server_address address;
    int wake; /* a duplicate: it outlives the client */
    int code;
    struct addrinfo *addresses;
};

static int look_up(const struct server_address *address, int flags, struct addrinfo **addresses) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
    return getaddrinfo(address->host, address->port, &hints, addresses);
}

void resolve_drop(struct resolving *r) {
    if (r == NULL || atomic_fetch_sub(&r->references, 1) != 1) {
        return;
    }
    if (r->addresses != NULL) {
        freeaddrinfo(r->addresses);
    }
    (void)close(r->wake);
    mem_free(r);
}

static void *resolve_main(void *argument) {
    struct resolving *r = argument;
    r->code = look_up(&r->address, AI_ADDRCONFIG, &r->addresses);
    atomic_store(&r->ready, true);
    uint64_t one = 1;
    (void)!write(r->wake, &one, sizeof one);
    resolve_drop(r);
    return NULL;
}

bool resolve_begin(const struct server_address *address, int wake, struct resolving **resolving,
                   struct addrinfo **addresses) {
    *resolving = NULL;
    *addresses = NULL;
    if (look_up(address, AI_NUMERICHOST, addresses) == 0) {
        return true;
    }
    int duplicate = fcntl(wake, F_DUPFD_CLOEXEC, 0);
    if (duplicate < 0) {
        return false;
    }
    struct resolving *r = mem_zero(1, sizeof *r);
    r->references = 2;
    r->address = *address;
    r->wake = duplicate;
    pthread_t thread;
    if (thread_try(&thread, "resolve", resolve_main, r) != 0) {
        r->references = 1;
        resolve_drop(r);
        return false;
    }
    must(pthread_detach(thread) == 0);
    *resolving = r;
    return true;
}

bool resolve_ready(struct resolving *r, int *code, struct addrinfo **addresses) {
    if (!atomic_load(&r->ready)) {
        return false;
    }
    *code = r->code;
    *addresses = r->addresses;
    r->addresses = NULL;
    resolve_drop(r);
    return true;
}
