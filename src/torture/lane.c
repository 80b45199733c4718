/* The phases of a run. */
#include "base/mem.h"
#include "torture/torture.h"

#define PING_AFTER_NS (150 * NS_PER_MS)
#define AWAY_NS (20000 * NS_PER_MS)      /* a client that cannot connect for so long never will */
#define TREADMILL_NS (60000 * NS_PER_MS) /* packets come and go, and no message has moved on for so long */

void lane_init(struct torture *t, struct lane *lane, uint16_t number) {
    *lane = (struct lane){.torture = t, .number = number};
    const struct torture_options *o = t->options;
    bool five = o->protocol == TORTURE_5 || (o->protocol == TORTURE_BOTH && number % 2 == 1);
    lane->protocol = five ? PROTOCOL_5 : PROTOCOL_311;
    (void)snprintf(lane->topic, sizeof(lane->topic), "quartet-torture/%08x/%u", (unsigned)(o->seed & 0xFFFFFFFFU),
                   number);
    lane->client_count = 1 + o->subscribers;
    lane->clients = mem_zero(lane->client_count, sizeof(*lane->clients));
    for (size_t i = 0; i < lane->client_count; i++) {
        actor_init(lane, &lane->clients[i], (uint8_t)i);
    }
}

void lane_deinit(struct lane *lane) {
    for (size_t i = 0; i < lane->client_count; i++) {
        actor_deinit(&lane->clients[i]);
    }
    mem_free(lane->clients);
    wire_deinit(&lane->wire);
}

/* ---- the strike ---- */

/* Draws what a row leaves open. */
static void draw_strike(struct lane *lane, const struct fault_row *row, uint32_t from) {
    static const int64_t away_ns[] = {0, 0, 0, 3 * NS_PER_MS, 20 * NS_PER_MS};
    struct prng *p = &lane->prng;
    struct strike *s = &lane->strike;
    bool struck = s->struck;
    uint32_t left = lane->messages > from ? lane->messages - from : 1;
    *s = (struct strike){.row = *row, .left = row->point == 0 ? 0 : row->family == FAMILY_THRICE ? row->times : 1};
    s->struck = struck;
    s->message = from + (uint32_t)prng_below(p, left);
    s->who = row->hop == HOP_SUBSCRIBER ? (uint8_t)(1 + prng_below(p, lane->client_count - 1)) : 0;
    s->tear = (uint32_t)prng_next(p);
    s->away_ns = away_ns[prng_below(p, sizeof(away_ns) / sizeof(away_ns[0]))];
    s->delay_ns = (int64_t)prng_below(p, 5 * NS_PER_MS);
}

void lane_draw(struct lane *lane) {
    const struct torture *t = lane->torture;
    uint32_t next = lane->clients[0].sender.next;
    if (lane->mix_left == 0 || next >= lane->messages) {
        return;
    }
    uint32_t step = lane->messages / (uint32_t)t->options->mix_cuts + 1;
    /* Each strike is drawn for itself, so that the schedule does not hang on how far the run has come. */
    lane->prng = prng_of(t->options->seed ^ (lane->run * 0x9E3779B97F4A7C15U) ^ (lane->mix_left * 0xD1B54A32D192ED03U));
    lane->mix_left--;
    draw_strike(lane, &t->all.rows[prng_below(&lane->prng, t->all.count)], next);
    uint32_t message = next + (uint32_t)prng_below(&lane->prng, step);
    lane->strike.message = message < lane->messages ? message : lane->messages - 1;
}

static void enter(struct lane *lane, enum lane_phase phase) {
    lane->phase = phase;
    lane->phase_ns = lane->progress_ns = lane->torture->now_ns;
}

void lane_begin(struct lane *lane, size_t row, uint64_t run, uint32_t messages) {
    struct torture *t = lane->torture;
    const struct fault_row *fault = &t->stats[row].row;
    lane->prng = prng_of(t->options->seed ^ (run * 0x9E3779B97F4A7C15U));
    lane->row = row;
    lane->run = run;
    lane->messages = messages;
    lane->window = fault->family == FAMILY_WINDOW  ? 60
                   : fault->family == FAMILY_REUSE ? 1
                                                   : (uint32_t)t->options->window;
    lane->progress = 0;
    lane->progress_ns = t->now_ns;
    lane->mix_left = fault->family == FAMILY_MIX ? t->options->mix_cuts : 0;
    lane->strike = (struct strike){0};
    /* Not the last messages: what follows the fault must show what it has broken. */
    draw_strike(lane, fault, 0);
    lane->strike.message = lane->strike.message * 3 / 4;
    lane->strike.struck = fault->family == FAMILY_WINDOW;
    wire_clear(&lane->wire);
    enter(lane, LANE_WIPE);
    for (size_t i = 0; i < lane->client_count; i++) {
        actor_begin(&lane->clients[i]);
        actor_open(&lane->clients[i]);
    }
    lane->began_ns = lane->active_ns = t->now_ns;
}

/* ---- the record ---- */

