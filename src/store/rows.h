/* What the trees of the table hold: keys and values as bytes.
 *
 *   META            "meta"                          struct row_meta
 *                   "clock"                         struct record_clock, checksum
 *   SESSIONS        session                         SESSION record, checksum
 *   SUBSCRIPTIONS   session, filter                 SUBSCRIBED record, checksum
 *   HELD            session, packet id              nothing
 *   FLIGHTS         session, packet id              flags, message lsn, target, order, body lsn if it is another
 *   QUEUE           session, message lsn, target    flags, bytes of the message, body lsn if it is another
 *   MESSAGES        message lsn                     parts of the message (record_parts_decode), checksum
 *   REFERENCES      message lsn                     count; absent: 1
 *   RETAINED        topic name                      message lsn
 *   WILLS           session                         WILL record, checksum
 *   POSITIONS       session                         the last sequence of its messages
 *
 * A delivery of a retained message is named by the subscription that brought it; its body is that of another record.
 *
 * Numbers in keys are big-endian, so that the order of keys is that of numbers. A text that is too long for a key is
 * cut and completed with its SHA-256: nobody can find two texts that have one. Earlier versions took XXH3-128, for
 * which that is easy: such rows are read, and go when their text is written again. The value has the text whole.
 * Checksums are XXH3 seeded with the key's, so that a value that strayed to another key is found too. Pure; values read
 * may be anything. */
#pragma once

#include "base/buf.h"
#include "store/frame.h"
#include "store/store.h"
#include "store/table.h"

/* The second is what a table takes: a key that damage has made longer than any of ours can still be removed. */
enum {
    ROW_KEY_MAX = 480,
    ROW_KEY_ROOM = 511,
    ROW_CHECKSUM_BYTES = 8,
    ROW_FLIGHT_BYTES = 29,
    ROW_QUEUE_BYTES = 13 /* at most */
};

struct row_key {
    size_t len;
    uint8_t bytes[ROW_KEY_ROOM];
};

static inline struct span row_key_span(const struct row_key *key) {
    return span_of(key->bytes, key->len);
}

/* False when the bytes are more than any table has in a key. */
bool row_key_copy(struct row_key *key, struct span bytes);
void row_key_meta(struct row_key *key);
/* SESSIONS, WILLS, POSITIONS, and what the keys of all that belongs to a session begin with. */
void row_key_session(struct row_key *key, session_id_t session);
void row_key_subscription(struct row_key *key, session_id_t session, struct span filter);
/* HELD, FLIGHTS */
void row_key_packet(struct row_key *key, session_id_t session, packet_id_t packet_id);
void row_key_delivery(struct row_key *key, session_id_t session, lsn_t message_lsn, uint32_t target);
/* MESSAGES, REFERENCES */
void row_key_message(struct row_key *key, lsn_t message_lsn);
void row_key_topic(struct row_key *key, struct span topic);
/* The keys that earlier versions gave to long texts; false when the text is not long. The row may be another text's. */
bool row_key_subscription_old(struct row_key *key, session_id_t session, struct span filter);
bool row_key_topic_old(struct row_key *key, struct span topic);
/* The key is of this topic, in either form. */
bool row_key_names_topic(struct span key, struct span topic);

/* False when the key has not the form of that tree. */
bool row_key_session_read(struct span key, session_id_t *session); /* any key that begins with a session */
bool row_key_packet_read(struct span key, session_id_t *session, packet_id_t *packet_id);
bool row_key_delivery_read(struct span key, session_id_t *session, lsn_t *message_lsn, uint32_t *target);
bool row_key_message_read(struct span key, lsn_t *message_lsn);

/* Where the journal goes on after what the table holds. */
struct row_meta {
    uint8_t uuid[UUID_BYTES]; /* of the store */
    struct chain chain;       /* what the next frame must say; chain.next_lsn - 1 is the last lsn in the table */
    uint64_t segment;         /* number of the segment that it is in, */
    uint64_t offset;          /* at this offset; or at the beginning of the next segment. 0: not begun */
    uint32_t files;           /* journal files 0 to files - 1 exist. 0: not known, as in stores of the first version */
};
enum { ROW_META_BYTES = 80 };
void row_meta_write(uint8_t *at, const struct row_meta *meta);
enum segment_header_verdict row_meta_read(struct span value, struct row_meta *meta);

/* The last CLOCK record, moved on by the times of messages after it. */
enum { ROW_CLOCK_BYTES = 24 };
void row_key_clock(struct row_key *key);
void row_clock_write(uint8_t *at, const struct record_clock *clock);
/* False, and nothing known, when it is damaged. */
bool row_clock_read(struct span value, struct record_clock *clock);
/* As the table has it; nothing known when it has none. */
void row_clock_get(const struct table *table, struct table_txn *txn, struct record_clock *clock);

/* Writes at most ROW_FLIGHT_BYTES; returns how many. */
size_t row_flight_write(uint8_t *at, const struct store_flight *flight);
bool row_flight_read(struct span value, struct store_flight *flight); /* all but packet_id */

struct row_queued {
    uint8_t qos;
    bool retain;
    uint32_t bytes; /* of the message: message_bytes(), at most UINT32_MAX */
    lsn_t body_lsn; /* of the record that has the body, when it is not that of the key; else 0 */
};
/* Writes at most ROW_QUEUE_BYTES; returns how many. */
size_t row_queued_write(uint8_t *at, const struct row_queued *queued);
bool row_queued_read(struct span value, struct row_queued *queued);

/* REFERENCES: a count; RETAINED: an lsn; POSITIONS: a sequence, in the form of an lsn. */
bool row_count_read(struct span value, uint32_t *count);
bool row_lsn_read(struct span value, lsn_t *lsn);

/* Reads a row of SESSIONS, SUBSCRIPTIONS or WILLS: false when its key or its value is damaged, or when the record is
 * not of what the key says. `last` is the last lsn of the table: a session of a later one is damage, too. */
bool row_record_read(enum table_tree tree, struct span key, struct span value, lsn_t last, struct record *record);
/* True for trees whose values end with a checksum. */
bool row_has_checksum(enum table_tree tree);
uint64_t row_checksum(struct span key, struct span value);
/* Cuts the checksum off; false when it is wrong. */
bool row_checked(struct span key, struct span *value);
/* Makes the message that a value of MESSAGES holds, with one reference; NULL when the value is damaged. */
struct message *row_message(lsn_t lsn, struct span value);
