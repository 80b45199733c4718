/* Mail between shards when there is more of it than rings have room for: who writes to few does not wait for the
 * fan-outs of others, and what comes from one shard to one session keeps its order. */
#include "many.h"

#include "broker/connect.h"
#include "broker/state.h"

enum { RING = 4096 };

/* A client of shard `shard`. */
static void join_on(struct peer *p, struct world *w, unsigned shard, const char *name) {
    char id[24];
    unsigned n = 0;
    do {
        (void)snprintf(id, sizeof id, "%s%u", name, n++);
    } while (connect_owner(w->broker, span_str(id)) != shard);
    joined(p, w, PROTOCOL_311, id, false);
    assert_int_equal(p->shard, shard);
}

static void publish(struct peer *from, const char *on, const char *payload) {
    say_publish(from, &(struct publishing){.topic = on, .payload = payload});
}

/* A shard takes what is in its ring. */
static size_t take(struct world *w, unsigned shard, unsigned from) {
    turn_begin(w, shard);
    return shard_mail(world_shard(w, shard), from, SIZE_MAX);
}

struct fans {
    struct world *w;
    struct peer source, from, many, few; /* the publishers on shard 0, the subscribers on shard 1 */
};

static struct fans fans_begin(void) {
    struct fans f = {.w = world_new()};
    f.w->at_once = true;
    f.w->options.turn_points = 1 << 20;
    f.w->options.strain_share = 1 << 30;
    f.w->options.outbox_bytes_max = 1 << 24;
    world_open(f.w, 2);
    join_on(&f.source, f.w, 0, "source");
    join_on(&f.from, f.w, 0, "from");
    join_on(&f.many, f.w, 1, "many");
    join_on(&f.few, f.w, 1, "few");
    many_subscribe(&f.many);
    subscribed(&f.few, "few", 0);
    return f;
}

static void fans_end(struct fans *f) {
    for (unsigned i = 0; i < 20 && world_shard(f->w, 0)->late_count > 0; i++) {
        turn(f->w);
    }
    assert_int_equal(world_shard(f->w, 0)->late_count, 0);
    peer_close(&f->source);
    peer_close(&f->from);
    peer_close(&f->few);
    buf_deinit(&f->many.received);
    world_close(f->w);
}

static void who_writes_to_few_does_not_wait_for_the_fan_outs_of_others(void **state) {
    (void)state;
    struct fans f = fans_begin();
    for (unsigned i = 0; i < 5; i++) {
        publish(&f.source, many_topic, "many");
    }
    assert_in_range(world_shard(f.w, 0)->late_count, 4 * MANY_FILTERS, 5 * MANY_FILTERS);
    publish(&f.from, "few", "1");
    assert_in_range(take(f.w, 1, 0), 1, RING / 8 * 7 + 1);
    expect(&f.few, "PUBLISH qos=0 topic=\"few\"");
    turn_begin(f.w, 0);
    publish(&f.from, "few", "2");
    (void)take(f.w, 1, 0);
    expect(&f.few, "PUBLISH qos=0 topic=\"few\"");
    expect_silence(&f.few);
    fans_end(&f);
}

/* One of many receivers, too, does not stand behind what one of them has subscribed to. */
static void who_has_little_waiting_goes_before_the_backlog_of_others(void **state) {
    (void)state;
    struct fans f = fans_begin();
    subscribed(&f.few, many_topic, 0);
    for (unsigned i = 0; i < 3; i++) {
        publish(&f.source, many_topic, "many");
    }
    assert_true(world_shard(f.w, 0)->late_count > 2 * MANY_FILTERS);
    (void)take(f.w, 1, 0);
    turn_begin(f.w, 0);
    (void)take(f.w, 1, 0);
    for (unsigned i = 0; i < 3; i++) {
        expect(&f.few, "PUBLISH qos=0 topic=\"a/a/a/a/a/a/a/a/a/a/a/a\"");
    }
    expect_silence(&f.few);
    assert_true(world_shard(f.w, 0)->late_count > 0);
    fans_end(&f);
}

