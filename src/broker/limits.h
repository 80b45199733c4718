/* What a broker allows: one structure, filled from the configuration, handed to every shard. */
#pragma once

#include "base/types.h"
#include "packet/packet.h"
#include "session/barrier.h"

struct broker_options {
    struct packet_limits packet;      /* of received packets */
    uint32_t connect_bytes_max;       /* of a CONNECT, before anything is known of the peer; default 16 KiB */
    int64_t connect_timeout_ms;       /* from accept to a whole CONNECT; default 5,000 */
    uint16_t receive_maximum;         /* QoS 1 and 2 publishes in flight towards us from a 5.0 client; default 256 */
    uint16_t inflight_max;            /* towards a client, besides its own Receive Maximum; default 1,024 */
    uint64_t queue_messages_max;      /* waiting in one session; default 100,000 */
    uint64_t queue_bytes_max;         /* waiting in one session; default 64 MiB */
    uint32_t window_messages;         /* of a session's queue kept in memory; default 1,024 */
    uint64_t outbox_bytes_max;        /* waiting for one connection: QoS 0 beyond it is dropped (counted), QoS 1 and 2
                                         wait in the queue; default 1 MiB */
    uint16_t keep_alive_max_s;        /* 0: what the client asks for; default 65,535 */
    uint32_t session_expiry_max_s;    /* default SESSION_NEVER_EXPIRES */
    int64_t refuse_close_ms;          /* a 3.1.1 publisher to a full queue is not read from for so long, then its
                                         connection is closed; default 30,000 */
    uint32_t subscriptions_max;       /* of one session; default 10,000 */
    bool allow_zero_length_client_id; /* default true */
    unsigned log_level;               /* enum log_level: what is worth a line; default LOG_INFO */
    packet_id_t packet_ids_max;       /* 65,535 but in the simulator */
    enum mutant mutant;               /* MUTANT_NONE but in the simulator */
};

/* The defaults named above. */
struct broker_options broker_options_default(void);
