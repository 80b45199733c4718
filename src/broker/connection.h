/* Connections: their life, their outbox, what they are told when they are wrong. Private to this folder. */
#pragma once

#include "broker/state.h"

struct connection *connection_create(struct shard *shard, const char *peer);
/* Frees a connection whose session was taken from it. */
void connection_destroy(struct connection *c);
/* NULL when the handle is dead. */
struct connection *connection_find(const struct shard *shard, struct conn_handle handle);

/* Before and after a packet is encoded: what is appended waits for `after`. */
struct buf *connection_begin(struct connection *c, lsn_t after);
void connection_commit(struct connection *c);
/* Ends a connection that an answer was too large for. */
void connection_end_too_large(struct connection *c);
/* Sends PUBACK, PUBREC, PUBREL or PUBCOMP. */
void connection_send_ack(struct connection *c, enum packet_type type, packet_id_t packet_id, uint8_t reason,
                         lsn_t after);

/* Ends a connection: its session goes on without it (or ends), its will is published unless `graceful`. 5.0 clients
 * are told `reason` (0: nothing is told). */
void connection_close(struct connection *c, uint8_t reason, bool graceful);
/* As connection_close(), without a word and without what is in its outbox. */
void connection_abort(struct connection *c);
/* The peer broke a rule: counted, logged, told, closed. */
void connection_wrong(struct connection *c, const struct verdict *verdict);

/* A PUBACK that waits for `after` uses the receive maximum until then. */
void connection_ack_waits(struct connection *c, lsn_t after);
/* How many do. */
uint32_t connection_acks(const struct connection *c);
/* Gives back what PUBACKs used that may leave now. */
void connection_acks_left(struct connection *c, lsn_t durable);

enum { CONNECTION_HEAVY_BYTES = 16 * 1024 };

/* To send what waits for it is work. */
static inline bool connection_heavy(const struct connection *c) {
    return outbox_bytes(&c->out) > CONNECTION_HEAVY_BYTES && c->state == CONNECTION_LIVE && !c->draining;
}

/* What goes to many comes behind all else: a connection waits for its own packets, not for those of others. */
static inline void connection_mark_dirty(struct connection *c) {
    struct shard *shard = c->shard;
    if (!link_linked(&c->dirty_link)) {
        c->later = shard->many;
        list_push_back(shard->many ? &shard->dirty_later : &shard->dirty, &c->dirty_link);
    } else if (c->later && !shard->many && !connection_heavy(c)) {
        c->later = false;
        list_remove(&c->dirty_link);
        list_push_back(&shard->dirty, &c->dirty_link);
    }
}
/* It keeps its buffers for a while. */
static inline void connection_used(struct connection *c) {
    c->busy = true;
    if (!link_linked(&c->busy_link)) {
        list_push_back(&c->shard->busy, &c->busy_link);
    }
}
