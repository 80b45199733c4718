#include "torture/judge.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"

#define CLIENTS_MAX 256
#define IDS 65536U

/* Where the broker's outbound flow on one packet identifier stands. */
enum flow { FLOW_NONE = 0, FLOW_SENT, FLOW_RELEASED, FLOW_OVER };

/* All that is known of one packet identifier of one client. The four counts are of packets that were sent, and not lost
 * on their way to the broker, on the present connection. */
struct id_state {
    uint32_t session;    /* which session this is of: anything older counts as nothing */
    uint32_t connection; /* which connection the counts are of */
    uint16_t publish;
    uint16_t pubrec;
    uint16_t pubrel;
    uint16_t pubcomp;
    uint16_t since; /* of the publisher: PUBCOMP packets since the flow's first PUBREC */
    bool pending;   /* of the publisher: PUBREC is owed; of a subscriber: PUBREL is, and it waits in the queue */
    bool releasing; /* of the publisher: PUBCOMP is owed */
    bool here;      /* the flow began on this connection, or its PUBREC came on it */
    bool live;      /* of a subscriber: its PUBLISH on this connection counts against the receive maximum */
    bool resent;    /* of a subscriber: its PUBLISH was sent again on this connection */
    bool recorded;  /* of a subscriber: PUBREC was sent in this flow */
    bool held;      /* of a subscriber: it got PUBLISH, but not PUBREL */
    uint8_t flow;   /* of a subscriber: enum flow */
    uint32_t message;
    uint32_t holds;    /* of a subscriber: the message with which it is held */
    uint32_t sequence; /* of the flow's first PUBLISH */
};

struct queue {
    uint16_t *ids;
    size_t head;
    size_t count;
    size_t capacity;
};

struct party {
    struct id_state *ids; /* IDS of them */
    struct queue order;   /* of a subscriber: packet ids in the order in which PUBREL is owed */
    uint32_t session;
    uint32_t connection;
    uint32_t resent;   /* the sequence of the last PUBLISH that was sent again on this connection */
    uint32_t sequence; /* of the last new flow */
    uint32_t used;     /* of a subscriber's receive maximum on this connection */
    uint32_t connects; /* CONNACKs that came */
    bool known;        /* a CONNACK came, so a session is owed */
    bool resumed;      /* this connection continues a session */
    bool repeats;      /* the client sent a packet again on this connection */
    bool excused;      /* ... though 5.0 lets nobody do so on a live one [MQTT-4.4.0-1]: the broker may close */
    uint32_t repeated; /* the message of that packet */
    uint8_t repeat;    /* its type */
    bool told;         /* a DISCONNECT came on this connection */
    bool up;           /* CONNACK came on this connection, and nothing has happened to it */
    bool waiting;      /* CONNECT was sent on this connection, CONNACK has not come */
    uint32_t rivals;   /* older connections whose CONNECT was never answered: it may still take over this one */
    uint32_t last;     /* of a subscriber: the highest message so far */
    bool any;          /* ... and there was one */
    uint32_t said;     /* the message of the last packet that the client sent, or WIRE_NO_MESSAGE */
};

/* What became of one message on its first hop. */
struct fate {
    bool sent;
    bool owned;
    bool completed;
    size_t record;      /* the last that concerns it */
    uint32_t swallower; /* a message whose packet id, still open, swallowed it; or WIRE_NO_MESSAGE */
};

struct judge {
    struct party *parties[CLIENTS_MAX];
    struct fate *fates;
    uint8_t *delivered; /* for each subscriber and message */
    size_t fates_capacity;
    size_t delivered_capacity;
    uint32_t epoch; /* makes sessions and connections unique */
    const struct wire *wire;
    const struct judge_terms *terms;
    struct judgement *out;
    size_t at;      /* the present record */
    bool unordered; /* the publisher had to publish something anew */
};

