/* A message as the application is given it: one allocation that holds everything it points to. */
#include <stdatomic.h>

#include "base/mem.h"
#include "base/reader.h"
#include "lib/lib.h"
#include "packet/property.h"

struct kept {
    _Atomic uint32_t references;
    _Atomic bool kept; /* beyond its callback */
    struct quartet_message message;
    /* user properties, subscription identifiers, strings, payload */
};

/* What a block of properties needs in memory. */
struct needs {
    size_t users;
    size_t string_bytes;
};

/* One property of a block: its value as a span, of a pair both. False at the end, or when the block is broken. */
static bool next_property(struct reader *r, uint32_t *id, struct span *first, struct span *second) {
    if (reader_left(r) == 0) {
        return false;
    }
    *id = reader_varint(r);
    const struct property_row *row = property_row_of(*id);
    if (row == NULL) {
        return false;
    }
    switch (row->kind) {
    case PROPERTY_BYTE:
        *first = reader_bytes(r, 1);
        break;
    case PROPERTY_U16:
        *first = reader_bytes(r, 2);
        break;
    case PROPERTY_U32:
        *first = reader_bytes(r, 4);
        break;
    case PROPERTY_VARINT:
        (void)reader_varint(r);
        break;
    case PROPERTY_STRING:
    case PROPERTY_TOPIC:
    case PROPERTY_BINARY:
        *first = reader_prefixed(r);
        break;
    case PROPERTY_PAIR:
        *first = reader_prefixed(r);
        *second = reader_prefixed(r);
        break;
    }
    return !r->failed;
}

static struct needs needs_of(struct span properties) {
    struct needs n = {0, 0};
    struct reader r = reader_of(properties);
    uint32_t id = 0;
    struct span first = {NULL, 0};
    struct span second = {NULL, 0};
    while (next_property(&r, &id, &first, &second)) {
        if (id == 0x26) {
            n.users++;
            n.string_bytes += second.len + 1;
        }
        n.string_bytes += first.len + 1;
    }
    return n;
}

/* Copies bytes and a NUL to *at, and moves it. */
static char *put(char **at, struct span bytes) {
    char *to = *at;
    if (bytes.len > 0) {
        memcpy(to, bytes.ptr, bytes.len);
    }
    to[bytes.len] = '\0';
    *at += bytes.len + 1;
    return to;
}

static void fill_properties(struct quartet_properties *p, struct span properties, struct quartet_user_property *users,
                            char **at) {
    struct reader r = reader_of(properties);
    uint32_t id = 0;
    struct span first = {NULL, 0};
    struct span second = {NULL, 0};
    p->user = users;
    while (next_property(&r, &id, &first, &second)) {
        switch (id) {
        case 0x01:
            p->payload_is_text = first.ptr[0] == 1;
            break;
        case 0x03:
            p->content_type = put(at, first);
            break;
        case 0x08:
            p->response_topic = put(at, first);
            break;
        case 0x09:
            p->correlation_data = put(at, first);
            p->correlation_bytes = first.len;
            break;
        case 0x26:
            users[p->user_count].name = put(at, first);
            users[p->user_count++].value = put(at, second);
            break;
        default:
            break;
        }
    }
    if (p->user_count == 0) {
        p->user = NULL;
    }
}

/* Subscription identifiers as they came: one encoded property after the other. At most one for two bytes. */
static size_t fill_identifiers(uint32_t *to, struct span encoded) {
    struct reader r = reader_of(encoded);
    size_t count = 0;
    while (reader_left(&r) > 0) {
        (void)reader_u8(&r);
        uint32_t identifier = reader_varint(&r);
        if (!r.failed) {
            to[count++] = identifier;
        }
    }
    return count;
}

struct quartet_message *lib_message(const struct quartet *q, const struct client_delivery *d) {
    struct span topic = message_topic(d->message);
    struct span payload = message_payload(d->message);
    struct span properties = message_properties(d->message);
    struct needs n = needs_of(properties);
    size_t users_bytes = n.users * sizeof(struct quartet_user_property);
    size_t identifiers_bytes = d->subscription_identifiers.len / 2 * sizeof(uint32_t);
    struct kept *k =
        mem_alloc(sizeof *k + users_bytes + identifiers_bytes + n.string_bytes + topic.len + 1 + payload.len + 1);
    struct quartet_user_property *users = (void *)(k + 1);
    uint32_t *identifiers = (void *)((char *)users + users_bytes);
    char *at = (char *)identifiers + identifiers_bytes;
    atomic_init(&k->references, 1);
    atomic_init(&k->kept, false);
    k->message = (struct quartet_message){
        .topic_bytes = topic.len,
        .payload_bytes = payload.len,
        .qos = d->qos,
        .retain = d->retain,
        .redelivered = d->redelivered,
        .packet_id = d->packet_id,
        .position.sequence = d->sequence,
        .properties.has_expiry = d->has_expiry,
        .properties.expiry_s = d->expiry_s,
    };
    k->message.topic = put(&at, topic);
    k->message.payload = put(&at, payload);
    memcpy(k->message.position.epoch, q->epoch, sizeof q->epoch);
    fill_properties(&k->message.properties, properties, users, &at);
    size_t count = fill_identifiers(identifiers, d->subscription_identifiers);
    k->message.properties.subscription_identifier_count = count;
    k->message.properties.subscription_identifiers = count > 0 ? identifiers : NULL;
    message_unref(d->message);
    return &k->message;
}

/* Only messages that lib_message() has made are ever given to an application. */
static struct kept *kept_of(const struct quartet_message *message) {
    return (struct kept *)((uintptr_t)message - offsetof(struct kept, message));
}

bool lib_message_kept(const struct quartet_message *message) {
    return atomic_load(&kept_of(message)->kept);
}

struct quartet_message *quartet_message_keep(struct quartet_message *message) {
    struct kept *k = kept_of(message);
    atomic_store(&k->kept, true);
    atomic_fetch_add_explicit(&k->references, 1, memory_order_relaxed);
    return message;
}

void quartet_message_free(struct quartet_message *message) {
    if (message != NULL && atomic_fetch_sub(&kept_of(message)->references, 1) == 1) {
        mem_free(kept_of(message));
    }
}
