#include "explain/library_stage.h"

#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"
#include "client/client.h"
#include "explain/digest.h"
#include "explain/tap.h"
#include "packet/packet.h"
#include "session/qos_in.h"
#include "session/qos_out.h"
#include "sim/machine.h"
#include "sim/mini.h"

enum { APPLICATION = 0, LIBRARY = 1, SERVER = 2, FINISH_ROUNDS_MAX = 200, IDS = 2, NONE = -1 };
static const char topic[] = "t";
static const mono_ms_t now = 1000;
static const wall_ms_t wall = 1700000000000;

struct server {
    bool session;
    bool begins; /* with what it has for the library */
    struct qos_in in;
    struct qos_out out;
    unsigned waiting; /* the next message that it has for the library */
    unsigned passed[LIBRARY_MESSAGES_MAX];
};

struct application {
    /* in its database */
    bool noted[LIBRARY_MESSAGES_MAX];      /* it was told that the message is stored */
    unsigned worked[LIBRARY_MESSAGES_MAX]; /* how often its work was done */
    uint64_t position;                     /* of the last message whose work is done; 0: none, or it keeps none */
    /* in its memory */
    unsigned next;    /* message that it publishes */
    uint64_t waits;   /* for this one to be called stored, while `calling` */
    bool calling;     /* publish has not returned */
    int hand;         /* the message that it has taken; NONE */
    bool finished;    /* its work on it is done */
    uint64_t hand_at; /* the position of that message */
};

struct library_stage {
    const struct library_plan *what;
    struct choices choices; /* always 0 */
    struct machine machine;
    unsigned starts;
    struct client *client;
    struct application app;
    struct server server;
    struct buf there, back; /* on their way to the server, to the library */
    unsigned powers;        /* left */
    bool telling;
    struct story *story; /* NULL: nothing is told */
    struct tap tap;
};

static char letter_of(unsigned message) {
    return (char)('A' + message);
}

/* ---- telling ---- */

static bool tells(const struct library_stage *s) {
    return s->telling && s->story != NULL;
}

#define TELL(stage, kind, from, to, ...) (tells(stage) ? story_add((stage)->story, kind, from, to, __VA_ARGS__) : NULL)
#define NOTE(event, actor, ...)                                                                                        \
    do {                                                                                                               \
        struct story_event *note_of = (event);                                                                         \
        if (note_of != NULL) {                                                                                         \
            story_note(note_of, actor, __VA_ARGS__);                                                                   \
        }                                                                                                              \
    } while (0)

static struct story_event *last_event(const struct library_stage *s) {
    return tells(s) && s->story->count > 0 ? &s->story->events[s->story->count - 1] : NULL;
}

static void tell_packet(struct library_stage *s, bool to_server, const struct mini_packet *p, bool lost) {
    const enum story_kind kind = lost ? STORY_LOST : STORY_PACKET;
    const unsigned from = to_server ? LIBRARY : SERVER;
    if (p->type == MINI_PUBLISH) {
        TELL(s, kind, from, LIBRARY + SERVER - from, "PUBLISH %u %c%s", p->id, p->payload.ptr[0], p->dup ? " dup" : "");
    } else {
        TELL(s, kind, from, LIBRARY + SERVER - from, "%s %u", mini_name(p->type), p->id);
    }
}

static void staged(void *user, const char *record) {
    NOTE(last_event(user), LIBRARY, "writes %s", record);
}

/* A whole packet at the front of some bytes. */
static size_t first_packet(const struct buf *bytes, bool to_server, struct mini_packet *p) {
    const size_t len = mini_length(buf_span(bytes));
    memset(p, 0, sizeof *p);
    if (len == 0) {
        return 0;
    }
    if (to_server) {
        must(mini_decode_client(span_of(bytes->ptr, len), true, p));
    } else {
        must(mini_decode(span_of(bytes->ptr, len), true, p) == NULL);
    }
    return len;
}

static void lose(struct library_stage *s, struct buf *bytes, bool to_server) {
    struct mini_packet p;
    for (size_t len; (len = first_packet(bytes, to_server, &p)) > 0; buf_drop_front(bytes, len)) {
        tell_packet(s, to_server, &p, true);
    }
}

/* ---- the server ---- */

static void server_ack(struct library_stage *s, enum packet_type type, packet_id_t id) {
    packet_encode_ack(&s->back, PROTOCOL_5, type, &(struct packet_ack){.packet_id = id});
}

