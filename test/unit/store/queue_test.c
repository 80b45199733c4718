/* The queue against a plain list: the same deliveries in the same order, however much of it only the table has. */
#include "store/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/prng.h"

enum { DELIVERIES_MAX = 4000, WINDOW = 8 };

/* A store that has every delivery that was pushed and is folded up to `folded`, as the real table would. */
struct fake_store {
    struct store store;
    struct delivery pushed[DELIVERIES_MAX]; /* in order of (lsn, target) */
    size_t count;
    lsn_t folded_lsn;
};

static bool key_after(const struct delivery *d, lsn_t lsn, uint32_t target) {
    return d->message_lsn > lsn || (d->message_lsn == lsn && d->target > target);
}

static size_t fake_queue_read(struct store *store, session_id_t session, lsn_t after_lsn, uint32_t after_target,
                              struct store_delivery *out, size_t max) {
    struct fake_store *fake = (struct fake_store *)store;
    size_t count = 0;
    assert_int_equal(session, 77);
    for (size_t i = 0; i < fake->count && count < max; i++) {
        const struct delivery *d = &fake->pushed[i];
        if (key_after(d, after_lsn, after_target) && d->message_lsn <= fake->folded_lsn) {
            out[count++] =
                (struct store_delivery){d->message_lsn, d->target, d->qos, d->retain, message_ref(d->message)};
        }
    }
    return count;
}

static const struct store_ops fake_ops = {.queue_read = fake_queue_read};

static struct message *message_of(uint64_t number) {
    struct message_parts parts = {.qos = 1, .topic = SPAN("t"), .payload = span_of(&number, sizeof number)};
    return message_create(&parts);
}

static void fake_insert(struct fake_store *fake, const struct delivery *d) {
    size_t at = fake->count++;
    while (at > 0 && !key_after(d, fake->pushed[at - 1].message_lsn, fake->pushed[at - 1].target)) {
        fake->pushed[at] = fake->pushed[at - 1];
        at--;
    }
    fake->pushed[at] = *d;
    (void)message_ref(d->message);
}

/* A delivery that is taken was pushed, was not taken before, and comes after those of the same publisher: lsns are
 * even from one shard and odd from the other. */
static void take_check(const struct fake_store *fake, const struct delivery *d, lsn_t last[2]) {
    size_t i = 0;
    while (i < fake->count && (fake->pushed[i].message_lsn != d->message_lsn || fake->pushed[i].target != d->target)) {
        i++;
    }
    assert_true(i < fake->count);
    assert_memory_equal(message_payload(d->message).ptr, message_payload(fake->pushed[i].message).ptr, 8);
    assert_true(d->message_lsn > last[d->message_lsn % 2]);
    last[d->message_lsn % 2] = d->message_lsn;
}

/* As much as there is, or a little of it. */
static void let_go(struct queue *q, uint32_t window, lsn_t settled, struct prng *prng) {
    uint32_t most = prng_chance(prng, 1, 2) ? UINT32_MAX : (uint32_t)prng_below(prng, 100);
    (void)queue_let_go(q, window, settled, &most);
}

/* One random history: pushes (now and then two lsns swapped, as mail of two shards may be), folds, pops. */
static void history(uint64_t seed) {
    struct prng prng = prng_of(seed);
    struct fake_store *fake = mem_zero(1, sizeof *fake);
    fake->store.ops = &fake_ops;
    struct queue q = {.gap_count = 0};
    lsn_t lsn = 1;
    size_t taken = 0;
    lsn_t last[2] = {0, 0};
    const size_t unfolded = seed % 4 == 0 ? 3000 : 0; /* so much is pushed before anything is let go of */
    while (fake->count < DELIVERIES_MAX - 2 && taken < 3000) {
        switch (prng_below(&prng, 4)) {
        case 0:
        case 1: {
            lsn_t lsns[2] = {lsn + 1, lsn + 2};
            bool swap = prng_chance(&prng, 1, 4);
            for (int i = 0; i < 2; i++) {
                struct delivery d = {
                    message_of(lsn), lsns[swap ? 1 - i : i], 0, (uint32_t)prng_below(&prng, 3), 1, false};
                fake_insert(fake, &d);
                queue_push(&q, &d);
            }
            lsn += 2;
            break;
        }
        case 2: {
            lsn_t folded = lsn - prng_below(&prng, 4) % lsn;
            fake->folded_lsn = folded > fake->folded_lsn ? folded : fake->folded_lsn;
            if (fake->count >= unfolded) {
                let_go(&q, WINDOW, fake->folded_lsn, &prng);
            }
            break;
        }
        default:
            for (uint64_t i = prng_below(&prng, 6); i > 0; i--) {
                const struct delivery *d = queue_peek(&q, &fake->store, 77, WINDOW);
                if (taken == fake->count) {
                    assert_null(d);
                    break;
                }
                assert_non_null(d);
                take_check(fake, d, last);
                message_unref(queue_pop(&q).message);
                taken++;
            }
        }
        assert_int_equal(queue_count(&q), fake->count - taken);
    }
    queue_deinit(&q);
    for (size_t i = 0; i < fake->count; i++) {
        message_unref(fake->pushed[i].message);
    }
    mem_free(fake);
}

