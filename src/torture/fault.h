/* The catalogue: every way in which a run can be hurt, as rows of one table.
 *
 * A row says where it strikes (the hop and the packet of one message's flow), what becomes of that packet, and what
 * happens to the connection or to the broker then. The rows are the products of a few families. Knows no sockets. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The two connections of a message's way. */
enum fault_hop { HOP_PUBLISHER = 0, HOP_SUBSCRIBER, HOP_BOTH, HOP_COUNT = HOP_BOTH };

/* What becomes of the packet that is struck. */
enum fault_loss {
    LOSS_BEFORE = 0, /* sent, but not received */
    LOSS_AFTER,      /* received, but its answer is lost */
    LOSS_TORN,       /* the connection ends in the middle of its bytes */
    LOSS_NONE,       /* it passes; what happens next happens at any moment after it */
    LOSS_REPEATED,   /* it arrives several times */
    LOSS_LATE,       /* it arrives after the same client has connected anew */
};

/* What happens then. */
enum fault_kind {
    KIND_RST = 0, /* the connection is reset */
    KIND_FIN,     /* it is closed in good order */
    KIND_SILENCE, /* it stays open and says nothing more: half-open */
    KIND_KILL,    /* the broker gets SIGKILL */
    KIND_POWER,   /* the power of the broker's file system fails */
    KIND_NOTHING, /* nothing */
};

/* Rows of one family are told apart by hop, point, loss and kind; a family is asked for by its name with --only. */
enum fault_family {
    FAMILY_CUT = 0,  /* a connection breaks once */
    FAMILY_THRICE,   /* the same packet of the same message is struck three times running */
    FAMILY_REPEAT,   /* a packet arrives several times on a live connection */
    FAMILY_REUSE,    /* the PUBREC is lost, the flow is completed, and its packet id carries the next message at once */
    FAMILY_TAKEOVER, /* packets of the old connection arrive after the new one is up */
    FAMILY_WINDOW,   /* more messages in flight than the broker may have room for; nothing breaks */
    FAMILY_MIX,      /* many cuts of any sort in one long run */
    FAMILY_KILL,     /* SIGKILL */
    FAMILY_POWER,    /* power */
    FAMILY_COUNT,
};

struct fault_row {
    enum fault_family family;
    enum fault_hop hop;
    int point; /* 1 PUBLISH, 2 PUBREC, 3 PUBREL, 4 PUBCOMP; 0: any */
    enum fault_loss loss;
    enum fault_kind kind;
    int times; /* how often it strikes, or how often the packet arrives */
};

#define FAULT_ROWS_MAX 160

struct fault_table {
    struct fault_row rows[FAULT_ROWS_MAX];
    size_t count;
};

/* Fills the table with all rows whose name contains `only` (NULL: all). */
void fault_table_init(struct fault_table *t, const char *only);

/* The name to ask for it with --only, such as pub.publish.before.rst; returns `text`. */
const char *fault_name(const struct fault_row *row, char *text, size_t bytes);
/* For people: "*1 PUBLISH", "publisher-broker", "not received, then RST". */
const char *fault_point_text(const struct fault_row *row);
const char *fault_hop_text(const struct fault_row *row);
const char *fault_text(const struct fault_row *row, char *text, size_t bytes);
const char *fault_kind_text(enum fault_kind kind);

/* True when the row needs a broker that can be killed. */
static inline bool fault_is_kill(const struct fault_row *row) {
    return row->kind == KIND_KILL || row->kind == KIND_POWER;
}

/* True when the packet of this row travels from the client to the broker. */
static inline bool fault_to_broker(const struct fault_row *row) {
    bool odd = row->point == 1 || row->point == 3;
    return row->hop == HOP_PUBLISHER ? odd : !odd;
}