static void server_publish(struct library_stage *s, const struct flight *f) {
    const char letter = letter_of(f->target);
    packet_encode_publish(&s->back, PROTOCOL_5,
                          &(struct packet_publish){.qos = 2,
                                                   .packet_id = f->packet_id,
                                                   .dup = f->sent_before,
                                                   .topic = span_str(topic),
                                                   .payload = span_of(&letter, 1)});
}

static void server_pump(struct library_stage *s) {
    struct server *v = &s->server;
    while (v->begins && v->waiting < s->what->messages && qos_out_ready(&v->out)) {
        const char letter = letter_of(v->waiting);
        struct message *m =
            message_create(&(struct message_parts){.qos = 2, .topic = span_str(topic), .payload = span_of(&letter, 1)});
        server_publish(s,
                       qos_out_begin(&v->out, &(struct flight_parts){.message = m, .target = v->waiting++, .qos = 2}));
    }
}

static void server_connected(struct library_stage *s, const struct mini_packet *p) {
    struct server *v = &s->server;
    must(!p->clean || !v->session); /* it asks for its session */
    packet_encode_connack(&s->back, PROTOCOL_5, &(struct packet_connack){.session_present = v->session});
    v->session = true;
    qos_out_connected(&v->out, IDS);
    for (const struct link *l = v->out.released.next; l != &v->out.released; l = l->next) {
        server_ack(s, PACKET_PUBREL, container_of(l, const struct flight, link)->packet_id);
    }
    for (const struct flight *f; (f = qos_out_resend_next(&v->out)) != NULL;) {
        server_publish(s, f);
    }
}

static void server_takes(struct library_stage *s, const struct mini_packet *p) {
    struct story_event *e = last_event(s);
    const unsigned message = p->payload.ptr[0] - (unsigned)'A';
    must(p->payload.len == 1 && message < s->what->messages);
    if (!qos_in_hold(&s->server.in, p->id)) {
        NOTE(e, SERVER, "has %u: a repeat", p->id);
    } else if (s->server.passed[message]++ == 0) {
        NOTE(e, SERVER, "stores %u, passes %c on", p->id, letter_of(message));
    } else {
        NOTE(e, SERVER, "passes %c on FOR THE SECOND TIME", letter_of(message));
    }
    server_ack(s, PACKET_PUBREC, p->id);
}

static void server_reads(struct library_stage *s, const struct mini_packet *p) {
    static const char granted[] = {2};
    struct server *v = &s->server;
    struct flight *f = NULL;
    switch (p->type) {
    case MINI_CONNECT:
        server_connected(s, p);
        break;
    case MINI_SUBSCRIBE:
        packet_encode_suback(&s->back, PROTOCOL_5,
                             &(struct packet_suback){.packet_id = p->id, .reasons = span_of(granted, 1)});
        break;
    case MINI_PUBLISH:
        server_takes(s, p);
        break;
    case MINI_PUBREC:
        (void)qos_out_pubrec(&v->out, p->id, 0, &f);
        server_ack(s, PACKET_PUBREL, p->id);
        break;
    case MINI_PUBREL:
        (void)qos_in_free(&v->in, p->id);
        server_ack(s, PACKET_PUBCOMP, p->id);
        break;
    case MINI_PUBCOMP:
        if (qos_out_pubcomp(&v->out, p->id, &f) == QOS_OUT_DONE) {
            qos_out_end(&v->out, f);
        }
        break;
    default:
        must_fail("a packet that the library does not send here", __FILE__, __LINE__, __func__);
    }
    server_pump(s);
}

static void server_arrive(struct library_stage *s) {
    struct mini_packet p;
    const size_t len = first_packet(&s->there, true, &p);
    tell_packet(s, true, &p, false);
    server_reads(s, &p);
    buf_drop_front(&s->there, len);
}

/* ---- the library ---- */

/* What may leave is on its way. */
static void pump(struct library_stage *s) {
    struct iovec iov[8];
    for (int count; (count = client_output(s->client, iov, 8)) > 0;) {
        size_t bytes = 0;
        for (int i = 0; i < count; i++) {
            buf_bytes(&s->there, span_of(iov[i].iov_base, iov[i].iov_len));
            bytes += iov[i].iov_len;
        }
        client_sent(s->client, bytes);
    }
}

static void library_read(struct library_stage *s) {
    struct mini_packet p;
    const size_t len = first_packet(&s->back, false, &p);
    tell_packet(s, false, &p, false);
    client_received(s->client, span_of(s->back.ptr, len));
    buf_drop_front(&s->back, len);
    pump(s);
}

