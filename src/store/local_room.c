/* The offline tools that make room: who takes how much, and the end of a session or of retained messages without a
 * broker. They open the store as a start does, stage the same records as a broker would, and fold them. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store/local.h"
#include "store/scan.h"
#include "store/text.h"

struct room_session {
    session_id_t id;
    char *client_id;
    size_t client_id_bytes;
    uint64_t messages; /* in its queue */
    uint64_t bytes;
    uint64_t subscriptions;
    struct record_session said; /* but for the client id */
};

/* What a load has told. */
struct room {
    struct room_session *sessions; /* by id */
    size_t count;
    size_t capacity;
    struct buf cleared; /* records that clear retained messages, encoded: a length, and so many bytes of a topic */
    uint64_t retained;
    uint64_t retained_bytes;
    bool (*matches)(void *user, struct span topic); /* which retained messages are to be cleared; NULL: none */
    void *user;
};

static void room_session(void *user, session_id_t id, const struct record_session *s) {
    struct room *room = user;
    if (room->count == room->capacity) {
        room->capacity = room->capacity > 0 ? room->capacity * 2 : 64;
        room->sessions = mem_resize(room->sessions, room->capacity * sizeof *room->sessions);
    }
    room->sessions[room->count++] = (struct room_session){.id = id,
                                                          .client_id = mem_copy(s->client_id.ptr, s->client_id.len),
                                                          .client_id_bytes = s->client_id.len,
                                                          .said = *s};
}

static int by_id(const void *a, const void *b) {
    session_id_t x = *(const session_id_t *)a;
    session_id_t y = ((const struct room_session *)b)->id;
    return x < y ? -1 : x > y;
}

/* Sessions are told in the order of their ids. */
static struct room_session *room_find(struct room *room, session_id_t id) {
    return room->count > 0 ? bsearch(&id, room->sessions, room->count, sizeof *room->sessions, by_id) : NULL;
}

static void room_subscription(void *user, session_id_t id, const struct record_subscribed *s) {
    struct room_session *session = room_find(user, id);
    (void)s;
    if (session != NULL) {
        session->subscriptions++;
    }
}

static void room_queue(void *user, session_id_t id, uint64_t count, uint64_t bytes) {
    struct room_session *session = room_find(user, id);
    if (session != NULL) {
        session->messages = count;
        session->bytes = bytes;
    }
}

static void room_retained(void *user, struct message *m) {
    struct room *room = user;
    room->retained++;
    room->retained_bytes += message_bytes(m);
    if (room->matches != NULL && room->matches(room->user, message_topic(m))) {
        uint32_t bytes = (uint32_t)message_topic(m).len;
        buf_bytes(&room->cleared, span_of(&bytes, sizeof bytes));
        buf_bytes(&room->cleared, message_topic(m));
    }
    message_unref(m);
}

static void room_held(void *user, session_id_t id, packet_id_t packet_id) {
    (void)user;
    (void)id;
    (void)packet_id;
}

static void room_flight(void *user, session_id_t id, const struct store_flight *f) {
    (void)user;
    (void)id;
    (void)f;
}

static void room_will(void *user, const struct record_will *w) {
    (void)user;
    (void)w;
}

static void room_deinit(struct room *room) {
    for (size_t i = 0; i < room->count; i++) {
        mem_free(room->sessions[i].client_id);
    }
    mem_free(room->sessions);
    buf_deinit(&room->cleared);
}

/* The length of the shortest file, of those that were used when `used`; 0: there is none. */
static uint64_t shortest_file(const struct scan *scan, bool used) {
    uint64_t shortest = 0;
    for (uint32_t i = 0; i < scan->file_count; i++) {
        uint64_t bytes = scan->files[i].size / BLOCK_BYTES * BLOCK_BYTES;
        if (bytes >= 4 * BLOCK_BYTES && (scan->files[i].begun || !used) && (shortest == 0 || bytes < shortest)) {
            shortest = bytes;
        }
    }
    return shortest;
}

/* Files as long as those that are there: a full disk has no room for longer ones. One that was never used may be
 * shorter because a crash has left it half made, and then a long record would fit into none. */
static bool options_of(const struct disk *disk, struct store_local_options *options, struct error *error) {
    struct scan scan;
    if (!scan_open(&scan, disk, error)) {
        return false;
    }
    options->segment_bytes = shortest_file(&scan, true);
    options->segment_bytes = options->segment_bytes != 0 ? options->segment_bytes : shortest_file(&scan, false);
    options->segments_max = scan.file_count > 16 ? scan.file_count : 16;
    scan_close(&scan);
    return true;
}

