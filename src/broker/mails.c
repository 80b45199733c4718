#include "broker/mails.h"

#include "base/mem.h"
#include "base/must.h"
#include "record/message.h"

enum { CAPACITY_MIN = 64 };

static void mails_grow(struct mail_queue *q) {
    size_t capacity = q->capacity > 0 ? q->capacity * 2 : CAPACITY_MIN;
    struct mail *items = mem_alloc(capacity * sizeof *items);
    for (size_t i = 0; i < q->count; i++) {
        items[(q->first + i) & (capacity - 1)] = q->items[(q->first + i) & (q->capacity - 1)];
    }
    mem_free(q->items);
    *q = (struct mail_queue){items, q->first, q->count, capacity};
}

void mails_push(struct mail_queue *q, const struct mail *mail) {
    if (q->count == q->capacity) {
        mails_grow(q);
    }
    q->items[(q->first + q->count) & (q->capacity - 1)] = *mail;
    q->count++;
}

const struct mail *mails_first(const struct mail_queue *q) {
    must(q->count > 0);
    return &q->items[q->first & (q->capacity - 1)];
}

struct mail mails_pop(struct mail_queue *q) {
    struct mail mail = *mails_first(q);
    q->first++;
    q->count--;
    if (q->count == 0) {
        mem_free(q->items);
        *q = (struct mail_queue){NULL, q->first, 0, 0};
    }
    return mail;
}

void mails_forget(struct mail_queue *q) {
    while (q->count > 0) {
        struct mail mail = mails_pop(q);
        message_unref(mail.message);
    }
}
