/* CONNECT: what the broker says of itself. */
#include "world.h"

#include "broker/connect.h"

/* The id that a client without one is given; it has said so in `p->line`. */
static struct span assigned(struct peer *p, struct world *w) {
    join(p, w, PROTOCOL_5, "", false);
    durable_all(w);
    expect(p, "CONNACK");
    const char *id = strstr(p->line, "auto-");
    assert_non_null(id);
    return span_of(id, 37);
}

/* What the broker draws next: the bytes of world_random(). */
static uint64_t drawn(struct world *w, uint64_t at) {
    uint64_t number;
    uint64_t before = w->random;
    w->random = at;
    world_random(w, &number, sizeof number);
    w->random = before;
    return number;
}

/* The id is what was drawn for it, and nothing else is drawn from that: who has seen ids knows nothing. */
static void an_assigned_id_is_drawn_outside(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer p;
    for (int i = 0; i < 3; i++) {
        uint64_t at = w->random;
        char wanted[48];
        (void)snprintf(wanted, sizeof wanted, "auto-%016llx%016llx", (unsigned long long)drawn(w, at),
                       (unsigned long long)drawn(w, at + 8));
        struct span id = assigned(&p, w);
        assert_int_equal(w->random, at + 16);
        assert_memory_equal(id.ptr, wanted, id.len);
        peer_close(&p);
    }
    world_close(w);
}

/* It belongs to the shard that has the connection. */
static void an_assigned_id_stays_where_it_is(void **state) {
    (void)state;
    struct world *w = world_of(3);
    for (int i = 0; i < 20; i++) {
        struct peer p;
        struct span id = assigned(&p, w);
        assert_int_equal(p.shard, 0);
        assert_int_equal(connect_owner(w->broker, id), 0);
        peer_close(&p);
    }
    world_close(w);
}

/* Each map has a seed of its own, so that one that can be guessed (which shard owns an id is seen) opens no other. */
static void seeds_are_drawn_one_by_one(void **state) {
    (void)state;
    struct world *one = world_of(1);
    uint64_t of_one = one->random;
    world_close(one);
    struct world *two = world_of(2);
    assert_int_equal((two->random - of_one) % 8, 0);
    assert_true(two->random > of_one);
    world_close(two);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_assigned_id_is_drawn_outside),
        cmocka_unit_test(an_assigned_id_stays_where_it_is),
        cmocka_unit_test(seeds_are_drawn_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
