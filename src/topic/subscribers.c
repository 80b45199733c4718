#include "topic/subscribers.h"

#include "base/mem.h"
#include "base/must.h"

/* Arrays from this capacity on have an index. */
enum { INDEXED_CAPACITY = 32 };

static struct topic_subscribers *array_create(uint32_t capacity, uint64_t seed) {
    struct topic_subscribers *s = mem_alloc(sizeof *s + capacity * sizeof s->places[0]);
    atomic_init(&s->count, 0);
    s->capacity = capacity;
    s->live = 0;
    s->index = NULL;
    if (capacity >= INDEXED_CAPACITY) {
        s->index = mem_alloc(sizeof *s->index);
        *s->index = map64_of(seed);
    }
    return s;
}

static uint32_t array_count(const struct topic_subscribers *s) {
    return atomic_load_explicit(&s->count, memory_order_relaxed);
}

static void *place_subscriber(const struct topic_place *place) {
    return atomic_load_explicit(&place->subscriber, memory_order_relaxed);
}

static void array_push(struct topic_subscribers *s, void *subscriber, uint32_t options) {
    uint32_t at = array_count(s);
    atomic_init(&s->places[at].subscriber, subscriber);
    atomic_init(&s->places[at].options, options);
    s->live++;
    if (s->index != NULL) {
        must(map64_put(s->index, (uintptr_t)subscriber, (void *)((uintptr_t)at + 1)) == NULL);
    }
    atomic_store_explicit(&s->count, at + 1, memory_order_release);
}

static struct topic_subscribers *array_copy(const struct topic_subscribers *from, uint32_t capacity, uint64_t seed) {
    struct topic_subscribers *s = array_create(capacity, seed);
    for (uint32_t i = 0; i < array_count(from); i++) {
        void *subscriber = place_subscriber(&from->places[i]);
        if (subscriber != NULL) {
            array_push(s, subscriber, atomic_load_explicit(&from->places[i].options, memory_order_relaxed));
        }
    }
    return s;
}

struct topic_subscribers *topic_subscribers_append(struct topic_subscribers *s, uint64_t seed, void *subscriber,
                                                   uint32_t options) {
    if (s == NULL) {
        s = array_create(1, seed);
    } else if (array_count(s) == s->capacity) {
        s = array_copy(s, s->live > s->capacity / 2 ? s->capacity * 2 : s->capacity, seed);
    }
    array_push(s, subscriber, options);
    return s;
}

struct topic_subscribers *topic_subscribers_remove(struct topic_subscribers *s, uint64_t seed,
                                                   struct topic_place *place) {
    if (s->index != NULL) {
        map64_remove(s->index, (uintptr_t)place_subscriber(place));
    }
    atomic_store_explicit(&place->subscriber, NULL, memory_order_release);
    s->live--;
    if (s->live == 0) {
        return NULL;
    }
    return s->live < s->capacity / 4 ? array_copy(s, s->capacity / 2, seed) : s;
}

struct topic_place *topic_subscribers_find(struct topic_subscribers *s, const void *subscriber) {
    if (s->index != NULL) {
        uintptr_t at = (uintptr_t)map64_get(s->index, (uintptr_t)subscriber);
        return at == 0 ? NULL : &s->places[at - 1];
    }
    for (uint32_t i = 0; i < array_count(s); i++) {
        if (place_subscriber(&s->places[i]) == subscriber) {
            return &s->places[i];
        }
    }
    return NULL;
}

void topic_subscribers_retire(struct topic_subscribers *s) {
    if (s->index != NULL) {
        map64_deinit(s->index);
        mem_free(s->index);
        s->index = NULL;
    }
}
