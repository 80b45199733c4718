/* Driven by hand: the engine as it is, and the store's steps in the caller's hands. */
#include <quartet/core.h>

#include "lib/lib.h"
#include "store/store_local.h"

enum { SEAL_AFTER_MS = 50 };

_Static_assert((int)QUARTET_CORE_NOTHING == (int)CLIENT_NOTHING, "same wishes");
_Static_assert((int)QUARTET_CORE_CONNECT == (int)CLIENT_CONNECT, "same wishes");
_Static_assert((int)QUARTET_CORE_CLOSE == (int)CLIENT_CLOSE, "same wishes");

/* The first call decides; what was published before has started threads, which end. */
static int drive_by_hand(struct quartet *q) {
    lock_take(&q->lock);
    enum drive drive = q->drive;
    if (drive == DRIVE_NONE) {
        q->drive = DRIVE_CORE;
    }
    lock_give(&q->lock);
    if (drive == DRIVE_NONE) {
        lib_store_rest(q);
    }
    return drive == DRIVE_NONE || drive == DRIVE_CORE
               ? QUARTET_OK
               : lib_fail(QUARTET_INVALID, "the client is driven already, by its own thread or quartet_handle()");
}

int quartet_core_time(struct quartet *q, int64_t monotonic_ms, int64_t wall_ms) {
    int code = drive_by_hand(q);
    if (code != QUARTET_OK) {
        return code;
    }
    lib_enter(q);
    q->core_now = monotonic_ms;
    q->core_wall = wall_ms;
    client_time(q->client, monotonic_ms, wall_ms);
    lib_leave(q);
    return QUARTET_OK;
}

enum quartet_core_wish quartet_core_wish(struct quartet *q, const char **server) {
    uint32_t index = 0;
    lib_enter(q);
    enum client_wish wish = client_wish(q->client, &index);
    *server = wish == CLIENT_CONNECT ? client_server(q->client, index) : NULL;
    lib_leave(q);
    return (enum quartet_core_wish)wish;
}

void quartet_core_opened(struct quartet *q) {
    lib_enter(q);
    client_opened(q->client);
    lib_leave(q);
}

void quartet_core_received(struct quartet *q, const void *bytes, size_t len) {
    lib_enter(q);
    client_received(q->client, span_of(bytes, len));
    lib_leave(q);
}

void quartet_core_closed(struct quartet *q, int error, const char *text) {
    lib_enter(q);
    client_closed(q->client, error, text);
    lib_leave(q);
}

size_t quartet_core_output(struct quartet *q, struct quartet_core_bytes *pieces, size_t max) {
    enum { MOST = 64 };
    struct iovec vectors[MOST];
    lib_enter(q);
    int count = client_output(q->client, vectors, max < MOST ? (int)max : MOST);
    lib_leave(q);
    for (int i = 0; i < count; i++) {
        pieces[i] = (struct quartet_core_bytes){vectors[i].iov_base, vectors[i].iov_len};
    }
    return (size_t)count;
}

void quartet_core_sent(struct quartet *q, size_t len) {
    lib_enter(q);
    client_sent(q->client, len);
    lib_leave(q);
}

/* After a pause the journal says that its last frame is durable. */
static enum store_step seal(struct quartet *q) {
    if (q->seal_at == 0 || q->core_now < q->seal_at) {
        return STORE_STEP_IDLE;
    }
    enum store_step step = store_local_seal_step(q->store.store);
    if (step != STORE_STEP_MORE) {
        q->seal_at = 0;
    }
    return step;
}

static enum store_step store_step(struct quartet *q) {
    struct store *store = q->store.store;
    enum store_step step = store_local_commit_step(store);
    if (step == STORE_STEP_DONE) {
        q->seal_at = q->core_now + SEAL_AFTER_MS;
    }
    if (step == STORE_STEP_IDLE || step == STORE_STEP_WAIT) {
        enum store_step fold = store_local_checkpoint_step(store, false);
        step = fold == STORE_STEP_IDLE && step == STORE_STEP_IDLE ? seal(q) : fold == STORE_STEP_IDLE ? step : fold;
    }
    return step;
}

int quartet_core_store(struct quartet *q) {
    if (!q->store.durable) {
        return 0;
    }
    enum store_step step = store_step(q);
    if (step == STORE_STEP_IDLE) {
        return 0;
    }
    lib_enter(q);
    client_stored(q->client);
    lib_leave(q);
    switch (step) {
    case STORE_STEP_WAIT:
        return lib_fail(QUARTET_STORE_FULL, "the disk is full");
    case STORE_STEP_FAILED:
        return lib_store_state(q);
    case STORE_STEP_IDLE:
    case STORE_STEP_MORE:
    case STORE_STEP_DONE:
        break;
    }
    return 1;
}

bool quartet_core_deliver(struct quartet *q) {
    bool any = lib_deliver(q);
    if (q->close_later) {
        lib_destroy(q);
    }
    return any;
}

int64_t quartet_core_deadline_ms(struct quartet *q) {
    lib_enter(q);
    int64_t at = client_deadline(q->client);
    lib_leave(q);
    return q->seal_at != 0 && (at < 0 || q->seal_at < at) ? q->seal_at : at;
}
