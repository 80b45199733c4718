/* The client on a real store that is killed and cut from power at every disk call of a scripted run: with a broker
 * that keeps its word, each message arrives once and in order, at the broker and at the application. */
#include "../store/fault_disk.h"
#include "base/must.h"
#include "peer.h"
#include "store/store_local.h"

enum { MESSAGES = 7, HOPS_MAX = 3000 };

/* One direction of a broker that forgets nothing. */
struct model {
    bool session;
    bool connected;
    bool held[UINT16_MAX + 1]; /* ids of the client's PUBLISH packets */
    int got[64];               /* numbers of the client's messages, as they came */
    int got_count;
    int state[MESSAGES]; /* of its own: 0 to be sent, 1 PUBLISH, 2 PUBREL owed, 3 done */
    int next;            /* the first that was never sent */
};

struct kept {
    struct peer peer; /* first: commit() finds the rest */
    struct fault_disk disk;
    struct disk ops;
    struct table *table;
    struct store_local_options options;
    bool dead;
    struct model broker;
    /* the application's own database, atomic and durable */
    int seen[64];
    int seen_count;
    uint64_t position;
    uint64_t works_on; /* taken, and its transaction is not committed */
    int work;
    int published; /* its outbox table: numbers below were handed over for sure */
    bool waits;    /* for this one to be stored */
    uint64_t waits_for;
};

static void kept_commit(struct peer *p) {
    struct kept *k = (struct kept *)p;
    bool idle = false;
    while (!k->dead && !idle) {
        switch (store_local_commit_step(p->store)) {
        case STORE_STEP_FAILED:
            k->dead = true;
            break;
        case STORE_STEP_WAIT:
            k->dead = store_local_checkpoint_step(p->store, false) == STORE_STEP_FAILED;
            break;
        case STORE_STEP_IDLE:
            idle = true;
            break;
        case STORE_STEP_MORE:
        case STORE_STEP_DONE:
            break;
        }
    }
    bool fold = store_pressure(p->store) == STORE_FULL || store_durable(p->store) >= store_folded(p->store) + 40;
    while (fold && !k->dead) {
        enum store_step step = store_local_checkpoint_step(p->store, true);
        k->dead = step == STORE_STEP_FAILED;
        fold = step == STORE_STEP_MORE;
    }
}

static bool kept_open(struct kept *k) {
    struct error error;
    k->dead = false;
    k->waits = false;
    k->works_on = 0;
    k->broker.connected = false;
    k->table = table_memory_open(k->disk.table);
    k->peer.store = store_local_open(&k->ops, k->table, &k->options, &error);
    if (k->peer.store == NULL) {
        k->table->ops->close(k->table);
        k->table = NULL;
        return false;
    }
    peer_create(&k->peer);
    assert_int_equal(client_resume(k->peer.client, k->position), QUARTET_OK);
    return true;
}

static void kept_close(struct kept *k) {
    if (k->table == NULL) {
        return;
    }
    client_destroy(k->peer.client);
    k->peer.client = NULL;
    store_local_close(k->peer.store);
    k->table->ops->close(k->table);
    k->table = NULL;
    k->peer.heard.len = 0;
}

static void kept_init(struct kept *k, uint64_t seed) {
    memset(k, 0, sizeof *k);
    peer_prepare(&k->peer);
    k->peer.commit = kept_commit;
    fault_disk_init(&k->disk, seed);
    k->ops = fault_disk_of(&k->disk);
    k->options =
        (struct store_local_options){.segment_bytes = 16384, .segments_max = 8, .frame_bytes_max = 4096, .salt = 7};
}

static void kept_deinit(struct kept *k) {
    kept_close(k);
    fault_disk_deinit(&k->disk);
    peer_deinit(&k->peer);
}

/* ---- the broker ---- */