/* What is staged now becomes durable, and what waited for it goes on. */
static void commit(struct library_stage *s) {
    struct machine *m = &s->machine;
    while (machine_wants_commit(m) && (machine_commit(m) || machine_checkpoint(m, false))) {
    }
    tap_clear(&s->tap);
    client_stored(s->client);
    pump(s);
}

static void ignore_event(struct quartet *client, const struct quartet_event *event, void *user) {
    (void)client;
    (void)event;
    (void)user;
}

static void client_start(struct library_stage *s) {
    struct error error = {0};
    int code = QUARTET_OK;
    struct store_local_options store = {
        .segment_bytes = 32768, .segments_max = 16, .frame_bytes_max = 8192, .staged_bytes_busy = 1U << 20};
    struct quartet_options options = {.servers = "mqtt://server",
                                      .client_id = "client",
                                      .keep_alive_s = QUARTET_NO_KEEP_ALIVE,
                                      .receive_maximum = IDS,
                                      .packet_bytes_max = 1024,
                                      .store = "simulated",
                                      .guarantee = QUARTET_EXACTLY_ONCE,
                                      .manual_done = true,
                                      .on_event = ignore_event};
    store.salt = ++s->starts;
    must(machine_open(&s->machine, &store, &error) && client_options_complete(&options, &code, &error));
    const struct client_setup setup = {
        .options = &options, .store = s->machine.store, .seed = 1, .ids_max = IDS, .mutant = s->what->mutant};
    s->client = client_create(&setup, &error);
    must(s->client != NULL);
    tap_in(&s->tap, s->machine.store, staged, s);
}

/* The library has its connection and, at the first start, its subscription. */
static bool is_ready(const struct library_stage *s) {
    struct quartet_status status;
    client_status(s->client, &status);
    return status.connected && (s->server.begins || (s->there.len == 0 && s->back.len == 0));
}

/* The application resumes and subscribes, the library connects, while the disk keeps up. */
static void start(struct library_stage *s) {
    struct error error = {0};
    uint32_t server;
    const bool telling = s->telling;
    s->telling = false;
    client_start(s);
    if (s->app.position != 0) {
        must(client_resume(s->client, s->app.position) == QUARTET_OK);
    }
    if (!s->what->publishes) {
        const struct quartet_subscription wanted = {.filter = topic, .qos = 2};
        must(client_subscribe(s->client, &wanted, 1, &error) == QUARTET_OK);
    }
    client_time(s->client, now, wall);
    commit(s);
    must(client_wish(s->client, &server) == CLIENT_CONNECT);
    client_opened(s->client);
    for (commit(s); !is_ready(s); commit(s)) {
        if (s->there.len > 0) {
            server_arrive(s);
        } else {
            library_read(s);
        }
    }
    s->telling = telling;
}

static void stop(struct library_stage *s) {
    client_destroy(s->client);
    s->client = NULL;
    machine_close(&s->machine);
}

/* ---- the application ---- */

static void app_publish(struct library_stage *s) {
    struct application *a = &s->app;
    struct error error = {0};
    const char letter = letter_of(a->next);
    const struct quartet_publication p = {
        .topic = topic, .payload = &letter, .payload_bytes = 1, .qos = 2, .sequence = a->next + 1};
    TELL(s, STORY_CALL, APPLICATION, LIBRARY, "publish %c", letter);
    must(client_publish(s->client, &p, &a->waits, &error) == QUARTET_OK);
    if (a->waits == 0) {
        NOTE(last_event(s), LIBRARY, "has number %u: a repeat", a->next + 1);
    }
    a->calling = true;
    pump(s);
}

static void app_told(struct library_stage *s) {
    struct application *a = &s->app;
    NOTE(TELL(s, STORY_CALL, LIBRARY, APPLICATION, "stored"), APPLICATION, "notes: %c is stored", letter_of(a->next));
    a->noted[a->next++] = true;
    a->calling = false;
}

/* Nothing changes when what is in the inbox is not durable yet; a run that is told has no such move. */
static void app_take(struct library_stage *s) {
    struct application *a = &s->app;
    struct client_delivery d;
    struct story_event *e = TELL(s, STORY_CALL, LIBRARY, APPLICATION, "message");
    if (!client_take(s->client, &d)) {
        must(e == NULL);
        return;
    }
    const char letter = (char)message_payload(d.message).ptr[0];
    a->hand = letter - 'A';
    a->hand_at = d.sequence;
    a->finished = false;
    if (e != NULL) {
        (void)snprintf(e->text, sizeof e->text, "message %c", letter);
        story_note(e, APPLICATION, d.redelivered ? "takes %c, flagged: perhaps again" : "takes %c", letter);
    }
    message_unref(d.message);
    pump(s);
}

