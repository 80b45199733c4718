/* Asks the disk of a real client what a power cut would leave at this very moment: whether what the client says rests
 * on what is there. The answer is the store's own recovery, on a copy. */
#include "base/must.h"
#include "sim/kept.h"
#include "sim/world.h"

static bool wanted(struct world *w) {
    return w->plan->audits != 0 && !w->forked && (w->plan->audits == 1 || choose(w->choices, w->plan->audits) == 0);
}

/* What a power cut would leave; false when it could not even be opened. The copy is left open for questions. */
static bool look(struct world *w, const struct peer *p, struct machine *copy, struct kept *k) {
    struct error error = {0};
    w->counts.audits++;
    if (!kept_look(k, copy, &p->machine, &w->plan->store, w->choices, &error)) {
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
    struct kept k;
    if (packet->type == MINI_PUBACK || packet->reason >= 0x80 || !wanted(w)) {
        return;
    }
    if (look(w, p, &copy, &k)) {
        const struct store_flight *f = kept_flight(&k, packet->id);
        const bool published = f != NULL && !f->released;
        const bool held = kept_holds(&k, packet->id);
        if (packet->type == MINI_PUBLISH && !(published && same_message(copy.store, f->message_lsn, packet))) {
            world_fail(w, "B1", "c%d publishes under id %u, which its disk does not know", p->index, packet->id);
        } else if (packet->type == MINI_PUBREC && !held) {
            world_fail(w, "B2", "c%d says PUBREC %u, but its disk does not hold that id", p->index, packet->id);
        } else if (packet->type == MINI_PUBREL && published) {
            world_fail(w, "B3", "c%d says PUBREL %u, but its disk would publish again", p->index, packet->id);
        } else if (packet->type == MINI_PUBCOMP && held) {
            world_fail(w, "B4", "c%d says PUBCOMP %u, but its disk still holds that id", p->index, packet->id);
        }
    }
    machine_deinit(&copy);
}

void audit_stored(struct world *w, const struct peer *p, uint64_t sequence) {
    struct machine copy;
    struct kept k;
    if (!wanted(w)) {
        return;
    }
    if (look(w, p, &copy, &k) && k.sequence < sequence) {
        world_fail(w, "B0", "c%d is told that its message %llu is stored, its disk has them up to %llu", p->index,
                   (unsigned long long)sequence, (unsigned long long)k.sequence);
    }
    machine_deinit(&copy);
}

void audit_delivery(struct world *w, const struct peer *p, uint64_t sequence) {
    struct machine copy;
    struct kept k;
    struct store_delivery delivery;
    if (!wanted(w)) {
        return;
    }
    if (look(w, p, &copy, &k)) {
        const bool there = store_queue_read(copy.store, k.in, sequence - 1, UINT32_MAX, &delivery, 1) == 1;
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
