#include "broker/mails.h"

#include "base/mem.h"
#include "base/must.h"
#include "record/message.h"

/* Never copied: a queue of 200,000 grows in the middle of a turn. */
struct mail_block {
    struct mail_block *next;
    struct mail items[MAIL_BLOCK_ITEMS];
};

void mails_push(struct mail_queue *q, const struct mail *mail) {
    const size_t at = (q->first + q->count) % MAIL_BLOCK_ITEMS;
    if (q->count == 0 || at == 0) {
        struct mail_block *block = mem_alloc(sizeof *block);
        block->next = NULL;
        *(q->count == 0 ? &q->oldest : &q->newest->next) = block;
        q->newest = block;
    }
    q->newest->items[at] = *mail;
    q->count++;
}

const struct mail *mails_first(const struct mail_queue *q) {
    must(q->count > 0);
    return &q->oldest->items[q->first % MAIL_BLOCK_ITEMS];
}

struct mail mails_pop(struct mail_queue *q) {
    struct mail mail = *mails_first(q);
    q->first++;
    q->count--;
    if (q->count == 0 || q->first % MAIL_BLOCK_ITEMS == 0) {
        struct mail_block *block = q->oldest;
        q->oldest = block->next;
        mem_free(block);
    }
    return mail;
}

void mails_forget(struct mail_queue *q) {
    while (q->count > 0) {
        struct mail mail = mails_pop(q);
        message_unref(mail.message);
    }
}