static void model_sends(struct kept *k) {
    struct model *b = &k->broker;
    if (b->connected && b->next < MESSAGES && (b->next < 3 || b->state[b->next - 3] == 3)) { /* ids are used again */
        char text[16];
        (void)snprintf(text, sizeof text, "%d", b->next);
        b->state[b->next] = 1;
        broker_publishes(&k->peer, 2, (packet_id_t)(1 + b->next % 3), false, text);
        b->next++;
    }
}

static void model_resumes(struct kept *k) {
    struct model *b = &k->broker;
    for (int i = 0; i < b->next; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        if (b->state[i] == 1) {
            broker_publishes(&k->peer, 2, (packet_id_t)(1 + i % 3), true, text);
        } else if (b->state[i] == 2) {
            broker_acks(&k->peer, PACKET_PUBREL, (packet_id_t)(1 + i % 3), 0);
        }
    }
}

static void model_ack(struct kept *k, const struct packet *p) {
    struct model *b = &k->broker;
    for (int i = 0; i < b->next; i++) {
        bool mine = 1 + i % 3 == p->ack.packet_id;
        if (mine && p->type == PACKET_PUBREC && (b->state[i] == 1 || b->state[i] == 2)) {
            b->state[i] = 2;
            broker_acks(&k->peer, PACKET_PUBREL, p->ack.packet_id, 0);
        } else if (mine && p->type == PACKET_PUBCOMP && b->state[i] == 2) {
            b->state[i] = 3;
        }
    }
}

static void model_takes(struct kept *k, const struct packet *p) {
    struct model *b = &k->broker;
    switch ((unsigned)p->type) {
    case PACKET_CONNECT:
        broker_connack(&k->peer, b->session, 0);
        b->session = true;
        b->connected = true;
        model_resumes(k);
        break;
    case PACKET_SUBSCRIBE:
        broker_subacks(&k->peer, p->subscribe.packet_id, "\2", 1);
        break;
    case PACKET_PUBLISH:
        if (!b->held[p->publish.packet_id]) {
            b->held[p->publish.packet_id] = true;
            must(b->got_count < 64);
            b->got[b->got_count++] = p->publish.payload.ptr[0] - 'A';
        }
        broker_acks(&k->peer, PACKET_PUBREC, p->publish.packet_id, 0);
        break;
    case PACKET_PUBREL:
        b->held[p->ack.packet_id] = false;
        broker_acks(&k->peer, PACKET_PUBCOMP, p->ack.packet_id, 0);
        break;
    case PACKET_PUBREC:
    case PACKET_PUBCOMP:
        model_ack(k, p);
        break;
    default:
        break;
    }
}

/* The broker reads one packet; false when there is none. */
static bool model_reads(struct kept *k) {
    struct packet_frame frame;
    struct packet packet;
    struct verdict verdict;
    struct peer *p = &k->peer;
    peer_hear(p);
    if (k->dead || p->heard.len == 0) {
        return false;
    }
    bool connect = p->heard.ptr[0] == 0x10;
    must(packet_frame(buf_span(&p->heard), PACKET_FROM_CLIENT, connect ? PROTOCOL_NONE : PROTOCOL_5, &peer_limits,
                      &frame, &verdict) == PACKET_WHOLE);
    packet.type = frame.type;
    must(packet_decode(&frame, PROTOCOL_5, &peer_limits, &packet, &verdict));
    model_takes(k, &packet);
    buf_drop_front(&p->heard, frame.bytes);
    return true;
}

/* ---- the application ---- */

