/* Embedded lists against an array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/list.h"
#include "base/prng.h"

enum { MEMBERS = 12 };

struct member {
    int number;
    struct link link;
};

struct model {
    struct member *order[MEMBERS];
    size_t count;
};

static void model_insert(struct model *m, size_t at, struct member *member) {
    for (size_t i = m->count; i > at; i--) {
        m->order[i] = m->order[i - 1];
    }
    m->order[at] = member;
    m->count++;
}

static size_t model_find(const struct model *m, const struct member *member) {
    size_t at = 0;
    while (at < m->count && m->order[at] != member) {
        at++;
    }
    return at;
}

static void model_remove(struct model *m, size_t at) {
    m->count--;
    for (size_t i = at; i < m->count; i++) {
        m->order[i] = m->order[i + 1];
    }
}

static void assert_same_order(struct link *head, const struct model *m) {
    assert_int_equal(list_empty(head), m->count == 0);
    size_t at = 0;
    for (struct link *l = head->next; l != head; l = l->next) {
        assert_true(at < m->count);
        assert_ptr_equal(container_of(l, struct member, link), m->order[at++]);
        assert_ptr_equal(l->prev->next, l);
        assert_ptr_equal(l->next->prev, l);
    }
    assert_int_equal(at, m->count);
}

static void put_somewhere(struct link *head, struct model *m, struct member *member, struct prng *prng) {
    switch (prng_below(prng, 3)) {
    case 0:
        list_push_back(head, &member->link);
        model_insert(m, m->count, member);
        return;
    case 1:
        list_push_front(head, &member->link);
        model_insert(m, 0, member);
        return;
    default: {
        size_t at = prng_below(prng, m->count + 1);
        list_insert_before(at == m->count ? head : &m->order[at]->link, &member->link);
        model_insert(m, at, member);
    }
    }
}

static void take_front(struct link *head, struct model *m) {
    struct link *first = list_pop_front(head);
    if (m->count == 0) {
        assert_null(first);
        return;
    }
    assert_ptr_equal(container_of(first, struct member, link), m->order[0]);
    assert_false(link_linked(first));
    model_remove(m, 0);
}

static void lists_keep_their_order(void **state) {
    (void)state;
    struct prng prng = prng_of(1);
    struct member members[MEMBERS] = {0};
    struct link head;
    list_init(&head);
    struct model m = {.count = 0};
    for (int step = 0; step < 50000; step++) {
        struct member *member = &members[prng_below(&prng, MEMBERS)];
        size_t at = model_find(&m, member);
        assert_int_equal(link_linked(&member->link), at < m.count);
        if (prng_chance(&prng, 1, 5)) {
            take_front(&head, &m);
        } else if (at < m.count) {
            list_remove(&member->link);
            model_remove(&m, at);
        } else if (prng_chance(&prng, 1, 5)) {
            list_remove(&member->link);
        } else {
            put_somewhere(&head, &m, member, &prng);
        }
        assert_same_order(&head, &m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_keep_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
