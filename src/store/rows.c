#include "store/rows.h"

#define XXH_INLINE_ALL
#include <openssl/sha.h>
#include <xxhash.h>

#include "base/must.h"
#include "store/bytes.h"
#include "store/clock.h"

static const uint8_t meta_magic[8] = "QuartetT";

/* Version 1 had no rows that name the body of another record, no times, and no digests of texts in keys: a program that
 * knows only that would call them damaged. Both are read; each commit writes the newest. */
enum { META_VERSION = 2, META_VERSION_OLDEST = 1 };

/* The byte before a text says how much of it is there, so that no whole text can equal a cut one. */
enum text_form { TEXT_WHOLE = 0, TEXT_HASHED = 1, TEXT_DIGESTED = 2 };
enum { HASH_BYTES = 16 };

/* Flags of FLIGHTS and QUEUE. */
enum { ROW_QOS = 0x03, ROW_RETAIN = 0x04, ROW_RELEASED = 0x08, ROW_BODY = 0x10 };

/* Rows of FLIGHTS and QUEUE, and what the lsn of another record's body adds. */
enum { FLIGHT_BYTES = 21, QUEUED_BYTES = 5, BODY_BYTES = 8 };

static size_t text_room(const struct row_key *key) {
    return ROW_KEY_MAX - key->len - 1;
}

static void key_add(struct row_key *key, const void *bytes, size_t count) {
    if (count > 0) {
        memcpy(key->bytes + key->len, bytes, count);
    }
    key->len += count;
}

static void key_text(struct row_key *key, struct span text) {
    size_t room = text_room(key);
    bool whole = text.len <= room;
    key->bytes[key->len++] = whole ? TEXT_WHOLE : TEXT_DIGESTED;
    key_add(key, text.ptr, whole ? text.len : room - SHA256_DIGEST_LENGTH);
    if (!whole) {
        uint8_t digest[SHA256_DIGEST_LENGTH];
        must(SHA256(text.ptr, text.len, digest) != NULL);
        key_add(key, digest, sizeof digest);
    }
}

/* False when the text is not long. */
static bool key_text_old(struct row_key *key, struct span text) {
    size_t room = text_room(key);
    if (text.len <= room) {
        return false;
    }
    key->bytes[key->len++] = TEXT_HASHED;
    key_add(key, text.ptr, room - HASH_BYTES);
    XXH128_hash_t hash = XXH3_128bits(text.ptr, text.len);
    be64_put(key->bytes + key->len, hash.high64);
    be64_put(key->bytes + key->len + 8, hash.low64);
    key->len += HASH_BYTES;
    return true;
}

bool row_key_copy(struct row_key *key, struct span bytes) {
    if (bytes.len > sizeof key->bytes) {
        return false;
    }
    key->len = bytes.len;
    memcpy(key->bytes, bytes.ptr, bytes.len);
    return true;
}

void row_key_meta(struct row_key *key) {
    key->len = 4;
    memcpy(key->bytes, "meta", 4);
}

void row_key_clock(struct row_key *key) {
    key->len = 5;
    memcpy(key->bytes, "clock", 5);
}

void row_key_session(struct row_key *key, session_id_t session) {
    key->len = 8;
    be64_put(key->bytes, session);
}

void row_key_subscription(struct row_key *key, session_id_t session, struct span filter) {
    row_key_session(key, session);
    key_text(key, filter);
}

void row_key_packet(struct row_key *key, session_id_t session, packet_id_t packet_id) {
    row_key_session(key, session);
    be16_put(key->bytes + 8, packet_id);
    key->len = 10;
}

void row_key_delivery(struct row_key *key, session_id_t session, lsn_t message_lsn, uint32_t target) {
    row_key_session(key, session);
    be64_put(key->bytes + 8, message_lsn);
    be32_put(key->bytes + 16, target);
    key->len = 20;
}

void row_key_message(struct row_key *key, lsn_t message_lsn) {
    key->len = 8;
    be64_put(key->bytes, message_lsn);
}

void row_key_topic(struct row_key *key, struct span topic) {
    key->len = 0;
    key_text(key, topic);
}

bool row_key_subscription_old(struct row_key *key, session_id_t session, struct span filter) {
    row_key_session(key, session);
    return key_text_old(key, filter);
}

bool row_key_topic_old(struct row_key *key, struct span topic) {
    key->len = 0;
    return key_text_old(key, topic);
}

bool row_key_names_topic(struct span key, struct span topic) {
    struct row_key right;
    row_key_topic(&right, topic);
    return span_equal(key, row_key_span(&right)) ||
           (row_key_topic_old(&right, topic) && span_equal(key, row_key_span(&right)));
}

bool row_key_session_read(struct span key, session_id_t *session) {
    if (key.len < 8) {
        return false;
    }
    *session = be64_get(key.ptr);
    return true;
}