struct judge *judge_create(void) {
    return mem_zero(1, sizeof(struct judge));
}

void judge_destroy(struct judge *j) {
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        if (j->parties[i] != NULL) {
            mem_free(j->parties[i]->ids);
            mem_free(j->parties[i]->order.ids);
            mem_free(j->parties[i]);
        }
    }
    mem_free(j->fates);
    mem_free(j->delivered);
    mem_free(j);
}

const char *judge_column_text(enum judge_column column) {
    static const char *const texts[] = {"lost", "duplicated", "out of order", "stuck", "forgotten", "violations"};
    return texts[column];
}

bool judgement_clean(const struct judgement *m) {
    for (size_t i = 0; i < JUDGE_COLUMNS; i++) {
        if (m->counts[i] > 0) {
            return false;
        }
    }
    return true;
}

/* ---- findings ---- */

static struct judge_finding *find(struct judge *j, enum judge_column column, uint8_t who, uint32_t message,
                                  const char *text) {
    static struct judge_finding beyond;
    struct judgement *out = j->out;
    out->counts[column]++;
    struct judge_finding *f = out->finding_count < JUDGE_FINDINGS_MAX ? &out->findings[out->finding_count++] : &beyond;
    *f = (struct judge_finding){column, message, WIRE_NO_MESSAGE, who, j->at, NULL, text};
    return f;
}

/* A violation by the present record; each standard has its own number for the rule. What concerns no message is told
 * with the last one that its client spoke of. */
static void violation(struct judge *j, const struct wire_record *r, const char *in_311, const char *in_5,
                      const char *text) {
    const struct party *p = j->parties[r->who];
    uint32_t message = r->message != WIRE_NO_MESSAGE ? r->message : p->repeats ? p->repeated : p->said;
    struct judge_finding *f = find(j, JUDGE_VIOLATION, r->who, message, text);
    f->statement = j->terms->protocol == PROTOCOL_5 ? in_5 : in_311;
}

/* ---- state ---- */

static struct party *party_of(struct judge *j, uint8_t who) {
    if (j->parties[who] == NULL) {
        j->parties[who] = mem_zero(1, sizeof(struct party));
        j->parties[who]->ids = mem_zero(IDS, sizeof(struct id_state));
    }
    return j->parties[who];
}

static struct id_state *id_of(struct party *p, uint16_t id) {
    struct id_state *s = &p->ids[id];
    if (s->session != p->session) {
        *s = (struct id_state){.session = p->session, .message = WIRE_NO_MESSAGE};
    }
    if (s->connection != p->connection) {
        s->connection = p->connection;
        s->publish = s->pubrec = s->pubrel = s->pubcomp = 0;
        s->pending = s->releasing = s->here = s->live = s->resent = false;
    }
    return s;
}

static void queue_push(struct queue *q, uint16_t id) {
    if (q->count == q->capacity) {
        q->capacity = q->capacity > 0 ? q->capacity * 2 : 64;
        q->ids = mem_resize(q->ids, q->capacity * sizeof(*q->ids));
    }
    q->ids[q->count++] = id;
}

/* Takes an id out of the queue, and with it those before it, which it has overtaken; false when there were any. */
static bool queue_take(struct party *p, uint16_t id) {
    struct queue *q = &p->order;
    bool first = true;
    must(q->head < q->count);
    while (q->ids[q->head] != id) {
        id_of(p, q->ids[q->head++])->pending = false;
        must(q->head < q->count);
        first = false;
    }
    q->head++;
    return first;
}

static void party_connection(struct judge *j, struct party *p) {
    p->connection = ++j->epoch;
    p->order.head = p->order.count = 0;
    p->resent = p->used = 0;
    p->said = WIRE_NO_MESSAGE;
    p->resumed = p->repeats = p->excused = p->told = p->up = false;
}

static bool reached(const struct wire_record *r) {
    return r->fate == WIRE_PASSED || r->fate == WIRE_REPEATED;
}