static void app_work(struct library_stage *s) {
    struct application *a = &s->app;
    const bool again = a->worked[a->hand]++ > 0;
    NOTE(TELL(s, STORY_NOTE, APPLICATION, APPLICATION, "work"), APPLICATION, "in its database: the work for %c%s",
         letter_of((unsigned)a->hand),
         again            ? " FOR THE SECOND TIME"
         : s->what->apart ? ""
                          : ", and its position");
    a->finished = true;
    a->position = s->what->apart ? 0 : a->hand_at;
}

static void app_done(struct library_stage *s) {
    struct application *a = &s->app;
    TELL(s, STORY_CALL, APPLICATION, LIBRARY, "done %c", letter_of((unsigned)a->hand));
    must(client_done(s->client, a->hand_at));
    a->hand = NONE;
    pump(s);
}

static void app_dies(struct application *a) {
    a->next = 0;
    while (a->next < LIBRARY_MESSAGES_MAX && a->noted[a->next]) {
        a->next++;
    }
    a->calling = a->finished = false;
    a->hand = NONE;
    a->waits = a->hand_at = 0;
}

/* What its database tells it when it starts again. */
static const char *app_begins(const struct application *a) {
    return a->position != 0 ? "starts again, resumes behind its position"
           : a->next > 0    ? "starts again behind what it has noted"
                            : "starts again";
}

/* ---- moves ---- */

static void power(struct library_stage *s) {
    lose(s, &s->there, true);
    lose(s, &s->back, false);
    struct story_event *e = TELL(s, STORY_CRASH, LIBRARY, LIBRARY, "power");
    if (e != NULL) {
        tap_lost(&s->tap, e, LIBRARY);
    }
    tap_clear(&s->tap);
    stop(s);
    sim_disk_power_cut(&s->machine.disk, SIM_POWER_DROP);
    app_dies(&s->app);
    start(s);
    NOTE(TELL(s, STORY_LINE, LIBRARY, SERVER, "connected again"), APPLICATION, "%s", app_begins(&s->app));
}

static bool may_take(const struct library_stage *s) {
    struct quartet_status status;
    client_status(s->client, &status);
    return !s->what->publishes && s->app.hand == NONE && status.inbox_messages > 0;
}

static void add(struct move *out, unsigned *count, bool possible, enum library_move kind) {
    if (possible) {
        must(*count < SEARCH_MOVES_MAX);
        out[(*count)++] = (struct move){(uint8_t)kind, 0};
    }
}

static unsigned stage_moves(void *world, struct move out[SEARCH_MOVES_MAX]) {
    const struct library_stage *s = world;
    const struct application *a = &s->app;
    unsigned count = 0;
    add(out, &count, a->calling && client_publish_stored(s->client, a->waits), LIBRARY_TOLD);
    add(out, &count, a->hand != NONE && !a->finished, LIBRARY_WORK);
    add(out, &count, a->hand != NONE && a->finished, LIBRARY_DONE);
    add(out, &count, may_take(s), LIBRARY_TAKE);
    add(out, &count, s->there.len > 0, LIBRARY_ARRIVE);
    add(out, &count, s->back.len > 0, LIBRARY_READ);
    add(out, &count, s->powers > 0, LIBRARY_POWER);
    add(out, &count, machine_wants_commit(&s->machine), LIBRARY_COMMIT);
    add(out, &count, s->what->publishes && !a->calling && a->next < s->what->messages, LIBRARY_PUBLISH);
    return count;
}

static void tell_commit(struct library_stage *s) {
    if (s->tap.pending[0] != '\0') {
        NOTE(TELL(s, STORY_NOTE, LIBRARY, LIBRARY, "commit"), LIBRARY, "on the disk: %s", s->tap.pending);
    }
}

static void stage_act(void *world, struct move move) {
    struct library_stage *s = world;
    switch ((enum library_move)move.kind) {
    case LIBRARY_PUBLISH:
        app_publish(s);
        break;
    case LIBRARY_TOLD:
        app_told(s);
        break;
    case LIBRARY_TAKE:
        app_take(s);
        break;
    case LIBRARY_WORK:
        app_work(s);
        break;
    case LIBRARY_DONE:
        app_done(s);
        break;
    case LIBRARY_ARRIVE:
        server_arrive(s);
        break;
    case LIBRARY_READ:
        library_read(s);
        break;
    case LIBRARY_POWER:
        s->powers--;
        power(s);
        break;
    case LIBRARY_COMMIT:
        tell_commit(s);
        commit(s);
        break;
    }
}

