#include "broker/post.h"

#include "base/mem.h"
#include "base/must.h"
#include "broker/mails.h"

enum {
    ROOM_PARTS = 8,  /* one of them is for what goes to few */
    LATE_AHEAD = 16, /* of one session */
};

/* Where late mail waits: the first of them goes first. */
enum late_part { LATE_FEW, LATE_FIRST, LATE_MANY, LATE_PARTS };

/* Late mail to one other shard. */
struct late {
    struct mail_queue parts[LATE_PARTS];
    struct map64 waiting[LATE_PARTS]; /* session id -> how many of a part are for it; LATE_FEW: not counted */
};

/* ---- who waits ---- */

static uintptr_t waiting(const struct late *late, enum late_part part, session_id_t session) {
    return late->waiting[part].count > 0 ? (uintptr_t)map64_get(&late->waiting[part], session) : 0;
}

static void waits_more(struct late *late, enum late_part part, session_id_t session) {
    void *before = map64_put(&late->waiting[part], session, (void *)(uintptr_t)1);
    if (before != NULL) {
        (void)map64_put(&late->waiting[part], session, (void *)((uintptr_t)before + 1));
    }
}

static void waits_less(struct late *late, enum late_part part, session_id_t session) {
    uintptr_t before = waiting(late, part, session);
    must(before > 0);
    if (before == 1) {
        (void)map64_remove(&late->waiting[part], session);
    } else {
        (void)map64_put(&late->waiting[part], session, (void *)(before - 1));
    }
}

/* What follows other mail to the same session stays behind it. */
static enum late_part late_part_of(const struct late *late, const struct mail *mail) {
    const uintptr_t first = waiting(late, LATE_FIRST, mail->session_id);
    if (waiting(late, LATE_MANY, mail->session_id) > 0) {
        return LATE_MANY;
    }
    if (mail->many) {
        return first < LATE_AHEAD ? LATE_FIRST : LATE_MANY;
    }
    return first > 0 ? LATE_FIRST : LATE_FEW;
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
            for (unsigned part = LATE_FIRST; part < LATE_PARTS; part++) {
                shard->late[i].waiting[part] = map64_of(shard->map_seed);
            }
        }
    }
    return &shard->late[to];
}

static void late_push(struct shard *shard, unsigned to, const struct mail *mail) {
    struct late *late = late_to(shard, to);
    const enum late_part part = late_part_of(late, mail);
    mails_push(&late->parts[part], mail);
    if (part != LATE_FEW) {
        waits_more(late, part, mail->session_id);
    }
    shard->late_count++;
}

static void late_go_on(struct shard *shard, unsigned to, struct late *late) {
    enum late_part part = LATE_FEW;
    while (part < LATE_PARTS) {
        struct mail_queue *q = &late->parts[part];
        if (q->count == 0) {
            part++;
        } else if (post_now(shard, to, mails_first(q), part != LATE_FEW)) {
            const struct mail mail = mails_pop(q);
            if (part != LATE_FEW) {
                waits_less(late, part, mail.session_id);
            }
            shard->late_count--;
            shard->late_sent++;
        } else {
            return;
        }
    }
}

/* Something waits that is not to be passed by. */
static bool late_before(struct shard *shard, unsigned to, const struct mail *mail) {
    const struct late *late = late_to(shard, to);
    bool waits = false;
    for (unsigned part = LATE_FEW; part <= late_part_of(late, mail); part++) {
        waits = waits || late->parts[part].count > 0;
    }
    return waits;
}

void post_send(struct shard *shard, unsigned to, const struct mail *mail) {
    const bool waits = __builtin_expect(shard->late_count > 0, 0) && late_before(shard, to, mail);
    if (waits || !post_now(shard, to, mail, mail->many)) {
        late_push(shard, to, mail);
    }
}

void post_late(struct shard *shard) {
    for (unsigned to = 0; shard->late_count > 0 && to < shard->broker->shard_count; to++) {
        late_go_on(shard, to, &shard->late[to]);
    }
}

void post_forget(struct shard *shard) {
    for (unsigned to = 0; shard->late != NULL && to < shard->broker->shard_count; to++) {
        for (unsigned part = LATE_FEW; part < LATE_PARTS; part++) {
            mails_forget(&shard->late[to].parts[part]);
            map64_deinit(&shard->late[to].waiting[part]);
        }
    }
    mem_free(shard->late);
}
