#include "sim/conn.h"

#include "base/must.h"

void pipe_write(struct pipe *p, struct span bytes) {
    must(bytes.len <= pipe_space(p));
    if (bytes.len > 0) {
        memcpy(p->bytes + p->len, bytes.ptr, bytes.len);
    }
    p->len += bytes.len;
}

void pipe_drop_front(struct pipe *p, size_t bytes) {
    must(bytes <= p->len);
    memmove(p->bytes, p->bytes + bytes, p->len - bytes);
    p->len -= bytes;
}

static void conn_ended(struct conn *c, struct conn_end end) {
    if (!c->cut) {
        c->cut = true;
        c->end = end;
    }
    if (c->connect_clean && c->received < c->connect_bytes) {
        c->to_broker.len = 0;
    }
}

void conn_cut(struct conn *c, struct conn_end end, size_t keep_to_broker, size_t keep_to_client) {
    must(keep_to_broker <= c->to_broker.len && keep_to_client <= c->to_client.len);
    c->to_broker.len = keep_to_broker;
    c->to_client.len = keep_to_client;
    c->to_broker.fin = c->to_client.fin = true;
    conn_ended(c, end);
    c->excused = true;
    conn_tidy(c);
}

void conn_abandon(struct conn *c, struct conn_end end) {
    conn_ended(c, end);
    c->client_open = false;
    c->to_broker.fin = true;
    c->to_client.len = 0;
    conn_tidy(c);
}

void conn_broker_gone(struct conn *c, struct conn_end end) {
    c->broker = BROKER_END_CLOSED;
    c->to_broker.len = 0;
    c->moved_len = 0;
    c->to_client.fin = true;
    conn_ended(c, end);
    conn_tidy(c);
}

void conn_tidy(struct conn *c) {
    if (!c->client_open && (c->broker == BROKER_END_CLOSED || (c->broker == BROKER_END_NONE && c->cut))) {
        c->used = false;
    }
}
