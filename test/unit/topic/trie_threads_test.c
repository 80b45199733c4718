/* One writer changes the trie while three readers match: what stays subscribed is always found once, options belong to
 * their subscriber, and nothing is freed under a reader. Meant for the thread and the address sanitizer. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>

#include "topic/topic.h"
#include "topic/trie.h"
#include "unit/topic/graveyard.h"
#include "unit/topic/random_topics.h"

enum { READERS = 3, STABLE = 40, WRITER_STEPS = 20000, STEPS_PER_EPOCH = 64, SUBSCRIPTIONS_MAX = 400 };

/* ---- epochs: what was unlinked in one is freed when every reader has begun a turn in a later one ---- */

struct reader_thread {
    _Alignas(64) _Atomic uint64_t seen; /* the epoch in which its turn began */
    pthread_t thread;
    struct world *world;
    uint64_t seed;
    uint64_t turns;
    uint64_t found;
    uint64_t wrong;
};

struct world {
    struct topic_trie *trie;
    struct graveyard yards[2]; /* of this epoch and of the one before */
    _Atomic uint64_t epoch;
    _Atomic unsigned started;
    _Atomic bool stop;
    struct reader_thread readers[READERS];
    struct random_topic stable[STABLE];
};

/* Options are made from the subscriber's number, so that a mismatch shows. Those who do not stay are freed in the epoch
 * after they left. */
struct subscriber {
    uint32_t number;
};

static struct subscriber stable_subscribers[STABLE];

static uint32_t options_of(const struct subscriber *subscriber, uint64_t version) {
    return subscriber->number << 16 | (uint32_t)(version & 0xffff);
}

static void reclaim_later(void *user, void *memory, void (*free_function)(void *memory)) {
    struct world *world = user;
    graveyard_add(&world->yards[atomic_load(&world->epoch) % 2], memory, free_function);
}

/* Waits until every reader is in this epoch, frees what was unlinked in the one before, and begins the next. */
static void next_epoch(struct world *world) {
    uint64_t epoch = atomic_load(&world->epoch);
    for (size_t i = 0; i < READERS; i++) {
        while (atomic_load(&world->readers[i].seen) < epoch) {
            sched_yield();
        }
    }
    graveyard_empty(&world->yards[(epoch + 1) % 2]);
    atomic_store(&world->epoch, epoch + 1);
}

/* ---- readers ---- */

static size_t count_expected(const struct world *world, struct span name) {
    size_t expected = 0;
    for (size_t i = 0; i < STABLE; i++) {
        expected += topic_matches(random_topic_span(&world->stable[i]), name);
    }
    return expected;
}

static bool is_stable(const void *subscriber) {
    return (uintptr_t)subscriber >= (uintptr_t)stable_subscribers &&
           (uintptr_t)subscriber < (uintptr_t)(stable_subscribers + STABLE);
}

static void check_matches(struct reader_thread *reader, struct span name, const struct topic_matches *matches) {
    size_t stable = 0;
    for (size_t i = 0; i < matches->count; i++) {
        const struct subscriber *subscriber = matches->items[i].subscriber;
        reader->wrong += matches->items[i].options >> 16 != subscriber->number;
        stable += is_stable(subscriber);
    }
    reader->wrong += stable != count_expected(reader->world, name);
    reader->found += matches->count;
}

static void *reader_run(void *argument) {
    struct reader_thread *reader = argument;
    struct world *world = reader->world;
    struct prng prng = prng_of(reader->seed);
    struct topic_matches matches = {0};
    atomic_fetch_add(&world->started, 1);
    while (!atomic_load(&world->stop)) {
        atomic_store(&reader->seen, atomic_load(&world->epoch));
        for (int i = 0; i < 8; i++) {
            struct random_topic name = random_topic_of(&prng, false);
            topic_trie_match(world->trie, random_topic_span(&name), &matches);
            check_matches(reader, random_topic_span(&name), &matches);
        }
        reader->turns++;
    }
    atomic_store(&reader->seen, UINT64_MAX);
    topic_matches_deinit(&matches);
    return NULL;
}