static void app_works(struct kept *k) {
    struct client_delivery d;
    if (k->works_on != 0) { /* one transaction: the effect and the position */
        must(k->works_on > k->position && k->seen_count < 64);
        k->seen[k->seen_count++] = k->work;
        k->position = k->works_on;
        must(client_done(k->peer.client, k->works_on));
        k->works_on = 0;
    } else if (client_take(k->peer.client, &d)) {
        k->works_on = d.sequence;
        k->work = message_payload(d.message).ptr[0] - '0';
        message_unref(d.message);
    }
    if (k->waits && client_publish_stored(k->peer.client, k->waits_for)) {
        k->waits = false;
        k->published++;
    }
    if (k->published < MESSAGES && !k->waits) {
        struct error error;
        char text[2] = {(char)('A' + k->published), '\0'};
        struct quartet_publication p = {
            .topic = "t", .payload = text, .payload_bytes = 1, .qos = 2, .sequence = (uint64_t)k->published + 1};
        k->waits = client_publish(k->peer.client, &p, &k->waits_for, &error) == QUARTET_OK;
    }
}

static bool all_done(const struct kept *k) {
    return k->seen_count >= MESSAGES && k->broker.got_count >= MESSAGES && k->broker.state[MESSAGES - 1] == 3 &&
           client_oldest(k->peer.client) == UINT64_MAX;
}

/* One life of the client, until the work is done or the disk dies. */
static void live(struct kept *k) {
    struct peer *p = &k->peer;
    app_subscribes(p, "t", 2);
    for (int i = 0; !k->dead && !all_done(k); i++) {
        assert_true(i < HOPS_MAX);
        if (peer_wish(p) == CLIENT_CLOSE) {
            k->broker.connected = false;
            client_closed(p->client, QUARTET_OK, NULL);
        }
        peer_advance(p, 10);
        if (peer_wish(p) == CLIENT_CONNECT) {
            p->heard.len = 0;
            client_opened(p->client);
        }
        app_works(k);
        if (!k->dead && !model_reads(k)) { /* what may leave leaves before the disk is asked again */
            peer_durable(p);
            if (!k->dead && !model_reads(k)) {
                model_sends(k);
            }
        }
    }
}

static void judge(const struct kept *k) {
    assert_int_equal(k->seen_count, MESSAGES);
    assert_int_equal(k->broker.got_count, MESSAGES);
    for (int i = 0; i < MESSAGES; i++) {
        assert_int_equal(k->seen[i], i);
        assert_int_equal(k->broker.got[i], i);
    }
}

/* Returns how many disk calls there were; `fault_at` 0: no fault. */
static uint64_t run(uint64_t seed, uint64_t fault_at, bool power) {
    struct kept k;
    kept_init(&k, seed);
    k.disk.fault = FAULT_CRASH;
    k.disk.fault_at = fault_at;
    k.peer.disk_is_slow = true;
    for (int lives = 0; lives < 4; lives++) {
        if (kept_open(&k)) {
            live(&k);
        }
        bool finished = k.table != NULL && !k.dead;
        uint64_t calls = k.disk.calls;
        kept_close(&k);
        if (finished) {
            judge(&k);
            kept_deinit(&k);
            return calls;
        }
        fault_disk_restart(&k.disk, power);
    }
    fail_msg("it never ends");
    return 0;
}

static void killed_at_every_disk_call(void **state) {
    (void)state;
    uint64_t calls = run(1, 0, false);
    assert_true(calls > 50);
    for (uint64_t at = 1; at <= calls; at++) {
        (void)run(at, at, false);
    }
}

static void cut_from_power_at_every_disk_call(void **state) {
    (void)state;
    uint64_t calls = run(1, 0, true);
    for (uint64_t at = 1; at <= calls; at++) {
        (void)run(at, at, true);
        (void)run(at + 100000, at, true);
    }
}

/* ---- what a restart remembers ---- */

static struct kept kept;

static int setup(void **state) {
    (void)state;
    kept_init(&kept, 3);
    assert_true(kept_open(&kept));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    kept_deinit(&kept);
    return 0;
}

static void restart(void) {
    kept_commit(&kept.peer);
    kept_close(&kept);
    fault_disk_restart(&kept.disk, true);
    assert_true(kept_open(&kept));
}

