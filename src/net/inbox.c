#include "net/inbox.h"

#include <unistd.h>

#include "base/mem.h"

void inbox_init(struct inbox *inbox) {
    lock_init(&inbox->lock);
    list_init(&inbox->items);
    inbox->closed = false;
}

void inbox_deinit(struct inbox *inbox) {
    struct moved *m;
    while ((m = inbox_take(inbox)) != NULL) {
        moved_destroy(m);
    }
    lock_deinit(&inbox->lock);
}

bool inbox_put(struct inbox *inbox, struct moved *moved) {
    lock_take(&inbox->lock);
    bool taken = !inbox->closed;
    if (taken) {
        list_push_back(&inbox->items, &moved->link);
    }
    lock_give(&inbox->lock);
    return taken;
}

struct moved *inbox_take(struct inbox *inbox) {
    lock_take(&inbox->lock);
    struct link *l = list_pop_front(&inbox->items);
    lock_give(&inbox->lock);
    return l != NULL ? container_of(l, struct moved, link) : NULL;
}

void inbox_close(struct inbox *inbox) {
    lock_take(&inbox->lock);
    inbox->closed = true;
    lock_give(&inbox->lock);
}

void moved_destroy(struct moved *moved) {
    if (moved->fd >= 0) {
        (void)close(moved->fd);
    }
    buf_deinit(&moved->bytes);
    mem_free(moved);
}
