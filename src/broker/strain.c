#include "broker/strain.h"

/* So many deliveries have been put off and then made since the start, or are on their way. */
static uint64_t strain_delivered(const struct shard *shard) {
    return shard->own.first + shard->late_sent;
}

void strain_turn(struct shard *shard) {
    bool over = !strain_now(shard) || (shard->pressure != STORE_BUSY && strain_delivered(shard) >= shard->strain_until);
    if (shard->strain_spent > 0 && over) {
        shard->strain_spent = 0;
        shard->strains++;
    }
}

static uint64_t strain_spent_by(const struct connection *c) {
    return c->strain == c->shard->strains ? c->strain_spent : 0;
}

void strain_spend(struct connection *c, size_t bytes, int64_t points) {
    struct shard *shard = c->shard;
    const uint64_t most = (uint64_t)shard->broker->options.strain_share * STRAIN_MOST_SHARES;
    const uint64_t before = strain_spent_by(c);
    uint64_t spent = before + bytes + STRAIN_POINT_BYTES * (uint64_t)(points > 0 ? points : 0);
    spent = spent < most ? spent : most;
    if (shard->strain_spent == 0) {
        shard->strain_until = strain_delivered(shard) + shard->own.count + shard->late_count;
    }
    c->strain = shard->strains;
    c->strain_spent = spent < UINT32_MAX ? (uint32_t)spent : UINT32_MAX;
    shard->strain_spent += spent - before;
}

bool strain_share_left(const struct connection *c) {
    uint64_t share = c->shard->broker->options.strain_share;
    return strain_spent_by(c) < share && c->shard->strain_spent < share * STRAIN_ALL_SHARES;
}