/* The proxy's own repeats were not sent by the broker. */
static bool from_broker(const struct wire_record *r) {
    return r->fate != WIRE_REPEATED;
}

static struct fate *fate_of(struct judge *j, uint32_t message) {
    static struct fate nobody;
    if (message >= j->terms->messages) {
        nobody = (struct fate){0};
        return &nobody;
    }
    j->fates[message].record = j->at;
    return &j->fates[message];
}

/* ---- the session ---- */

/* The publisher's session is gone: what the broker had taken over is its duty still; all else is published anew. */
static void publisher_forgotten(struct judge *j) {
    j->unordered = true;
    for (uint32_t i = 0; i < j->terms->messages; i++) {
        j->fates[i].completed = j->fates[i].completed || j->fates[i].owned;
    }
}

/* A broker may say that it cannot serve anybody for the moment; a client that waits in vain is stuck. */
static bool unavailable(const struct judge *j, uint8_t reason) {
    return j->terms->protocol == PROTOCOL_5 ? reason == 0x88 || reason == 0x89 || reason == 0x97 || reason == 0x9F
                                            : reason == 3;
}

static void on_connack(struct judge *j, struct party *p, const struct wire_record *r) {
    if (r->reason != 0) {
        if (!unavailable(j, r->reason)) {
            violation(j, r, "MQTT-3.1.4-4", "MQTT-3.1.4-5", "a correct CONNECT is refused");
        }
        return;
    }
    /* A CONNECT that was given up may have begun the session. */
    if (p->connects == 0 && r->session && p->rivals == 0) {
        violation(j, r, "MQTT-3.2.2-3", "MQTT-3.2.2-3", "Session Present 1 for a session that was ended before");
    }
    if (!reached(r)) {
        return;
    }
    if (p->known && !r->session) {
        struct judge_finding *f =
            find(j, JUDGE_FORGOTTEN, r->who, WIRE_NO_MESSAGE, "Session Present 0 for a session that nobody ended");
        f->statement = j->terms->protocol == PROTOCOL_5 ? "MQTT-3.2.2-3" : "MQTT-3.2.2-2";
        p->session = ++j->epoch;
        if (r->who == 0) {
            publisher_forgotten(j);
        }
    }
    p->connects++;
    p->known = p->up = true;
    p->resumed = r->session;
}

/* A broker that is dead answers no older CONNECT any more. */
static void on_death(struct judge *j) {
    for (unsigned who = 0; who <= j->terms->subscribers; who++) {
        j->parties[who]->waiting = j->parties[who]->up = false;
        j->parties[who]->rivals = 0;
    }
}

/* A close, or a DISCONNECT before it, that the broker owes nobody an explanation for. */
static bool excused(struct party *p) {
    if (p->rivals > 0) {
        p->rivals--;
        return true;
    }
    return p->excused;
}

/* A receiver must acknowledge every repeat, and a sender answer every PUBREC: neither may close instead. */
static void ended(struct judge *j, struct party *p, const struct wire_record *r, const char *after_repeat,
                  const char *else_text) {
    if (excused(p)) {
        return;
    }
    if (!p->repeats) {
        violation(j, r, NULL, NULL, else_text);
    } else if (p->repeat == PACKET_PUBREC) {
        violation(j, r, "MQTT-4.3.3-1", "MQTT-4.3.3-4", after_repeat);
    } else {
        violation(j, r, "MQTT-4.3.3-2", p->repeat == PACKET_PUBLISH ? "MQTT-4.3.3-10" : "MQTT-4.3.3-11", after_repeat);
    }
}

static void unanswered(struct judge *j, uint8_t who, uint32_t message, const char *in_311, const char *in_5,
                       const char *text) {
    find(j, JUDGE_VIOLATION, who, message, text)->statement = j->terms->protocol == PROTOCOL_5 ? in_5 : in_311;
}