void lane_record(struct lane *lane, struct wire_record record) {
    lane->active_ns = lane->torture->now_ns;
    if (lane->phase > LANE_WIPE && lane->phase < LANE_DONE) {
        record.time_ns = lane->torture->now_ns - lane->began_ns;
        wire_add(&lane->wire, &record);
    }
}

void lane_event(struct lane *lane, const struct actor *c, enum wire_event event) {
    lane_record(lane,
                (struct wire_record){
                    .who = c->who, .connection = c->connection, .event = (uint8_t)event, .message = WIRE_NO_MESSAGE});
}

/* ---- the phases ---- */

static bool all_wiped(struct lane *lane) {
    for (size_t i = 0; i < lane->client_count; i++) {
        if (!lane->clients[i].wiped || lane->clients[i].state != ACTOR_DOWN) {
            return false;
        }
    }
    return true;
}

static bool all_up(const struct lane *lane) {
    for (size_t i = 0; i < lane->client_count; i++) {
        const struct actor *c = &lane->clients[i];
        if (c->state != ACTOR_UP || (c->who > 0 && !c->receiver.subscribed)) {
            return false;
        }
    }
    return true;
}

static bool complete(const struct lane *lane) {
    bool done = sender_done(&lane->clients[0]);
    for (size_t i = 1; i < lane->client_count; i++) {
        done = done && receiver_done(&lane->clients[i]);
    }
    return done;
}

/* True when everything that was asked for a sign of life gave one. */
static bool all_ponged(const struct lane *lane) {
    for (size_t i = 0; i < lane->client_count; i++) {
        if (lane->clients[i].state != ACTOR_UP || !lane->clients[i].ponged) {
            return false;
        }
    }
    return true;
}

/* True when nothing but repeats and connections came and went for so long that nothing else will. */
static bool on_a_treadmill(struct lane *lane, int64_t patience_ns) {
    const struct sender *p = &lane->clients[0].sender;
    uint64_t progress = p->next + p->completed;
    for (size_t i = 1; i < lane->client_count; i++) {
        progress += lane->clients[i].receiver.count;
    }
    if (progress != lane->progress) {
        lane->progress = progress;
        lane->progress_ns = lane->torture->now_ns;
    }
    return lane->torture->now_ns - lane->progress_ns > (patience_ns > TREADMILL_NS ? patience_ns : TREADMILL_NS);
}

/* Nothing has moved for so long that what is missing is missing. Asks for signs of life before it says so; a broker
 * that gives none gets three times the patience. */
static bool patience_over(struct lane *lane) {
    const struct torture *t = lane->torture;
    int64_t patience = (int64_t)t->options->patience_ms * NS_PER_MS;
    int64_t quiet = t->now_ns - lane->active_ns;
    if (on_a_treadmill(lane, 4 * patience)) {
        return true;
    }
    if (!all_up(lane) && quiet < AWAY_NS) {
        return false;
    }
    if (quiet > PING_AFTER_NS && quiet < PING_AFTER_NS + patience / 4) {
        int64_t active = lane->active_ns;
        for (size_t i = 0; i < lane->client_count; i++) {
            if (!lane->clients[i].ponged) {
                actor_ping(&lane->clients[i]);
            }
        }
        lane->active_ns = active;
    }
    return quiet > (all_ponged(lane) ? patience : 3 * patience);
}

/* True while a strike is still at work. */
static bool striking(const struct lane *lane) {
    bool working = lane->strike.left > 0;
    for (size_t i = 0; i < lane->client_count; i++) {
        working = working || lane->clients[i].muted || lane->clients[i].cut;
    }
    return working;
}

static void begin_calm(struct lane *lane) {
    lane->strike.left = 0;
    lane->mix_left = 0;
    lane_event(lane, &lane->clients[0], EVENT_CALM);
    enter(lane, LANE_CALM);
    for (size_t i = 0; i < lane->client_count; i++) {
        actor_close(&lane->clients[i], EVENT_FIN);
        actor_drop(&lane->clients[i], 0);
    }
}

static void wipe_step(struct lane *lane) {
    if (all_wiped(lane) && lane->messages == 0) {
        lane->phase = LANE_DONE;
    } else if (all_wiped(lane)) {
        enter(lane, LANE_CONNECT);
        lane->began_ns = lane->torture->now_ns;
        for (size_t i = 0; i < lane->client_count; i++) {
            lane->clients[i].wiping = false;
            actor_open(&lane->clients[i]);
        }
    }
}

void lane_step(struct lane *lane) {
    const struct torture *t = lane->torture;
    if (lane->phase == LANE_WIPE) {
        wipe_step(lane);
    } else if (lane->phase == LANE_CONNECT && all_up(lane)) {
        lane->phase = LANE_READY;
    } else if (lane->phase == LANE_RUN) {
        if (lane->mix_left > 0 && !striking(lane)) {
            lane_draw(lane);
        }
        if ((complete(lane) && all_up(lane) && t->kill_ns == 0) || patience_over(lane)) {
            begin_calm(lane);
        }
    } else if (lane->phase == LANE_CALM) {
        if ((complete(lane) && all_ponged(lane)) || patience_over(lane)) {
            lane->phase = LANE_DONE;
        }
    }
}
