/* The application on top of a real client judges what the library gives it: an order, names that stay, a flag on what
 * may have come before. Deliveries by hand; where the library is asked, it is the real one on a simulated disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "record/message.h"
#include "sim/world.h"

struct fixture {
    struct plan plan;
    struct choices choices;
    struct world *w;
    struct peer *p;
};

static void begin(struct fixture *f, bool transaction) {
    memset(f, 0, sizeof *f);
    plan_base(&f->plan);
    f->plan.client_count = 2;
    f->plan.clients[0] = (struct plan_client){.real = true,
                                              .five = true,
                                              .durable = true,
                                              .publishes = true,
                                              .transaction = transaction,
                                              .hand = SIM_HAND_MAX,
                                              .session_expiry = SESSION_NEVER_EXPIRES,
                                              .pipe_bytes = SIM_PIPE_BYTES_DRAWN,
                                              .wanted = {{.filter = 4, .qos = 2}},
                                              .wanted_count = 1};
    f->plan.clients[1] = (struct plan_client){.five = true, .pipe_bytes = SIM_PIPE_BYTES_DRAWN};
    choices_start(&f->choices, 1, NULL, 0, false);
    f->w = world_create(&f->plan, &f->choices, NULL);
    f->p = &f->w->peers[0];
    oracle_subscribed(f->w, oracle_subscribing(f->w, 0, &f->plan.clients[0].wanted[0], 1));
    f->w->step++;
    for (unsigned i = 0; i < 3; i++) {
        const struct sim_message m = {.publisher = 1, .qos = 2, .bytes = 8, .order = i + 1};
        oracle_published(f->w, oracle_message(f->w, &m), true);
    }
}

static void end(struct fixture *f) {
    world_destroy(f->w);
    choices_deinit(&f->choices);
}

static void given(struct fixture *f, uint64_t sequence, int message, bool redelivered) {
    uint8_t payload[MINI_PACKET_BYTES];
    const struct message_parts parts = {
        .qos = 2, .topic = span_str("a"), .payload = span_of(payload, oracle_payload(f->w, message, payload))};
    const struct client_delivery d = {
        .message = message_create(&parts), .sequence = sequence, .qos = 2, .redelivered = redelivered};
    app_given(f->w, f->p, &d);
}

static void effects(struct fixture *f, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        app_act(f->w, f->p, ACTION_APP_EFFECT);
    }
}

static void assert_rule(const struct fixture *f, const char *rule) {
    char text[24];
    snprintf(text, sizeof text, "%.*s", (int)strcspn(f->w->failure, ":"), f->w->failure);
    assert_string_equal(text, rule);
}

static void positions_grow(void **state) {
    (void)state;
    static const struct {
        uint64_t second;
        const char *rule;
    } rows[] = {{8, ""}, {7, "G3"}, {6, "G3"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        begin(&f, false);
        given(&f, 7, 0, false);
        assert_rule(&f, "");
        given(&f, rows[i].second, 1, false);
        assert_rule(&f, rows[i].rule);
        end(&f);
    }
}

/* After a crash it may be given again what it was not done with: the same, under the same name, flagged. */
static void what_comes_again_is_the_same_and_flagged(void **state) {
    (void)state;
    static const struct {
        int message;
        bool flagged;
        const char *rule;
    } rows[] = {{0, true, ""}, {0, false, "G4"}, {1, true, "G4"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        begin(&f, false);
        given(&f, 7, 0, false);
        app_died(&f.p->app);
        given(&f, 7, rows[i].message, rows[i].flagged);
        assert_rule(&f, rows[i].rule);
        end(&f);
    }
}

/* Where effect and position are one, nothing up to the position comes again; what had no effect does. */
static void nothing_comes_before_the_position(void **state) {
    (void)state;
    for (unsigned count = 0; count <= 1; count++) {
        struct fixture f;
        begin(&f, true);
        given(&f, 7, 0, false);
        effects(&f, count);
        app_died(&f.p->app);
        given(&f, 7, 0, true);
        assert_rule(&f, count == 0 ? "" : "G4");
        end(&f);
    }
}

/* The same message under two names has two effects. */
static void an_effect_counts_once_for_each_position(void **state) {
    (void)state;
    for (uint64_t second = 7; second <= 8; second++) {
        struct fixture f;
        begin(&f, false);
        given(&f, 7, 0, false);
        effects(&f, 1);
        app_died(&f.p->app);
        given(&f, second, 0, second == 7);
        assert_rule(&f, "");
        effects(&f, 1);
        assert_rule(&f, second == 7 ? "" : "G2");
        end(&f);
    }
}

static void order_is_judged_where_effects_happen(void **state) {
    (void)state;
    for (int first = 0; first <= 1; first++) {
        struct fixture f;
        begin(&f, false);
        given(&f, 7, first, false);
        given(&f, 8, 1 - first, false);
        effects(&f, 2);
        assert_rule(&f, first == 0 ? "" : "G3");
        end(&f);
    }
}

static void what_nobody_published_is_seen(void **state) {
    (void)state;
    struct fixture f;
    begin(&f, false);
    const struct message_parts parts = {.qos = 2, .topic = span_str("a"), .payload = span_str("m0:1.damaged")};
    app_given(f.w, f.p, &(struct client_delivery){.message = message_create(&parts), .sequence = 7, .qos = 2});
    assert_rule(&f, "content");
    end(&f);
}

/* ---- with the library ---- */

static void commit(struct fixture *f) {
    while (machine_wants_commit(&f->p->machine) && peer_commit(f->w, f->p)) {
    }
}

/* A process with one message of its own that the library has taken. */
static void publishes(struct fixture *f) {
    const struct sim_message m = {.publisher = 0, .qos = 2, .bytes = 8, .order = 1};
    begin(f, false);
    (void)app_add_row(f->w, f->p, &m);
    assert_true(peer_start(f->w, f->p));
    assert_true(app_can(f->w, f->p, ACTION_FLOW));
    app_act(f->w, f->p, ACTION_FLOW);
    assert_rule(f, "");
}

static void stored_is_what_the_disk_has(void **state) {
    (void)state;
    struct fixture f;
    char text[100] = "";
    publishes(&f);
    app_watch(f.w, f.p);
    assert_false(f.p->app.rows[0].stored);
    assert_true(app_describe(f.w, f.p, text, sizeof text));
    commit(&f);
    app_watch(f.w, f.p);
    assert_true(f.p->app.rows[0].stored);
    assert_false(app_describe(f.w, f.p, text, sizeof text));
    end(&f);
}

/* A message that was never given to the library cannot have been taken before. */
static void no_message_is_taken_for_another(void **state) {
    (void)state;
    for (int forged = 0; forged <= 1; forged++) {
        struct fixture f;
        publishes(&f);
        commit(&f);
        f.p->app.next_row = 0;
        f.p->app.rows[0].handed = forged == 0;
        app_act(f.w, f.p, ACTION_FLOW);
        assert_rule(&f, forged == 0 ? "" : "app");
        end(&f);
    }
}

/* The library cannot know of more messages than the application has written. */
static void the_library_is_not_ahead(void **state) {
    (void)state;
    for (int ahead = 0; ahead <= 1; ahead++) {
        struct fixture f;
        publishes(&f);
        commit(&f);
        peer_kill(f.w, f.p, "killed");
        f.p->app.row_count -= (unsigned)ahead;
        const struct choice script[] = {{2, 3}}; /* where the library says that it was */
        choices_start(&f.choices, 1, script, 1, false);
        (void)peer_start(f.w, f.p);
        assert_rule(&f, ahead == 0 ? "" : "app");
        end(&f);
    }
}

/* Another application on another machine begins where this one was, and publishes nothing of it once more. */
static void a_replaced_application_begins_anew(void **state) {
    (void)state;
    struct fixture f;
    publishes(&f);
    commit(&f);
    app_watch(f.w, f.p);
    given(&f, 7, 0, false);
    peer_replace(f.w, f.p);
    assert_true(f.w->oracle.messages[f.p->app.rows[0].message].doubtful);
    assert_true(peer_start(f.w, f.p));
    assert_false(app_can(f.w, f.p, ACTION_FLOW));
    given(&f, 3, 1, false);
    assert_rule(&f, "");
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_grow),
        cmocka_unit_test(what_comes_again_is_the_same_and_flagged),
        cmocka_unit_test(nothing_comes_before_the_position),
        cmocka_unit_test(an_effect_counts_once_for_each_position),
        cmocka_unit_test(order_is_judged_where_effects_happen),
        cmocka_unit_test(what_nobody_published_is_seen),
        cmocka_unit_test(stored_is_what_the_disk_has),
        cmocka_unit_test(no_message_is_taken_for_another),
        cmocka_unit_test(the_library_is_not_ahead),
        cmocka_unit_test(a_replaced_application_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
