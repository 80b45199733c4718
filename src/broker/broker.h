/* The broker without I/O: N shards and the little that they share.
 *
 * Bytes, time, mail and "durable up to lsn" go in; records staged in the store, bytes in outboxes, and mail come out.
 * No socket, file, clock, random or thread function is called here. The same code runs in quartetd and in the
 * simulator.
 *
 *     turn of a shard:   shard_turn_begin  ->  shard_mail  ->  shard_opened/_bytes/_closed, shard_tick ...
 *                        ->  shard_next_dirty + shard_output + shard_sent ...  ->  shard_turn_end
 *
 * What changes a shard is called between the two, which is asserted.
 *
 * Thread: each shard belongs to one thread. Shared and safe between them: the trie (lock-free for readers), the
 * retained index and the writers' side of the trie (a lock), queue accounts (atomics), mail (rings).
 * Durability duty: all of section 5 of the design that concerns a broker; each place names its barrier. */
#pragma once

#include <sys/uio.h>

#include "base/buf.h"
#include "base/types.h"
#include "broker/limits.h"
#include "store/store.h"
#include "topic/trie.h"

struct broker;
struct quota;
struct shard;

enum log_level { LOG_ERROR = 1, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG };

/* What the broker needs from outside; all may be called from any shard's thread. */
struct broker_outside {
    void *user;
    /* One line for a person, without newline; ids and topics in it are escaped already. `kind` is the literal that it
     * was made from: lines of one kind can be counted. */
    void (*log)(void *user, enum log_level level, const char *kind, const char *line);
    topic_reclaim *reclaim; /* for the trie and what hangs in it */
    /* Fills `out` with bytes that nobody can foresee, whatever he has seen of those before: assigned client ids, and
     * the places in hash tables. */
    void (*random)(void *user, void *out, size_t bytes);
};

/* Makes the broker and its shards (1 to 64). Borrows the store, which outlives it. */
struct broker *broker_create(const struct broker_options *options, const struct broker_outside *outside,
                             struct store *store, unsigned shards);
/* Loads what is alive from the store; before any connection. `time`: store time, for expiry and for wills of sessions
 * whose connection the stop has ended. */
bool broker_load(struct broker *broker, wall_ms_t time, struct error *error);
/* Frees everything; no shard may be in a turn. Writes nothing. */
void broker_destroy(struct broker *broker);
struct shard *broker_shard(struct broker *broker, unsigned index);
unsigned broker_shards(const struct broker *broker);

/* A connection as both sides name it. The generation makes an old handle harmless. {0,0} is none. */
struct conn_handle {
    uint32_t index;      /* small: usable as an array index */
    uint32_t generation; /* not 0 for a live connection */
};

/* ---- in ---- */

/* A turn begins: it is `now` by a clock for what happens while we run, and `time` by store time (store/clock.h), by
 * which sessions and messages expire; neither ever goes back. Records up to `durable` are durable: connections that
 * waited for that become dirty; what had to wait for a turn goes on. */
void shard_turn_begin(struct shard *shard, mono_ms_t now, wall_ms_t time, lsn_t durable);
/* What a turn leaves behind: what its caller has to see to. */
struct turn_result {
    uint64_t wake; /* the shards that got mail, one bit each: their threads must be woken */
    bool more;     /* work is left over: another turn is needed at once */
    bool again;    /* something could not go on and will try again: another turn is needed within some 10 ms */
    bool late;     /* mail to another shard waits because its ring was full: another turn is needed soon */
};
struct turn_result shard_turn_end(struct shard *shard);
/* True when the turn has done enough: what comes in now is kept for the next. */
bool shard_spent(const struct shard *shard);
/* Deadlines: connects, keep alive, expiry, wills. About once a second. */
void shard_tick(struct shard *shard);
/* In the middle of a turn: records up to `lsn` are durable by now, so that more may leave with it. */
void shard_durable(struct shard *shard, lsn_t lsn);
/* Takes up to `max` mails that shard `from` has sent; returns how many. */
size_t shard_mail(struct shard *shard, unsigned from, size_t max);
/* A peer has connected; `peer` (an address, for the log) is copied. */
struct conn_handle shard_opened(struct shard *shard, const char *peer);
/* Bytes have come. What is not used at once (a partial packet, a connection that is paused) is copied and kept. */
void shard_bytes(struct shard *shard, struct conn_handle conn, struct span bytes);
/* The connection is gone (the peer closed it, an error, or we closed it after CONN_CLOSE): wills are due unless
 * DISCONNECT came. The handle is dead afterwards. */
void shard_closed(struct shard *shard, struct conn_handle conn);
/* Its socket takes nothing any more; what has come on it before may still be read, and then it is closed. */
void shard_broken(struct shard *shard, struct conn_handle conn);
/* After CONN_DRAIN: nothing more is there to be read, or enough was. */
void shard_drained(struct shard *shard, struct conn_handle conn);
/* The broker stops: every connection gets DISCONNECT 0x8B (5.0) and CONN_CLOSE; durable sessions stay. */
void shard_stop(struct shard *shard);

