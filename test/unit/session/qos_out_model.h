/* A model of the sender's half of QoS 1 and 2, written from the words of session/qos_out.h and of the standard, with
 * plain arrays. It shares no code with what it judges.
 *
 * The same random events go to both; after each of them model_disagrees() says where they differ. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MODEL_FLIGHTS_MAX = 64 };

enum model_event { MODEL_PUBACK = 1, MODEL_PUBREC, MODEL_PUBREC_REFUSED, MODEL_PUBCOMP };

/* What the peer's packet leads to; the names are those of the table in qos_out.h. */
enum model_answer {
    MODEL_IGNORED = 1,
    MODEL_DONE,
    MODEL_RELEASED,
    MODEL_PUBREL_AGAIN,
    MODEL_PUBREL_NOT_FOUND,
    MODEL_WRONG,
};

struct model_flight {
    unsigned id;
    unsigned qos;
    bool released;
    bool retain;
    uint64_t lsn;
    unsigned target;
    bool dup;       /* the PUBLISH, if it is sent again, carries DUP */
    bool sent_here; /* its PUBLISH was sent on this connection */
    void *message;
};

/* Flights stand in the order in which they were begun; released ones also have their place among the PUBRECs. */
struct model {
    struct model_flight flights[MODEL_FLIGHTS_MAX];
    size_t count;
    unsigned released_ids[MODEL_FLIGHTS_MAX];
    size_t released_count;
    unsigned ids_max;
    unsigned last_id;
    unsigned receive_maximum; /* 0: never connected */
};

static inline struct model_flight *model_find(struct model *m, unsigned id) {
    for (size_t i = 0; i < m->count; i++) {
        if (m->flights[i].id == id) {
            return &m->flights[i];
        }
    }
    return NULL;
}

/* PUBLISH packets of this connection that are neither acknowledged, completed nor refused [MQTT-3.3.4-7]. */
static inline unsigned model_unacknowledged(const struct model *m) {
    unsigned unacknowledged = 0;
    for (size_t i = 0; i < m->count; i++) {
        unacknowledged += m->flights[i].sent_here;
    }
    return unacknowledged;
}

static inline unsigned model_quota(const struct model *m) {
    return m->receive_maximum - model_unacknowledged(m);
}

/* The oldest flight that this connection still has to resend, or NULL. */
static inline struct model_flight *model_to_resend(struct model *m) {
    for (size_t i = 0; i < m->count; i++) {
        if (!m->flights[i].released && !m->flights[i].sent_here) {
            return &m->flights[i];
        }
    }
    return NULL;
}

static inline bool model_ready(struct model *m) {
    return model_quota(m) > 0 && m->count < m->ids_max && model_to_resend(m) == NULL;
}

static inline void model_connected(struct model *m, unsigned receive_maximum) {
    m->receive_maximum = receive_maximum;
    for (size_t i = 0; i < m->count; i++) {
        m->flights[i].sent_here = false;
        m->flights[i].dup = true;
    }
}

static inline unsigned model_next_id(struct model *m) {
    unsigned id = m->last_id;
    do {
        id = id % m->ids_max + 1;
    } while (model_find(m, id) != NULL);
    return id;
}

/* `flight` carries all but the id. */
static inline void model_begin(struct model *m, struct model_flight flight) {
    flight.id = m->last_id = model_next_id(m);
    flight.sent_here = true;
    m->flights[m->count++] = flight;
}

static inline void model_forget_released(struct model *m, unsigned id) {
    size_t kept = 0;
    for (size_t i = 0; i < m->released_count; i++) {
        if (m->released_ids[i] != id) {
            m->released_ids[kept++] = m->released_ids[i];
        }
    }
    m->released_count = kept;
}

static inline void model_end(struct model *m, unsigned id) {
    size_t kept = 0;
    for (size_t i = 0; i < m->count; i++) {
        if (m->flights[i].id != id) {
            m->flights[kept++] = m->flights[i];
        }
    }
    m->count = kept;
    model_forget_released(m, id);
}

/* The table of qos_out.h, by rows. */
static inline enum model_answer model_table(enum model_event event, const struct model_flight *flight) {
    enum { NO_FLOW, QOS_1, QOS_2, RELEASED };
    static const enum model_answer table[][4] = {
        [MODEL_PUBACK] = {MODEL_IGNORED, MODEL_DONE, MODEL_WRONG, MODEL_WRONG},
        [MODEL_PUBREC] = {MODEL_PUBREL_NOT_FOUND, MODEL_WRONG, MODEL_RELEASED, MODEL_PUBREL_AGAIN},
        [MODEL_PUBREC_REFUSED] = {MODEL_IGNORED, MODEL_WRONG, MODEL_DONE, MODEL_IGNORED},
        [MODEL_PUBCOMP] = {MODEL_IGNORED, MODEL_WRONG, MODEL_WRONG, MODEL_DONE},
    };
    if (flight == NULL) {
        return table[event][NO_FLOW];
    }
    return table[event][flight->released ? RELEASED : flight->qos == 1 ? QOS_1 : QOS_2];
}

/* Takes the event; a flow that is done is gone afterwards. */
static inline enum model_answer model_take(struct model *m, enum model_event event, unsigned id) {
    struct model_flight *flight = model_find(m, id);
    enum model_answer answer = model_table(event, flight);
    if (answer == MODEL_RELEASED) {
        flight->released = true;
        flight->message = NULL;
        m->released_ids[m->released_count++] = id;
    } else if (answer == MODEL_DONE) {
        model_end(m, id);
    }
    return answer;
}
