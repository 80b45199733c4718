/* The two threads of the local store on a real disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <time.h>

#include "net/local_store.h"
#include "net/store_work.h"
#include "unit/store/temporary.h"

enum { SEGMENT = 1 << 20, BODY = 256 << 10, TOPICS = 120, TRIES = 2000, SLACK = 10 << 20 };

static void heard(void *user) {
    (void)user;
}

static void failed(void *user) {
    (void)user;
    must(false);
}

static void warned(void *user, const char *sentence) {
    (void)user;
    (void)sentence;
}

static lsn_t retain(struct store *store, int topic, const uint8_t *body, size_t bytes) {
    char name[16];
    (void)snprintf(name, sizeof name, "t/%d", topic);
    struct record record = {
        .kind = RECORD_MESSAGE,
        .message = {.set_retained = true,
                    .accepted_at = 1,
                    .parts = {.retain = true, .topic = span_str(name), .payload = span_of(body, bytes)}}};
    return store_stage(store, &record);
}

static void pause_ms(long ms) {
    struct timespec time = {0, ms * 1000000};
    (void)nanosleep(&time, NULL);
}

/* Somebody goes on, so that the store is never quiet, and the space of what is over is given back all the same. */
static void a_flood_is_given_back_under_traffic(void **state) {
    (void)state;
    static uint8_t body[BODY];
    struct error error;
    struct local_store s = {0};
    struct store_local_options options = {.segment_bytes = SEGMENT, .segments_max = 8, .salt = 3};
    assert_true(local_store_open(&s, temporary_make(), 1 << 30, &options, &error));
    struct store_work_options with = {.store = s.store,
                                      .segment_bytes = SEGMENT,
                                      .calm_ms = 300,
                                      .committed = heard,
                                      .folded = heard,
                                      .failed = failed,
                                      .warned = warned};
    struct store_work *work = store_work_start(&with);
    assert_non_null(work);
    lsn_t last = 0;
    for (int i = 0; i < TOPICS; i++) {
        last = retain(s.store, i, body, sizeof body);
    }
    while (store_durable(s.store) < last) {
        pause_ms(1);
    }
    assert_true(store_local_disk_bytes(s.store) > (uint64_t)TOPICS * BODY);
    for (int i = 0; i < TOPICS; i++) {
        (void)retain(s.store, i, NULL, 0);
    }
    int tries = 0;
    for (; tries < TRIES && store_local_disk_bytes(s.store) > 6 * SEGMENT + SLACK; tries++) {
        (void)retain(s.store, 0, NULL, 0);
        pause_ms(10);
    }
    assert_in_range(tries, 1, TRIES - 1);
    store_work_finish(work);
    local_store_close(&s);
    temporary_remove(temporary);
}

/* Memory waits for the table, and the file of the journal is far from full. */
static void what_memory_waits_for_is_folded_at_once(void **state) {
    (void)state;
    struct error error;
    struct local_store s = {0};
    struct store_local_options options = {.segment_bytes = SEGMENT, .segments_max = 8, .salt = 3};
    assert_true(local_store_open(&s, temporary_make(), 1 << 30, &options, &error));
    struct store_work_options with = {.store = s.store,
                                      .segment_bytes = SEGMENT,
                                      .committed = heard,
                                      .folded = heard,
                                      .failed = failed,
                                      .warned = warned};
    struct store_work *work = store_work_start(&with);
    assert_non_null(work);
    lsn_t last = 0;
    int tries = 0;
    for (; tries < TRIES && (last == 0 || store_folded(s.store) < last); tries++) {
        lsn_t lsn = retain(s.store, tries, NULL, 0); /* it is never quiet */
        if (tries == 10) {
            assert_int_equal(store_folded(s.store), 0);
            last = lsn;
            store_want_fold(s.store);
        }
        pause_ms(5);
    }
    assert_in_range(tries, 11, TRIES - 1);
    store_work_finish(work);
    local_store_close(&s);
    temporary_remove(temporary);
}

static void count_retained(void *user, struct message *m) {
    ++*(int *)user;
    message_unref(m);
}

/* A stop has so much time to fold, and what is left is there at the next start. */
static void a_stop_does_not_wait_for_the_table_for_ever(void **state) {
    (void)state;
    struct error error;
    const char *folder = temporary_make();
    struct store_local_options options = {.segment_bytes = SEGMENT, .segments_max = 8, .salt = 3};
    for (int round = 0; round < 3; round++) {
        struct local_store s = {0};
        assert_true(local_store_open(&s, folder, 1 << 30, &options, &error));
        int retained = 0;
        struct store_sink sink = {.user = &retained, .retained = count_retained};
        assert_true(store_load(s.store, &sink, &error));
        assert_int_equal(retained, round);
        struct store_work_options with = {.store = s.store,
                                          .segment_bytes = SEGMENT,
                                          .stop_fold_ms = round == 0 ? -1 : 0,
                                          .committed = heard,
                                          .folded = heard,
                                          .failed = failed,
                                          .warned = warned};
        struct store_work *work = store_work_start(&with);
        assert_non_null(work);
        (void)retain(s.store, round, (const uint8_t *)"x", 1);
        store_work_finish(work);
        assert_int_equal(store_folded(s.store) < store_durable(s.store), round == 0);
        local_store_close(&s);
    }
    temporary_remove(temporary);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flood_is_given_back_under_traffic),
        cmocka_unit_test(what_memory_waits_for_is_folded_at_once),
        cmocka_unit_test(a_stop_does_not_wait_for_the_table_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
