/* The offline tools that only look: check and dump. */
#include <inttypes.h>

#include "store/audit.h"
#include "store/local.h"
#include "store/scan.h"
#include "store/text.h"

/* The journal, walked as at a start. False with an error when it is damaged or cannot be read. */
static bool journal_walk(struct scan *scan, const struct row_meta *meta, bool found, struct error *error) {
    if (!scan_fits(scan, meta, found, error)) {
        return false;
    }
    scan->chain = meta->chain;
    return !found || scan_walk(scan, meta, error);
}

static void say_journal(const struct scan *scan, const struct row_meta *meta, struct buf *out) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < scan->part_count; i++) {
        bytes += scan->parts[i].end - scan->parts[i].from;
    }
    text_add(out,
             "journal: %" PRIu64 " frames with %" PRIu64 " records (lsn %" PRIu64 " to %" PRIu64 ") in %" PRIu64
             " bytes that the table does not hold\n",
             scan->chain.number - meta->chain.number, scan->chain.next_lsn - meta->chain.next_lsn, meta->chain.next_lsn,
             scan->chain.next_lsn - 1, bytes);
}

/* Decodes all records of the walked frames, printing them when `print`. */
static bool parts_records(struct scan *scan, bool print, struct buf *out, uint64_t *bad, struct error *error) {
    for (uint32_t i = 0; i < scan->part_count; i++) {
        const struct scan_part *part = &scan->parts[i];
        const uint8_t *image = scan_read(scan, part->file, part->from, part->end, error);
        if (image == NULL) {
            return false;
        }
        struct frame_header h;
        for (uint64_t at = 0; at < part->end - part->from && frame_header_read(image + at, &h);
             at += frame_bytes(h.payload_bytes)) {
            text_records(out, h.first_lsn, span_of(image + at + FRAME_HEADER_BYTES, h.payload_bytes), print, bad);
        }
    }
    return true;
}

static bool check_journal(const struct disk *disk, const struct row_meta *meta, bool found, struct buf *out,
                          uint64_t *findings, struct error *error) {
    struct scan scan;
    if (!scan_open(&scan, disk, error)) {
        return false;
    }
    uint64_t bad = 0;
    bool ok = journal_walk(&scan, meta, found, error);
    if (ok && found) {
        say_journal(&scan, meta, out);
        ok = parts_records(&scan, false, out, &bad, error) && scan_tail(&scan, error);
    }
    scan_close(&scan);
    *findings += bad;
    if (!ok && (error->kind == ERROR_DAMAGED || error->kind == ERROR_FORMAT)) {
        text_add(out, "journal: %s\n", error->text);
        ++*findings;
        return true;
    }
    return ok;
}

static bool check_table(struct table *table, const struct row_meta *meta, struct buf *out, uint64_t *findings,
                        struct error *error) {
    struct table_txn *txn = table->ops->begin(table, false, error);
    if (txn == NULL) {
        return false;
    }
    struct audit audit;
    bool ok = audit_run(&audit, table, txn, meta, out, error);
    *findings += audit.findings;
    audit_deinit(&audit);
    table->ops->abort(txn);
    return ok;
}

bool store_local_check(const struct disk *disk, struct table *table, struct buf *out, struct error *error) {
    struct row_meta meta = {.segment = 0};
    bool found = false;
    uint64_t findings = 0;
    if (!meta_load(table, &meta, &found, error) || !check_table(table, &meta, out, &findings, error) ||
        !check_journal(disk, &meta, found, out, &findings, error)) {
        return false;
    }
    if (findings > 0) {
        return error_set(error, ERROR_DAMAGED, 0,
                         "the store is damaged in %" PRIu64 " places; 'quartet store repair' "
                         "cuts out what cannot be used",
                         findings);
    }
    text_add(out, "%s\n", found ? "the store is sound" : "there is no store here yet");
    return true;
}

/* ---- dump ---- */