/* The run is over: all is done, or nothing has moved for so long that what a live connection owes will not come. */
static void on_calm(struct judge *j) {
    for (unsigned who = 0; who <= j->terms->subscribers; who++) {
        const struct party *p = j->parties[who];
        for (unsigned id = 1; p->up && id < IDS; id++) {
            const struct id_state *s = &p->ids[id];
            if (s->session != p->session || s->connection != p->connection) {
                continue;
            }
            if (s->pending && who == 0) {
                unanswered(j, 0, s->message, "MQTT-4.3.3-2", "MQTT-4.3.3-8", "PUBLISH is not answered with PUBREC");
            } else if (s->pending) {
                unanswered(j, (uint8_t)who, s->holds, "MQTT-4.3.3-1", "MQTT-4.3.3-4",
                           "PUBREC is not answered with PUBREL");
            } else if (s->releasing) {
                unanswered(j, 0, s->message, "MQTT-4.3.3-2", "MQTT-4.3.3-11", "PUBREL is not answered with PUBCOMP");
            }
        }
    }
}

static void on_event(struct judge *j, struct party *p, const struct wire_record *r) {
    if (r->event >= EVENT_RST && r->event <= EVENT_SILENCE) {
        p->up = false;
    } else if (r->event == EVENT_CALM) {
        on_calm(j);
    } else if (r->event == EVENT_OPENED) {
        p->rivals += p->waiting;
        p->waiting = false;
        party_connection(j, p);
    } else if (r->event == EVENT_KILLED || r->event == EVENT_POWER) {
        on_death(j);
    } else if (r->event == EVENT_KEPT) {
        find(j, JUDGE_VIOLATION, r->who, WIRE_NO_MESSAGE, "the old connection is open still, after a takeover")
            ->statement = j->terms->protocol == PROTOCOL_5 ? "MQTT-3.1.4-3" : "MQTT-3.1.4-2";
    } else if (r->event == EVENT_CLOSED && p->told) {
        p->up = false;
    } else if (r->event == EVENT_CLOSED) {
        p->up = false;
        ended(j, p, r, "the connection is closed instead of an acknowledgement",
              "the connection is closed though its client kept to the protocol");
    }
}

static void on_disconnect(struct judge *j, struct party *p, const struct wire_record *r) {
    p->told = true;
    ended(j, p, r, "DISCONNECT instead of the acknowledgement of a repeat",
          "DISCONNECT though the client kept to the protocol");
}

/* ---- publisher and broker ---- */

/* The client sent, or seemed to send, a packet again. On a live connection 5.0 lets nobody do so [MQTT-4.4.0-1], and no
 * statement says what becomes of a second PUBCOMP: then the broker may close. */
static void client_repeats(struct judge *j, struct party *p, const struct wire_record *r, bool live) {
    p->repeats = true;
    p->repeated = r->message;
    p->repeat = r->type;
    p->excused = p->excused || r->type == PACKET_PUBCOMP || (live && j->terms->protocol == PROTOCOL_5);
}

static void publisher_sends(struct judge *j, struct party *p, const struct wire_record *r) {
    struct id_state *s = id_of(p, r->packet_id);
    if (r->type == PACKET_PUBLISH) {
        fate_of(j, r->message)->sent = true;
        if (reached(r)) {
            s->publish++;
            s->pending = true;
            s->message = r->message;
            if (r->dup) {
                client_repeats(j, p, r, r->fate == WIRE_REPEATED);
            }
        }
    } else if (r->type == PACKET_PUBREL && reached(r)) {
        s->pubrel++;
        s->releasing = true;
        s->message = r->message;
        /* Who was given one PUBREC three times answers it three times. */
        if (r->fate == WIRE_REPEATED || s->pubrel > s->pubrec + (p->resumed ? 1 : 0)) {
            client_repeats(j, p, r, true);
        }
    }
}

