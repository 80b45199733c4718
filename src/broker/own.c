#include "broker/own.h"

#include "broker/mails.h"
#include "broker/route.h"

enum {
    OWN_OVERDRAFT = 4, /* a turn may take a quarter more before deliveries are put off */
    OWN_AHEAD = 16,    /* of one session */
};

bool own_waits(const struct session *session, bool many) {
    const struct shard *shard = session->shard;
    if (session->own_ahead > 0 || session->own_rest > 0 || !many) {
        return session->own_ahead > 0 || session->own_rest > 0;
    }
    return own_count(shard) > 0 || shard->points + shard->broker->options.turn_points / OWN_OVERDRAFT <= 0;
}

void own_push(struct session *session, const struct mail *mail) {
    struct shard *shard = session->shard;
    if (session->own_rest == 0 && session->own_ahead < OWN_AHEAD) {
        mails_push(&shard->ahead, mail);
        session->own_ahead++;
    } else {
        mails_push(&shard->own, mail);
        session->own_rest++;
    }
}

void own_deliver(struct shard *shard, int64_t points) {
    unsigned at_qos0 = 0;
    for (int64_t rest = shard->points - points; own_count(shard) > 0 && shard->points > rest;) {
        const bool ahead = shard->ahead.count > 0;
        struct mail mail = mails_pop(ahead ? &shard->ahead : &shard->own);
        struct session *session = map64_get(&shard->by_id, mail.session_id);
        shard_spend(shard, mail.qos > 0 || at_qos0++ % OWN_QOS0_PER_POINT == 0);
        if (session != NULL && ahead) {
            session->own_ahead--;
        } else if (session != NULL) {
            session->own_rest--;
        }
        route_mail(shard, &mail);
    }
}

void own_forget(struct shard *shard) {
    mails_forget(&shard->ahead);
    mails_forget(&shard->own);
}