bool row_key_packet_read(struct span key, session_id_t *session, packet_id_t *packet_id) {
    if (key.len != 10) {
        return false;
    }
    *session = be64_get(key.ptr);
    *packet_id = be16_get(key.ptr + 8);
    return *packet_id != 0;
}

bool row_key_delivery_read(struct span key, session_id_t *session, lsn_t *message_lsn, uint32_t *target) {
    if (key.len != 20) {
        return false;
    }
    *session = be64_get(key.ptr);
    *message_lsn = be64_get(key.ptr + 8);
    *target = be32_get(key.ptr + 16);
    return true;
}

bool row_key_message_read(struct span key, lsn_t *message_lsn) {
    if (key.len != 8) {
        return false;
    }
    *message_lsn = be64_get(key.ptr);
    return true;
}

/*   0 magic "QuartetT"   8 version   12 files   16 uuid   32 salt   40 frame number   48 next lsn   56 previous
 *  64 segment number    72 offset: a block number, 4    76 checksum, 4 */
void row_meta_write(uint8_t *at, const struct row_meta *meta) {
    memset(at, 0, ROW_META_BYTES);
    memcpy(at, meta_magic, sizeof meta_magic);
    le32_put(at + 8, META_VERSION);
    le32_put(at + 12, meta->files);
    memcpy(at + 16, meta->uuid, UUID_BYTES);
    le64_put(at + 32, meta->chain.salt);
    le64_put(at + 40, meta->chain.number);
    le64_put(at + 48, meta->chain.next_lsn);
    le64_put(at + 56, meta->chain.previous);
    le64_put(at + 64, meta->segment);
    le32_put(at + 72, (uint32_t)(meta->offset / BLOCK_BYTES));
    le32_put(at + 76, (uint32_t)XXH3_64bits(at, 76));
}

enum segment_header_verdict row_meta_read(struct span value, struct row_meta *meta) {
    const uint8_t *at = value.ptr;
    if (value.len < 12 || memcmp(at, meta_magic, sizeof meta_magic) != 0) {
        return SEGMENT_HEADER_NONE;
    }
    if (le32_get(at + 8) > META_VERSION) {
        return SEGMENT_HEADER_NEWER;
    }
    if (le32_get(at + 8) < META_VERSION_OLDEST) {
        return SEGMENT_HEADER_NONE;
    }
    if (value.len != ROW_META_BYTES || le32_get(at + 76) != (uint32_t)XXH3_64bits(at, 76)) {
        return SEGMENT_HEADER_NONE;
    }
    memcpy(meta->uuid, at + 16, UUID_BYTES);
    meta->chain = (struct chain){le64_get(at + 32), le64_get(at + 40), le64_get(at + 48), le64_get(at + 56)};
    meta->files = le32_get(at + 12);
    meta->segment = le64_get(at + 64);
    meta->offset = (uint64_t)le32_get(at + 72) * BLOCK_BYTES;
    return SEGMENT_HEADER_GOOD;
}

void row_clock_write(uint8_t *at, const struct record_clock *clock) {
    struct row_key key;
    row_key_clock(&key);
    le64_put(at, (uint64_t)clock->time);
    le64_put(at + 8, (uint64_t)clock->wall);
    le64_put(at + 16, row_checksum(row_key_span(&key), span_of(at, 16)));
}

bool row_clock_read(struct span value, struct record_clock *clock) {
    struct row_key key;
    row_key_clock(&key);
    *clock = (struct record_clock){0, 0};
    if (value.len != ROW_CLOCK_BYTES ||
        le64_get(value.ptr + 16) != row_checksum(row_key_span(&key), span_of(value.ptr, 16))) {
        return false;
    }
    const struct record_clock read = {(wall_ms_t)le64_get(value.ptr), (wall_ms_t)le64_get(value.ptr + 8)};
    if (!clock_mark_good(&read)) {
        return false;
    }
    *clock = read;
    return true;
}

void row_clock_get(const struct table *table, struct table_txn *txn, struct record_clock *clock) {
    struct row_key key;
    struct span value;
    row_key_clock(&key);
    *clock = (struct record_clock){0, 0};
    if (table->ops->get(txn, TABLE_META, row_key_span(&key), &value)) {
        (void)row_clock_read(value, clock);
    }
}

/* The lsn of a body that is another record's, behind the rest of a row. */
static size_t body_write(uint8_t *at, size_t bytes, lsn_t body_lsn) {
    if (body_lsn == 0) {
        return bytes;
    }
    le64_put(at + bytes, body_lsn);
    return bytes + BODY_BYTES;
}

/* False when the row, without a body's lsn `bytes` long, has not the length that its flags say. */
static bool body_read(struct span value, size_t bytes, lsn_t *body_lsn) {
    bool other = value.len > 0 && (value.ptr[0] & ROW_BODY) != 0;
    if (value.len != bytes + (other ? BODY_BYTES : 0)) {
        return false;
    }
    *body_lsn = other ? le64_get(value.ptr + bytes) : 0;
    return !other || *body_lsn != 0;
}

