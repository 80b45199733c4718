/* Many deliveries under way: who has caused them waits, and who sends little does not. */
#include "many.h"

#include "broker/own.h"
#include "broker/state.h"
#include "broker/strain.h"

enum {
    SHARE = 100,                            /* two small PUBLISH packets, about */
    STRAINING = OWN_MAX / MANY_FILTERS + 1, /* so many PUBLISH packets to many strain a shard */
    SOURCES = 3 * STRAINING,
};

struct strained {
    struct world *w;
    struct peer many, few, from, sources[SOURCES];
    unsigned source_count;
};

/* A client of its own each time: it has a whole share. */
static void publish_to_many(struct strained *s) {
    struct peer *p = &s->sources[s->source_count];
    char id[16];
    (void)snprintf(id, sizeof id, "source%u", s->source_count++);
    joined(p, s->w, PROTOCOL_311, id, false);
    say_publish(p, &(struct publishing){.topic = many_topic, .payload = "m"});
    many_heard(&s->many);
}

static void publish_to_few(struct strained *s) {
    say_publish(&s->from, &(struct publishing){.topic = "few", .payload = "f"});
}

/* As many deliveries are under way as strain a shard, and each turn makes few of them. */
static struct strained strained_begin(void) {
    struct strained s = {.w = world_new()};
    s.w->at_once = true;
    s.w->options.strain_share = SHARE;
    world_open(s.w, 1);
    joined(&s.many, s.w, PROTOCOL_311, "many", false);
    joined(&s.few, s.w, PROTOCOL_311, "few", false);
    joined(&s.from, s.w, PROTOCOL_311, "from", false);
    many_subscribe(&s.many);
    subscribed(&s.few, "few", 0);
    s.w->broker->options.turn_points = 32;
    while (!strain_now(world_shard(s.w, 0))) {
        assert_true(s.source_count < SOURCES - STRAINING - 1);
        publish_to_many(&s);
    }
    return s;
}

static void strained_end(struct strained *s) {
    for (unsigned i = 0; i < s->source_count; i++) {
        peer_close(&s->sources[i]);
    }
    peer_close(&s->few);
    peer_close(&s->from);
    buf_deinit(&s->many.received);
    world_close(s->w);
}

/* What one PUBLISH causes costs more than all shares together. */
static void one_who_writes_to_many_makes_nobody_else_wait(void **state) {
    (void)state;
    struct strained s = strained_begin();
    assert_true(MANY_FILTERS / OWN_QOS0_PER_POINT * STRAIN_POINT_BYTES > SHARE * STRAIN_ALL_SHARES);
    publish_to_few(&s);
    assert_true(strain_now(world_shard(s.w, 0)));
    expect(&s.few, "PUBLISH qos=0 topic=\"few\"");
    say_publish(&s.sources[s.source_count - 1], &(struct publishing){.topic = "few", .payload = "x"});
    expect_silence(&s.few); /* it waits itself */
    strained_end(&s);
}

/* The strain goes on, for others come who write to many: who has used up its share has a new one when all is delivered
 * that was there before. */
static void a_long_strain_stops_nobody_who_sends_little(void **state) {
    (void)state;
    struct strained s = strained_begin();
    const struct shard *shard = world_shard(s.w, 0);
    unsigned sent = 0;
    unsigned heard = 0;
    for (; sent == heard; sent++) {
        assert_true(sent < 10);
        publish_to_few(&s);
        heard += hear(&s.few)[0] != '\0';
    }
    for (unsigned i = 0; i <= STRAINING; i++) {
        publish_to_many(&s);
    }
    assert_true(own_count(shard) > 2 * OWN_MAX);
    while (heard < sent && own_count(shard) > OWN_MAX) {
        turn(s.w);
        many_heard(&s.many);
        heard += hear(&s.few)[0] != '\0';
    }
    assert_int_equal(heard, sent);
    assert_true(strain_now(shard));
    strained_end(&s);
}

/* They come at the same moment, each with as much as all may send together. */
static void giants_make_nobody_else_wait_for_the_disk(void **state) {
    (void)state;
    enum { GIANTS = 600 }; /* more than there are shares: then there is an end of it */
    static char body[2 * SHARE * STRAIN_MOST_SHARES];
    struct peer from, to, giants[GIANTS];
    struct world *w = world_new();
    w->at_once = true;
    w->options.strain_share = SHARE;
    world_open(w, 1);
    joined(&from, w, PROTOCOL_311, "from", false);
    joined(&to, w, PROTOCOL_311, "to", false);
    subscribed(&to, "few", 0);
    w->store.pressure = STORE_BUSY;
    turn(w);
    memset(body, 'x', sizeof body - 1);
    for (unsigned i = 0; i < GIANTS; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "giant%u", i);
        joined(&giants[i], w, PROTOCOL_311, id, false);
        say_publish(&giants[i], &(struct publishing){.topic = "giant", .payload = body});
        assert_int_equal(wish(&giants[i]), CONN_PAUSE);
        if (i == 2 * STRAIN_ALL_SHARES / STRAIN_MOST_SHARES) {
            say_publish(&from, &(struct publishing){.topic = "few", .payload = "f"});
            expect(&to, "PUBLISH qos=0 topic=\"few\"");
            assert_int_equal(wish(&from), CONN_READ);
        }
    }
    say_publish(&from, &(struct publishing){.topic = "few", .payload = "f"});
    assert_int_equal(wish(&from), CONN_PAUSE); /* what comes in is bounded all the same */
    for (unsigned i = 0; i < GIANTS; i++) {
        peer_close(&giants[i]);
    }
    peer_close(&from);
    peer_close(&to);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_who_writes_to_many_makes_nobody_else_wait),
        cmocka_unit_test(a_long_strain_stops_nobody_who_sends_little),
        cmocka_unit_test(giants_make_nobody_else_wait_for_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
