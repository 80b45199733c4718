#include "client/open.h"

static struct open_entry *entry_at(const struct open_set *s, uint32_t at) {
    return fifo_at(&s->entries, at);
}

void open_set_deinit(struct open_set *s) {
    fifo_deinit(&s->entries);
    *s = open_set_of();
}

/* The place of the first entry whose number is not below `number`. */
static uint32_t open_set_place(const struct open_set *s, uint64_t number) {
    uint32_t from = 0;
    uint32_t to = s->entries.count;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (entry_at(s, middle)->number < number) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from;
}

static struct open_entry *open_set_find(const struct open_set *s, uint64_t number) {
    uint32_t at = open_set_place(s, number);
    if (at == s->entries.count || entry_at(s, at)->number != number || entry_at(s, at)->ended) {
        return NULL;
    }
    return entry_at(s, at);
}

void open_set_add(struct open_set *s, uint64_t number, uint32_t bytes) {
    struct open_entry *e = fifo_push(&s->entries);
    uint32_t at = s->entries.count - 1;
    while (at > 0 && entry_at(s, at - 1)->number > number) {
        *e = *entry_at(s, at - 1);
        e = entry_at(s, --at);
    }
    *e = (struct open_entry){number, bytes, false};
    s->count++;
    s->bytes += bytes;
}

bool open_set_has(const struct open_set *s, uint64_t number) {
    return open_set_find(s, number) != NULL;
}

bool open_set_end(struct open_set *s, uint64_t number) {
    struct open_entry *e = open_set_find(s, number);
    if (e == NULL) {
        return false;
    }
    e->ended = true;
    s->count--;
    s->bytes -= e->bytes;
    while ((e = fifo_front(&s->entries)) != NULL && e->ended) {
        fifo_pop(&s->entries);
    }
    return true;
}

uint64_t open_set_first(const struct open_set *s) {
    const struct open_entry *e = fifo_front(&s->entries);
    return e != NULL ? e->number : UINT64_MAX;
}
