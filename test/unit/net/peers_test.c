/* What one address may have of the connections, and how often it may come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "net/peers.h"

static struct peers peers;

static int begin(void **state) {
    (void)state;
    peers_init(&peers, 7);
    return 0;
}

static int end(void **state) {
    (void)state;
    peers_deinit(&peers);
    return 0;
}

static uint64_t key_of(const char *text) {
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        return peers_key((struct sockaddr *)&in);
    }
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return peers_key((struct sockaddr *)&in6);
}

static enum peers_verdict enter(uint64_t key, mono_ms_t now) {
    bool say;
    return peers_enter(&peers, key, now, &say);
}

static void an_address_is_told_from_others(void **state) {
    (void)state;
    struct sockaddr unix_address = {.sa_family = AF_UNIX};
    assert_int_equal(peers_key(&unix_address), 0);
    assert_int_not_equal(key_of("192.0.2.1"), key_of("192.0.2.2"));
    assert_int_not_equal(key_of("0.0.0.0"), 0);
    assert_int_not_equal(key_of("::1"), 0);
    assert_int_equal(key_of("2001:db8:1:2::1"), key_of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert_int_not_equal(key_of("2001:db8:1:2::1"), key_of("2001:db8:1:3::1"));
    assert_int_not_equal(key_of("::1"), key_of("0.0.0.1"));
    assert_int_not_equal(key_of("2001:db8:100::1"), key_of("184.13.1.32")); /* the same bytes, from the end */
    assert_int_not_equal(key_of("2001:db8:100::1"), key_of("32.1.13.184"));
}

static void one_address_leaves_room_for_others(void **state) {
    (void)state;
    uint64_t greedy = key_of("192.0.2.1");
    uint64_t modest = key_of("192.0.2.2");
    peers.connections_max = 16;
    for (int i = 0; i < 16; i++) {
        assert_int_equal(enter(greedy, 0), PEERS_WELCOME);
    }
    bool say;
    assert_int_equal(peers_enter(&peers, greedy, 0, &say), PEERS_TOO_MANY);
    assert_true(say);
    assert_int_equal(peers_enter(&peers, greedy, 0, &say), PEERS_TOO_MANY);
    assert_false(say); /* it was said */
    assert_int_equal(enter(modest, 0), PEERS_WELCOME);
    assert_int_equal(enter(0, 0), PEERS_WELCOME);
    peers_leave(&peers, greedy);
    assert_int_equal(enter(greedy, 0), PEERS_WELCOME);
    assert_int_equal(enter(greedy, 0), PEERS_TOO_MANY);
    for (int i = 0; i < 16; i++) {
        peers_leave(&peers, greedy);
    }
    peers_leave(&peers, modest);
    peers_leave(&peers, 0);
    assert_int_equal(peers.map.count, 0);
    assert_int_equal(peers.idle, 0);
}

/* Ten seconds' worth at once, then the rate; others have their own. */
static void one_address_does_not_come_too_often(void **state) {
    (void)state;
    static const uint32_t rates[] = {1, 7, 2000};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        uint64_t hasty = 100 + i;
        peers.rate = rates[i];
        uint32_t welcome = 0;
        for (mono_ms_t now = 0; now < 60000; now += 1) {
            for (int n = 0; n < 3; n++) {
                if (enter(hasty, now) == PEERS_WELCOME) {
                    welcome++;
                    peers_leave(&peers, hasty);
                }
            }
        }
        assert_in_range(welcome, rates[i] * 69, rates[i] * 70 + 1);
        assert_int_equal(enter(200 + i, 59999), PEERS_WELCOME);
        assert_int_equal(enter(hasty, 70000), PEERS_WELCOME);
    }
}

/* A clock that stands still or a long absence gives nobody more than a bucket. */
static void a_bucket_is_never_more_than_full(void **state) {
    (void)state;
    peers.rate = 3;
    for (int days = 0; days < 3; days++) {
        uint32_t welcome = 0;
        for (int n = 0; n < 100; n++) {
            welcome += enter(5, days * 86400000LL) == PEERS_WELCOME;
        }
        assert_int_equal(welcome, 30);
    }
}

/* Two shards, one of which began its turn a little earlier: the time between them does not count for each who comes. */
static void clocks_that_differ_give_nobody_more(void **state) {
    (void)state;
    peers.rate = 100;
    for (mono_ms_t behind = 1; behind <= 25; behind *= 5) {
        uint32_t welcome = 0;
        for (int n = 0; n < 10000; n++) {
            welcome += enter((uint64_t)behind, 1000 - n % 2 * behind) == PEERS_WELCOME;
        }
        assert_int_equal(welcome, peers.rate * PEERS_BURST_S);
    }
}

/* Whoever has many addresses does not get the broker's memory. */
static void addresses_that_have_gone_are_forgotten(void **state) {
    (void)state;
    peers.rate = 10;
    assert_int_equal(enter(1, 0), PEERS_WELCOME); /* stays */
    for (uint64_t key = 2; key < 3 * PEERS_IDLE_MAX; key++) {
        assert_int_equal(enter(key, 0), PEERS_WELCOME);
        peers_leave(&peers, key);
    }
    assert_true(peers.idle <= PEERS_IDLE_MAX + 1);
    assert_int_equal(peers.map.count, peers.idle + 1);
    peers_leave(&peers, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_address_is_told_from_others, begin, end),
        cmocka_unit_test_setup_teardown(one_address_leaves_room_for_others, begin, end),
        cmocka_unit_test_setup_teardown(one_address_does_not_come_too_often, begin, end),
        cmocka_unit_test_setup_teardown(a_bucket_is_never_more_than_full, begin, end),
        cmocka_unit_test_setup_teardown(clocks_that_differ_give_nobody_more, begin, end),
        cmocka_unit_test_setup_teardown(addresses_that_have_gone_are_forgotten, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
