/* An application message: immutable once made, counted, shared by all who still need it, on any thread. */
#pragma once

#include <stdatomic.h>

#include "base/must.h"
#include "base/span.h"
#include "base/types.h"

struct message {
    _Atomic uint32_t references;
    uint8_t qos : 2; /* as published */
    bool retain : 1; /* the RETAIN flag as published */
    bool shell : 1;  /* only topic and owner are in memory; the sizes are those of the whole, which the table has by its
                        lsn */
    uint8_t owner_bytes; /* against whom it is held as long as it is retained; 0: not known, or it never is */
    uint16_t topic_bytes;
    uint32_t properties_bytes; /* encoded 5.0 properties that travel with the message */
    uint32_t payload_bytes;
    lsn_t lsn;            /* of its MESSAGE record; 0 when it has none. Set once, before it is shared. */
    wall_ms_t expires_at; /* 0: never */
    uint8_t bytes[];      /* topic, properties, payload, owner, one after the other */
};

/* What a message is made from; all spans are copied. */
struct message_parts {
    uint8_t qos;
    bool retain;
    wall_ms_t expires_at;
    struct span topic;
    struct span properties;
    struct span payload;
    struct span owner; /* at most MESSAGE_OWNER_MAX bytes */
};
enum { MESSAGE_OWNER_MAX = UINT8_MAX };

/* Returns a message with one reference. */
struct message *message_create(const struct message_parts *parts);
/* The shell of a message: the same lsn, flags, sizes, topic and owner, without properties and payload. One reference.
 */
struct message *message_shell(const struct message *m);
struct message *message_ref(struct message *m);
/* True when nobody else has a reference; stays so while the caller keeps others from its own. */
bool message_is_alone(const struct message *m);
/* Gives one reference back; the last one frees it. NULL is allowed. */
void message_unref(struct message *m);

static inline struct span message_topic(const struct message *m) {
    return span_of(m->bytes, m->topic_bytes);
}
static inline struct span message_properties(const struct message *m) {
    must(!m->shell);
    return span_of(m->bytes + m->topic_bytes, m->properties_bytes);
}
static inline struct span message_payload(const struct message *m) {
    must(!m->shell);
    return span_of(m->bytes + m->topic_bytes + m->properties_bytes, m->payload_bytes);
}
static inline struct span message_owner(const struct message *m) {
    size_t body = m->shell ? 0 : (size_t)m->properties_bytes + m->payload_bytes;
    return span_of(m->bytes + m->topic_bytes + body, m->owner_bytes);
}
/* What a whole message was made from, but its owner; views into it. */
static inline struct message_parts message_parts_of(const struct message *m) {
    return (struct message_parts){.qos = m->qos,
                                  .retain = m->retain,
                                  .expires_at = m->expires_at,
                                  .topic = message_topic(m),
                                  .properties = message_properties(m),
                                  .payload = message_payload(m)};
}
/* What it costs a queue: the bytes of body and bookkeeping. */
static inline size_t message_bytes(const struct message *m) {
    return sizeof *m + m->topic_bytes + m->properties_bytes + (size_t)m->payload_bytes;
}
