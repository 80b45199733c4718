/* Shards driven by hand: what goes in are packets, time and how far the store is durable; what comes out are lines of
 * text, one for each packet, as packet_print() writes them. Nothing is durable before durable_all() says so, unless
 * `at_once` is set. */
#pragma once

#include <stdio.h>

#include "fake_store.h"

#include "base/map.h"
#include "broker/broker.h"
#include "packet/packet.h"
#include "packet/property.h"

enum { LINE_BYTES = 1024, GARBAGE_MAX = 32768, LAST_WORDS_MAX = 64, SHARDS_IN_TEST = 8 };

/* What a connection's socket took when its client was back on another one. */
struct last_words {
    unsigned shard;
    struct conn_handle handle;
    struct buf bytes;
};

struct world {
    struct broker_options options;
    struct fake_store store;
    struct broker *broker;
    mono_ms_t now;
    wall_ms_t wall;
    bool in_turn[SHARDS_IN_TEST];
    bool at_once; /* what is staged is durable when the next turn begins */
    struct {
        void *memory;
        void (*free_function)(void *memory);
    } garbage[GARBAGE_MAX];
    size_t garbage_count;
    bool blocked; /* sockets take nothing of what an old connection has to say at last */
    struct last_words last_words[LAST_WORDS_MAX];
    size_t last_words_count;
    char log[LINE_BYTES]; /* the last line */
    unsigned log_lines;
    uint64_t random; /* bytes drawn */
};

/* A client as a socket sees it. */
struct peer {
    struct world *w;
    unsigned shard;
    struct conn_handle handle; /* {0,0}: it was closed */
    const char *from;          /* the text of its address */
    enum protocol protocol;
    struct buf received;
    char line[LINE_BYTES];
};

static inline void world_log(void *user, enum log_level level, const char *kind, const char *line) {
    (void)kind;
    struct world *w = user;
    (void)level;
    (void)snprintf(w->log, sizeof w->log, "%s", line);
    w->log_lines++;
}

static inline void world_reclaim(void *user, void *memory, void (*free_function)(void *memory)) {
    struct world *w = user;
    assert_true(w->garbage_count < GARBAGE_MAX);
    w->garbage[w->garbage_count].memory = memory;
    w->garbage[w->garbage_count++].free_function = free_function;
}

/* The same numbers each time that a broker is made. */
static inline void world_random(void *user, void *out, size_t bytes) {
    struct world *w = user;
    for (size_t i = 0; i < bytes; i++) {
        ((uint8_t *)out)[i] = (uint8_t)hash64(w->random++, 42);
    }
}

static inline void world_sweep(struct world *w) {
    for (size_t i = 0; i < w->garbage_count; i++) {
        w->garbage[i].free_function(w->garbage[i].memory);
    }
    w->garbage_count = 0;
}

/* A world with default options, to be changed before world_open(). */
static inline struct world *world_new(void) {
    struct world *w = mem_zero(1, sizeof *w);
    w->options = broker_options_default();
    w->options.strain_share = 1; /* whoever sends anything while the store is busy waits */
    w->now = 1000000;
    w->wall = 1700000000000;
    fake_init(&w->store);
    return w;
}

static inline struct shard *world_shard(const struct world *w, unsigned i) {
    return broker_shard(w->broker, i);
}

/* The store is told durable up to `lsn`; each shard has a turn. */
static inline void durable_to(struct world *w, lsn_t lsn) {
    atomic_store(&w->store.store.durable, lsn);
}

/* All that may leave goes to `out`, at most `max` bytes. */
static inline void take_output(struct shard *shard, struct conn_handle handle, struct buf *out, size_t max) {
    struct iovec iov[8];
    int count;
    while (max > 0 && shard_wish(shard, handle) != CONN_ABORT && (count = shard_output(shard, handle, iov, 8)) > 0) {
        size_t taken = 0;
        for (int i = 0; i < count; i++) {
            size_t bytes = iov[i].iov_len < max - taken ? iov[i].iov_len : max - taken;
            buf_bytes(out, span_of(iov[i].iov_base, bytes));
            taken += bytes;
        }
        shard_sent(shard, handle, taken);
        max -= taken;
    }
}

/* The end of a turn as the network has it: of an old connection whose client is back nothing more is to be read, and
 * what it may still be told goes to its socket. */
