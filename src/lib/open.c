#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "lib/lib.h"

/* ---- opening ---- */

static int check(struct quartet_options *options, const struct quartet_options *given, size_t size) {
    struct error text = {0};
    int code = QUARTET_INVALID;
    if (given == NULL || !lib_copy_sized(options, sizeof *options, given, size)) {
        return lib_fail(QUARTET_INVALID,
                        given == NULL ? "there are no options" : "options has fields that this library does not know");
    }
    if (!client_options_complete(options, &code, &text)) {
        return lib_fail(code, "%s", text.text);
    }
    return address_check_all(options->servers, &text) ? QUARTET_OK : lib_fail_error(&text);
}

static void cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attributes;
    must(pthread_condattr_init(&attributes) == 0);
    must(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    must(pthread_cond_init(cond, &attributes) == 0);
    must(pthread_condattr_destroy(&attributes) == 0);
}

static bool watch(const struct quartet *q, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return fd >= 0 && epoll_ctl(q->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* A system that has just started may have no randomness yet, and a signal may come while it is waited for. */
void lib_random(void *to, size_t bytes) {
    ssize_t got;
    do {
        got = getrandom(to, bytes, 0);
    } while (got < 0 && errno == EINTR);
    must(got == (ssize_t)bytes);
}

static int open_descriptors(struct quartet *q) {
    q->epoll = epoll_create1(EPOLL_CLOEXEC);
    q->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    q->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (q->epoll < 0 || !watch(q, q->wake) || !watch(q, q->timer)) {
        return lib_fail(QUARTET_SYSTEM, "the system refuses a descriptor: %s", strerror(errno));
    }
    return QUARTET_OK;
}

static int create_engine(struct quartet *q) {
    struct error text = {0};
    struct client_setup setup = {.options = &q->options, .store = q->store.store, .ids_max = 65535};
    memcpy(setup.epoch, q->epoch, sizeof q->epoch);
    lib_random(&setup.seed, sizeof setup.seed);
    lib_refusals_init(&q->refusals, setup.seed);
    q->client = client_create(&setup, &text);
    if (q->client == NULL) {
        return lib_fail_error(&text);
    }
    q->last_id = store_durable(q->store.store);
    return QUARTET_OK;
}

static struct quartet *create(const struct quartet_options *options) {
    struct quartet *q = mem_zero(1, sizeof *q);
    q->options = *options;
    if (options->bind_address != NULL) {
        q->bind_address = mem_copy(options->bind_address, strlen(options->bind_address));
    }
    q->epoll = q->wake = q->timer = -1;
    q->asleep = true;
    lock_init(&q->lock);
    cond_init(&q->changed);
    cond_init(&q->stored);
    transport_init(&q->transport);
    return q;
}

int quartet_open_sized(struct quartet **client, const struct quartet_options *options, size_t size) {
    struct quartet_options complete;
    *client = NULL;
    int code = check(&complete, options, size);
    if (code != QUARTET_OK) {
        return code;
    }
    struct quartet *q = create(&complete);
    code = open_descriptors(q);
    if (code == QUARTET_OK) {
        code = lib_store_open(q);
    }
    if (code == QUARTET_OK) {
        code = create_engine(q);
    }
    if (code != QUARTET_OK) {
        lib_destroy(q);
        return code;
    }
    *client = q;
    return QUARTET_OK;
}

/* ---- closing ---- */

static void close_descriptor(int fd) {
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* Calls that began before the closing see that it has begun, and leave. */
static void wait_for_calls(struct quartet *q) {
    lock_take(&q->lock);
    while (atomic_load(&q->inside) > 0) {
        must(pthread_cond_broadcast(&q->stored) == 0);
        must(pthread_cond_broadcast(&q->changed) == 0);
        must(pthread_cond_wait(&q->changed, &q->lock.mutex) == 0);
    }
    lock_give(&q->lock);
}

void lib_destroy(struct quartet *q) {
    wait_for_calls(q);
    lib_store_rest(q);
    transport_deinit(q);
    if (q->client != NULL) {
        client_destroy(q->client);
    }
    lib_store_close(q);
    close_descriptor(q->timer);
    close_descriptor(q->wake);
    close_descriptor(q->epoll);
    must(pthread_cond_destroy(&q->stored) == 0);
    must(pthread_cond_destroy(&q->changed) == 0);
    lock_deinit(&q->lock);
    lib_events_deinit(&q->events);
    lib_refusals_deinit(&q->refusals);
    mem_free(q->bind_address);
    mem_free(q);
}

/* Nothing new begins, and those who wait return. False when somebody closes already. */
static bool close_begins(struct quartet *q, bool later) {
    lock_take(&q->lock);
    bool first = !q->closing;
    q->closing = true;
    q->close_later = q->close_later || (first && later);
    lib_wake(q);
    must(pthread_cond_broadcast(&q->changed) == 0);
    must(pthread_cond_broadcast(&q->stored) == 0);
    lock_give(&q->lock);
    return first;
}

/* A loop of another thread, in its callbacks perhaps, ends its turn first. */
static void wait_for_loop(struct quartet *q) {
    lock_take(&q->lock);
    while (q->driving) {
        must(pthread_cond_wait(&q->changed, &q->lock.mutex) == 0);
    }
    lock_give(&q->lock);
}

void quartet_close(struct quartet *q) {
    if (q == NULL) {
        return;
    }
    bool later = lib_in_callback(q);
    if (!close_begins(q, later) || later) {
        return;
    }
    if (q->drive == DRIVE_THREAD) {
        must(pthread_join(q->thread, NULL) == 0);
    } else if (q->drive == DRIVE_LOOP) {
        wait_for_loop(q);
        lib_goodbye(q);
    }
    lib_destroy(q);
}
