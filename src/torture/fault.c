#include "torture/fault.h"

#include <string.h>

#include "base/must.h"

/* A family's rows are all combinations of what its bits allow. */
struct family {
    const char *name;
    enum fault_family family;
    unsigned hops;   /* bit: enum fault_hop */
    unsigned points; /* bit: 0 to 4 */
    unsigned losses; /* bit: enum fault_loss */
    unsigned kinds;  /* bit: enum fault_kind */
    int times;
    const char *text; /* for people; NULL: loss and kind say all */
};

#define BIT(n) (1U << (n))
#define ONE_HOP (BIT(HOP_PUBLISHER) | BIT(HOP_SUBSCRIBER))
#define FOUR_POINTS (BIT(1) | BIT(2) | BIT(3) | BIT(4))
#define SENT_AGAIN (BIT(1) | BIT(3)) /* what a sender sends again until it is answered */
#define LOST_OR_TORN (BIT(LOSS_BEFORE) | BIT(LOSS_AFTER) | BIT(LOSS_TORN))
#define CUTS (BIT(KIND_RST) | BIT(KIND_FIN) | BIT(KIND_SILENCE))

static const struct family families[FAMILY_COUNT] = {
    {"cut", FAMILY_CUT, ONE_HOP, FOUR_POINTS, LOST_OR_TORN, CUTS, 1, NULL},
    {"thrice", FAMILY_THRICE, ONE_HOP, SENT_AGAIN, BIT(LOSS_AFTER), BIT(KIND_RST), 3,
     "answer lost, three times running"},
    {"repeat", FAMILY_REPEAT, ONE_HOP, FOUR_POINTS, BIT(LOSS_REPEATED), BIT(KIND_NOTHING), 3, "arrives three times"},
    {"reuse", FAMILY_REUSE, BIT(HOP_PUBLISHER), BIT(1), BIT(LOSS_AFTER), BIT(KIND_RST), 1,
     "PUBREC lost, flow completed, id reused at once"},
    {"takeover", FAMILY_TAKEOVER, ONE_HOP, FOUR_POINTS, BIT(LOSS_LATE), BIT(KIND_SILENCE), 1,
     "arrives late, after a takeover"},
    {"window", FAMILY_WINDOW, BIT(HOP_BOTH), BIT(0), BIT(LOSS_NONE), BIT(KIND_NOTHING), 1, "60 in flight, no fault"},
    {"mix", FAMILY_MIX, BIT(HOP_BOTH), BIT(0), BIT(LOSS_NONE), BIT(KIND_NOTHING), 1, "cut at random, again and again"},
    {"kill", FAMILY_KILL, ONE_HOP, FOUR_POINTS, LOST_OR_TORN | BIT(LOSS_NONE), BIT(KIND_KILL), 1, NULL},
    {"power", FAMILY_POWER, ONE_HOP, FOUR_POINTS, LOST_OR_TORN | BIT(LOSS_NONE), BIT(KIND_POWER), 1, NULL},
};

static const char *const hop_words[] = {"pub", "sub", "all"};
static const char *const hop_texts[] = {"publisher-broker", "broker-subscriber", "both"};
static const char *const point_words[] = {"any", "publish", "pubrec", "pubrel", "pubcomp"};
static const char *const point_texts[] = {"any", "*1 PUBLISH", "*2 PUBREC", "*3 PUBREL", "*4 PUBCOMP"};
static const char *const loss_words[] = {"before", "after", "torn", "then", "repeat", "late"};
static const char *const loss_texts[] = {
    "not received", "received, not answered", "torn", "passed, a moment later", "repeated", "late"};
static const char *const kind_words[] = {"rst", "fin", "silence", "kill", "power", "none"};
static const char *const kind_texts[] = {"RST", "FIN", "silence", "SIGKILL", "power cut", "nothing"};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static void add(struct fault_table *t, const struct fault_row *row, const char *only) {
    char name[64];
    if (only != NULL && strstr(fault_name(row, name, sizeof(name)), only) == NULL) {
        return;
    }
    must(t->count < FAULT_ROWS_MAX);
    t->rows[t->count++] = *row;
}

/* Counts through all combinations as through the digits of one number. */
static void expand(struct fault_table *t, const struct family *f, const char *only) {
    const unsigned points = LENGTH(point_words);
    const unsigned hops = LENGTH(hop_words);
    const unsigned losses = LENGTH(loss_words);
    const unsigned kinds = LENGTH(kind_words);
    for (unsigned i = 0; i < points * hops * losses * kinds; i++) {
        unsigned kind = i % kinds;
        unsigned loss = i / kinds % losses;
        unsigned hop = i / kinds / losses % hops;
        unsigned point = i / kinds / losses / hops;
        struct fault_row row = {
            f->family, (enum fault_hop)hop, (int)point, (enum fault_loss)loss, (enum fault_kind)kind, f->times};
        bool late_answer = loss == LOSS_LATE && !fault_to_broker(&row);
        if ((f->points & BIT(point)) != 0 && (f->hops & BIT(hop)) != 0 && (f->losses & BIT(loss)) != 0 &&
            (f->kinds & BIT(kind)) != 0 && !late_answer) {
            add(t, &row, only);
        }
    }
}

void fault_table_init(struct fault_table *t, const char *only) {
    t->count = 0;
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        expand(t, &families[i], only);
    }
}

const char *fault_name(const struct fault_row *row, char *text, size_t bytes) {
    const char *family = families[row->family].name;
    if (row->point == 0) {
        (void)snprintf(text, bytes, "%s", family);
    } else {
        (void)snprintf(text, bytes, "%s.%s.%s.%s.%s", family, hop_words[row->hop], point_words[row->point],
                       loss_words[row->loss], kind_words[row->kind]);
    }
    return text;
}

const char *fault_point_text(const struct fault_row *row) {
    return point_texts[row->point];
}

const char *fault_hop_text(const struct fault_row *row) {
    return hop_texts[row->hop];
}

const char *fault_kind_text(enum fault_kind kind) {
    return kind_texts[kind];
}

const char *fault_text(const struct fault_row *row, char *text, size_t bytes) {
    if (families[row->family].text != NULL) {
        (void)snprintf(text, bytes, "%s", families[row->family].text);
    } else if (row->point == 0) {
        (void)snprintf(text, bytes, "at any moment: %s", kind_texts[row->kind]);
    } else {
        (void)snprintf(text, bytes, "%s: %s", loss_texts[row->loss], kind_texts[row->kind]);
    }
    return text;
}
