#include "session/qos_out.h"

#include "base/mem.h"
#include "base/must.h"
#include "packet/reason.h"

static struct flight *flight_of(struct link *l) {
    return container_of(l, struct flight, link);
}

void qos_out_init(struct qos_out *out, uint64_t seed, packet_id_t ids_max, enum mutant mutant) {
    *out = (struct qos_out){.by_id = map64_of(seed), .ids_max = ids_max, .mutant = mutant};
    list_init(&out->published);
    list_init(&out->released);
    out->resend_at = &out->published;
}

/* The flight has another body, or none. */
static void flight_body(struct qos_out *out, struct flight *f, struct message *message) {
    out->body_bytes -= f->message != NULL ? message_bytes(f->message) : 0;
    out->body_bytes += message != NULL ? message_bytes(message) : 0;
    message_unref(f->message);
    f->message = message;
}

static void flight_destroy(struct qos_out *out, struct flight *f) {
    flight_body(out, f, NULL);
    mem_free_sized(f, sizeof *f);
}

void qos_out_deinit(struct qos_out *out) {
    for (struct link *l; (l = list_pop_front(&out->published)) != NULL;) {
        flight_destroy(out, flight_of(l));
    }
    for (struct link *l; (l = list_pop_front(&out->released)) != NULL;) {
        flight_destroy(out, flight_of(l));
    }
    map64_deinit(&out->by_id);
    qos_out_init(out, out->by_id.seed, out->ids_max, out->mutant);
}

/* The published flight with the lowest packet id that is not sent yet: what the mutant ORDER resends next. */
static struct link *resend_lowest_id(struct qos_out *out) {
    struct link *lowest = &out->published;
    for (struct link *l = out->published.next; l != &out->published; l = l->next) {
        if (!flight_of(l)->sent_here &&
            (lowest == &out->published || flight_of(l)->packet_id < flight_of(lowest)->packet_id)) {
            lowest = l;
        }
    }
    return lowest;
}

static void resend_advance(struct qos_out *out) {
    if (__builtin_expect(out->mutant == MUTANT_ORDER, 0)) {
        out->resend_at = resend_lowest_id(out);
        return;
    }
    while (out->resend_at != &out->published && flight_of(out->resend_at)->sent_here) {
        out->resend_at = out->resend_at->next;
    }
}

void qos_out_connected(struct qos_out *out, uint16_t receive_maximum) {
    must(receive_maximum > 0);
    out->quota_max = receive_maximum;
    if (out->mutant != MUTANT_R5_CONNECTION || out->quota > receive_maximum) {
        out->quota = receive_maximum;
    }
    out->resend_count = 0;
    for (struct link *l = out->published.next; l != &out->published; l = l->next) {
        flight_of(l)->sent_before = true;
        flight_of(l)->sent_here = false;
        flight_of(l)->counted = false;
        out->resend_count++;
    }
    for (struct link *l = out->released.next; l != &out->released; l = l->next) {
        flight_of(l)->counted = false;
    }
    out->resend_at = out->published.next;
    resend_advance(out);
}

bool qos_out_ready(const struct qos_out *out) {
    return out->quota > 0 && out->resend_count == 0 && out->count < out->ids_max;
}

bool qos_out_must_resend(const struct qos_out *out) {
    return out->quota > 0 && out->resend_count > 0;
}

/* There is one, because count < ids_max (R4). */
packet_id_t qos_out_next_id(const struct qos_out *out, packet_id_t after) {
    must(out->count < out->ids_max);
    do {
        after = after >= out->ids_max ? 1 : (packet_id_t)(after + 1);
    } while (out->mutant != MUTANT_R4 && map64_get(&out->by_id, after) != NULL);
    return after;
}

static struct flight *flight_create(struct qos_out *out, packet_id_t packet_id, const struct flight_parts *parts) {
    struct flight *f = mem_alloc_sized(sizeof *f);
    *f = (struct flight){.message_lsn = parts->message_lsn,
                         .body_lsn = parts->body_lsn != 0 ? parts->body_lsn : parts->message_lsn,
                         .target = parts->target,
                         .packet_id = packet_id,
                         .qos = parts->qos,
                         .retain = parts->retain};
    flight_body(out, f, parts->message);
    struct flight *replaced = map64_put(&out->by_id, packet_id, f);
    must(replaced == NULL || out->mutant == MUTANT_R4);
    out->count++;
    return f;
}

static void quota_take(struct qos_out *out, struct flight *f) {
    f->sent_here = true;
    f->counted = true;
    out->quota--;
}

