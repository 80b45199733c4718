#include "broker/work.h"

#include "base/must.h"
#include "broker/bring.h"
#include "broker/ending.h"
#include "broker/own.h"
#include "broker/sieve.h"

void work_add(struct shard *shard, struct work *work) {
    if (!link_linked(&work->link)) {
        list_push_back(&shard->works, &work->link);
    }
}

void work_add_stalled(struct shard *shard, struct work *work) {
    must(!link_linked(&work->link));
    list_push_back(&shard->stalled, &work->link);
}

uint32_t work_slice_points(const struct shard *shard) {
    uint32_t turn = shard->broker->options.turn_points;
    return turn < WORK_SLICE_POINTS ? turn : WORK_SLICE_POINTS;
}

static void work_slice(struct work *work) {
    switch (work->kind) {
    case WORK_BRING:
        bring_slice(container_of(work, struct bringing, work));
        return;
    case WORK_SIEVE:
        sieve_work(work);
        return;
    case WORK_END:
        ending_slice(container_of(work, struct ending, work));
        return;
    }
    must(false);
}

void work_run(struct shard *shard) {
    int64_t rest = shard->points / 2;
    if (shard->pressure == STORE_EASY) {
        list_splice(&shard->works, &shard->stalled);
    }
    while (shard->points > rest && (own_count(shard) > 0 || !list_empty(&shard->works))) {
        struct link *l = list_pop_front(&shard->works);
        own_deliver(shard, work_slice_points(shard));
        if (l != NULL) {
            work_slice(container_of(l, struct work, link));
        }
    }
    if (shard->points <= rest) { /* what comes in has its half, whatever a slice has taken */
        shard->points = rest > 0 ? rest : 1;
    }
}