static struct store *room_open(const struct disk *disk, struct table *table, struct room *room, struct error *error) {
    struct store_local_options options = {.salt = 1}; /* mixed with the salt that the store has */
    struct store_sink sink = {.user = room,
                              .session = room_session,
                              .subscription = room_subscription,
                              .held = room_held,
                              .flight = room_flight,
                              .queue = room_queue,
                              .will = room_will,
                              .retained = room_retained};
    struct store *store = options_of(disk, &options, error) ? store_local_open(disk, table, &options, error) : NULL;
    if (store != NULL && !store_load(store, &sink, error)) {
        store_local_close(store);
        return NULL;
    }
    return store;
}

/* Until the record `last` is durable, and in the table; then space is given back. */
static bool room_finish(struct store *store, lsn_t last, struct error *error) {
    enum store_step step;
    do {
        step = store_local_commit_step(store);
        if (step == STORE_STEP_IDLE || step == STORE_STEP_WAIT) {
            step = store_local_checkpoint_step(store, true);
        }
    } while (step == STORE_STEP_MORE || step == STORE_STEP_DONE);
    while (step != STORE_STEP_FAILED && store_local_rest_step(store) == STORE_STEP_MORE) {
    }
    if (store_failed(store)) {
        *error = store->error;
        return false;
    }
    if (store_folded(store) < last) {
        return error_set(error, ERROR_NO_SPACE, 0, "the disk has no room even for this: free some of it");
    }
    return true;
}

static int by_bytes(const void *a, const void *b) {
    const struct room_session *x = a;
    const struct room_session *y = b;
    return x->bytes > y->bytes ? -1 : x->bytes < y->bytes ? 1 : x->id < y->id ? -1 : x->id > y->id;
}

bool store_local_list(const struct disk *disk, struct table *table, struct buf *out, struct error *error) {
    struct room room = {.sessions = NULL};
    struct store *store = room_open(disk, table, &room, error);
    bool ok = store != NULL;
    if (ok && room.count > 1) {
        qsort(room.sessions, room.count, sizeof *room.sessions, by_bytes);
    }
    for (size_t i = 0; ok && i < room.count; i++) {
        const struct room_session *s = &room.sessions[i];
        text_add(out, "%12" PRIu64 " bytes in %9" PRIu64 " messages, %6" PRIu64 " subscriptions: ", s->bytes,
                 s->messages, s->subscriptions);
        struct record record = {.kind = RECORD_SESSION, .session = s->said};
        record.session.client_id = span_of(s->client_id, s->client_id_bytes);
        record_print(out, s->id, &record);
        text_add(out, "\n");
    }
    if (ok) {
        text_add(out,
                 "%zu sessions; %" PRIu64 " retained messages with %" PRIu64 " bytes; %" PRIu64 " bytes on the disk\n",
                 room.count, room.retained, room.retained_bytes, store_local_disk_bytes(store));
        ok = room_finish(store, store_durable(store), error);
        store_local_close(store);
    }
    room_deinit(&room);
    return ok;
}

bool store_local_end_session(const struct disk *disk, struct table *table, struct span client_id, struct buf *out,
                             struct error *error) {
    struct room room = {.sessions = NULL};
    struct store *store = room_open(disk, table, &room, error);
    bool ok = false;
    lsn_t last = 0;
    for (size_t i = 0; store != NULL && i < room.count && !ok; i++) {
        const struct room_session *s = &room.sessions[i];
        if (span_equal(client_id, span_of(s->client_id, s->client_id_bytes))) {
            struct record record = {.kind = RECORD_SESSION_END, .end = {s->id}};
            last = store_stage(store, &record);
            text_add(out, "ended: %" PRIu64 " messages with %" PRIu64 " bytes waited for it\n", s->messages, s->bytes);
            ok = true;
        }
    }
    if (store != NULL) {
        ok = ok ? room_finish(store, last, error) : error_set(error, ERROR_INVALID, 0, "no session has this client id");
        store_local_close(store);
    }
    room_deinit(&room);
    return ok;
}

bool store_local_clear_retained(const struct disk *disk, struct table *table,
                                bool (*matches)(void *user, struct span topic), void *user, struct buf *out,
                                struct error *error) {
    struct room room = {.matches = matches, .user = user};
    struct store *store = room_open(disk, table, &room, error);
    bool ok = store != NULL;
    uint64_t count = 0;
    lsn_t last = 0;
    for (size_t at = 0; ok && at < room.cleared.len; count++) {
        uint32_t bytes;
        memcpy(&bytes, room.cleared.ptr + at, sizeof bytes);
        struct record record = {
            .kind = RECORD_MESSAGE,
            .message = {.set_retained = true,
                        .accepted_at = store->clock.time,
                        .parts = {.retain = true, .topic = span_of(room.cleared.ptr + at + sizeof bytes, bytes)}}};
        last = store_stage(store, &record);
        at += sizeof bytes + bytes;
    }
    if (ok) {
        text_add(out, "cleared: %" PRIu64 " of %" PRIu64 " retained messages\n", count, room.retained);
        ok = room_finish(store, last, error);
        store_local_close(store);
    }
    room_deinit(&room);
    return ok;
}