static void on_pubrec(struct judge *j, struct party *p, const struct wire_record *r) {
    struct id_state *s = id_of(p, r->packet_id);
    struct fate *fate = fate_of(j, r->message);
    if (from_broker(r)) {
        s->pubrec++;
        if (s->pending) {
            s->pending = false;
            s->since = 0;
        } else if (s->pubrec > s->publish) {
            violation(j, r, "MQTT-4.3.3-2", "MQTT-4.3.3-8", "PUBREC that no PUBLISH of this connection asked for");
        }
    }
    s->here = true;
    if (r->reason >= 0x80) {
        j->unordered = true;
        fate->owned = false;
    } else {
        fate->owned = true;
    }
}

static void on_pubcomp(struct judge *j, struct party *p, const struct wire_record *r) {
    struct id_state *s = id_of(p, r->packet_id);
    if (from_broker(r)) {
        s->pubcomp++;
        s->releasing = false;
        if (s->pubcomp > s->pubrel) {
            violation(j, r, "MQTT-4.3.3-2", "MQTT-4.3.3-11", "PUBCOMP that no PUBREL of this connection asked for");
        } else if (r->reason == 0x92 && s->since == 0 && s->here) {
            violation(j, r, NULL, NULL, "PUBCOMP 0x92 for the first PUBREL: the packet identifier is forgotten");
        }
        s->since++;
    }
    if (reached(r)) {
        fate_of(j, r->message)->completed = true;
        s->here = false;
    }
}

/* ---- broker and subscriber ---- */

static void deliver(struct judge *j, struct party *p, const struct wire_record *r) {
    if (r->message >= j->terms->messages) {
        return;
    }
    uint8_t *delivered = &j->delivered[(size_t)(r->who - 1) * j->terms->messages + r->message];
    fate_of(j, r->message);
    if (*delivered > 0) {
        (void)find(j, JUDGE_DUPLICATED, r->who, r->message, "came again as a new message");
        return;
    }
    *delivered = 1;
    j->out->deliveries++;
    if (p->any && r->message < p->last && !j->unordered) {
        struct judge_finding *f =
            find(j, JUDGE_REORDERED, r->who, r->message, "came after a message that was published later");
        f->other = p->last;
        f->statement = j->terms->protocol == PROTOCOL_5 ? "MQTT-4.6.0-5" : "MQTT-4.6.0-6";
    }
    p->last = p->any && p->last > r->message ? p->last : r->message;
    p->any = true;
}

static void begin_flow(struct judge *j, struct party *p, struct id_state *s, const struct wire_record *r) {
    if (r->dup && !p->resumed) {
        violation(j, r, "MQTT-3.3.1-1", "MQTT-3.3.1-1", "PUBLISH with DUP on a session that is new");
    }
    s->flow = FLOW_SENT;
    s->message = r->message;
    s->sequence = ++p->sequence;
    s->recorded = false;
}

/* 3.1.1 does not forbid a second or a third round on a live connection: the order of the first one is judged. */
static void resend_flow(struct judge *j, struct party *p, struct id_state *s, const struct wire_record *r) {
    if (s->here && j->terms->protocol == PROTOCOL_5) {
        violation(j, r, NULL, "MQTT-4.4.0-1", "PUBLISH sent again on a live connection");
    }
    if (!r->dup) {
        violation(j, r, "MQTT-3.3.1-1", "MQTT-3.3.1-1", "PUBLISH sent again without DUP");
    }
    if (s->here || s->resent) {
        return;
    }
    if (s->sequence < p->resent) {
        violation(j, r, "MQTT-4.6.0-6", "MQTT-4.6.0-5", "PUBLISH sent again out of the original order");
    }
    s->resent = true;
    p->resent = s->sequence;
}

/* The broker's send quota as section 4.9 counts it: any PUBCOMP gives one back, also that of a flow which began on an
 * older connection. */
