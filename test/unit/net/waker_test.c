/* The waker: a loop is woken when it sleeps, and no system call is made when it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>

#include "net/waker.h"

struct sleeper {
    uv_loop_t loop;
    struct waker waker;
};

static void sleeper_begin(struct sleeper *s) {
    assert_int_equal(uv_loop_init(&s->loop), 0);
    waker_init(&s->waker, &s->loop);
}

static void sleeper_end(struct sleeper *s) {
    waker_close(&s->waker);
    assert_int_equal(uv_run(&s->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

/* Whether somebody has written to the loop's descriptor: then it does not wait. */
static bool loop_was_rung(struct sleeper *s) {
    return s->waker.async.pending != 0;
}

static void a_turn_is_not_interrupted_but_followed_by_another(void **state) {
    (void)state;
    struct sleeper s;
    sleeper_begin(&s);
    waker_begin(&s.waker);
    waker_wake(&s.waker);
    assert_false(loop_was_rung(&s));
    assert_false(waker_sleeps(&s.waker));
    waker_begin(&s.waker);
    assert_true(waker_sleeps(&s.waker));
    sleeper_end(&s);
}

static void a_sleeper_is_rung_once(void **state) {
    (void)state;
    struct sleeper s;
    sleeper_begin(&s);
    waker_begin(&s.waker);
    assert_true(waker_sleeps(&s.waker));
    waker_wake(&s.waker);
    assert_true(loop_was_rung(&s));
    (void)uv_run(&s.loop, UV_RUN_NOWAIT);
    waker_wake(&s.waker);
    assert_false(loop_was_rung(&s));
    sleeper_end(&s);
}

/* ---- two threads ---- */

enum { POSTS = 20000 };

struct post {
    struct sleeper sleeper;
    _Atomic int posted;
    int taken;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t late; /* rings when a wake was lost */
};

static void go_on(uv_idle_t *idle) {
    (void)idle;
}

static void post_turn(uv_check_t *check) {
    struct post *p = check->data;
    waker_begin(&p->sleeper.waker);
    p->taken = atomic_load(&p->posted);
    if (p->taken == POSTS) {
        uv_stop(&p->sleeper.loop);
    }
    if (waker_sleeps(&p->sleeper.waker)) {
        (void)uv_idle_stop(&p->idle);
    } else {
        (void)uv_idle_start(&p->idle, go_on);
    }
}

static void too_late(uv_timer_t *timer) {
    uv_stop(timer->loop);
}

static void *post_all(void *argument) {
    struct post *p = argument;
    for (int i = 0; i < POSTS; i++) {
        int before = atomic_fetch_add(&p->posted, 1);
        waker_wake(&p->sleeper.waker);
        if (before % 16 == 0) {
            (void)sched_yield();
        }
    }
    return NULL;
}

static void nothing_posted_is_slept_through(void **state) {
    (void)state;
    struct post p = {0};
    sleeper_begin(&p.sleeper);
    p.check.data = &p;
    (void)uv_check_init(&p.sleeper.loop, &p.check);
    (void)uv_idle_init(&p.sleeper.loop, &p.idle);
    (void)uv_timer_init(&p.sleeper.loop, &p.late);
    (void)uv_check_start(&p.check, post_turn);
    (void)uv_timer_start(&p.late, too_late, 20000, 0);
    pthread_t poster;
    assert_int_equal(pthread_create(&poster, NULL, post_all, &p), 0);
    (void)uv_run(&p.sleeper.loop, UV_RUN_DEFAULT);
    assert_int_equal(pthread_join(poster, NULL), 0);
    assert_int_equal(p.taken, POSTS);
    uv_close((uv_handle_t *)&p.check, NULL);
    uv_close((uv_handle_t *)&p.idle, NULL);
    uv_close((uv_handle_t *)&p.late, NULL);
    sleeper_end(&p.sleeper);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_is_not_interrupted_but_followed_by_another),
        cmocka_unit_test(a_sleeper_is_rung_once),
        cmocka_unit_test(nothing_posted_is_slept_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
