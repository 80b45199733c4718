/* The broker's own structures: shard, connection, session, inlet. Private to this folder.
 *
 *     broker ─┬─ shard ─┬─ connections (by handle)
 *             │         └─ sessions (by client id, by session id) ── qos_in, qos_out, queue, subscriptions
 *             └─ shared: trie and retained index (one lock for writers), mail rings
 *
 * A session belongs to one shard and is touched by no other; its inlet is the face that all shards see. */
#pragma once

#include <stdarg.h>
#include <stddef.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/ring.h"
#include "broker/broker.h"
#include "packet/packet.h"
#include "packet/property.h"
#include "quota/quota.h"
#include "session/outbox.h"
#include "session/qos_in.h"
#include "session/qos_out.h"
#include "store/queue.h"
#include "topic/retained.h"
#include "topic/trie.h"

enum {
    SHARDS_MAX = 64,
    PACKET_BYTES_MAX = 1 + 4 + 268435455, /* of any control packet */
};

/* What the trie's option word says of a subscription; also in SUBSCRIBED records. */
enum subscription_option {
    SUBSCRIPTION_QOS = 0x03,                 /* mask */
    SUBSCRIPTION_NO_LOCAL = 0x04,            /* not to its own publisher */
    SUBSCRIPTION_RETAIN_AS_PUBLISHED = 0x08, /* keep the RETAIN flag */
    SUBSCRIPTION_UNBROUGHT = 0x10,           /* what is retained has not all been brought: it counts as new, should its
                                                client ask again. Not in the trie */
};

/* Work that goes on from turn to turn: see broker/work.h. */
enum work_kind { WORK_BRING = 1, WORK_SIEVE, WORK_END };
struct work {
    struct link link; /* in shard.works or shard.stalled; in none while it waits for something else */
    enum work_kind kind;
};

/* The face of a session that every shard sees. Hangs in the trie; freed when no reader can see it any more. All but
 * `session`, what is atomic, and the accounts is constant. */
struct inlet {
    session_id_t session_id;
    uint32_t shard;           /* the owner's index */
    bool durable;             /* deliveries to it are recorded */
    _Atomic bool away;        /* its client is not connected; the owner's word, others may be late to hear it */
    _Atomic bool ended;       /* the session is gone, its place in the trie is not yet: it matches nothing any more */
    _Atomic uint8_t overfull; /* what publishers have said to its owner: see overfull.h */
    struct session *session;  /* the owner's thread only; NULL when it has ended */
    _Atomic(struct account *) owner;   /* whose it is; to be compared, nothing else, but under broker.charges: it may be
                                          gone. NULL: the session has ended */
    _Atomic uint64_t waiting_messages; /* QoS 1 and 2 deliveries that were accepted and have no packet id yet */
    _Atomic uint64_t waiting_bytes;
    _Atomic uint64_t charged_messages; /* to its owner, for what waits, and a little more; under broker.charges */
    _Atomic uint64_t charged_bytes;
    _Atomic wall_ms_t expires_at; /* none of them has expired before; INT64_MAX: none ever does. See sieve.h */
};

struct subscription {
    uint32_t options;
    uint32_t filter_bytes;
    uint8_t filter[];
};

/* A will as the session keeps it. */
struct will {
    struct message *message; /* NULL: none; expires_at is 0 until it is published */
    uint32_t expiry_s;       /* message expiry interval, when has_expiry */
    uint32_t delay_s;        /* from the connection's end to its publication, when the session lasts so long */
    bool has_expiry;
    bool is_crowding;   /* it waits because it goes to many while the shard is strained */
    wall_ms_t retry_at; /* it was due and found no room: tried again then; 0: it has not been tried */
};

/* What a session has taken of its owner's account, besides itself. */
struct session_taken {
    uint64_t kept_bytes;     /* will included */
    uint64_t inflight_bytes; /* for the bodies of its flights, and a little more */
    uint32_t will_bytes;
    uint32_t subscriptions;
};