static void queue_gives_what_was_pushed_in_order(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        history(seed);
    }
}

static void folded_deliveries_beyond_the_window_leave_memory(void **state) {
    (void)state;
    struct fake_store *fake = mem_zero(1, sizeof *fake);
    fake->store.ops = &fake_ops;
    struct queue q = {.gap_count = 0};
    for (lsn_t lsn = 1; lsn <= 1000; lsn++) {
        struct delivery d = {message_of(lsn), lsn, 0, 0, 1, false};
        fake_insert(fake, &d);
        queue_push(&q, &d);
    }
    uint32_t most = UINT32_MAX;
    fake->folded_lsn = 900;
    assert_true(queue_let_go(&q, WINDOW, 900, &most));
    assert_int_equal(q.head.count, WINDOW);
    assert_int_equal(q.gap_count, 900 - WINDOW);
    assert_int_equal(q.tail.count, 100);
    fake->folded_lsn = 1000;
    assert_false(queue_let_go(&q, WINDOW, 1000, &most));
    assert_int_equal(q.head.count + q.tail.count, WINDOW);
    queue_deinit(&q);
    for (size_t i = 0; i < fake->count; i++) {
        assert_int_equal(fake->pushed[i].message->references, 1);
        message_unref(fake->pushed[i].message);
    }
    mem_free(fake);
}

/* The mail of three shards is mixed, that of one far behind. However little is let go of at a time, what has gone is
 * the beginning of all, and each step costs what it may. */
static void a_long_queue_leaves_memory_in_slices(void **state) {
    (void)state;
    enum { EACH = 600, SLICE = 50, BEHIND = 200 };
    struct fake_store *fake = mem_zero(1, sizeof *fake);
    fake->store.ops = &fake_ops;
    struct queue q = {.gap_count = 0};
    for (lsn_t i = 0; i < EACH + BEHIND; i++) {
        for (lsn_t shard = 0; shard < 3; shard++) {
            const lsn_t place = shard == 2 ? i - BEHIND : i; /* wraps around: none yet */
            if (place < EACH) {
                struct delivery d = {message_of(1 + place * 3 + shard), 1 + place * 3 + shard, 0, 0, 1, false};
                fake_insert(fake, &d);
                queue_push(&q, &d);
            }
        }
    }
    fake->folded_lsn = 3 * EACH;
    uint64_t steps = 0;
    for (bool more = true; more; steps++) {
        uint32_t most = SLICE;
        const uint64_t before = q.gap_count;
        more = queue_let_go(&q, WINDOW, fake->folded_lsn, &most);
        assert_true(q.gap_count - before <= SLICE);
        assert_true(q.gap_count > before || most < SLICE);
        assert_int_equal(q.gap_count > 0 ? q.gap_end_lsn : 0, q.gap_count > 0 ? WINDOW + q.gap_count : 0);
        assert_int_equal(queue_count(&q), 3 * EACH);
    }
    assert_true(steps >= 3 * EACH / SLICE);
    assert_int_equal(q.tail.count, 0);
    for (lsn_t lsn = 1; lsn <= 3 * EACH; lsn++) {
        assert_int_equal(queue_peek(&q, &fake->store, 77, WINDOW)->message_lsn, lsn);
        message_unref(queue_pop(&q).message);
    }
    queue_deinit(&q);
    for (size_t i = 0; i < fake->count; i++) {
        message_unref(fake->pushed[i].message);
    }
    mem_free(fake);
}