static void use_quota(struct judge *j, struct party *p, const struct wire_record *r) {
    p->used++;
    if (j->terms->protocol == PROTOCOL_5 && j->terms->receive_maximum > 0 && p->used > j->terms->receive_maximum) {
        violation(j, r, NULL, "MQTT-3.3.4-9", "more messages in flight than the receive maximum");
    }
}

static void on_publish_conduct(struct judge *j, struct party *p, struct id_state *s, const struct wire_record *r) {
    if (r->damaged) {
        violation(j, r, NULL, NULL, "a topic or payload that nobody published");
    }
    if (s->flow == FLOW_NONE || s->flow == FLOW_OVER) {
        begin_flow(j, p, s, r);
    } else if (s->message != r->message) {
        violation(j, r, "MQTT-2.3.1-4", "MQTT-2.2.1-4", "the packet identifier of an open flow names another message");
        begin_flow(j, p, s, r);
    } else if (s->flow == FLOW_RELEASED) {
        violation(j, r, "MQTT-4.3.3-1", "MQTT-4.3.3-6", "PUBLISH sent again after its PUBREL");
    } else {
        resend_flow(j, p, s, r);
    }
    s->publish++;
    s->here = true;
    if (!s->live) {
        s->live = true;
        use_quota(j, p, r);
    }
}

static void on_publish(struct judge *j, struct party *p, const struct wire_record *r) {
    struct id_state *s = id_of(p, r->packet_id);
    if (from_broker(r)) {
        on_publish_conduct(j, p, s, r);
    }
    if (reached(r) && !s->held) {
        s->held = true;
        s->holds = r->message;
        deliver(j, p, r);
    } else if (reached(r) && s->holds != r->message) {
        fate_of(j, r->message)->swallower = s->holds;
    }
}

/* Published and subscribed to at QoS 2, it came at less: it is there, but nothing more is promised of it. */
static void on_downgrade(struct judge *j, struct party *p, const struct wire_record *r) {
    violation(j, r, "MQTT-3.8.4-6", "MQTT-3.8.4-8", "a message at a lower QoS than was published and granted");
    if (reached(r) && r->message < j->terms->messages &&
        j->delivered[(size_t)(r->who - 1) * j->terms->messages + r->message] == 0) {
        deliver(j, p, r);
    }
}

/* A PUBREL is owed for a PUBREC, and once for what an older connection left open. 3.1.1 does not forbid more. */
static void on_pubrel_conduct(struct judge *j, struct party *p, struct id_state *s, const struct wire_record *r) {
    bool five = j->terms->protocol == PROTOCOL_5;
    bool again = s->flow >= FLOW_RELEASED && s->pubrel > 0;
    s->pubrel++;
    bool resumed = p->resumed && s->pubrel == 1 && (s->recorded || s->flow >= FLOW_RELEASED);
    if (s->pending) {
        s->pending = false;
        /* What 5.0 says of this order, it says of clients. */
        if (!queue_take(p, r->packet_id) && !five) {
            violation(j, r, "MQTT-4.6.0-6", NULL, "PUBREL out of the order of the PUBREC packets");
        }
    } else if (s->pubrel > s->pubrec && !resumed) {
        if (again && five) {
            violation(j, r, NULL, "MQTT-4.4.0-1", "PUBREL sent again on a live connection");
        } else if (!again) {
            violation(j, r, "MQTT-4.3.3-1", "MQTT-4.3.3-4", "PUBREL that no PUBREC asked for");
        }
    }
    s->flow = s->flow == FLOW_SENT ? FLOW_RELEASED : s->flow;
}

static void on_pubrel(struct judge *j, struct party *p, const struct wire_record *r) {
    struct id_state *s = id_of(p, r->packet_id);
    if (from_broker(r)) {
        on_pubrel_conduct(j, p, s, r);
    }
    if (reached(r)) {
        s->held = false;
    }
}