/* Deliveries at QoS 1 and 2 on their way to a client: made for the first of them, see session_flows(). */
struct flows {
    struct qos_out out;
    struct queue queue;  /* without packet id */
    struct queue behind; /* live ones that wait behind what a SUBSCRIBE brings; in memory */
    struct sieve *sieve; /* looks for what has expired; NULL: nobody does */
};

struct session {
    session_id_t id;
    struct shard *shard;
    struct connection *connection; /* NULL while the client is away */
    struct conn_handle left;       /* its connection before: it may still be sending what was in its outbox */
    struct inlet *inlet;
    struct account *owner; /* one reference */
    struct session_taken taken;
    struct span client_id; /* client_text */
    struct qos_in in;
    struct flows *flows;            /* NULL: there was no delivery at QoS 1 or 2 yet */
    struct bringing *bringing;      /* the SUBSCRIBE that is under way; NULL: none is */
    struct map_bytes subscriptions; /* filter -> struct subscription */
    struct will will;
    session_id_t will_id; /* a session that is not durable: by this its will is known on the disk; 0: it has none */
    lsn_t last_lsn;       /* of the last record about this session */
    wall_ms_t disconnected_at; /* 0 while connected */
    uint32_t expiry_s;         /* SESSION_NEVER_EXPIRES, or seconds after the connection ended */
    uint32_t overfull_bytes;   /* what a publisher of this shard had no room for */
    uint32_t own_rest : 24;    /* deliveries to it in shard.own, */
    uint32_t own_ahead : 8;    /* and in shard.ahead */
    uint16_t receive_maximum;  /* of the last CONNECT; 0: there was none since the start */
    uint8_t protocol;          /* of the last CONNECT */
    bool durable : 1;
    bool queue_held : 1;       /* what is queued comes after its SUBACK */
    struct heap_node due;      /* in shard.due while the client is away: its expiry, or its will */
    struct link starved_link;  /* in shard.starved */
    struct link deep_link;     /* in shard.deep: its queue is deeper than the window of memory */
    struct link overfull_link; /* in shard.overfull: a publisher found its queue full */
    mono_ms_t progress_at;     /* when its client last took bytes, acknowledged, or got something to acknowledge */
    mono_ms_t connected_at;    /* when its client last connected */
    mono_ms_t full_logged_at;  /* when the log said last that its queue is full; 0: never */
    uint8_t client_text[];
};

enum connection_state {
    CONNECTION_NEW = 1, /* before CONNECT */
    CONNECTION_LIVE,    /* CONNECT was accepted */
    CONNECTION_MOVING,  /* its session belongs to another shard */
    CONNECTION_CLOSING, /* nothing more is read; the session is no longer its own */
};

/* Reasons not to read; a set. */
enum pause {
    PAUSE_STORE = 1,    /* much is staged: until the disk has caught up */
    PAUSE_REFUSED = 2,  /* its next PUBLISH is over a limit, and waits */
    PAUSE_OUTPUT = 4,   /* it does not read what it asked for */
    PAUSE_TAKEOVER = 8, /* its CONNECT waits for the end of the client's old connection */
    PAUSE_WORK = 16,    /* its next PUBLISH waits for deliveries that are under way */
    PAUSE_TURN = 32,    /* this turn has done enough */
    PAUSE_BRING = 64,   /* its next packet waits for what a SUBSCRIBE brings */
};

/* A connection that takes a session over, or whose session is taken over: see takeover.h. */
struct heirs {
    struct connection *connection; /* whose this is */
    struct link waiting;           /* those whose CONNECT takes the session from it, in order */
    struct link link;              /* in the `waiting` of another, or in shard.heirs */
    uint64_t key; /* hash of its client id, from when its CONNECT waits until it is taken; HEIR_HEARD; 0 */
};

