#include "broker/strain.h"

void strain_turn(struct shard *shard) {
    if (!strain_now(shard) && shard->strain_spent > 0) {
        shard->strain_spent = 0;
        shard->strains++;
    }
}

static uint64_t strain_spent_by(const struct connection *c) {
    return c->strain == c->shard->strains ? c->strain_spent : 0;
}

void strain_spend(struct connection *c, size_t bytes, int64_t points) {
    uint64_t cost = bytes + STRAIN_POINT_BYTES * (uint64_t)(points > 0 ? points : 0);
    uint64_t spent = strain_spent_by(c) + cost;
    c->strain = c->shard->strains;
    c->strain_spent = spent < UINT32_MAX ? (uint32_t)spent : UINT32_MAX;
    c->shard->strain_spent += cost;
}

bool strain_share_left(const struct connection *c) {
    uint64_t share = c->shard->broker->options.strain_share;
    return strain_spent_by(c) < share && c->shard->strain_spent < share * STRAIN_ALL_SHARES;
}
