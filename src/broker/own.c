#include "broker/own.h"

#include "broker/mails.h"
#include "broker/route.h"

enum { OWN_OVERDRAFT = 4 /* a turn may take a quarter more before deliveries are put off */ };

bool own_waits(const struct session *session, bool many) {
    const struct shard *shard = session->shard;
    if (session->own_count > 0 || !many) {
        return session->own_count > 0;
    }
    return shard->own.count > 0 || shard->points + shard->broker->options.turn_points / OWN_OVERDRAFT <= 0;
}

void own_push(struct session *session, const struct mail *mail) {
    mails_push(&session->shard->own, mail);
    session->own_count++;
}

void own_deliver(struct shard *shard, int64_t points) {
    unsigned at_qos0 = 0;
    for (int64_t rest = shard->points - points; shard->own.count > 0 && shard->points > rest;) {
        struct mail mail = mails_pop(&shard->own);
        struct session *session = map64_get(&shard->by_id, mail.session_id);
        shard_spend(shard, mail.qos > 0 || at_qos0++ % OWN_QOS0_PER_POINT == 0);
        if (session != NULL) {
            session->own_count--;
        }
        route_mail(shard, &mail);
    }
}

void own_forget(struct shard *shard) {
    mails_forget(&shard->own);
}
