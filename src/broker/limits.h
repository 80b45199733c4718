/* What a broker allows: one structure, filled from the configuration, handed to every shard. */
#pragma once

#include "base/types.h"
#include "packet/packet.h"
#include "quota/quota.h"
#include "session/barrier.h"

/* What is done about a session whose queue is full while its client is away. */
enum queue_policy {
    QUEUE_END_SESSION = 1, /* it is ended, and everybody else goes on */
    QUEUE_REFUSE,          /* publishers into it are refused until its client comes or its expiry passes */
};

struct broker_options {
    struct packet_limits packet; /* of received packets */
    uint32_t connect_bytes_max;  /* of a CONNECT, before anything is known of the peer; default 16 KiB */
    int64_t connect_timeout_ms;  /* from accept to a whole CONNECT; default 5,000 */
    int64_t packet_timeout_ms;   /* from the first byte of any later packet to its last; default 120,000 */
    uint16_t receive_maximum;    /* QoS 1 and 2 publishes in flight towards us from a 5.0 client; default 256 */
    uint16_t inflight_max;       /* towards a client, besides its own Receive Maximum; default 1,024 */
    uint64_t inflight_bytes_max; /* bodies in flight to one client, in memory; default 16 MiB */
    uint64_t queue_messages_max; /* waiting in one session; default 1,000,000 */
    uint64_t queue_all_max;      /* waiting in all sessions together; default 0: one for each 64 bytes of store_limit,
                                    or of memory_limit where the store has none */
    uint64_t queue_bytes_max;    /* waiting in one durable session, on the disk; default 1 GiB */
    uint64_t queue_memory_max;   /* waiting in one session that is not durable; default 64 MiB */
    enum queue_policy queue_policy; /* default QUEUE_END_SESSION */
    int64_t stall_ms;               /* a client with a full queue that makes no progress for so long, or lets a
                                       publisher wait for so long, is disconnected; default 15,000 */
    uint32_t queue_wills_max;       /* wills that one session's queue takes past its bounds; default 1,000 */
    uint32_t window_messages;       /* of a session's queue kept in memory; default 1,024 */
    uint64_t outbox_bytes_max;      /* waiting for one connection: QoS 0 beyond it is dropped (counted), QoS 1 and 2
                                       wait in the queue; default 1 MiB */
    uint16_t keep_alive_max_s;      /* 0: what the client asks for; default 65,535 */
    uint32_t session_expiry_max_s;  /* default SESSION_NEVER_EXPIRES */
    int64_t refuse_close_ms;        /* a publisher to a full queue waits for so long; then its message is refused
                                       (5.0), or its connection is closed (3.1.1); default 30,000 */
    struct quota_limits accounts;   /* bounds of accounts, besides those that follow from memory_limit; default none */
    uint64_t memory_limit;          /* bytes that may be allocated by everything together; default 0: no bound */
    uint64_t store_limit;           /* bytes that the store may have; default 0: not known */
    uint32_t owner_share;           /* percent of each sum that one owner may have; default 50 */
    uint32_t owner_connections_max; /* connections of one owner; default 0: no bound */
    uint32_t owner_connection_rate; /* its connections a second: who accepts them holds it; default 0: no bound */
    uint32_t takeover_rate;         /* a second, of one client id, and as many at once; default 10; 0: no bound */
    uint32_t subscribe_filters_max; /* of one SUBSCRIBE, beyond it each is refused; default 1,000. (UNSUBSCRIBE makes
                                       room: as many as fit into a packet) */
    uint32_t subscriptions_max;     /* of one session; default 10,000 */
    uint32_t matches_max;           /* subscriptions at QoS 1 and 2 that one publish may reach; default 16,384;
                                       0: no bound */
    bool allow_zero_length_client_id; /* default true */
    uint32_t retained_body_bytes;     /* a retained message with more is kept on the disk alone, once the table has it;
                                         default 1,024 */
    uint32_t strain_share;            /* bytes that a connection may send while its shard is strained; default 8 KiB */
    uint32_t turn_points;       /* work of one turn of a shard: packets, deliveries, names looked at; default 4,096 */
    unsigned log_level;         /* enum log_level: what is worth a line; default LOG_INFO */
    packet_id_t packet_ids_max; /* 65,535 but in the simulator */
    enum mutant mutant;         /* MUTANT_NONE but in the simulator */
};

/* The defaults named above. */
struct broker_options broker_options_default(void);
