/* The local engine as a broker drives it: several threads stage, one commits, one folds, others read, on a real disk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "store/store_local.h"
#include "temporary.h"

enum { STAGERS = 3, MESSAGES = 3000, WINDOW = 400 };

static struct store *store;
static _Atomic bool over;

static void *commit_main(void *argument) {
    (void)argument;
    for (;;) {
        bool last = atomic_load(&over);
        enum store_step step = store_local_commit_step(store);
        must(step != STORE_STEP_FAILED);
        if (step == STORE_STEP_IDLE || step == STORE_STEP_WAIT) {
            if (last && !store_local_staged(store)) {
                return NULL;
            }
            must(store_local_seal_step(store) != STORE_STEP_FAILED);
            (void)sched_yield();
        }
    }
}

static void *checkpoint_main(void *argument) {
    (void)argument;
    unsigned turns = 0;
    while (!atomic_load(&over)) {
        must(store_local_checkpoint_step(store, ++turns % 50 == 0) != STORE_STEP_FAILED);
        (void)sched_yield();
    }
    return NULL;
}

/* One session, which gets a message, sends it, and has it acknowledged; every tenth message stays. */
struct stager {
    pthread_t thread;
    session_id_t session;
    uint64_t left; /* deliveries that stay */
};

static struct record message_for(struct record_target *target, const char *payload) {
    return (struct record){.kind = RECORD_MESSAGE,
                           .message = {.targets = target,
                                       .target_count = 1,
                                       .parts = {.qos = 1, .topic = SPAN("t"), .payload = span_str(payload)}}};
}

static void await_durable(lsn_t lsn) {
    while (store_durable(store) < lsn) {
        (void)sched_yield();
    }
}

static void *stage_main(void *argument) {
    struct stager *s = argument;
    char client_id[32]; /* each has its own: two sessions of one client would be damage */
    (void)snprintf(client_id, sizeof client_id, "c%p", argument);
    struct record session = {.kind = RECORD_SESSION, .session = {.client_id = span_str(client_id)}};
    s->session = store_stage(store, &session);
    struct record_target target = {s->session, 1, false};
    lsn_t last = s->session;
    for (unsigned i = 0; i < MESSAGES; i++) {
        char payload[32];
        (void)snprintf(payload, sizeof payload, "%u", i);
        struct record message = message_for(&target, payload);
        lsn_t lsn = store_stage(store, &message);
        must(lsn > last);
        last = lsn;
        if (i % 10 == 0) {
            s->left++;
        } else {
            struct record sent = {.kind = RECORD_SENT, .sent = {s->session, (packet_id_t)(1 + i % 100), lsn, 0}};
            struct record done = {.kind = RECORD_DONE, .flow = {s->session, (packet_id_t)(1 + i % 100)}};
            (void)store_stage(store, &sent);
            last = store_stage(store, &done);
        }
        if (i % WINDOW == WINDOW - 1) {
            await_durable(last);
            struct store_delivery d[20];
            size_t n = store_queue_read(store, s->session, 0, 0, d, 20);
            for (size_t j = 0; j < n; j++) {
                must(d[j].message != NULL && d[j].message_lsn <= store_folded(store));
                message_unref(d[j].message);
            }
        }
        (void)store_pressure(store);
    }
    await_durable(last);
    return NULL;
}

struct counted {
    uint64_t sessions;
    uint64_t queued;
};

static void count_session(void *user, session_id_t id, const struct record_session *s) {
    (void)id;
    (void)s;
    ((struct counted *)user)->sessions++;
}

static void count_queue(void *user, session_id_t id, uint64_t count, uint64_t bytes) {
    (void)id;
    (void)bytes;
    ((struct counted *)user)->queued += count;
}

static void no_flight(void *user, session_id_t id, const struct store_flight *f) {
    (void)user;
    (void)id;
    (void)f;
    fail();
}

static void open_all(struct disk *disk, struct table **table) {
    struct error error;
    struct store_local_options options = {
        .segment_bytes = 128 << 10, .segments_max = 6, .frame_bytes_max = 16 << 10, .salt = 1};
    *table = table_lmdb_open(temporary, 64 << 20, &error);
    assert_non_null(*table);
    store = store_local_open(disk, *table, &options, &error);
    if (store == NULL) {
        print_error("%s\n", error.text);
    }
    assert_non_null(store);
}

static void close_all(struct table *table) {
    store_local_close(store);
    table->ops->close(table);
}

static void run_threads(struct stager stagers[STAGERS]) {
    pthread_t commit;
    pthread_t checkpoint;
    atomic_store(&over, false);
    assert_int_equal(pthread_create(&commit, NULL, commit_main, NULL), 0);
    assert_int_equal(pthread_create(&checkpoint, NULL, checkpoint_main, NULL), 0);
    for (int i = 0; i < STAGERS; i++) {
        stagers[i] = (struct stager){.left = 0};
        assert_int_equal(pthread_create(&stagers[i].thread, NULL, stage_main, &stagers[i]), 0);
    }
    for (int i = 0; i < STAGERS; i++) {
        assert_int_equal(pthread_join(stagers[i].thread, NULL), 0);
    }
    atomic_store(&over, true);
    assert_int_equal(pthread_join(commit, NULL), 0);
    assert_int_equal(pthread_join(checkpoint, NULL), 0);
}

static void threads_and_a_real_disk(void **state) {
    (void)state;
    struct disk disk;
    struct error error;
    struct table *table;
    struct stager stagers[STAGERS];
    assert_true(disk_posix_open(temporary_make(), &disk, &error));
    open_all(&disk, &table);
    run_threads(stagers);
    close_all(table);
    struct buf out = {NULL, 0, 0};
    table = table_lmdb_open(temporary, 64 << 20, &error);
    if (!store_local_check(&disk, table, &out, &error)) {
        print_error("%.*s%s\n", (int)out.len, (char *)out.ptr, error.text);
        fail();
    }
    buf_deinit(&out);
    table->ops->close(table);
    open_all(&disk, &table);
    struct counted counted = {0, 0};
    struct store_sink sink = {.user = &counted, .session = count_session, .queue = count_queue, .flight = no_flight};
    assert_true(store_load(store, &sink, &error));
    assert_int_equal(counted.sessions, STAGERS);
    assert_int_equal(counted.queued, stagers[0].left + stagers[1].left + stagers[2].left);
    close_all(table);
    disk_posix_close(&disk);
    temporary_remove(temporary);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_and_a_real_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
