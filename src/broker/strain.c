#include "broker/strain.h"

/* So many deliveries have been put off and then made since the start, or are on their way. */
static uint64_t strain_delivered(const struct shard *shard) {
    return shard->ahead.first + shard->own.first + shard->late_sent;
}

void strain_turn(struct shard *shard) {
    bool over = !strain_now(shard) || (shard->pressure != STORE_BUSY && strain_delivered(shard) >= shard->strain_until);
    if (shard->strain_spent > 0 && over) {
        shard->strain_spent = 0;
        shard->strain_first = 0;
        shard->strains++;
    }
}

static uint64_t strain_spent_by(const struct connection *c) {
    return c->strain == c->shard->strains ? c->strain_spent : 0;
}

static uint64_t at_most(uint64_t amount, uint64_t most) {
    return amount < most ? amount : most;
}

void strain_spend(struct connection *c, size_t bytes, int64_t points) {
    struct shard *shard = c->shard;
    const uint64_t share = shard->broker->options.strain_share;
    const uint64_t before = strain_spent_by(c);
    uint64_t spent = before + bytes + STRAIN_POINT_BYTES * (uint64_t)(points > 0 ? points : 0);
    spent = at_most(spent, share * STRAIN_MOST_SHARES);
    if (shard->strain_spent == 0) {
        shard->strain_until = strain_delivered(shard) + own_count(shard) + shard->late_count;
    }
    c->strain = shard->strains;
    c->strain_spent = spent < UINT32_MAX ? (uint32_t)spent : UINT32_MAX;
    shard->strain_spent += spent - before;
    shard->strain_first += at_most(spent, share) - at_most(before, share);
}

bool strain_share_left(const struct connection *c) {
    uint64_t share = c->shard->broker->options.strain_share;
    return strain_spent_by(c) < share && c->shard->strain_spent < share * STRAIN_ALL_SHARES;
}

bool strain_store_share_left(const struct connection *c) {
    uint64_t share = c->shard->broker->options.strain_share;
    return strain_spent_by(c) < share && c->shard->strain_first < share * STRAIN_ALL_SHARES;
}
