#include "explain/digest.h"

void digest_flights(struct buf *b, const struct link *list) {
    for (const struct link *l = list->next; l != list; l = l->next) {
        const struct flight *f = container_of(l, struct flight, link);
        buf_u16(b, f->packet_id);
        buf_u8(b, (uint8_t)f->target);
    }
    buf_u16(b, 0);
}

void digest_held(struct buf *b, const struct qos_in *in) {
    for (packet_id_t id = qos_in_next(in, 1); id != 0; id = qos_in_next(in, id + 1U)) {
        buf_u16(b, id);
    }
    buf_u16(b, 0);
}