static void subscriptions_are_not_asked_for_again(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    peer_connect(p, false);
    app_subscribes(p, "a", 2);
    client_says(p, "SUBSCRIBE id=65535 \"a\":2");
    broker_subacks(p, 65535, "\1", 1);
    restart();
    app_subscribes(p, "a", 2);
    assert_int_equal(app_hears(p, QUARTET_EVENT_SUBSCRIBED).reason, 1);
    peer_connect(p, true);
    client_is_silent(p);
    peer_cut(p);
    peer_connect(p, false);
    client_says(p, "SUBSCRIBE id=65535 \"a\":2"); /* the broker has forgotten: loaded ones are wanted too */
}

/* Between UNSUBSCRIBE and the record of its answer: the broker may have it or not. */
static void what_was_to_be_unsubscribed_is_not_taken_for_granted(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    struct error error;
    peer_connect(p, false);
    app_subscribes(p, "a", 2);
    client_says(p, "SUBSCRIBE id=65535 \"a\":2");
    broker_subacks(p, 65535, "\2", 1);
    peer_hear(p);
    p->disk_is_slow = true;
    assert_int_equal(client_unsubscribe(p->client, "a", &error), QUARTET_OK);
    client_is_silent(p);
    peer_durable(p);
    client_says(p, "UNSUBSCRIBE id=65535 \"a\"");
    broker_unsubacks(p, 65535, "\0", 1);
    p->disk_is_slow = false;
    kept_close(&kept); /* killed: what was not durable is lost */
    fault_disk_restart(&kept.disk, false);
    assert_true(kept_open(&kept));
    app_subscribes(p, "a", 2);
    peer_connect(p, true);
    client_says(p, "SUBSCRIBE id=65535 \"a\":2:handling=1");
}

static void a_crash_before_connack_is_recorded_makes_it_ask_again(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    peer_connect(p, false);
    app_subscribes(p, "a", 2);
    client_says(p, "SUBSCRIBE id=65535 \"a\":2");
    broker_subacks(p, 65535, "\2", 1);
    peer_cut(p);
    (void)peer_open(p);
    restart();
    peer_connect(p, true);
    client_says(p, "SUBSCRIBE id=65535 \"a\":2:handling=1");
}

/* The CONNACK is recorded, but what was asked because one before it may have been missed is not answered. */
static void a_crash_before_suback_is_recorded_makes_it_ask_again(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    peer_connect(p, false);
    app_subscribes(p, "a", 2);
    client_says(p, "SUBSCRIBE id=65535 \"a\":2");
    broker_subacks(p, 65535, "\2", 1);
    peer_cut(p);
    (void)peer_open(p);
    for (int i = 0; i < 2; i++) {
        restart();
        peer_connect(p, true);
        client_says(p, "SUBSCRIBE id=65535 \"a\":2:handling=1");
    }
    broker_subacks(p, 65535, "\2", 1);
    restart();
    peer_connect(p, true);
    client_is_silent(p);
}

/* The client dies, and the power with it, before this is on disk. */
static void dies_without_commit(void) {
    kept.peer.disk_is_slow = false;
    kept_close(&kept);
    fault_disk_restart(&kept.disk, true);
    assert_true(kept_open(&kept));
}

static void a_new_session_that_was_seen_but_not_recorded_is_begun_anew(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    p->options.session_expiry_s = 100;
    restart();
    peer_connect(p, false);
    broker_publishes(p, 2, 9, false, "old");
    client_says(p, "PUBREC id=9 reason=0x00");
    (void)app_takes(p, "old");
    peer_cut(p);
    peer_advance(p, 100000);
    const char *line = peer_open(p);
    assert_non_null(strstr(line, "CONNECT 5.0 keep_alive"));
    p->disk_is_slow = true;
    broker_connack(p, false, 0);
    dies_without_commit();
    assert_non_null(strstr(peer_open(p), "CONNECT 5.0 clean"));
    broker_connack(p, false, 0);
    broker_publishes(p, 2, 9, false, "new");
    client_says(p, "PUBREC id=9 reason=0x00");
    (void)app_takes(p, "old"); /* it was never done */
    (void)app_takes(p, "new");
}