static void dump_record(struct span key, struct span value, struct buf *out) {
    struct record r;
    session_id_t id = 0;
    (void)row_key_session_read(key, &id);
    if (row_checked(key, &value) && record_decode(value, &r)) {
        record_print(out, id, &r);
    } else {
        text_add(out, "damaged");
    }
}

static void dump_message(struct span value, struct span key, struct buf *out) {
    struct message_parts parts;
    if (row_checked(key, &value) && record_parts_decode(value, &parts)) {
        struct record r = {.kind = RECORD_MESSAGE, .message = {.parts = parts}};
        text_add(out, ": ");
        record_print(out, 0, &r);
    } else {
        text_add(out, ": damaged");
    }
}

/* Of a row whose body is another record's. */
static void dump_body(struct buf *out, lsn_t body_lsn) {
    if (body_lsn != 0) {
        text_add(out, " body=%" PRIu64, body_lsn);
    }
}

static void dump_row(enum table_tree tree, struct span key, struct span value, struct buf *out) {
    struct store_flight f;
    uint32_t count;
    lsn_t lsn;
    struct row_queued q;
    text_key(out, tree, key);
    if (tree == TABLE_SESSIONS || tree == TABLE_SUBSCRIPTIONS || tree == TABLE_WILLS) {
        text_add(out, ": ");
        dump_record(key, value, out);
    } else if (tree == TABLE_MESSAGES) {
        dump_message(value, key, out);
    } else if (tree == TABLE_FLIGHTS && row_flight_read(value, &f)) {
        text_add(out, ": qos=%u%s%s message=%" PRIu64 " target=%" PRIu32 " order=%" PRIu64, f.qos,
                 f.retain ? " retain" : "", f.released ? " released" : "", f.message_lsn, f.target, f.order);
        dump_body(out, f.body_lsn);
    } else if (tree == TABLE_QUEUE && row_queued_read(value, &q)) {
        text_add(out, ": qos=%u%s bytes=%" PRIu32, q.qos, q.retain ? " retain" : "", q.bytes);
        dump_body(out, q.body_lsn);
    } else if (tree == TABLE_REFERENCES && row_count_read(value, &count)) {
        text_add(out, ": %" PRIu32, count);
    } else if (tree == TABLE_RETAINED && row_lsn_read(value, &lsn)) {
        text_add(out, ": message %" PRIu64, lsn);
    } else if (tree == TABLE_POSITIONS && row_lsn_read(value, &lsn)) {
        text_add(out, ": sequence %" PRIu64, lsn);
    }
    text_add(out, "\n");
}

static bool dump_table(struct table *table, struct buf *out, struct error *error) {
    struct table_txn *txn = table->ops->begin(table, false, error);
    if (txn == NULL) {
        return false;
    }
    for (int tree = TABLE_SESSIONS; tree < TABLE_TREES; tree++) {
        struct table_cursor *cursor = table->ops->cursor_open(txn, (enum table_tree)tree, span_of(NULL, 0));
        struct span key;
        struct span value;
        while (table->ops->cursor_next(cursor, &key, &value)) {
            dump_row((enum table_tree)tree, key, value, out);
        }
        table->ops->cursor_close(cursor);
    }
    bool ok = table->ops->sound(txn, error);
    table->ops->abort(txn);
    return ok;
}

bool store_local_dump(const struct disk *disk, struct table *table, struct buf *out, struct error *error) {
    struct row_meta meta = {.segment = 0};
    bool found = false;
    uint64_t bad = 0;
    struct scan scan;
    if (!meta_load(table, &meta, &found, error) || !dump_table(table, out, error) || !scan_open(&scan, disk, error)) {
        return false;
    }
    bool ok = journal_walk(&scan, &meta, found, error);
    if (ok && found) {
        say_journal(&scan, &meta, out);
        ok = parts_records(&scan, true, out, &bad, error);
    }
    scan_close(&scan);
    return ok;
}