/* How many of the PUBLISH packets that the client has got have this topic. */
static unsigned count_of(struct peer *p, struct span on, bool *last) {
    struct packet_frame frame;
    struct verdict verdict;
    struct packet packet;
    unsigned count = 0;
    size_t at = 0;
    peer_read(p, SIZE_MAX);
    while (packet_frame(span_skip(buf_span(&p->received), at), PACKET_FROM_SERVER, p->protocol, &p->w->options.packet,
                        &frame, &verdict) == PACKET_WHOLE) {
        assert_true(packet_decode(&frame, p->protocol, &p->w->options.packet, &packet, &verdict));
        *last = span_equal(packet.publish.topic, on);
        count += *last;
        at += frame.bytes;
    }
    return count;
}

/* What goes to the same session alone comes behind the fan-out that stands before it. */
static void mail_to_one_session_keeps_its_order(void **state) {
    (void)state;
    struct fans f = fans_begin();
    bool last = false;
    say_subscribe(&f.many, 1, "one", 0);
    turn(f.w);
    expect(&f.many, "SUBACK id=1");
    for (unsigned i = 0; i < 3; i++) {
        publish(&f.source, many_topic, "many");
    }
    publish(&f.source, "one", "behind");
    assert_true(world_shard(f.w, 0)->late_count > 2 * MANY_FILTERS);
    unsigned rounds = 0;
    while (count_of(&f.many, span_str("one"), &last) == 0) {
        assert_true(rounds++ < 20);
        turn_begin(f.w, 0);
        (void)take(f.w, 1, 0);
    }
    assert_true(last);
    assert_int_equal(count_of(&f.many, span_str(many_topic), &last), 3 * MANY_FILTERS);
    publish(&f.source, "one", "at once"); /* and nothing stands before it any more */
    (void)take(f.w, 1, 0);
    assert_int_equal(count_of(&f.many, span_str("one"), &last), 2);
    fans_end(&f);
}

/* Nor does a fan-out pass by what waits for one of its receivers alone. */
static void a_fan_out_keeps_the_order_of_its_receivers(void **state) {
    (void)state;
    struct fans f = fans_begin();
    bool last = false;
    subscribed(&f.few, many_topic, 0);
    for (unsigned i = 0; i < RING + 10; i++) {
        publish(&f.source, "few", "before");
    }
    assert_int_equal(world_shard(f.w, 0)->late_count, 10);
    assert_int_equal(take(f.w, 1, 0), RING); /* there is room again */
    publish(&f.source, many_topic, "many");
    for (unsigned i = 0; i < 5; i++) {
        turn_begin(f.w, 0);
        (void)take(f.w, 1, 0);
    }
    assert_int_equal(count_of(&f.few, span_str("few"), &last), RING + 10);
    assert_false(last);
    fans_end(&f);
}

/* The broker goes while mail is late. */
static void late_mail_is_freed_with_the_broker(void **state) {
    (void)state;
    struct fans f = fans_begin();
    for (unsigned i = 0; i < 3; i++) {
        publish(&f.source, many_topic, "many");
    }
    for (unsigned i = 0; i < 2 * RING; i++) {
        publish(&f.from, "few", "few");
    }
    assert_true(world_shard(f.w, 0)->late_count > 2 * MANY_FILTERS + RING);
    peer_close(&f.source);
    peer_close(&f.from);
    peer_close(&f.few);
    buf_deinit(&f.many.received);
    world_close(f.w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_writes_to_few_does_not_wait_for_the_fan_outs_of_others),
        cmocka_unit_test(who_has_little_waiting_goes_before_the_backlog_of_others),
        cmocka_unit_test(mail_to_one_session_keeps_its_order),
        cmocka_unit_test(a_fan_out_keeps_the_order_of_its_receivers),
        cmocka_unit_test(late_mail_is_freed_with_the_broker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