/* ---- out ---- */

enum conn_wish {
    CONN_READ = 1, /* read from it when there is something */
    CONN_PAUSE,    /* do not read from it for now */
    CONN_DRAIN,    /* its client is back: read what the system has of it at once, as long as this is wished, then
                      shard_drained() */
    CONN_CLOSE,    /* close it when shard_may_close() says so, or after a second when shard_may_cut(); do not read */
    CONN_ABORT,    /* close it at once */
    CONN_MOVE,     /* hand it to another shard: shard_move() */
};

/* The next connection whose outbox or wish may have changed since it was last given here; false when there is none.
 * A CONNECT that has waited for the end of another connection goes on here, when what that one may still say was
 * offered to its socket. */
bool shard_next_dirty(struct shard *shard, struct conn_handle *conn);
/* The same, without those who have time: who got what many get, or gets much. They may wait for a later turn. */
bool shard_next_urgent(struct shard *shard, struct conn_handle *conn);
enum conn_wish shard_wish(const struct shard *shard, struct conn_handle conn);
/* What may be sent now: fills up to `max` iovecs, returns how many. Valid until the next call that goes in. */
int shard_output(const struct shard *shard, struct conn_handle conn, struct iovec *iov, int max);
/* So many bytes of it were taken by the socket. */
void shard_sent(struct shard *shard, struct conn_handle conn, size_t bytes);
/* The address that it was opened with: the socket may not know it any more. Valid while the connection is. */
const char *shard_peer(const struct shard *shard, struct conn_handle conn);
/* Bytes in its outbox, those that wait for the disk included. */
size_t shard_output_bytes(const struct shard *shard, struct conn_handle conn);
/* After CONN_CLOSE: its outbox is empty, and what its end says to its client is durable (B10). */
bool shard_may_close(const struct shard *shard, struct conn_handle conn);
/* The same, whatever its client has not taken of the outbox. */
bool shard_may_cut(const struct shard *shard, struct conn_handle conn);
/* After CONN_MOVE: the connection leaves this shard. Returns the shard that owns its session and appends to `bytes`
 * what was received; the caller opens it there with shard_opened() and shard_bytes(). The handle is dead afterwards. */
unsigned shard_move(struct shard *shard, struct conn_handle conn, struct buf *bytes);

/* ---- looking in: metrics, tests, the simulator ---- */

/*      name, what it counts */
#define SHARD_COUNTER_ROWS(ROW)                                                                                        \
    ROW(connections, "connections that are open")                                                                      \
    ROW(sessions, "sessions that exist")                                                                               \
    ROW(packets_received, "control packets received")                                                                  \
    ROW(publish_received, "PUBLISH packets received, repeats included")                                                \
    ROW(publish_repeated, "PUBLISH packets that were repeats")                                                         \
    ROW(publish_refused, "PUBLISH packets refused over a limit")                                                       \
    ROW(publish_sent, "PUBLISH packets put into outboxes")                                                             \
    ROW(too_large_dropped, "messages not sent because they are larger than the client accepts")                        \
    ROW(qos0_dropped, "QoS 0 messages dropped because a receiver was too slow")                                        \
    ROW(messages_expired, "queued messages dropped because their expiry had passed")                                   \
    ROW(sessions_expired, "sessions ended by their expiry")                                                            \
    ROW(sessions_overfull, "sessions ended because their queue was full while their client was away")                  \
    ROW(stalled, "connections closed because their client took nothing while publishers waited for it")                \
    ROW(shed, "connections closed because memory was short and they had the most of it")                               \
    ROW(sessions_taken_over, "connections closed because their client connected again")                                \
    ROW(protocol_errors, "connections closed because the peer broke a rule")                                           \
    ROW(queued, "messages that wait in sessions or are under way")                                                     \
    ROW(held_ids, "QoS 2 packet ids held")

struct shard_counters {
#define SHARD_COUNTER_FIELD(name, text) uint64_t name;
    SHARD_COUNTER_ROWS(SHARD_COUNTER_FIELD)
#undef SHARD_COUNTER_FIELD
};
struct shard_counters shard_counters(const struct shard *shard);
/* The accounts of all and of each owner; safe from any thread. */
struct quota *broker_quota(const struct broker *broker);

/* Adds what the shard's sessions hold of some rows (SESSIONS, SUBSCRIPTIONS, QUEUED, QUEUED_BYTES, INFLIGHT_BYTES; of
 * DISK what memory has of it), counted anew: accounts must have no less. Slow. */
void shard_holds(const struct shard *shard, uint64_t holds[QUOTA_ROW_COUNT]);

/* A number that is equal for equal protocol states of the shard (sessions, subscriptions, held ids, flights, queues,
 * connections, outboxes), whatever their place in memory: for the exhaustive walk. Slow. */
uint64_t shard_digest(const struct shard *shard);