/* Message 20 came first and went out at once; that is not folded, so the table still shows it. The mail of a slow shard
 * brings the older ones after it: they must not bring 20 a second time. */
static void what_was_taken_does_not_come_back_from_the_table(void **state) {
    (void)state;
    struct fake_store *fake = mem_zero(1, sizeof *fake);
    fake->store.ops = &fake_ops;
    struct queue q = {.gap_count = 0};
    for (lsn_t lsn = 20; lsn <= 58; lsn++) {
        lsn_t mixed = lsn == 20 ? 20 : lsn < 40 ? lsn - 20 : lsn - 19;
        struct delivery d = {message_of(mixed), mixed, 0, 0, 1, false};
        fake_insert(fake, &d);
        if (mixed == 20) {
            queue_passed(&q, &d);
            message_unref(d.message);
        } else {
            queue_push(&q, &d);
        }
    }
    uint32_t most = UINT32_MAX;
    fake->folded_lsn = 39;
    (void)queue_let_go(&q, WINDOW, 39, &most);
    assert_true(q.gap_count > 0);
    for (lsn_t lsn = 1; lsn <= 39; lsn++) {
        if (lsn != 20) {
            const struct delivery *d = queue_peek(&q, &fake->store, 77, WINDOW);
            assert_non_null(d);
            assert_int_equal(d->message_lsn, lsn);
            message_unref(queue_pop(&q).message);
        }
    }
    assert_null(queue_peek(&q, &fake->store, 77, WINDOW));
    queue_deinit(&q);
    for (size_t i = 0; i < fake->count; i++) {
        message_unref(fake->pushed[i].message);
    }
    mem_free(fake);
}

/* ---- what has expired is taken out of the middle ---- */

enum { SIEVED_MAX = 800, TARGETS = 3 };

/* A table in which a delivery is from the fold of its message to the fold of its end. */
struct sieved {
    struct fake_store fake;
    lsn_t ended[SIEVED_MAX + TARGETS]; /* of each pushed: the record of its end; 0: it waits */
    lsn_t lsn;
    wall_ms_t now;
    size_t waiting;
    struct delivery held; /* on its way by slow mail: the table may have it before the queue has; message NULL: none */
    bool late[SIEVED_MAX + TARGETS]; /* of each pushed: came so */
};

static struct sieved *sieved_of(struct store *store) {
    return (struct sieved *)store;
}

static size_t sieved_read(struct store *store, session_id_t session, lsn_t after_lsn, uint32_t after_target,
                          struct store_delivery *out, size_t max) {
    struct sieved *s = sieved_of(store);
    size_t count = 0;
    assert_int_equal(session, 77);
    for (size_t i = 0; i < s->fake.count && count < max; i++) {
        const struct delivery *d = &s->fake.pushed[i];
        bool ended = s->ended[i] != 0 && s->ended[i] <= s->fake.folded_lsn;
        if (key_after(d, after_lsn, after_target) && d->message_lsn <= s->fake.folded_lsn && !ended) {
            out[count++] =
                (struct store_delivery){d->message_lsn, d->target, d->qos, d->retain, message_ref(d->message)};
        }
    }
    return count;
}

static const struct store_ops sieved_ops = {.queue_read = sieved_read};

static size_t sieved_find(const struct sieved *s, const struct delivery *d) {
    size_t i = 0;
    while (i < s->fake.count &&
           (s->fake.pushed[i].message_lsn != d->message_lsn || s->fake.pushed[i].target != d->target)) {
        i++;
    }
    assert_true(i < s->fake.count);
    assert_int_equal(s->ended[i], 0);
    return i;
}

static lsn_t sieved_end(void *user, struct delivery *d) {
    struct sieved *s = user;
    size_t i = sieved_find(s, d);
    assert_true(d->message->expires_at != 0 && d->message->expires_at <= s->now);
    s->ended[i] = ++s->lsn;
    s->waiting--;
    message_unref(d->message);
    return s->lsn;
}

