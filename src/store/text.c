#include "store/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/must.h"
#include "store/rows.h"

enum { TEXT_MAX = 640, HEX_MAX = 64 };

void text_add(struct buf *out, const char *format, ...) {
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    must(length >= 0);
    size_t bytes = (size_t)length < sizeof text ? (size_t)length : sizeof text - 1;
    buf_bytes(out, span_of(text, bytes));
}

static const char *tree_name(enum table_tree tree) {
    static const char *const names[TABLE_TREES] = {
        [TABLE_META] = "meta",        [TABLE_SESSIONS] = "session",      [TABLE_SUBSCRIPTIONS] = "subscription",
        [TABLE_HELD] = "held",        [TABLE_FLIGHTS] = "flight",        [TABLE_QUEUE] = "queued",
        [TABLE_MESSAGES] = "message", [TABLE_REFERENCES] = "references", [TABLE_RETAINED] = "retained",
        [TABLE_WILLS] = "will",       [TABLE_POSITIONS] = "position",
    };
    return names[tree];
}

static void text_hex(struct buf *out, struct span s) {
    for (size_t i = 0; i < s.len && i < HEX_MAX; i++) {
        text_add(out, "%02x", s.ptr[i]);
    }
}

void text_key(struct buf *out, enum table_tree tree, struct span key) {
    session_id_t session;
    packet_id_t packet_id;
    lsn_t lsn;
    uint32_t target;
    text_add(out, "%s", tree_name(tree));
    if (tree == TABLE_QUEUE && row_key_delivery_read(key, &session, &lsn, &target)) {
        text_add(out, " session=%" PRIu64 " message=%" PRIu64 " target=%" PRIu32, session, lsn, target);
    } else if ((tree == TABLE_HELD || tree == TABLE_FLIGHTS) && row_key_packet_read(key, &session, &packet_id)) {
        text_add(out, " session=%" PRIu64 " packet_id=%u", session, packet_id);
    } else if ((tree == TABLE_MESSAGES || tree == TABLE_REFERENCES) && row_key_message_read(key, &lsn)) {
        text_add(out, " %" PRIu64, lsn);
    } else if ((tree == TABLE_SESSIONS || tree == TABLE_WILLS || tree == TABLE_POSITIONS) &&
               row_key_message_read(key, &session)) {
        text_add(out, " session=%" PRIu64, session);
    } else {
        text_add(out, " key=");
        text_hex(out, key);
    }
}

void text_records(struct buf *out, lsn_t first_lsn, struct span payload, bool print, uint64_t *bad) {
    struct reader r = reader_of(payload);
    struct span encoded;
    struct record record;
    lsn_t lsn = first_lsn;
    bool good = true;
    while (good && frame_record_next(&r, &encoded)) {
        good = record_decode(encoded, &record);
        if (good && print) {
            record_print(out, lsn, &record);
            text_add(out, "\n");
        }
        lsn += good ? 1 : 0;
    }
    if (!good || !reader_done(&r)) {
        text_add(out, "journal: the record with lsn %" PRIu64 " cannot be decoded\n", lsn);
        ++*bad;
    }
}