struct connection {
    /* what a PUBLISH to it touches: CONNECTION_HOT_BYTES */
    struct shard *shard;
    struct outbox out;
    size_t output_taken;       /* of its account: for `out` */
    mono_ms_t took_at;         /* when its socket last took bytes; when it was opened before */
    size_t begun;              /* where in the outbox's buffer the packet begins that is being written */
    uint32_t packet_bytes_max; /* what the client accepts, at most PACKET_BYTES_MAX */
    uint8_t state;             /* enum connection_state */
    uint8_t protocol;          /* enum protocol */
    uint8_t pause;             /* set of enum pause */
    uint8_t wish;              /* CONN_CLOSE or CONN_ABORT when closing */
    uint32_t keep_alive_ms;    /* 1.5 times what the client said; 0: none */
    struct link dirty_link;
    struct link busy_link;        /* in shard.busy */
    bool busy : 1;                /* used since the last tick: keep its buffers */
    bool later : 1;               /* in shard.dirty_later */
    bool too_large : 1;           /* a packet was larger than the client accepts: it is about to be closed */
    bool problem_information : 1; /* 5.0: reason strings are wanted */
    bool draining : 1;            /* its client is back: read to its end, whatever but PAUSE_TURN is a reason not to */
    bool broken : 1;              /* its socket has failed: PAUSE_OUTPUT would never be over */
    bool counted_open : 1;        /* it has taken its place among its owner's connections */
    uint8_t mutant_repeats;       /* MUTANT_R6_REPEAT counts here */
    packet_id_t mutant_kept_ack;  /* MUTANT_R8 keeps a PUBACK here */
    struct conn_handle handle;
    struct session *session; /* NULL before CONNECT and when closing */
    struct buf in;           /* received and not processed */
    lsn_t answered_lsn;      /* what its CONNACK waits for */
    struct account *owner;   /* one reference */
    size_t input_taken;      /* of its account: for `in` */
    mono_ms_t received_at;   /* when the last whole packet came; when it was opened before */
    mono_ms_t begun_at;      /* when the first bytes of the packet came that is not whole yet; 0: none */
    mono_ms_t refused_since; /* since when PAUSE_REFUSED holds, or PAUSE_BRING with too much behind it; 0 */
    uint32_t move_to;        /* CONNECTION_MOVING: the shard */
    uint32_t looked;         /* PAUSE_REFUSED, _WORK, _BRING: of `in`, what nothing may be taken out of any more */
    struct qos_in counted;   /* 5.0: QoS 2 ids that use the receive maximum of this connection; with acks all that do */
    struct overfull_waits *waits; /* the queues that its refused PUBLISH waits for; NULL: see overfull.h */
    uint32_t strain;              /* of its shard, in which it has spent strain_spent: see strain.h */
    uint32_t strain_spent;
    struct ack_waits *acks; /* PUBACKs that wait for the disk; NULL: none did yet */
    struct link gated_link; /* in shard.gated: its outbox waits for the disk */
    struct link pause_link; /* in shard.paused or shard.untried */
    struct heap_node due;   /* in shard.connections_due */
    struct heirs *heirs;    /* NULL: nobody has waited for its session, and it for nobody's */
    char peer[];            /* ends with a zero */
};

enum { CONNECTION_HOT_BYTES = 192 };
_Static_assert(offsetof(struct connection, handle) <= CONNECTION_HOT_BYTES, "what is hot is together");

enum mail_kind {
    MAIL_DELIVERY = 0,
    MAIL_OVERFULL, /* the session's queue has no room for a message of `target` bytes */
};

/* One delivery on its way from one shard to another, or what one has to say to another about a session. */
struct mail {
    session_id_t session_id;
    struct message *message; /* one reference; NULL when it is no delivery */
    uint32_t target;
    uint8_t qos;
    bool retain;
    uint8_t kind;    /* enum mail_kind */
    bool many : 1;   /* it is one of many deliveries of its message */
    bool shared : 1; /* others get it as well */
};

/* Mails in order, in blocks; an empty one has none. */
enum { MAIL_BLOCK_ITEMS = 255 }; /* with its link a block has about 8 KB */
struct mail_block;
struct mail_queue {
    struct mail_block *oldest, *newest;
    size_t first; /* so many have been taken since the start */
    size_t count;
};

struct connection_slot {
    struct connection *connection; /* NULL: free */
    uint32_t generation;
    uint32_t next_free; /* index + 1; 0: none */
};