static void subscriber_sends(struct judge *j, struct party *p, const struct wire_record *r) {
    struct id_state *s = id_of(p, r->packet_id);
    if (!reached(r)) {
        return;
    }
    bool pubrec = r->type == PACKET_PUBREC;
    uint16_t sent = pubrec ? ++s->pubrec : ++s->pubcomp;
    /* Who was given one PUBLISH or PUBREL three times answers it three times. */
    if (r->fate == WIRE_REPEATED || sent > (pubrec ? s->publish : s->pubrel)) {
        client_repeats(j, p, r, true);
    }
    if (pubrec) {
        if (!s->recorded || s->pubrec == 1) {
            s->pending = true;
            queue_push(&p->order, r->packet_id);
        }
        s->recorded = true;
    } else {
        s->flow = FLOW_OVER;
        s->live = false;
        p->used -= p->used > 0;
    }
}

/* ---- all records ---- */

static void on_flow_packet(struct judge *j, struct party *p, const struct wire_record *r) {
    if (r->way == WIRE_TO_BROKER && r->who == 0) {
        publisher_sends(j, p, r);
    } else if (r->way == WIRE_TO_BROKER) {
        subscriber_sends(j, p, r);
    } else if (r->type == PACKET_PUBREC) {
        on_pubrec(j, p, r);
    } else if (r->type == PACKET_PUBCOMP) {
        on_pubcomp(j, p, r);
    } else if (r->type == PACKET_PUBLISH) {
        on_publish(j, p, r);
    } else {
        on_pubrel(j, p, r);
    }
}

/* True when this packet may come on this hop at all. */
static bool fits(const struct wire_record *r) {
    bool of_publisher = r->type == PACKET_PUBREC || r->type == PACKET_PUBCOMP;
    bool of_subscriber = r->type == PACKET_PUBLISH || r->type == PACKET_PUBREL;
    return r->packet_id != 0 &&
           (r->way == WIRE_TO_CLIENT ? (r->who == 0 ? of_publisher : of_subscriber) : of_publisher || of_subscriber);
}

static void on_record(struct judge *j, const struct wire_record *r) {
    struct party *p = party_of(j, r->who);
    bool flow = r->type >= PACKET_PUBLISH && r->type <= PACKET_PUBCOMP;
    if (r->way == WIRE_TO_BROKER && flow && reached(r)) {
        p->said = r->message;
    }
    if (r->type == PACKET_CONNECT || r->type == PACKET_CONNACK) {
        p->waiting = r->type == PACKET_CONNECT && reached(r);
    }
    if (r->way == WIRE_EVENT) {
        on_event(j, p, r);
    } else if (r->statement != NULL) {
        violation(j, r, r->statement, r->statement, r->text);
    } else if (r->type == PACKET_CONNACK) {
        on_connack(j, p, r);
    } else if (r->type == PACKET_DISCONNECT && r->way == WIRE_TO_CLIENT) {
        on_disconnect(j, p, r);
    } else if (r->fate == WIRE_LATE) {
        return; /* its connection is nobody's any more */
    } else if (r->lower && r->way == WIRE_TO_CLIENT && r->who > 0) {
        on_downgrade(j, p, r);
    } else if (flow && fits(r)) {
        on_flow_packet(j, p, r);
    } else if (flow && r->way == WIRE_TO_CLIENT) {
        violation(j, r, NULL, NULL, "a packet that has no place on this connection");
    }
}

