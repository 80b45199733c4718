#include "net/ctl_text.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/terminal.h"
#include "topic/topic.h"

/* ---- words ---- */

void ctl_word_put(struct buf *out, struct span word) {
    for (size_t i = 0; i < word.len; i++) {
        char text[5];
        if (terminal_shows(word, i) && word.ptr[i] != '\\') {
            buf_u8(out, word.ptr[i]);
        } else {
            (void)snprintf(text, sizeof text, "\\x%02x", word.ptr[i]);
            buf_bytes(out, span_str(text));
        }
    }
}

static int digit(uint8_t byte) {
    static const char digits[] = "0123456789abcdef";
    const char *at = byte != 0 ? strchr(digits, byte) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

bool ctl_word_take(struct span *line, struct buf *out) {
    while (line->len > 0 && line->ptr[0] != '\t') {
        size_t used = 1;
        if (line->ptr[0] == '\\') {
            int high = line->len >= 4 && line->ptr[1] == 'x' ? digit(line->ptr[2]) : -1;
            int low = high >= 0 ? digit(line->ptr[3]) : -1;
            if (low < 0) {
                return false;
            }
            buf_u8(out, (uint8_t)(high * 16 + low));
            used = 4;
        } else {
            buf_u8(out, line->ptr[0]);
        }
        *line = span_skip(*line, used);
    }
    *line = span_skip(*line, line->len > 0 ? 1 : 0);
    return true;
}

/* ---- the question ---- */

/* Its words, one after the other in q->text. */
struct words {
    size_t begins[4];
    size_t count;
};

static struct span word_at(const struct ctl_question *q, const struct words *w, size_t i) {
    if (i >= w->count) {
        return SPAN("");
    }
    size_t end = i + 1 < w->count ? w->begins[i + 1] : q->text.len;
    return span_of(q->text.ptr + w->begins[i], end - w->begins[i]);
}

static bool words_read(struct ctl_question *q, struct span line, struct words *w) {
    w->count = 0;
    do {
        if (w->count == sizeof w->begins / sizeof *w->begins) {
            return false;
        }
        w->begins[w->count++] = q->text.len;
        if (!ctl_word_take(&line, &q->text)) {
            return false;
        }
    } while (line.len > 0);
    return true;
}

static bool rows_read(struct span word, uint32_t *rows) {
    char text[8] = "";
    char *end;
    if (word.len == 0) {
        *rows = CTL_ROWS_DEFAULT;
        return true;
    }
    if (word.len >= sizeof text) {
        return false;
    }
    memcpy(text, word.ptr, word.len);
    unsigned long number = strtoul(text, &end, 10);
    *rows = (uint32_t)number;
    return *end == '\0' && number >= 1 && number <= REQUEST_ROWS_MAX;
}

static bool says(bool right, const char *sentence, const char **wrong) {
    *wrong = right ? NULL : sentence;
    return right;
}

static bool verb_read(struct ctl_question *q, const struct words *w, const char **wrong) {
    struct span verb = word_at(q, w, 0);
    struct span first = word_at(q, w, 1);
    if (span_equal(verb, SPAN("counters"))) {
        q->ask.kind = REQUEST_COUNTERS;
        return says(w->count == 1, "counters takes no argument", wrong);
    }
    if (span_equal(verb, SPAN("accounts"))) {
        q->ask.kind = REQUEST_ACCOUNTS;
        return says(w->count <= 2 && rows_read(first, &q->ask.rows_max),
                    "accounts takes a number of owners from 1 to 1000", wrong);
    }
    if (span_equal(verb, SPAN("sessions"))) {
        q->ask.kind = REQUEST_SESSIONS;
        q->ask.owner = first;
        return says(w->count <= 3 && rows_read(word_at(q, w, 2), &q->ask.rows_max),
                    "sessions takes an owner and a number of rows from 1 to 1000", wrong);
    }
    if (span_equal(verb, SPAN("end"))) {
        q->ask.kind = REQUEST_END;
        q->ask.client_id = first;
        return says(w->count == 2 && first.len > 0, "end takes a client id", wrong);
    }
    if (span_equal(verb, SPAN("end-owner"))) {
        q->ask.kind = REQUEST_END;
        q->ask.owner = first;
        return says(w->count == 2 && first.len > 0, "end-owner takes an owner", wrong);
    }
    if (span_equal(verb, SPAN("clear"))) {
        q->ask.kind = REQUEST_CLEAR;
        q->ask.filter = first;
        q->ask.all = w->count == 3 && span_equal(word_at(q, w, 2), SPAN("all"));
        return says((w->count == 2 || q->ask.all) && topic_filter_valid(first), "clear takes a topic filter", wrong);
    }
    return says(false, "there is no such verb", wrong);
}

bool ctl_question_read(struct ctl_question *q, struct span line, const char **wrong) {
    struct words words;
    *q = (struct ctl_question){.text = {NULL, 0, 0}};
    return says(words_read(q, line, &words), "the question is not well written", wrong) && verb_read(q, &words, wrong);
}

void ctl_question_deinit(struct ctl_question *q) {
    buf_deinit(&q->text);
}

/* ---- the answer ---- */

static void put(struct buf *out, const char *text) {
    buf_bytes(out, span_str(text));
}

static void put_number(struct buf *out, uint64_t number, const char *after) {
    char text[32];
    (void)snprintf(text, sizeof text, "%llu%s", (unsigned long long)number, after);
    put(out, text);
}

void ctl_answer_error(struct buf *out, const char *sentence) {
    put(out, "error\t");
    ctl_word_put(out, span_str(sentence));
    put(out, "\nend\n");
}

static void answer_row(struct buf *out, const struct request_session *s) {
    ctl_word_put(out, span_of(s->client_id, s->client_id_bytes));
    put(out, "\t");
    ctl_word_put(out, span_str(s->owner));
    put(out, s->connected ? "\t1\t" : "\t0\t");
    put_number(out, s->queued_messages, "\t");
    put_number(out, s->queued_bytes, "\t");
    put_number(out, s->inflight, "\t");
    put_number(out, s->subscriptions, "\t");
    put_number(out, s->expiry_s, "\n");
}

/* The first rows of all; each part has its own in order. */
static void answer_sessions(struct buf *out, const struct request_ask *ask, const struct request_answer *const *parts,
                            size_t count) {
    size_t *next = mem_zero(count, sizeof *next);
    put(out,
        "ok\nclient_id\towner\t#connected\t#queued_messages\t#queued_bytes\t#inflight\t#subscriptions\t#expiry_s\n");
    for (uint32_t rows = 0; rows < ask->rows_max; rows++) {
        size_t best = count;
        for (size_t i = 0; i < count; i++) {
            if (next[i] < parts[i]->row_count &&
                (best == count || request_before(&parts[i]->rows[next[i]], &parts[best]->rows[next[best]]))) {
                best = i;
            }
        }
        if (best == count) {
            break;
        }
        answer_row(out, &parts[best]->rows[next[best]++]);
    }
    mem_free(next);
}

static void answer_counters(struct buf *out, const struct request_answer *const *parts, size_t count) {
    struct shard_counters sum = {0};
    for (size_t i = 0; i < count; i++) {
#define CTL_ADD(name, text) sum.name += parts[i]->counters.name;
        SHARD_COUNTER_ROWS(CTL_ADD)
#undef CTL_ADD
    }
    put(out, "ok\nname\t#value\n");
#define CTL_PRINT(name, text)                                                                                          \
    put(out, #name "\t");                                                                                              \
    put_number(out, sum.name, "\n");
    SHARD_COUNTER_ROWS(CTL_PRINT)
#undef CTL_PRINT
}

/* One line: what is bounded, at which level, who has it, and the numbers. */
static void answer_bound(struct buf *out, const char *name, enum quota_level level, struct span who,
                         const uint64_t numbers[3]) {
    for (const char *c = name; *c != '\0'; c++) {
        buf_u8(out, (uint8_t)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c));
    }
    put(out, "\t");
    put(out, quota_level_name(level));
    put(out, "\t");
    ctl_word_put(out, who);
    put(out, "\t");
    put_number(out, numbers[0], "\t");
    put_number(out, numbers[1], "\t");
    put_number(out, numbers[2], "\n");
}

static const char *row_name(int row) {
    static const char *const names[] = {
#define CTL_ROW(name, text) [QUOTA_##name] = #name,
        QUOTA_ROWS(CTL_ROW)
#undef CTL_ROW
    };
    return names[row];
}

static void answer_account(struct buf *out, const struct request_account *a) {
    for (int i = 0; i < QUOTA_ROW_COUNT; i++) {
        if (a->owner == NULL || a->taken[i] != 0 || a->refused[i] != 0) {
            answer_bound(out, row_name(i), a->owner != NULL ? QUOTA_OWNER : QUOTA_ALL,
                         span_str(a->owner != NULL ? a->owner : "all"),
                         (const uint64_t[]){a->taken[i], a->most[i], a->refused[i]});
        }
    }
}

/* Who of all shards has the most. */
static void answer_fattest(struct buf *out, const struct request_answer *const *parts, size_t count, int row) {
    const struct request_fattest *most = &parts[0]->fattest[row];
    for (size_t i = 1; i < count; i++) {
        most = parts[i]->fattest[row].has > most->has ? &parts[i]->fattest[row] : most;
    }
    if (most->most != 0) {
        answer_bound(out, row_name(row), most->level,
                     most->who != NULL ? span_of((const uint8_t *)most->who, most->who_bytes) : SPAN("-"),
                     (const uint64_t[]){most->has, most->most, 0});
    }
}

/* A limit of 0 is none. */
static void answer_accounts(struct buf *out, const struct request_answer *const *parts, size_t count,
                            const struct ctl_bound *more, size_t more_count) {
    put(out, "ok\nname\tlevel\towner\t#used\t#limit\t#refused\n");
    for (size_t i = 0; i < count; i++) {
        if (parts[i]->account_count > 0) {
            answer_bound(out, "memory_bytes", QUOTA_ALL, SPAN("all"),
                         (const uint64_t[]){parts[i]->memory_used, parts[i]->memory_limit, 0});
            answer_bound(out, "store_bytes", QUOTA_ALL, SPAN("all"),
                         (const uint64_t[]){parts[i]->store_used, parts[i]->store_limit, 0});
        }
    }
    for (size_t i = 0; i < more_count; i++) {
        answer_bound(out, more[i].name, more[i].level, span_str(more[i].who),
                     (const uint64_t[]){more[i].used, more[i].limit, more[i].refused});
    }
    for (int row = 0; count > 0 && row < QUOTA_ROW_COUNT; row++) {
        answer_fattest(out, parts, count, row);
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < parts[i]->account_count; k++) {
            answer_account(out, &parts[i]->accounts[k]);
        }
    }
}