/* A packet that is kept for those who get the same: see onward.h. */
enum { ONWARD_PACKETS = 4 }; /* of either protocol, with RETAIN and without */
struct onward {
    const struct message *seen;         /* went to somebody; maybe gone since */
    struct message *message;            /* one reference; NULL: none is kept */
    struct buf packets[ONWARD_PACKETS]; /* of that; empty: not asked for yet */
};

/* The search for the fattest connection: see shed.h. */
struct shed {
    uint32_t at;                  /* the slot that is looked at next */
    struct conn_handle conn;      /* the fattest so far, */
    uint64_t bytes, owner_bytes;  /* what it has, and what all of its owner have; 0: none */
    _Atomic uint64_t offer;       /* `owner_bytes` of the last whole search: other shards look at it, */
    _Atomic mono_ms_t offered_at; /* and when that was */
};

struct shard {
    struct broker *broker;
    unsigned index;
    mono_ms_t now;
    wall_ms_t wall;               /* store time */
    bool in_turn;                 /* between shard_turn_begin() and shard_turn_end() */
    lsn_t durable;                /* as last told */
    enum store_pressure pressure; /* as last asked */
    uint8_t memory;               /* enum memory_pressure, as last looked at */
    struct shed shed;
    bool store_tight;     /* the store has more than one owner's share of it, as last looked at */
    uint64_t store_part;  /* of a store that is nearly full: more than one owner may add to; UINT64_MAX: it is not, nor
                             are the queues */
    uint64_t queued_part; /* the same of the messages that may wait in all queues */
    struct link starved;  /* sessions whose deliveries wait for room in their owner's outboxes */
    struct connection_slot *slots;
    uint32_t slot_count, slot_capacity, slot_free;
    struct map_bytes by_client;  /* client id -> session */
    struct map64 by_id;          /* session id -> session */
    struct link dirty;           /* connections to look at */
    struct link dirty_later;     /* the same, behind those: they got what many get, or get much */
    bool many;                   /* what is delivered now goes to many */
    bool shared;                 /* it goes to some others as well: see onward.h */
    unsigned heirs_left;         /* so many connections of `heirs` may go on in this turn */
    struct link gated;           /* connections whose outbox waits for the disk */
    struct link paused;          /* connections that are not read from */
    struct link untried;         /* the same, whose refused publish this round of tries has not reached */
    struct link deep;            /* sessions whose queue is deeper than the window of memory */
    _Atomic uint64_t deep_kept;  /* deliveries that these have in memory beyond it, or had: see deep.h */
    uint64_t deep_unasked;       /* those that came since the table was last asked to take some */
    struct link heirs;           /* connections whose CONNECT has waited and goes on */
    struct map64 awaited;        /* those, until it is taken, by heirs.key */
    struct map64 contests;       /* client ids that were taken over, or will be, by heirs.key: see takeover.c */
    struct link contested;       /* all of them, in the order in which they are looked at */
    struct link contests_due;    /* those whose old connection stays until their pace allows its end */
    struct link busy;            /* connections that were used since the last tick but one */
    struct heap due;             /* sessions whose client is away, by store time */
    struct heap connections_due; /* what connections must have said by then; they may have said it meanwhile */
    bool expiring;               /* more is due than one turn has done */
    struct link overfull;        /* sessions whose full queue publishers have met, to be looked at: overfull.h */
    unsigned looks_left;         /* so many of them may be looked at in this turn */
    uint64_t *overfull_ended;    /* hashes of client ids whose sessions were ended for that, a ring; NULL: none yet */
    uint32_t overfull_ended_at;
    struct link works;      /* struct work that can go on */
    struct link stalled;    /* struct work that waits for the store */
    int64_t points;         /* what is left of this turn */
    mono_ms_t retried_at;   /* when refused publishes were tried last */
    lsn_t ended_lsn;        /* of the last SESSION_END: no CONNACK leaves before it is durable (B8) */
    lsn_t will_lsn;         /* of the last will: who caused it by coming back is not answered before it is durable */
    bool let_go_soon;       /* sessions have become absent: look at them also when nothing was folded */
    size_t let_go_left;     /* of `deep`, how many this round has not looked at yet */
    lsn_t let_go_settled;   /* what this round lets go */
    mono_ms_t let_go_at;    /* when it began, */
    uint64_t let_go_before; /* with so many in deep_kept; */
    uint64_t let_go_kept;   /* and what is left of them, as far as it has come */
    lsn_t folded;           /* as last looked at */
    size_t retained_left;   /* of the large retained messages, how many this round has not looked at yet */
    lsn_t retained_folded;  /* what this round lets go */
    mono_ms_t retained_at;  /* when it began */
    _Atomic lsn_t settled;  /* mail for all records that this shard staged up to here has been sent */
    uint64_t wake_set;
    struct late *late;  /* mail that found a ring full, for each other shard: see post.h; NULL: none did yet */
    size_t late_count;  /* in all of them */
    uint64_t late_sent; /* mail that was late, since the start */
    struct onward onward;
    struct mail_queue own;   /* deliveries to its own sessions that did not fit into a turn: see own.h; */
    struct mail_queue ahead; /* those to sessions that little waits for: they go first */
    bool input_left;         /* a connection has more than this turn could take */
    uint64_t strain_spent;   /* what came while it is strained, by all: see strain.h */
    uint64_t strain_first;   /* the same, of each connection no more than its share */
    uint64_t strain_until;   /* deliveries that were put off: these counts are forgotten when so many were made */
    uint32_t strains;        /* how often it was counted anew */
    uint64_t volatile_ids;   /* for sessions that are not durable */
    uint64_t map_seed;       /* of the maps of its sessions */
    struct topic_matches matches;
    struct route_target *targets; /* scratch of route.c */
    struct record_target *record_targets;
    size_t targets_capacity;
    struct record_flow *mutant_held; /* MUTANT_B2_ATOMIC: ids recorded in the next turn */
    size_t mutant_held_count;
    struct shard_counters counters;
};