/* ---- to the end ---- */

/* One thing that goes on without a fault; false when there is none. */
static bool go_on(struct library_stage *s) {
    /* What is in the inbox is durable when there is nothing to commit: it can be taken. */
    static const enum library_move order[] = {LIBRARY_TOLD, LIBRARY_COMMIT, LIBRARY_WORK, LIBRARY_DONE,
                                              LIBRARY_TAKE, LIBRARY_ARRIVE, LIBRARY_READ, LIBRARY_PUBLISH};
    struct move moves[SEARCH_MOVES_MAX];
    const unsigned count = stage_moves(s, moves);
    for (size_t k = 0; k < sizeof order / sizeof order[0]; k++) {
        for (unsigned i = 0; i < count; i++) {
            if (moves[i].kind == order[k]) {
                stage_act(s, moves[i]);
                return true;
            }
        }
    }
    return false;
}

static unsigned times(const struct library_stage *s, unsigned message) {
    return s->what->publishes ? s->server.passed[message] : s->app.worked[message];
}

static bool twice(const struct library_stage *s, unsigned *message) {
    for (*message = 0; *message < s->what->messages; (*message)++) {
        if (times(s, *message) > 1) {
            return true;
        }
    }
    return false;
}

static struct finding stage_judge(void *world) {
    struct library_stage *s = world;
    unsigned message;
    bool ends = false;
    for (unsigned i = 0; i < FINISH_ROUNDS_MAX && !twice(s, &message) && !ends; i++) {
        ends = !go_on(s);
    }
    if (twice(s, &message)) {
        return (struct finding){OUTCOME_DUPLICATE, message, 0};
    }
    for (message = 0; message < s->what->messages; message++) {
        if (times(s, message) == 0) {
            return (struct finding){ends ? OUTCOME_LOST : OUTCOME_STUCK, message, 0};
        }
    }
    return (struct finding){OUTCOME_RIGHT, 0, 0};
}

/* ---- making ---- */

static void *stage_create(const void *what, struct story *story) {
    static const char *const names[] = {"application", "library", "server"};
    struct library_stage *s = mem_zero(1, sizeof *s);
    s->what = what;
    s->story = story;
    if (story != NULL) {
        story->actor_count = sizeof names / sizeof names[0];
        memcpy(story->actors, names, sizeof names);
    }
    choices_start(&s->choices, 1, NULL, 0, false);
    machine_init(&s->machine, &s->choices);
    qos_out_init(&s->server.out, 1, IDS, MUTANT_NONE);
    app_dies(&s->app);
    start(s);
    s->server.begins = !s->what->publishes;
    server_pump(s);
    s->powers = s->what->powers;
    s->telling = true;
    return s;
}

static void stage_destroy(void *world) {
    struct library_stage *s = world;
    stop(s);
    machine_deinit(&s->machine);
    qos_out_deinit(&s->server.out);
    qos_in_deinit(&s->server.in);
    buf_deinit(&s->there);
    buf_deinit(&s->back);
    choices_deinit(&s->choices);
    mem_free(s);
}

static uint64_t stage_digest(void *world) {
    struct library_stage *s = world;
    const struct application *a = &s->app;
    const struct server *v = &s->server;
    struct buf b = {NULL, 0, 0};
    const uint64_t numbers[] = {s->powers,    a->position, a->next,    a->waits,   a->calling,
                                a->hand_at,   a->finished, v->session, v->waiting, (uint64_t)a->hand + 1,
                                s->tap.digest};
    buf_bytes(&b, span_of(numbers, sizeof numbers));
    buf_bytes(&b, span_of(a->noted, sizeof a->noted));
    buf_bytes(&b, span_of(a->worked, sizeof a->worked));
    buf_bytes(&b, span_of(v->passed, sizeof v->passed));
    digest_flights(&b, &v->out.published);
    digest_flights(&b, &v->out.released);
    digest_held(&b, &v->in);
    buf_u32(&b, (uint32_t)s->there.len);
    buf_bytes(&b, buf_span(&s->there));
    buf_bytes(&b, buf_span(&s->back));
    uint64_t sum = hash64(machine_digest(&s->machine), client_digest(s->client));
    sum = hash_bytes(buf_span(&b), sum);
    buf_deinit(&b);
    return sum;
}

const struct search_world library_world = {stage_create, stage_destroy, stage_act,
                                           stage_moves,  stage_digest,  stage_judge};
