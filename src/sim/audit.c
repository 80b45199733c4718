/* Asks the disk of a real client what a power cut would leave at this very moment: whether what the client says rests
 * on what is there. The answer is the store's own recovery, on a copy. */
#include "base/must.h"
#include "sim/world.h"

/* What was found. */
struct found {
    session_id_t out, in; /* the two sessions of a client */
    packet_id_t packet_id;
    bool held, published, released;
    lsn_t message_lsn;
    uint64_t sequence; /* of the outbox */
};

static void on_session(void *user, session_id_t id, const struct record_session *s) {
    struct found *f = user;
    if (s->client_id.len > 3 && memcmp(s->client_id.ptr, "in:", 3) == 0) {
        f->in = id;
    } else {
        f->out = id;
    }
}

static void on_subscription(void *user, session_id_t id, const struct record_subscribed *s) {
    (void)user;
    (void)id;
    (void)s;
}

static void on_held(void *user, session_id_t id, packet_id_t packet_id) {
    struct found *f = user;
    f->held = f->held || (id == f->in && packet_id == f->packet_id);
}

static void on_flight(void *user, session_id_t id, const struct store_flight *flight) {
    struct found *f = user;
    if (id == f->out && flight->packet_id == f->packet_id) {
        f->published = !flight->released;
        f->released = flight->released;
        f->message_lsn = flight->message_lsn;
    }
}

static void on_queue(void *user, session_id_t id, uint64_t count, uint64_t bytes) {
    (void)user;
    (void)id;
    (void)count;
    (void)bytes;
}

static void on_will(void *user, const struct record_will *will) {
    (void)user;
    (void)will;
}

static void on_position(void *user, session_id_t id, uint64_t sequence) {
    struct found *f = user;
    f->sequence = id == f->out ? sequence : f->sequence;
}

static void on_retained(void *user, struct message *m) {
    (void)user;
    message_unref(m);
}

static bool wanted(struct world *w) {
    return w->plan->audits != 0 && !w->forked && (w->plan->audits == 1 || choose(w->choices, w->plan->audits) == 0);
}

/* What a power cut would leave; false when it could not even be opened. The copy is left open for questions. */
static bool look(struct world *w, const struct peer *p, struct machine *copy, struct found *f) {
    struct error error = {0};
    struct store_local_options options = w->plan->store;
    const struct store_sink sink = {.user = f,
                                    .session = on_session,
                                    .subscription = on_subscription,
                                    .held = on_held,
                                    .flight = on_flight,
                                    .queue = on_queue,
                                    .will = on_will,
                                    .position = on_position,
                                    .retained = on_retained};
    w->counts.audits++;
    machine_fork(copy, &p->machine, w->choices, SIM_POWER_DROP);
    if (!machine_open(copy, &options, &error) || !store_load(copy->store, &sink, &error)) {
        world_fail(w, "start", "c%d could not start after a power cut now: %s", p->index, error.text);
        return false;
    }
    return true;
}

static bool same_message(struct store *store, lsn_t lsn, const struct mini_packet *packet) {
    struct message *m = lsn != 0 ? store_message(store, lsn) : NULL;
    const bool same = m != NULL && span_equal(message_payload(m), packet->payload);
    message_unref(m);
    return same;
}

void audit_packet(struct world *w, const struct peer *p, const struct mini_packet *packet) {
    struct machine copy;
    struct found f = {.packet_id = packet->id};
    if (packet->type == MINI_PUBACK || packet->reason >= 0x80 || !wanted(w)) {
        return;
    }
    if (look(w, p, &copy, &f)) {
        if (packet->type == MINI_PUBLISH && !(f.published && same_message(copy.store, f.message_lsn, packet))) {
            world_fail(w, "B1", "c%d publishes under id %u, which its disk does not know", p->index, packet->id);
        } else if (packet->type == MINI_PUBREC && !f.held) {
            world_fail(w, "B2", "c%d says PUBREC %u, but its disk does not hold that id", p->index, packet->id);
        } else if (packet->type == MINI_PUBREL && f.published) {
            world_fail(w, "B3", "c%d says PUBREL %u, but its disk would publish again", p->index, packet->id);
        } else if (packet->type == MINI_PUBCOMP && f.held) {
            world_fail(w, "B4", "c%d says PUBCOMP %u, but its disk still holds that id", p->index, packet->id);
        }
    }
    machine_deinit(&copy);
}

void audit_stored(struct world *w, const struct peer *p, uint64_t sequence) {
    struct machine copy;
    struct found f = {0};
    if (!wanted(w)) {
        return;
    }
    if (look(w, p, &copy, &f) && f.sequence < sequence) {
        world_fail(w, "B0", "c%d is told that its message %llu is stored, its disk has them up to %llu", p->index,
                   (unsigned long long)sequence, (unsigned long long)f.sequence);
    }
    machine_deinit(&copy);
}

void audit_delivery(struct world *w, const struct peer *p, uint64_t sequence) {
    struct machine copy;
    struct found f = {0};
    struct store_delivery delivery;
    if (!wanted(w)) {
        return;
    }
    if (look(w, p, &copy, &f)) {
        const bool there = store_queue_read(copy.store, f.in, sequence - 1, UINT32_MAX, &delivery, 1) == 1;
        if (!there || delivery.message_lsn != sequence) {
            world_fail(w, "B2", "c%d is given position %llu, which its disk does not have", p->index,
                       (unsigned long long)sequence);
        }
        if (there) {
            message_unref(delivery.message);
        }
    }
    machine_deinit(&copy);
}