static void quota_return(struct qos_out *out, struct flight *f) {
    if (f->counted && out->quota < out->quota_max) {
        out->quota++;
    }
    f->counted = false;
}

struct flight *qos_out_begin(struct qos_out *out, const struct flight_parts *parts) {
    must(qos_out_ready(out) && parts->message != NULL);
    out->last_id = qos_out_next_id(out, out->last_id);
    struct flight *f = flight_create(out, out->last_id, parts);
    f->state = FLIGHT_PUBLISHED;
    quota_take(out, f);
    list_push_back(&out->published, &f->link);
    return f;
}

struct flight *qos_out_restore(struct qos_out *out, packet_id_t packet_id, bool released,
                               const struct flight_parts *parts) {
    struct flight *f = flight_create(out, packet_id, parts);
    f->state = released ? FLIGHT_RELEASED : FLIGHT_PUBLISHED;
    f->sent_before = true;
    list_push_back(released ? &out->released : &out->published, &f->link);
    if (packet_id > out->last_id) {
        out->last_id = packet_id;
    }
    return f;
}

struct flight *qos_out_resend_next(struct qos_out *out) {
    if (!qos_out_must_resend(out)) {
        return NULL;
    }
    must(out->resend_at != &out->published);
    struct flight *f = flight_of(out->resend_at);
    quota_take(out, f);
    out->resend_count--;
    resend_advance(out);
    return f;
}

void qos_out_body(struct qos_out *out, struct flight *f, struct message *message) {
    flight_body(out, f, message);
}

void qos_out_let_go(struct qos_out *out, lsn_t folded) {
    for (struct link *l = out->published.next; l != &out->published; l = l->next) {
        struct flight *f = flight_of(l);
        if (f->message_lsn != 0 && f->message_lsn <= folded && f->body_lsn == f->message_lsn) {
            flight_body(out, f, NULL);
        }
    }
}

struct flight *qos_out_find(const struct qos_out *out, packet_id_t packet_id) {
    return map64_get(&out->by_id, packet_id);
}

/* A published flight leaves its list: to be released or freed. */
static void published_leave(struct qos_out *out, struct flight *f) {
    if (out->resend_at == &f->link) {
        out->resend_at = f->link.next;
    }
    list_remove(&f->link);
    if (!f->sent_here) {
        out->resend_count--;
    }
    resend_advance(out);
}

enum qos_out_answer qos_out_puback(struct qos_out *out, packet_id_t packet_id, struct flight **flight) {
    struct flight *f = *flight = qos_out_find(out, packet_id);
    if (f == NULL) {
        return QOS_OUT_IGNORED;
    }
    return f->qos == 1 ? QOS_OUT_DONE : QOS_OUT_WRONG;
}

enum qos_out_answer qos_out_pubrec(struct qos_out *out, packet_id_t packet_id, uint8_t reason, struct flight **flight) {
    struct flight *f = *flight = qos_out_find(out, packet_id);
    bool refused = reason >= REASON_UNSPECIFIED_ERROR;
    if (f == NULL) {
        return refused ? QOS_OUT_IGNORED : QOS_OUT_UNKNOWN;
    }
    if (f->qos != 2) {
        return QOS_OUT_WRONG;
    }
    if (f->state == FLIGHT_RELEASED) {
        return refused ? QOS_OUT_IGNORED : QOS_OUT_AGAIN;
    }
    if (refused) {
        return QOS_OUT_DONE;
    }
    published_leave(out, f);
    f->state = FLIGHT_RELEASED;
    f->sent_here = true;
    list_push_back(&out->released, &f->link);
    flight_body(out, f, NULL);
    if (out->mutant == MUTANT_R5_QUOTA) {
        quota_return(out, f);
    }
    return QOS_OUT_RELEASED;
}

enum qos_out_answer qos_out_pubcomp(struct qos_out *out, packet_id_t packet_id, struct flight **flight) {
    struct flight *f = *flight = qos_out_find(out, packet_id);
    if (f == NULL) {
        return QOS_OUT_IGNORED;
    }
    return f->state == FLIGHT_RELEASED ? QOS_OUT_DONE : QOS_OUT_WRONG;
}

void qos_out_end(struct qos_out *out, struct flight *f) {
    if (f->state == FLIGHT_PUBLISHED) {
        published_leave(out, f);
    } else {
        list_remove(&f->link);
    }
    if (qos_out_find(out, f->packet_id) == f) {
        (void)map64_remove(&out->by_id, f->packet_id);
    }
    out->count--;
    quota_return(out, f);
    flight_destroy(out, f);
}