static inline void turn_drain(struct world *w, unsigned i) {
    struct shard *shard = world_shard(w, i);
    struct conn_handle handle;
    while (shard_next_dirty(shard, &handle)) {
        if (shard_wish(shard, handle) == CONN_DRAIN) {
            shard_drained(shard, handle);
            assert_true(w->last_words_count < LAST_WORDS_MAX);
            struct last_words *last = &w->last_words[w->last_words_count++];
            *last = (struct last_words){.shard = i, .handle = handle};
            take_output(shard, handle, &last->bytes, w->blocked ? 0 : SIZE_MAX);
        }
    }
}

/* The end of a shard's turn; nothing may come before its next begins. */
static inline struct turn_result turn_end(struct world *w, unsigned i) {
    turn_drain(w, i);
    w->in_turn[i] = false;
    return shard_turn_end(world_shard(w, i));
}

/* The end of a shard's turn and the first half of its next, in which it stays: packets come within a turn. */
static inline void turn_begin(struct world *w, unsigned i) {
    struct shard *shard = world_shard(w, i);
    if (w->in_turn[i]) {
        (void)turn_end(w, i);
    }
    w->in_turn[i] = true;
    if (w->at_once) {
        durable_to(w, w->store.last);
    }
    shard_turn_begin(shard, w->now, w->wall, store_durable(&w->store.store));
}

static inline void turn_mail(struct world *w, unsigned i) {
    for (unsigned from = 0; from < broker_shards(w->broker); from++) {
        while (from != i && shard_mail(world_shard(w, i), from, 4096) > 0) {
        }
    }
}

static inline void turn(struct world *w) {
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < broker_shards(w->broker); i++) {
            turn_begin(w, i);
            turn_mail(w, i);
        }
    }
    world_sweep(w);
}

static inline void durable_all(struct world *w) {
    durable_to(w, w->store.last);
    turn(w);
}

static inline void fold_all(struct world *w) {
    durable_to(w, w->store.last);
    atomic_store(&w->store.store.folded, w->store.last);
    turn(w);
}

static inline void later(struct world *w, int64_t ms) {
    w->now += ms;
    w->wall += ms;
    turn(w);
}

static inline void tick(struct world *w, int64_t ms) {
    later(w, ms);
    for (unsigned i = 0; i < broker_shards(w->broker); i++) {
        shard_tick(world_shard(w, i));
    }
    turn(w);
}

static inline void world_open(struct world *w, unsigned shards) {
    struct broker_outside outside = {.user = w, .log = world_log, .reclaim = world_reclaim, .random = world_random};
    struct error error = {0};
    w->broker = broker_create(&w->options, &outside, &w->store.store, shards);
    assert_true(broker_load(w->broker, w->wall, &error));
    turn(w);
}

static inline void world_close(struct world *w) {
    broker_destroy(w->broker);
    world_sweep(w);
    fake_deinit(&w->store);
    for (size_t i = 0; i < w->last_words_count; i++) {
        buf_deinit(&w->last_words[i].bytes);
    }
    mem_free(w);
}

/* A world with one shard, or several, and default options. */
static inline struct world *world_of(unsigned shards) {
    struct world *w = world_new();
    world_open(w, shards);
    return w;
}

static inline struct shard_counters counters(const struct world *w) {
    struct shard_counters sum = {0};
    for (unsigned i = 0; i < broker_shards(w->broker); i++) {
        struct shard_counters one = shard_counters(world_shard(w, i));
#define ADD(name, text) sum.name += one.name;
        SHARD_COUNTER_ROWS(ADD)
#undef ADD
    }
    return sum;
}

/* ---- peers: in ---- */

static inline void peer_open_from(struct peer *p, struct world *w, enum protocol protocol, const char *from) {
    *p = (struct peer){.w = w, .from = from, .protocol = protocol, .received = {NULL, 0, 0}};
    p->handle = shard_opened(world_shard(w, 0), from);
}

static inline void peer_open(struct peer *p, struct world *w, enum protocol protocol) {
    peer_open_from(p, w, protocol, "peer");
}

static inline void peer_close(struct peer *p) {
    if (p->handle.generation != 0) {
        shard_closed(world_shard(p->w, p->shard), p->handle);
    }
    buf_deinit(&p->received);
    p->handle = (struct conn_handle){0, 0};
}

/* As the network does: a connection that belongs to another shard goes there. */
static inline void peer_move(struct peer *p) {
    struct buf bytes = {NULL, 0, 0};
    if (shard_wish(world_shard(p->w, p->shard), p->handle) != CONN_MOVE) {
        return;
    }
    p->shard = shard_move(world_shard(p->w, p->shard), p->handle, &bytes);
    p->handle = shard_opened(world_shard(p->w, p->shard), p->from);
    shard_bytes(world_shard(p->w, p->shard), p->handle, buf_span(&bytes));
    buf_deinit(&bytes);
}