/* The second process asks for a shorter expiry, and dies before it is answered: the broker may have heard it. */
static void an_expiry_that_was_asked_for_counts_although_nobody_answered(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    peer_connect(p, false);
    peer_cut(p);
    p->options.session_expiry_s = 10;
    restart();
    (void)peer_open(p);
    p->options.session_expiry_s = 0;
    p->wall += 10000;
    restart();
    assert_non_null(strstr(peer_open(p), "CONNECT 5.0 clean"));
}

/* Also after a restart the session is one that somebody before us has used. What has a flow is ours by then. */
static void packet_ids_of_an_unknown_session_stay_doubtful(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    peer_connect(p, true);
    (void)app_publishes(p, 2, "a");
    client_says(p, "PUBREL id=1 reason=0x00");
    broker_acks(p, PACKET_PUBCOMP, 1, REASON_PACKET_IDENTIFIER_NOT_FOUND);
    client_says(p, "PUBLISH qos=2 id=1 topic=\"t\" bytes=1");
    restart();
    peer_connect(p, true);
    client_says(p, "PUBLISH qos=2 dup id=1 topic=\"t\" bytes=1");
    (void)app_publishes(p, 2, "b");
    client_says(p, "PUBREL id=2 reason=0x00");
    broker_acks(p, PACKET_PUBCOMP, 2, 0);
    client_says(p, "PUBLISH qos=2 id=2 topic=\"t\" bytes=1");
    restart();
    peer_connect(p, false); /* a new session has no ids */
    assert_int_equal(client_session_lost(p->client, QUARTET_LOST_RESEND), QUARTET_OK);
    client_says(p, "PUBLISH qos=2 id=1 topic=\"t\" bytes=1");
    client_says(p, "PUBLISH qos=2 id=2 topic=\"t\" bytes=1");
    (void)app_publishes(p, 2, "c");
    client_says(p, "PUBLISH qos=2 id=3 topic=\"t\" bytes=1");
}

static void kill_the_message_and_its_id_are_still_there(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    peer_connect(p, false);
    broker_publishes(p, 2, 9, false, "A");
    client_says(p, "PUBREC id=9 reason=0x00");
    restart();
    peer_connect(p, true);
    broker_publishes(p, 2, 9, true, "A");
    client_says(p, "PUBREC id=9 reason=0x00");
    broker_acks(p, PACKET_PUBREL, 9, 0);
    client_says(p, "PUBCOMP id=9 reason=0x00");
    struct client_delivery d;
    assert_true(client_take(p->client, &d));
    assert_true(d.redelivered);
    uint64_t position = d.sequence;
    message_unref(d.message);
    app_takes_nothing(p);
    restart(); /* not done: the same position again */
    assert_int_equal(app_takes(p, "A"), position);
    assert_true(client_done(p->client, position));
    restart();
    app_takes_nothing(p);
}

static void a_kept_position_ends_what_was_before_it(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    peer_connect(p, false);
    broker_publishes(p, 2, 1, false, "A");
    broker_publishes(p, 2, 2, false, "B");
    (void)app_takes(p, "A");
    kept.position = app_takes(p, "B");
    broker_publishes(p, 2, 3, false, "C");
    peer_durable(p);
    restart(); /* resumes from the position */
    (void)app_takes(p, "C");
    app_takes_nothing(p);
    assert_int_equal(client_resume(p->client, 1), QUARTET_INVALID); /* too late */
    kept.position = 0;
    restart();
    assert_int_equal(client_resume(p->client, 1000000), QUARTET_INVALID); /* not of this store */
    (void)app_takes(p, "C");
}