struct broker {
    struct broker_options options;
    struct packet_limits connect_limits;
    struct broker_outside outside;
    uint64_t owner_seed; /* which shard a client id belongs to; nothing else comes from it, for that can be seen */
    struct store *store;
    struct quota *quota; /* of owners and of all */
    struct lock charges; /* of inlets; held for a few numbers alone */
    struct lock lock;    /* writers of the trie; all use of the retained index */
    struct topic_trie *trie;
    struct topic_retained *retained;
    _Atomic mono_ms_t shed_again_at; /* no connection is cut off for memory before then */
    _Atomic lsn_t overfull_lsn;      /* of the last SESSION_END of a session whose queue was full */
    struct heap retained_due;        /* deadlines of retained messages */
    _Atomic int64_t retained_next;   /* the first of them; INT64_MAX: none. Read without the lock */
    struct link retained_large;      /* large retained messages whose body is in memory */
    _Atomic size_t retained_large_count;
    struct map64 retained_notes; /* the message -> its deadline, and its place among the large ones */
    lsn_t cleared_lsn;           /* of the last record that cleared a retained message; under the lock */
    lsn_t retained_lsn;          /* of the last record that set one; under the lock */
    unsigned shard_count;
    struct shard *shards[SHARDS_MAX];
    struct ring *rings; /* [from * shard_count + to] */
};

static inline void shard_spend(struct shard *shard, size_t points) {
    shard->points -= (int64_t)points;
}

static inline bool broker_mutant(const struct shard *shard, enum mutant mutant) {
    return __builtin_expect(shard->broker->options.mutant == mutant, 0);
}

/* The lsn that a packet of this shard must wait for: see session/barrier.h. */
static inline lsn_t shard_barrier(const struct shard *shard, enum mutant which, lsn_t after) {
    return barrier(shard->broker->options.mutant, which, after);
}

/* What a shard knows of the time and of the store when a turn begins. */
void shard_clock(struct shard *shard, mono_ms_t now, wall_ms_t time);
/* Drawn for one purpose, and for no other: a seed that can be guessed from what leaves must open nothing else. */
uint64_t broker_random(const struct broker *broker);
/* Writes a line to the log. */
void shard_log(const struct shard *shard, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool broker_log_wanted(const struct broker *broker, enum log_level level);
/* A printable, bounded form of a client id or topic, for the log: valid until the next but three calls. */
const char *shard_text(struct span text);