static void begin(struct judge *j) {
    const struct judge_terms *terms = j->terms;
    size_t slots = (size_t)terms->messages * terms->subscribers;
    if (j->fates_capacity < terms->messages) {
        j->fates_capacity = terms->messages;
        j->fates = mem_resize(j->fates, j->fates_capacity * sizeof(*j->fates));
    }
    if (j->delivered_capacity < slots) {
        j->delivered_capacity = slots;
        j->delivered = mem_resize(j->delivered, slots);
    }
    if (slots > 0) {
        memset(j->delivered, 0, slots);
    }
    for (uint32_t i = 0; i < terms->messages; i++) {
        j->fates[i] = (struct fate){.swallower = WIRE_NO_MESSAGE};
    }
    for (unsigned who = 0; who <= terms->subscribers; who++) {
        struct party *p = party_of(j, (uint8_t)who);
        *p = (struct party){.ids = p->ids, .order = p->order, .session = ++j->epoch};
        party_connection(j, p);
    }
    j->unordered = false;
}

static void end(struct judge *j) {
    const struct judge_terms *terms = j->terms;
    for (uint32_t i = 0; i < terms->messages; i++) {
        const struct fate *fate = &j->fates[i];
        j->at = fate->sent ? fate->record : j->wire->count;
        j->out->published += fate->sent;
        for (uint8_t who = 1; fate->owned && who <= terms->subscribers; who++) {
            if (j->delivered[(size_t)(who - 1) * terms->messages + i] == 0) {
                find(j, JUDGE_LOST, who, i, "the broker took it over and never delivered it")->other = fate->swallower;
            }
        }
        if (!fate->completed) {
            (void)find(j, JUDGE_STUCK, 0, i, fate->sent ? "its flow was never completed" : "it could never be sent");
        }
    }
    for (uint8_t who = 1; who <= terms->subscribers; who++) {
        for (unsigned id = 1; id < IDS; id++) {
            const struct id_state *s = &j->parties[who]->ids[id];
            if (s->session == j->parties[who]->session && s->held) {
                j->at = j->wire->count;
                (void)find(j, JUDGE_STUCK, who, s->holds, "PUBREL never came");
            }
        }
    }
}

void judge_run(struct judge *j, const struct wire *wire, const struct judge_terms *terms, struct judgement *out) {
    j->wire = wire;
    j->terms = terms;
    j->out = out;
    *out = (struct judgement){0};
    begin(j);
    for (j->at = 0; j->at < wire->count; j->at++) {
        on_record(j, &wire->records[j->at]);
    }
    end(j);
}

/* ---- the way there ---- */

static bool speaks_of(const struct wire_record *r, const struct judge_finding *f) {
    return r->message != WIRE_NO_MESSAGE && (r->message == f->message || r->message == f->other);
}

/* True when a record belongs to the story of a finding: of a publisher's it is the first hop's, of a subscriber's that
 * and its own. What happened to connections tells only of those. */
static bool tells(const struct wire_record *r, const struct judge_finding *f) {
    bool all = r->event == EVENT_KILLED || r->event == EVENT_POWER || r->event == EVENT_CALM;
    if (all) {
        return true;
    }
    if (r->who != f->who && (r->who != 0 || f->message == WIRE_NO_MESSAGE)) {
        return false;
    }
    bool connection = r->type == PACKET_CONNECT || r->type == PACKET_CONNACK || r->type == PACKET_DISCONNECT;
    return r->way == WIRE_EVENT || connection || speaks_of(r, f);
}

size_t judge_excerpt(struct buf *out, const struct wire *wire, const struct judge_finding *f) {
    size_t lines = 0;
    size_t first = 0;
    size_t last =
        f->column == JUDGE_LOST || f->column == JUDGE_STUCK || f->record >= wire->count ? wire->count : f->record + 1;
    while (f->message != WIRE_NO_MESSAGE && first < last && !speaks_of(&wire->records[first], f)) {
        first++;
    }
    for (size_t i = 0; i < last; i++) {
        bool death = wire->records[i].event == EVENT_KILLED || wire->records[i].event == EVENT_POWER;
        bool told = (i >= first || first == last || death) && tells(&wire->records[i], f);
        if (told || (i == f->record && f->column == JUDGE_VIOLATION)) {
            wire_print(out, &wire->records[i]);
            lines++;
        }
    }
    return lines;
}