/* ---- the writer ---- */

struct subscription {
    struct random_topic filter;
    struct subscriber *subscriber;
};

struct writer {
    struct subscription rows[SUBSCRIPTIONS_MAX];
    size_t count;
    struct prng prng;
};

static void writer_add(struct world *world, struct writer *w, uint64_t version) {
    struct subscriber *subscriber = mem_alloc(sizeof *subscriber);
    subscriber->number = STABLE + 1 + (uint32_t)prng_below(&w->prng, 1000);
    struct subscription row = {random_topic_of(&w->prng, true), subscriber};
    topic_trie_add_new(world->trie, random_topic_span(&row.filter), subscriber, options_of(subscriber, version));
    w->rows[w->count++] = row;
}

static void writer_remove(struct world *world, struct writer *w) {
    struct subscription *row = &w->rows[prng_below(&w->prng, w->count)];
    must(topic_trie_remove(world->trie, random_topic_span(&row->filter), row->subscriber) == TOPIC_TRIE_REMOVED);
    reclaim_later(world, row->subscriber, mem_free);
    *row = w->rows[--w->count];
}

/* The number of subscriptions swings, so that tables and arrays grow and shrink. */
static void writer_step(struct world *world, struct writer *w, uint64_t step) {
    bool growing = step / 2000 % 2 == 0;
    if (prng_chance(&w->prng, 1, 10)) {
        size_t i = prng_below(&w->prng, STABLE);
        must(topic_trie_add(world->trie, random_topic_span(&world->stable[i]), &stable_subscribers[i],
                            options_of(&stable_subscribers[i], step)) == TOPIC_TRIE_REPLACED);
    } else if (w->count > 0 && (w->count == SUBSCRIPTIONS_MAX || prng_chance(&w->prng, growing ? 3 : 7, 10))) {
        writer_remove(world, w);
    } else {
        writer_add(world, w, step);
    }
}

static void world_open(struct world *world) {
    struct prng prng = prng_of(99);
    world->yards[0].known = world->yards[1].known = map64_of(1);
    atomic_store(&world->epoch, 1);
    world->trie = topic_trie_create(prng_next(&prng), reclaim_later, world);
    for (uint32_t i = 0; i < STABLE; i++) {
        stable_subscribers[i].number = i + 1;
        world->stable[i] = random_topic_of(&prng, true);
        topic_trie_add(world->trie, random_topic_span(&world->stable[i]), &stable_subscribers[i],
                       options_of(&stable_subscribers[i], 0));
    }
    for (size_t i = 0; i < READERS; i++) {
        struct reader_thread *reader = &world->readers[i];
        reader->world = world;
        reader->seed = prng_next(&prng);
        assert_int_equal(pthread_create(&reader->thread, NULL, reader_run, reader), 0);
    }
    while (atomic_load(&world->started) < READERS) {
        sched_yield();
    }
}

static void world_close(struct world *world) {
    atomic_store(&world->stop, true);
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(world->readers[i].thread, NULL), 0);
    }
    graveyard_empty(&world->yards[0]);
    graveyard_empty(&world->yards[1]);
    topic_trie_destroy(world->trie);
}

static void readers_see_what_stays(void **state) {
    (void)state;
    static struct world world;
    static struct writer writer;
    writer.prng = prng_of(5);
    world_open(&world);
    for (uint64_t step = 0; step < WRITER_STEPS; step++) {
        writer_step(&world, &writer, step);
        if (step % STEPS_PER_EPOCH == 0) {
            next_epoch(&world);
        }
    }
    size_t reclaimed = world.yards[0].total + world.yards[1].total;
    world_close(&world);
    for (size_t i = 0; i < writer.count; i++) {
        mem_free(writer.rows[i].subscriber);
    }
    assert_true(reclaimed > WRITER_STEPS / 10);
    for (size_t i = 0; i < READERS; i++) {
        assert_true(world.readers[i].turns >= WRITER_STEPS / STEPS_PER_EPOCH / 2);
        assert_true(world.readers[i].found > 0);
        assert_int_equal(world.readers[i].wrong, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_what_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
