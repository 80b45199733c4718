/* Closing a client while other threads stand at its door: those that came before get their answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "lib/lib.h"

enum { CALLERS = 3, ROUNDS = 300 };

struct caller {
    struct quartet *client;
    int code;
};

static void *call(void *argument) {
    struct caller *c = argument;
    struct quartet_publication p = {.topic = "n", .qos = 1};
    c->code = quartet_publish(c->client, &p, NULL);
    return NULL;
}

static void *close_it(void *argument) {
    quartet_close(argument);
    return NULL;
}

static void those_at_the_door_get_an_answer(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct quartet_options options = {.servers = "mqtt://127.0.0.1:1", .client_id = "door"};
        struct quartet *client;
        struct caller callers[CALLERS];
        pthread_t threads[CALLERS];
        pthread_t closer;
        assert_int_equal(quartet_open(&client, &options), QUARTET_OK);
        lock_take(&client->lock);
        for (int i = 0; i < CALLERS; i++) {
            callers[i] = (struct caller){client, 1};
            assert_int_equal(pthread_create(&threads[i], NULL, call, &callers[i]), 0);
        }
        while (atomic_load(&client->inside) < CALLERS) {
            (void)sched_yield();
        }
        assert_int_equal(pthread_create(&closer, NULL, close_it, client), 0);
        lock_give(&client->lock);
        assert_int_equal(pthread_join(closer, NULL), 0);
        for (int i = 0; i < CALLERS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_true(callers[i].code == QUARTET_OK || callers[i].code == QUARTET_CLOSED);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_at_the_door_get_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