/* A turn that has done enough is followed by another before more is read. */
static inline void say_bytes(struct peer *p, struct span bytes) {
    if (shard_spent(world_shard(p->w, p->shard))) {
        turn_begin(p->w, p->shard);
    }
    shard_bytes(world_shard(p->w, p->shard), p->handle, bytes);
    peer_move(p);
}

/* Sends what was encoded, and frees it. */
static inline void say_buf(struct peer *p, struct buf *b) {
    say_bytes(p, buf_span(b));
    buf_deinit(b);
}

struct connecting {
    const char *id;
    bool clean;
    uint32_t expiry_s; /* 5.0; 0: not sent */
    uint16_t keep_alive_s;
    uint16_t receive_maximum;  /* 5.0; 0: not sent */
    uint32_t packet_bytes_max; /* 5.0; 0: not sent */
    const char *will;          /* topic; NULL: none */
    uint32_t will_delay_s;     /* 5.0; 0: not sent */
    uint8_t will_qos;
    bool will_retain;
};

static inline void say_connect(struct peer *p, const struct connecting *c) {
    struct buf b = {NULL, 0, 0};
    struct packet_connect packet = {.protocol = (uint8_t)p->protocol,
                                    .clean_start = c->clean,
                                    .keep_alive_s = c->keep_alive_s,
                                    .client_id = span_str(c->id)};
    packet.properties.session_expiry_interval_s = c->expiry_s;
    packet.properties.receive_maximum = c->receive_maximum;
    packet.properties.maximum_packet_size = c->packet_bytes_max;
    packet.properties.present = (c->expiry_s > 0 ? PROPERTY_SESSION_EXPIRY_INTERVAL : 0U) |
                                (c->receive_maximum > 0 ? PROPERTY_RECEIVE_MAXIMUM : 0U) |
                                (c->packet_bytes_max > 0 ? PROPERTY_MAXIMUM_PACKET_SIZE : 0U);
    if (c->will != NULL) {
        packet.has_will = true;
        packet.will.topic = span_str(c->will);
        packet.will.payload = SPAN("will");
        packet.will.qos = c->will_qos;
        packet.will.retain = c->will_retain;
        packet.will.properties.will_delay_interval_s = c->will_delay_s;
        packet.will.properties.present = c->will_delay_s > 0 ? PROPERTY_WILL_DELAY_INTERVAL : 0U;
    }
    packet_encode_connect(&b, &packet);
    say_buf(p, &b);
}

/* Opens a connection and connects. A durable session: 3.1.1 not clean, 5.0 with an expiry of an hour. */
static inline void join(struct peer *p, struct world *w, enum protocol protocol, const char *id, bool durable) {
    peer_open(p, w, protocol);
    say_connect(p, &(struct connecting){.id = id, .clean = !durable, .expiry_s = durable ? 3600 : 0});
}

/* A client id that shard `shard` owns. */
static inline const char *client_on(const struct world *w, unsigned shard, const char *name) {
    static char id[16];
    for (unsigned n = 0;; n++) {
        (void)snprintf(id, sizeof id, "%s-%u", name, n);
        if (hash_bytes(span_str(id), 42) % broker_shards(w->broker) == shard) {
            return id;
        }
    }
}

struct publishing {
    uint8_t qos;
    packet_id_t id;
    bool dup, retain;
    const char *topic;
    const char *payload;
    uint32_t expiry_s; /* 5.0; 0: not sent */
};

static inline void say_publish(struct peer *p, const struct publishing *m) {
    struct buf b = {NULL, 0, 0};
    struct packet_publish packet = {.dup = m->dup,
                                    .qos = m->qos,
                                    .retain = m->retain,
                                    .packet_id = m->id,
                                    .topic = span_str(m->topic),
                                    .payload = span_str(m->payload != NULL ? m->payload : "")};
    packet.properties.message_expiry_interval_s = m->expiry_s;
    packet.properties.present = m->expiry_s > 0 ? PROPERTY_MESSAGE_EXPIRY_INTERVAL : 0U;
    packet_encode_publish(&b, p->protocol, &packet);
    say_buf(p, &b);
}

static inline void say_ack(struct peer *p, enum packet_type type, packet_id_t id, uint8_t reason) {
    struct buf b = {NULL, 0, 0};
    struct packet_ack packet = {.packet_id = id, .reason = reason};
    packet_encode_ack(&b, p->protocol, type, &packet);
    say_buf(p, &b);
}

