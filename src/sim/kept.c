#include "sim/kept.h"

#include "base/must.h"

static void on_session(void *user, session_id_t id, const struct record_session *s) {
    struct kept *k = user;
    const bool in = s->client_id.len > 3 && memcmp(s->client_id.ptr, "in:", 3) == 0;
    *(in ? &k->in : &k->out) = id;
}

static void on_subscription(void *user, session_id_t id, const struct record_subscribed *s) {
    (void)user;
    (void)id;
    (void)s;
}

static void on_held(void *user, session_id_t id, packet_id_t packet_id) {
    struct kept *k = user;
    must(id == k->in && k->held_count < KEPT_MAX);
    k->held[k->held_count++] = packet_id;
}

static void on_flight(void *user, session_id_t id, const struct store_flight *flight) {
    struct kept *k = user;
    must(id == k->out && k->flight_count < KEPT_MAX);
    k->flights[k->flight_count++] = *flight;
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
    struct kept *k = user;
    k->sequence = id == k->out ? sequence : k->sequence;
}

static void on_retained(void *user, struct message *m) {
    (void)user;
    message_unref(m);
}

bool kept_look(struct kept *k, struct machine *copy, const struct machine *machine,
               const struct store_local_options *options, struct choices *choices, struct error *error) {
    const struct store_sink sink = {.user = k,
                                    .session = on_session,
                                    .subscription = on_subscription,
                                    .held = on_held,
                                    .flight = on_flight,
                                    .queue = on_queue,
                                    .will = on_will,
                                    .position = on_position,
                                    .retained = on_retained};
    memset(k, 0, sizeof *k);
    machine_fork(copy, machine, choices, SIM_POWER_DROP);
    return machine_open(copy, options, error) && store_load(copy->store, &sink, error);
}

const struct store_flight *kept_flight(const struct kept *k, packet_id_t packet_id) {
    for (unsigned i = 0; i < k->flight_count; i++) {
        if (k->flights[i].packet_id == packet_id) {
            return &k->flights[i];
        }
    }
    return NULL;
}

bool kept_holds(const struct kept *k, packet_id_t packet_id) {
    for (unsigned i = 0; i < k->held_count; i++) {
        if (k->held[i] == packet_id) {
            return true;
        }
    }
    return false;
}
