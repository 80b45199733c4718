/* The judge of retained messages: what must come, and in which order, on books that are written by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "sim/world.h"

enum { PUBLISHER, SUBSCRIBER };

struct books {
    struct plan plan;
    struct world *w;
};

static struct books books_open(void) {
    struct books b;
    memset(&b, 0, sizeof b);
    plan_base(&b.plan);
    b.plan.set = 2;
    b.w = mem_zero(1, sizeof *b.w);
    b.w->indent = "";
    b.w->client_count = 2;
    return b;
}

/* Publishes a retained message of the set, and sees it accepted, a step each. */
static int publish(struct books *b, unsigned place) {
    b->w->plan = &b->plan;
    struct sim_message m = oracle_set_message(b->w, PUBLISHER, place);
    m.qos = 2;
    m.order = b->w->oracle.message_count + 1;
    const int message = oracle_message(b->w, &m);
    b->w->step++;
    oracle_published(b->w, message, true);
    b->w->step++;
    oracle_accepted(b->w, message);
    return message;
}

static int subscribing(struct books *b) {
    const struct plan_wanted all = {.filter = SIM_FILTER_SET, .qos = 2};
    b->w->step++;
    return oracle_subscribing(b->w, SUBSCRIBER, &all, 1);
}

static void deliver(struct books *b, int message, bool retain) {
    const struct sim_delivery d = {
        .client = SUBSCRIBER, .message = message, .qos = 2, .retain = retain, .identifier = 1};
    b->w->step++;
    oracle_delivered(b->w, &d);
}

static void judge(struct books *b, int subscription) {
    b->w->step++;
    oracle_subscribed(b->w, subscription);
    oracle_judge(b->w);
}

static void expect(struct books *b, const char *rule) {
    if (rule == NULL) {
        assert_string_equal(b->w->failure, "");
    } else {
        assert_memory_equal(b->w->failure, rule, strlen(rule));
    }
    mem_free(b->w);
}

static void the_whole_set_is_right(void **state) {
    (void)state;
    struct books b = books_open();
    const int first = publish(&b, 0), second = publish(&b, 1);
    const int s = subscribing(&b);
    deliver(&b, first, true);
    deliver(&b, second, true);
    judge(&b, s);
    expect(&b, NULL);
}

static void a_part_of_it_is_a_loss(void **state) {
    (void)state;
    struct books b = books_open();
    const int first = publish(&b, 0);
    publish(&b, 1);
    const int s = subscribing(&b);
    deliver(&b, first, true);
    judge(&b, s);
    expect(&b, "G1");
}

static void one_that_comes_twice_is_a_duplicate(void **state) {
    (void)state;
    struct books b = books_open();
    const int first = publish(&b, 0);
    subscribing(&b);
    deliver(&b, first, true);
    deliver(&b, first, true);
    expect(&b, "G2");
}

static void what_is_written_meanwhile_may_come_live(void **state) {
    (void)state;
    struct books b = books_open();
    publish(&b, 0);
    const int s = subscribing(&b);
    const int newer = publish(&b, 0);
    deliver(&b, newer, false);
    judge(&b, s);
    expect(&b, NULL);
}

static void what_is_written_meanwhile_must_come(void **state) {
    (void)state;
    struct books b = books_open();
    const int older = publish(&b, 0);
    const int s = subscribing(&b);
    publish(&b, 0);
    deliver(&b, older, true);
    judge(&b, s);
    expect(&b, "G1");
}

static void an_older_one_comes_before_a_newer_one(void **state) {
    (void)state;
    struct books b = books_open();
    const int older = publish(&b, 0);
    const int s = subscribing(&b);
    const int newer = publish(&b, 0);
    deliver(&b, older, true);
    deliver(&b, newer, false);
    judge(&b, s);
    expect(&b, NULL);
}

static void and_never_after_it(void **state) {
    (void)state;
    struct books b = books_open();
    const int older = publish(&b, 0);
    subscribing(&b);
    const int newer = publish(&b, 0);
    deliver(&b, newer, false);
    deliver(&b, older, true);
    expect(&b, "G3");
}

/* The broker loses its disk, and takes something newer; a publisher that had not yet heard of its answer publishes the
 * older one to the new session. What is retained then is that. */
static void what_is_published_again_after_a_loss_writes_again(void **state) {
    (void)state;
    for (unsigned again = 0; again <= 1; again++) {
        struct books b = books_open();
        const int older = publish(&b, 0);
        oracle_disk_lost(b.w);
        publish(&b, 0);
        if (again == 1) {
            b.w->step++;
            oracle_published(b.w, older, true);
            oracle_accepted(b.w, older);
        }
        const int s = subscribing(&b);
        if (again == 1) {
            deliver(&b, older, true);
        }
        judge(&b, s);
        expect(&b, again == 1 ? NULL : "G1");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_set_is_right),
        cmocka_unit_test(a_part_of_it_is_a_loss),
        cmocka_unit_test(one_that_comes_twice_is_a_duplicate),
        cmocka_unit_test(what_is_written_meanwhile_may_come_live),
        cmocka_unit_test(what_is_written_meanwhile_must_come),
        cmocka_unit_test(an_older_one_comes_before_a_newer_one),
        cmocka_unit_test(and_never_after_it),
        cmocka_unit_test(what_is_published_again_after_a_loss_writes_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