static inline void say_subscribe_with(struct peer *p, packet_id_t id, const struct packet_filter *filter) {
    struct buf b = {NULL, 0, 0};
    struct properties none = {.present = 0};
    packet_encode_subscribe(&b, p->protocol, id, &none, filter, 1);
    say_buf(p, &b);
}

static inline void say_subscribe(struct peer *p, packet_id_t id, const char *filter, uint8_t qos) {
    say_subscribe_with(p, id, &(struct packet_filter){.filter = span_str(filter), .qos = qos});
}

static inline void say_unsubscribe(struct peer *p, packet_id_t id, const char *filter) {
    struct buf b = {NULL, 0, 0};
    struct properties none = {.present = 0};
    struct packet_filter f = {.filter = span_str(filter)};
    packet_encode_unsubscribe(&b, p->protocol, id, &none, &f, 1);
    say_buf(p, &b);
}

static inline void say_ping(struct peer *p) {
    struct buf b = {NULL, 0, 0};
    packet_encode_pingreq(&b);
    say_buf(p, &b);
}

static inline void say_disconnect(struct peer *p, uint8_t reason) {
    struct buf b = {NULL, 0, 0};
    struct packet_disconnect packet = {.reason = reason};
    packet_encode_disconnect(&b, p->protocol, &packet);
    say_buf(p, &b);
}

/* ---- peers: out ---- */

static inline enum conn_wish wish(const struct peer *p) {
    return shard_wish(world_shard(p->w, p->shard), p->handle);
}

/* Takes what may leave, at most `max` bytes of it. */
static inline void peer_read(struct peer *p, size_t max) {
    for (size_t i = 0; i < p->w->last_words_count; i++) {
        struct last_words *last = &p->w->last_words[i];
        if (last->shard == p->shard && last->handle.index == p->handle.index &&
            last->handle.generation == p->handle.generation) {
            buf_bytes(&p->received, buf_span(&last->bytes));
            last->bytes.len = 0;
        }
    }
    take_output(world_shard(p->w, p->shard), p->handle, &p->received, max);
}

/* The next packet as a line; "" when nothing (more) has come, "closed" at the end. */
static inline const char *hear(struct peer *p) {
    struct packet_limits limits = p->w->options.packet;
    struct packet_frame frame;
    struct verdict verdict;
    struct packet packet;
    struct buf text = {NULL, 0, 0};
    limits.packet_bytes_max = 1U << 24;
    peer_read(p, SIZE_MAX);
    /* The first packet from a server is CONNACK: any protocol lets it pass only when none is known. */
    enum protocol known = p->received.len > 0 && p->received.ptr[0] == 0x20 ? PROTOCOL_NONE : p->protocol;
    if (packet_frame(buf_span(&p->received), PACKET_FROM_SERVER, known, &limits, &frame, &verdict) != PACKET_WHOLE) {
        assert_int_equal(p->received.len, 0);
        enum conn_wish w = wish(p);
        return w == CONN_CLOSE || w == CONN_ABORT ? "closed" : "";
    }
    if (!packet_decode(&frame, p->protocol, &limits, &packet, &verdict)) {
        fail_msg("%s [%s]", verdict.text, verdict.statement);
    }
    packet_print(&text, p->protocol, &packet);
    (void)snprintf(p->line, sizeof p->line, "%.*s", (int)text.len, (const char *)text.ptr);
    buf_deinit(&text);
    buf_drop_front(&p->received, frame.bytes);
    return p->line;
}

/* The next packet must begin with this line; "" is nothing. */
#define expect(p, begins)                                                                                              \
    do {                                                                                                               \
        const char *heard_ = hear(p);                                                                                  \
        size_t length_ = strlen(begins);                                                                               \
        if (strncmp(heard_, (begins), length_) != 0 || (length_ == 0 && heard_[0] != '\0')) {                          \
            fail_msg("\"%s\" was expected, \"%s\" has come", (begins), heard_);                                        \
        }                                                                                                              \
    } while (0)

/* Nothing (more) may have come. */
#define expect_silence(p) assert_string_equal(hear(p), "")

/* Joins, and takes the CONNACK: all is durable afterwards. */
static inline void joined(struct peer *p, struct world *w, enum protocol protocol, const char *id, bool durable) {
    join(p, w, protocol, id, durable);
    durable_all(w);
    expect(p, "CONNACK");
}

static inline void subscribed(struct peer *p, const char *filter, uint8_t qos) {
    say_subscribe(p, 1, filter, qos);
    durable_all(p->w);
    expect(p, "SUBACK id=1");
}