static void answer_ended(struct buf *out, const struct request_answer *const *parts, size_t count) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += parts[i]->matched;
    }
    put(out, "ok\n#ended\n");
    put_number(out, sum, "\n");
}

static void answer_cleared(struct buf *out, const struct request_answer *const *parts, size_t count) {
    uint64_t cleared = 0;
    uint64_t left = 0;
    for (size_t i = 0; i < count; i++) {
        cleared += parts[i]->matched;
        left += parts[i]->left;
    }
    put(out, "ok\n#cleared\t#left\n");
    put_number(out, cleared, "\t");
    put_number(out, left, "\n");
}

void ctl_answer(struct buf *out, const struct request_ask *ask, const struct request_answer *const *parts, size_t count,
                const struct ctl_bound *more, size_t more_count) {
    switch (ask->kind) {
    case REQUEST_COUNTERS:
        answer_counters(out, parts, count);
        break;
    case REQUEST_ACCOUNTS:
        answer_accounts(out, parts, count, more, more_count);
        break;
    case REQUEST_SESSIONS:
        answer_sessions(out, ask, parts, count);
        break;
    case REQUEST_END:
        answer_ended(out, parts, count);
        break;
    case REQUEST_CLEAR:
        answer_cleared(out, parts, count);
        break;
    }
    put(out, "end\n");
}