static void held_flows_wait_for_the_decision_also_after_a_crash(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    peer_connect(p, false);
    uint64_t a = app_publishes(p, 2, "a");
    uint64_t b = app_publishes(p, 2, "bb");
    peer_hear(p);
    peer_cut(p);
    peer_connect(p, false);
    uint64_t c = app_publishes(p, 2, "ccc");
    restart();
    app_forgets_events(p);
    peer_connect(p, true); /* the new session */
    client_is_silent(p);
    (void)app_hears(p, QUARTET_EVENT_CONNECTED);
    assert_int_equal(app_hears(p, QUARTET_EVENT_SESSION_LOST).count, 2);
    assert_int_equal(client_oldest(p->client), a);
    assert_int_equal(client_session_lost(p->client, QUARTET_LOST_DROP), QUARTET_OK);
    client_says(p, "PUBLISH qos=2 id=3 topic=\"t\" bytes=3");
    assert_false(client_pending(p->client, b));
    assert_true(client_pending(p->client, c));
    restart();
    peer_connect(p, true);
    client_says(p, "PUBLISH qos=2 dup id=3 topic=\"t\" bytes=3");
    client_is_silent(p);
}

static void sequences_are_remembered(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    uint64_t id;
    struct error error;
    struct quartet_publication publication = {.topic = "t", .qos = 1, .sequence = 41};
    assert_int_equal(client_publish(p->client, &publication, &id, &error), QUARTET_OK);
    restart();
    assert_int_equal(client_last_sequence(p->client), 41);
    assert_int_equal(client_publish(p->client, &publication, &id, &error), QUARTET_OK);
    assert_int_equal(id, 0);
    struct quartet_status status;
    client_status(p->client, &status);
    assert_int_equal(status.outbox_messages, 1);
}

static void a_store_of_another_client_is_refused(void **state) {
    (void)state;
    kept_commit(&kept.peer);
    client_destroy(kept.peer.client);
    kept.peer.client = NULL;
    store_local_close(kept.peer.store);
    struct error error;
    int code;
    kept.peer.store = store_local_open(&kept.ops, kept.table, &kept.options, &error);
    assert_non_null(kept.peer.store);
    struct quartet_options options = {.client_id = "somebody else"};
    assert_true(client_options_complete(&options, &code, &error));
    struct client_setup setup_of = {.options = &options, .store = kept.peer.store, .ids_max = UINT16_MAX};
    assert_null(client_create(&setup_of, &error));
    assert_non_null(strstr(error.text, "\"c\""));
}

/* The disk takes what is staged up to SESSION{in} as one frame, and no more. */
static struct store_ops torn_ops;
static const struct store_ops *whole_ops;
static bool torn;

static lsn_t torn_stage(struct store *store, const struct record *record) {
    if (torn) {
        return whole_ops->stage(store, record);
    }
    lsn_t lsn = whole_ops->stage(store, record);
    if (record->kind == RECORD_SESSION && record->session.client_id.ptr[0] == 'i') {
        kept_commit(&kept.peer);
        torn = true;
    }
    return lsn;
}

static void a_foreign_session_is_known_as_such_also_when_connack_is_half_recorded(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    (void)peer_open(p);
    p->disk_is_slow = true;
    whole_ops = p->store->ops;
    torn_ops = *whole_ops;
    torn_ops.stage = torn_stage;
    torn = false;
    p->store->ops = &torn_ops;
    broker_connack(p, true, 0); /* SESSION{in}: known | power cut | SESSION{out}: foreign */
    p->store->ops = whole_ops;
    assert_true(torn);
    dies_without_commit();
    peer_connect(p, true);
    (void)app_publishes(p, 2, "a");
    client_says(p, "PUBREL id=1 reason=0x00");
}