static void sieved_push(struct sieved *s, struct queue *q, struct queue_walk *walk, struct prng *prng,
                        uint64_t expiring) {
    struct message_parts parts = {.qos = 1, .topic = SPAN("t")};
    if (prng_chance(prng, expiring, 8)) {
        parts.expires_at = s->now + 1 + (wall_ms_t)prng_below(prng, 300);
        walk->next = parts.expires_at < walk->next ? parts.expires_at : walk->next;
    }
    s->lsn++;
    if (s->held.message == NULL && prng_chance(prng, 1, 6)) {
        s->held = (struct delivery){message_create(&parts), s->lsn, 0, 0, 1, false};
        s->late[s->fake.count] = true;
        fake_insert(&s->fake, &s->held);
        return;
    }
    uint64_t targets = prng_chance(prng, 1, 3) ? TARGETS : 1;
    for (uint32_t target = 0; target < targets; target++) {
        struct delivery d = {message_create(&parts), s->lsn, 0, target, 1, false};
        fake_insert(&s->fake, &d);
        queue_push(q, &d);
        s->waiting++;
    }
}

/* Two messages of another shard: the first finds nobody waiting and goes out at once, the second has to wait. The first
 * one's end is recorded behind both, so that the table may show it when it has the second. */
static void sieved_pass(struct sieved *s, struct queue *q) {
    struct message_parts parts = {.qos = 1, .topic = SPAN("t")};
    for (unsigned i = 0; i < 2; i++) {
        struct delivery d = {message_create(&parts), s->lsn + 1 + i, 0, 0, 1, false};
        fake_insert(&s->fake, &d);
        if (i == 0) {
            s->ended[sieved_find(s, &d)] = s->lsn + 3;
            queue_passed(q, &d);
            message_unref(d.message);
        } else {
            queue_push(q, &d);
            s->waiting++;
        }
    }
    s->lsn += 3;
}

static void sieved_push_held(struct sieved *s, struct queue *q, struct queue_walk *walk) {
    if (s->held.message != NULL) {
        wall_ms_t expires_at = s->held.message->expires_at;
        walk->next = expires_at != 0 && expires_at < walk->next ? expires_at : walk->next;
        queue_push(q, &s->held);
        s->held.message = NULL;
        s->waiting++;
    }
}

static void sieved_fold(struct sieved *s, struct queue *q, struct prng *prng) {
    lsn_t folded = s->lsn - prng_below(prng, 40) % (s->lsn + 1);
    s->fake.folded_lsn = folded > s->fake.folded_lsn ? folded : s->fake.folded_lsn;
    lsn_t held = s->held.message != NULL ? s->held.message_lsn - 1 : s->fake.folded_lsn;
    let_go(q, 1 + (uint32_t)prng_below(prng, 2 * WINDOW), held < s->fake.folded_lsn ? held : s->fake.folded_lsn, prng);
}

static void sieved_take(struct sieved *s, struct queue *q, uint64_t count) {
    for (unsigned tries = 0; count > 0 && s->waiting > 0; count--) {
        const struct delivery *d;
        while ((d = queue_peek(q, &s->fake.store, 77, 1 + (uint32_t)(s->lsn % (2 * WINDOW)))) == NULL) {
            assert_true(++tries < SIEVED_MAX);
        }
        size_t i = sieved_find(s, d);
        for (size_t before = 0; before < i; before++) {
            assert_true(s->ended[before] != 0 || s->late[before]); /* in order: nothing that waits is left out */
        }
        s->ended[i] = ++s->lsn;
        s->waiting--;
        message_unref(queue_pop(q).message);
    }
}

/* What a walk over a queue that only grew has left does not expire before it says. */
static void sieved_check(const struct sieved *s, const struct queue_walk *walk) {
    for (size_t i = 0; i < s->fake.count; i++) {
        wall_ms_t expires_at = s->fake.pushed[i].message->expires_at;
        assert_true(s->ended[i] != 0 || expires_at == 0 || expires_at >= walk->next ||
                    s->fake.pushed[i].message == s->held.message);
    }
}

