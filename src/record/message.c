#include "record/message.h"

#include "base/mem.h"
#include "base/must.h"

struct message *message_create(const struct message_parts *parts) {
    must(parts->topic.len <= UINT16_MAX && parts->properties.len <= UINT32_MAX && parts->payload.len <= UINT32_MAX &&
         parts->owner.len <= MESSAGE_OWNER_MAX);
    struct message *m =
        mem_alloc_sized(sizeof *m + parts->topic.len + parts->properties.len + parts->payload.len + parts->owner.len);
    atomic_init(&m->references, 1);
    m->qos = parts->qos & 3U;
    m->retain = parts->retain;
    m->shell = false;
    m->owner_bytes = (uint8_t)parts->owner.len;
    m->topic_bytes = (uint16_t)parts->topic.len;
    m->properties_bytes = (uint32_t)parts->properties.len;
    m->payload_bytes = (uint32_t)parts->payload.len;
    m->lsn = 0;
    m->expires_at = parts->expires_at;
    uint8_t *at = m->bytes;
    const struct span pieces[] = {parts->topic, parts->properties, parts->payload, parts->owner};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        if (pieces[i].len > 0) {
            memcpy(at, pieces[i].ptr, pieces[i].len);
            at += pieces[i].len;
        }
    }
    return m;
}

struct message *message_shell(const struct message *m) {
    struct span owner = message_owner(m);
    struct message *shell = mem_alloc_sized(sizeof *shell + m->topic_bytes + owner.len);
    atomic_init(&shell->references, 1);
    shell->qos = m->qos;
    shell->retain = m->retain;
    shell->shell = true;
    shell->owner_bytes = m->owner_bytes;
    shell->topic_bytes = m->topic_bytes;
    shell->properties_bytes = m->properties_bytes;
    shell->payload_bytes = m->payload_bytes;
    shell->lsn = m->lsn;
    shell->expires_at = m->expires_at;
    memcpy(shell->bytes, m->bytes, m->topic_bytes);
    if (owner.len > 0) {
        memcpy(shell->bytes + m->topic_bytes, owner.ptr, owner.len);
    }
    return shell;
}

bool message_is_alone(const struct message *m) {
    return atomic_load_explicit(&m->references, memory_order_acquire) == 1;
}

struct message *message_ref(struct message *m) {
    uint32_t before = atomic_fetch_add_explicit(&m->references, 1, memory_order_relaxed);
    must(before > 0);
    return m;
}

/* Who has the only reference needs no atomic change: nobody is there who could take another. */
void message_unref(struct message *m) {
    if (m != NULL && (atomic_load_explicit(&m->references, memory_order_acquire) == 1 ||
                      atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) == 1)) {
        mem_free_sized(m, sizeof *m + m->topic_bytes + m->owner_bytes +
                              (m->shell ? 0 : m->properties_bytes + (size_t)m->payload_bytes));
    }
}