static void a_clean_start_of_the_application_is_its_will_also_when_distrusted(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    p->options.session_expiry_s = 100;
    restart();
    peer_connect(p, false);
    (void)app_publishes(p, 2, "m");
    client_says(p, "PUBLISH qos=2 id=1 topic=\"t\" bytes=1");
    peer_cut(p);
    p->options.clean_start = true;
    p->wall += 100000;
    restart();
    assert_non_null(strstr(peer_open(p), "CONNECT 5.0 clean"));
    peer_cut(p); /* the answer is lost */
    assert_non_null(strstr(peer_open(p), "CONNECT 5.0 clean"));
    broker_connack(p, false, 0);
    client_says(p, "PUBLISH qos=2 id=1 topic=\"t\" bytes=1");
}

/* 3.1.1 with Clean Session 1: the session ends with its connection, as with expiry 0 of 5.0. */
static void a_session_of_311_that_has_ended_is_not_trusted(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    p->options.protocol = PROTOCOL_311;
    p->options.end_session = true;
    p->protocol = PROTOCOL_311;
    restart();
    peer_connect(p, false);
    broker_publishes(p, 2, 9, false, "old");
    client_says(p, "PUBREC id=9 reason=0x00");
    p->options.protocol = PROTOCOL_5;
    p->options.end_session = false;
    p->protocol = PROTOCOL_5;
    restart();
    assert_non_null(strstr(peer_open(p), "CONNECT 5.0 keep_alive")); /* the broker makes a session */
    peer_cut(p);                                                     /* and nobody hears of it */
    assert_non_null(strstr(peer_open(p), "CONNECT 5.0 clean"));
}

/* As the library wrote it until today: SESSION{in}.disconnected_at 0 while a CONNECT is unanswered. */
static void an_old_store_with_an_unanswered_connect_asks_again(void **state) {
    (void)state;
    struct peer *p = &kept.peer;
    peer_connect(p, false);
    app_subscribes(p, "a", 2);
    client_says(p, "SUBSCRIBE id=65535 \"a\":2");
    broker_subacks(p, 65535, "\2", 1);
    peer_durable(p);
    struct record in = {.kind = RECORD_SESSION,
                        .session = {.session_id = 2,
                                    .client_id = SPAN("in:c"),
                                    .expiry_s = SESSION_NEVER_EXPIRES,
                                    .disconnected_at = 0,
                                    .protocol = 5}};
    struct record out = {.kind = RECORD_SESSION,
                         .session = {.session_id = 1,
                                     .client_id = SPAN("out:c"),
                                     .expiry_s = SESSION_NEVER_EXPIRES,
                                     .disconnected_at = 0,
                                     .protocol = 5}};
    (void)store_stage(p->store, &out);
    (void)store_stage(p->store, &in);
    restart();
    peer_connect(p, true);
    client_says(p, "SUBSCRIBE id=65535 \"a\":2:handling=1");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_every_disk_call),
        cmocka_unit_test(cut_from_power_at_every_disk_call),
        TEST(subscriptions_are_not_asked_for_again),
        TEST(what_was_to_be_unsubscribed_is_not_taken_for_granted),
        TEST(a_crash_before_connack_is_recorded_makes_it_ask_again),
        TEST(a_crash_before_suback_is_recorded_makes_it_ask_again),
        TEST(a_new_session_that_was_seen_but_not_recorded_is_begun_anew),
        TEST(an_expiry_that_was_asked_for_counts_although_nobody_answered),
        TEST(packet_ids_of_an_unknown_session_stay_doubtful),
        TEST(kill_the_message_and_its_id_are_still_there),
        TEST(a_kept_position_ends_what_was_before_it),
        TEST(held_flows_wait_for_the_decision_also_after_a_crash),
        TEST(sequences_are_remembered),
        TEST(a_store_of_another_client_is_refused),
        TEST(a_foreign_session_is_known_as_such_also_when_connack_is_half_recorded),
        TEST(a_clean_start_of_the_application_is_its_will_also_when_distrusted),
        TEST(a_session_of_311_that_has_ended_is_not_trusted),
        TEST(an_old_store_with_an_unanswered_connect_asks_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