static void sieved_history(uint64_t seed) {
    struct prng prng = prng_of(seed);
    struct sieved *s = mem_zero(1, sizeof *s);
    struct queue q = {.gap_count = 0};
    struct queue_walk walk = {.next = INT64_MAX};
    bool walks = false;
    const uint64_t takes = prng_below(&prng, 3) * 2;
    const uint64_t expiring = 1 + prng_below(&prng, 8);
    s->fake.store.ops = &sieved_ops;
    s->now = 1000;
    while (s->fake.count < SIEVED_MAX - TARGETS) {
        if (prng_chance(&prng, 1, 3)) {
            sieved_push_held(s, &q, &walk);
        }
        if (s->waiting == 0 && prng_chance(&prng, 1, 2)) {
            sieved_pass(s, &q);
        }
        switch (prng_below(&prng, 6)) {
        case 0:
        case 1:
        case 2:
            for (uint64_t i = prng_below(&prng, 8); i > 0 && s->fake.count < SIEVED_MAX - TARGETS; i--) {
                sieved_push(s, &q, &walk, &prng, expiring);
            }
            break;
        case 3:
            sieved_fold(s, &q, &prng);
            break;
        case 4:
            sieved_take(s, &q, prng_chance(&prng, 1, 6) ? 100 : prng_below(&prng, takes + 1));
            break;
        default:
            s->now += (wall_ms_t)prng_below(&prng, 60);
            if (!walks) {
                queue_walk_begin(&q, &walk, s->now);
            }
            walks = true;
            for (uint64_t i = prng_below(&prng, 10); i > 0 && walks; i--) {
                walks =
                    !queue_walk_on(&q, &walk, &s->fake.store, 77, 1 + (uint32_t)prng_below(&prng, 40), sieved_end, s);
            }
            if (!walks) {
                sieved_check(s, &walk);
            }
        }
        assert_int_equal(queue_count(&q), s->waiting);
    }
    sieved_push_held(s, &q, &walk);
    sieved_take(s, &q, SIZE_MAX);
    assert_null(queue_peek(&q, &s->fake.store, 77, WINDOW));
    assert_int_equal(queue_count(&q), 0);
    queue_deinit(&q);
    for (size_t i = 0; i < s->fake.count; i++) {
        assert_int_equal(s->fake.pushed[i].message->references, 1);
        message_unref(s->fake.pushed[i].message);
    }
    mem_free(s);
}

static void what_has_expired_leaves_from_anywhere(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 120; seed++) {
        sieved_history(seed);
    }
}

/* All that is left of a queue was taken out where the client has not come to yet. The next message goes out at once;
 * the one behind it waits, and is let go of before the table knows of that: it must not bring the first a second time.
 */
static void what_goes_out_past_the_dead_does_not_come_back(void **state) {
    (void)state;
    struct sieved *s = mem_zero(1, sizeof *s);
    struct queue q = {.gap_count = 0};
    struct queue_walk walk;
    uint32_t most = UINT32_MAX;
    s->fake.store.ops = &sieved_ops;
    for (s->lsn = 1; s->lsn <= 40; s->lsn++) {
        struct message_parts parts = {.qos = 1, .topic = SPAN("t"), .expires_at = s->lsn < 20 ? 0 : 100};
        struct delivery d = {message_create(&parts), s->lsn, 0, 0, 1, false};
        fake_insert(&s->fake, &d);
        queue_push(&q, &d);
        s->waiting++;
    }
    s->fake.folded_lsn = 30;
    (void)queue_let_go(&q, WINDOW, 30, &most);
    s->now = 200;
    queue_walk_begin(&q, &walk, s->now);
    while (!queue_walk_on(&q, &walk, &s->fake.store, 77, WINDOW, sieved_end, s)) {
    }
    sieved_take(s, &q, SIZE_MAX);
    assert_int_equal(queue_count(&q), 0);
    sieved_pass(s, &q);
    s->fake.folded_lsn = s->lsn - 1;
    (void)queue_let_go(&q, WINDOW, s->lsn - 1, &most);
    sieved_take(s, &q, 1);
    assert_int_equal(s->waiting, 0);
    queue_deinit(&q);
    for (size_t i = 0; i < s->fake.count; i++) {
        message_unref(s->fake.pushed[i].message);
    }
    mem_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queue_gives_what_was_pushed_in_order),
        cmocka_unit_test(what_has_expired_leaves_from_anywhere),
        cmocka_unit_test(folded_deliveries_beyond_the_window_leave_memory),
        cmocka_unit_test(a_long_queue_leaves_memory_in_slices),
        cmocka_unit_test(what_was_taken_does_not_come_back_from_the_table),
        cmocka_unit_test(what_goes_out_past_the_dead_does_not_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
