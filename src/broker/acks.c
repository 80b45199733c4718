#include "broker/acks.h"

#include "broker/connection.h"
#include "broker/session.h"

enum { IDS_COME_ROUND = 1024 };

/* The flow has ended (B5): its record comes before any record that uses the id again. */
static void acks_done(struct session *session, struct flight *flight) {
    if (!broker_mutant(session->shard, MUTANT_B5)) {
        (void)session_stage_flow(session, RECORD_DONE, flight->packet_id);
    }
    session->shard->counters.queued--;
    qos_out_end(&session->flows->out, flight);
    session_pump(session);
}

/* B3: PUBREL leaves when "PUBREC seen" is durable. */
static void acks_released(struct connection *c, packet_id_t packet_id) {
    struct session *session = c->session;
    lsn_t lsn = session_stage_flow(session, RECORD_RECEIVED, packet_id);
    connection_send_ack(c, PACKET_PUBREL, packet_id, 0, shard_barrier(c->shard, MUTANT_B3, lsn));
    session_pump(session);
}

static enum qos_out_answer acks_ask(struct qos_out *out, enum packet_type type, const struct packet_ack *p,
                                    struct flight **flight) {
    if (type == PACKET_PUBACK) {
        return qos_out_puback(out, p->packet_id, flight);
    }
    if (type == PACKET_PUBREC) {
        return qos_out_pubrec(out, p->packet_id, p->reason, flight);
    }
    return qos_out_pubcomp(out, p->packet_id, flight);
}

/* With few ids (the simulator's) one is used again while its last acknowledgement may still be repeated (R6). */
static bool acks_come_round(const struct connection *c) {
    return c->shard->broker->options.packet_ids_max < IDS_COME_ROUND;
}

void acks_packet(struct connection *c, enum packet_type type, const struct packet_ack *p) {
    struct session *session = c->session;
    struct flight *flight = NULL;
    session->progress_at = c->shard->now;
    uint8_t unknown = c->protocol == PROTOCOL_5 ? REASON_PACKET_IDENTIFIER_NOT_FOUND : REASON_SUCCESS;
    switch (acks_ask(&session_flows(session)->out, type, p, &flight)) {
    case QOS_OUT_IGNORED:
        break;
    case QOS_OUT_DONE:
        acks_done(session, flight);
        break;
    case QOS_OUT_RELEASED:
        acks_released(c, p->packet_id);
        break;
    case QOS_OUT_AGAIN:
        connection_send_ack(c, PACKET_PUBREL, p->packet_id, 0, shard_barrier(c->shard, MUTANT_B3, session->last_lsn));
        break;
    case QOS_OUT_UNKNOWN:
        connection_send_ack(c, PACKET_PUBREL, p->packet_id, unknown, session->last_lsn);
        break;
    case QOS_OUT_WRONG:
        if (type != PACKET_PUBREC && acks_come_round(c)) {
            break;
        }
        connection_wrong(c, &(struct verdict){REASON_PROTOCOL_ERROR, "MQTT-4.13.1-1",
                                              "an acknowledgement of the wrong kind for a message in flight"});
        break;
    }
}