static uint8_t row_flags(uint8_t qos, bool retain, bool released, lsn_t body_lsn) {
    return (uint8_t)(qos | (retain ? ROW_RETAIN : 0U) | (released ? ROW_RELEASED : 0U) |
                     (body_lsn != 0 ? ROW_BODY : 0U));
}

size_t row_flight_write(uint8_t *at, const struct store_flight *f) {
    at[0] = row_flags(f->qos, f->retain, f->released, f->body_lsn);
    le64_put(at + 1, f->message_lsn);
    le32_put(at + 9, f->target);
    le64_put(at + 13, f->order);
    return body_write(at, FLIGHT_BYTES, f->body_lsn);
}

bool row_flight_read(struct span value, struct store_flight *f) {
    if (!body_read(value, FLIGHT_BYTES, &f->body_lsn)) {
        return false;
    }
    const uint8_t *at = value.ptr;
    f->qos = at[0] & ROW_QOS;
    f->retain = (at[0] & ROW_RETAIN) != 0;
    f->released = (at[0] & ROW_RELEASED) != 0;
    f->message_lsn = le64_get(at + 1);
    f->target = le32_get(at + 9);
    f->order = le64_get(at + 13);
    return f->qos == 1 || f->qos == 2;
}

size_t row_queued_write(uint8_t *at, const struct row_queued *q) {
    at[0] = row_flags(q->qos, q->retain, false, q->body_lsn);
    le32_put(at + 1, q->bytes);
    return body_write(at, QUEUED_BYTES, q->body_lsn);
}

bool row_queued_read(struct span value, struct row_queued *q) {
    if (!body_read(value, QUEUED_BYTES, &q->body_lsn)) {
        return false;
    }
    q->qos = value.ptr[0] & ROW_QOS;
    q->retain = (value.ptr[0] & ROW_RETAIN) != 0;
    q->bytes = le32_get(value.ptr + 1);
    return q->qos == 1 || q->qos == 2;
}

bool row_count_read(struct span value, uint32_t *count) {
    if (value.len != 4) {
        return false;
    }
    *count = le32_get(value.ptr);
    return true;
}

bool row_lsn_read(struct span value, lsn_t *lsn) {
    if (value.len != 8) {
        return false;
    }
    *lsn = le64_get(value.ptr);
    return true;
}

bool row_has_checksum(enum table_tree tree) {
    return tree == TABLE_SESSIONS || tree == TABLE_SUBSCRIPTIONS || tree == TABLE_MESSAGES || tree == TABLE_WILLS;
}

uint64_t row_checksum(struct span key, struct span value) {
    return XXH3_64bits_withSeed(value.ptr, value.len, XXH3_64bits(key.ptr, key.len));
}

bool row_checked(struct span key, struct span *value) {
    if (value->len < ROW_CHECKSUM_BYTES) {
        return false;
    }
    value->len -= ROW_CHECKSUM_BYTES;
    return le64_get(value->ptr + value->len) == row_checksum(key, *value);
}

static bool session_named(session_id_t session, const struct record *r) {
    session_id_t named = r->kind == RECORD_SESSION      ? r->session.session_id
                         : r->kind == RECORD_SUBSCRIBED ? r->subscribed.session_id
                                                        : r->will.session_id;
    return named == session || (named == 0 && r->kind == RECORD_SESSION); /* a new one does not know its id yet */
}

static bool key_names(struct span key, session_id_t session, const struct record *r) {
    struct row_key right;
    if (r->kind == RECORD_SUBSCRIBED) {
        row_key_subscription(&right, session, r->subscribed.filter);
        return span_equal(key, row_key_span(&right)) ||
               (row_key_subscription_old(&right, session, r->subscribed.filter) &&
                span_equal(key, row_key_span(&right)));
    }
    row_key_session(&right, session);
    return span_equal(key, row_key_span(&right));
}

bool row_record_read(enum table_tree tree, struct span key, struct span value, lsn_t last, struct record *record) {
    enum record_kind kind = tree == TABLE_SESSIONS        ? RECORD_SESSION
                            : tree == TABLE_SUBSCRIPTIONS ? RECORD_SUBSCRIBED
                                                          : RECORD_WILL;
    session_id_t session;
    return row_key_session_read(key, &session) && session != 0 && session <= last && row_checked(key, &value) &&
           record_decode(value, record) && record->kind == kind && session_named(session, record) &&
           key_names(key, session, record);
}

struct message *row_message(lsn_t lsn, struct span value) {
    struct row_key key;
    row_key_message(&key, lsn);
    struct message_parts parts;
    if (!row_checked(row_key_span(&key), &value) || !record_parts_decode(value, &parts)) {
        return NULL;
    }
    struct message *m = message_create(&parts);
    m->lsn = lsn;
    return m;
}
