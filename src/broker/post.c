#include "broker/post.h"

#include "base/mem.h"
#include "base/must.h"
#include "broker/mails.h"

enum { ROOM_PARTS = 8 }; /* one of them is for what goes to few */

/* Late mail to one other shard. */
struct late {
    struct mail_queue few, many;
    struct map64 behind; /* session id -> how many of `many` are for it */
};

/* ---- who waits among the many ---- */

static uintptr_t behind_count(const struct late *late, session_id_t session) {
    return late->behind.count > 0 ? (uintptr_t)map64_get(&late->behind, session) : 0;
}

static void behind_more(struct late *late, session_id_t session) {
    void *before = map64_put(&late->behind, session, (void *)(uintptr_t)1);
    if (before != NULL) {
        (void)map64_put(&late->behind, session, (void *)((uintptr_t)before + 1));
    }
}

static void behind_less(struct late *late, session_id_t session) {
    uintptr_t before = behind_count(late, session);
    must(before > 0);
    if (before == 1) {
        (void)map64_remove(&late->behind, session);
    } else {
        (void)map64_put(&late->behind, session, (void *)(before - 1));
    }
}

/* ---- rings ---- */

static struct ring *ring_between(const struct broker *broker, unsigned from, unsigned to) {
    return &broker->rings[from * broker->shard_count + to];
}

/* What goes to many leaves room for what goes to few. */
static bool ring_takes(struct ring *ring, const struct mail *mail, bool many) {
    return (!many || ring_count(ring) < ring->capacity / ROOM_PARTS * (ROOM_PARTS - 1)) && ring_push(ring, mail);
}

static bool post_now(struct shard *shard, unsigned to, const struct mail *mail, bool many) {
    if (!ring_takes(ring_between(shard->broker, shard->index, to), mail, many)) {
        return false;
    }
    shard->wake_set |= 1ULL << to;
    return true;
}

/* ---- late mail ---- */

static struct late *late_to(struct shard *shard, unsigned to) {
    if (shard->late == NULL) {
        shard->late = mem_zero(shard->broker->shard_count, sizeof *shard->late);
        for (unsigned i = 0; i < shard->broker->shard_count; i++) {
            shard->late[i].behind = map64_of(shard->map_seed);
        }
    }
    return &shard->late[to];
}

static void late_push(struct shard *shard, unsigned to, const struct mail *mail, bool many) {
    struct late *late = late_to(shard, to);
    mails_push(many ? &late->many : &late->few, mail);
    if (many) {
        behind_more(late, mail->session_id);
    }
    shard->late_count++;
}

static void late_gone(struct shard *shard) {
    shard->late_count--;
    shard->late_sent++;
}

static void late_go_on(struct shard *shard, unsigned to, struct late *late) {
    while (late->few.count > 0 && post_now(shard, to, mails_first(&late->few), false)) {
        (void)mails_pop(&late->few);
        late_gone(shard);
    }
    while (late->few.count == 0 && late->many.count > 0 && post_now(shard, to, mails_first(&late->many), true)) {
        struct mail mail = mails_pop(&late->many);
        behind_less(late, mail.session_id);
        late_gone(shard);
    }
}

void post_send(struct shard *shard, unsigned to, const struct mail *mail) {
    bool many = mail->many;
    bool waits = false;
    if (__builtin_expect(shard->late_count > 0, 0)) {
        struct late *late = late_to(shard, to);
        many = many || behind_count(late, mail->session_id) > 0;
        waits = many ? late->many.count > 0 : late->few.count > 0;
    }
    if (waits || !post_now(shard, to, mail, many)) {
        late_push(shard, to, mail, many);
    }
}

void post_late(struct shard *shard) {
    for (unsigned to = 0; shard->late_count > 0 && to < shard->broker->shard_count; to++) {
        late_go_on(shard, to, &shard->late[to]);
    }
}

void post_forget(struct shard *shard) {
    for (unsigned to = 0; shard->late != NULL && to < shard->broker->shard_count; to++) {
        mails_forget(&shard->late[to].few);
        mails_forget(&shard->late[to].many);
        map64_deinit(&shard->late[to].behind);
    }
    mem_free(shard->late);
}
