#include "store/store_memory.h"

#include "base/list.h"
#include "base/mem.h"
#include "base/must.h"

struct store_memory {
    struct store base;
    _Atomic lsn_t last; /* lsn given last */
};

static struct store_memory *of(struct store *store) {
    return container_of(store, struct store_memory, base);
}

/* What is staged is durable at once. Several threads may stage: durable is raised, never lowered. */
static lsn_t memory_stage(struct store *store, const struct record *record) {
    (void)record;
    lsn_t lsn = atomic_fetch_add_explicit(&of(store)->last, 1, memory_order_relaxed) + 1;
    lsn_t seen = atomic_load_explicit(&store->durable, memory_order_relaxed);
    while (seen < lsn && !atomic_compare_exchange_weak_explicit(&store->durable, &seen, lsn, memory_order_release,
                                                                memory_order_relaxed)) {
    }
    return lsn;
}

static bool memory_load(struct store *store, const struct store_sink *sink, struct error *error) {
    (void)store;
    (void)sink;
    (void)error;
    return true;
}

/* Nothing is ever folded, so nobody has reason to ask for these two. */
static struct message *memory_message(struct store *store, lsn_t lsn) {
    (void)store;
    (void)lsn;
    must(false);
    return NULL;
}

static size_t memory_queue_read(struct store *store, session_id_t session, lsn_t after_lsn, uint32_t after_target,
                                struct store_delivery *out, size_t max) {
    (void)store;
    (void)session;
    (void)after_lsn;
    (void)after_target;
    (void)out;
    (void)max;
    return 0;
}

static enum store_pressure memory_pressure(const struct store *store) {
    (void)store;
    return STORE_EASY;
}

static const struct store_ops memory_ops = {
    .stage = memory_stage,
    .load = memory_load,
    .message = memory_message,
    .queue_read = memory_queue_read,
    .pressure = memory_pressure,
};

struct store *store_memory_create(void) {
    struct store_memory *m = mem_zero(1, sizeof *m);
    m->base.ops = &memory_ops;
    return &m->base;
}

void store_memory_destroy(struct store *store) {
    if (store != NULL) {
        mem_free(of(store));
    }
}
