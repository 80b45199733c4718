#include "broker/publish.h"

#include <stdio.h>

#include "base/mem.h"
#include "broker/connection.h"
#include "broker/expiry.h"
#include "broker/input.h"
#include "broker/overfull.h"
#include "broker/retained.h"
#include "broker/route.h"
#include "broker/session.h"
#include "broker/strain.h"

enum { RETAIN_POINTS = 6 }; /* to set a retained message is so much more work than to pass one on */

enum { REASON_BYTES = 160, TEXT_PACKET_BYTES = 256 /* a client that takes less gets no texts */ };

/* PUBREC (again) for an id that is held: waits for whatever was recorded of the session. */
static void publish_repeat(struct connection *c, const struct packet_publish *p) {
    struct session *session = c->session;
    c->shard->counters.publish_repeated++;
    if (broker_mutant(c->shard, MUTANT_R6_REPEAT) && ++c->mutant_repeats > 1) {
        connection_wrong(c, &(struct verdict){REASON_PROTOCOL_ERROR, "none", "a mutant's idea of a repeat"});
        return;
    }
    connection_send_ack(c, PACKET_PUBREC, p->packet_id, 0, shard_barrier(c->shard, MUTANT_B2_ACK, session->last_lsn));
}

static bool publish_is_repeat(const struct connection *c, const struct packet_publish *p) {
    if (broker_mutant(c->shard, MUTANT_R1)) {
        return p->dup;
    }
    return qos_in_holds(&c->session->in, p->packet_id);
}

/* Too many would get it. 3.1.1 has no way to say so, and trying again does not help. */
static void publish_refused_for_good(struct connection *c, const struct packet_publish *p,
                                     const struct route_result *result) {
    shard_log(c->shard, LOG_WARNING, "a message of %s (%s) to %s is refused: %s %s", c->peer,
              shard_text(c->session->client_id), shard_text(p->topic), result->what, result->why);
    if (c->protocol == PROTOCOL_311 && p->qos > 0) {
        c->shard->counters.publish_refused++;
        connection_close(c, REASON_QUOTA_EXCEEDED, false);
    }
}

/* 3.1.1 has no word for a refusal: its message waits, until expiry.c closes the connection. One of 5.0 waits only where
 * that helps, and is refused when it has waited long enough. */
static bool publish_waits(const struct connection *c, const struct packet_publish *p,
                          const struct route_result *result) {
    bool long_enough =
        c->refused_since != 0 && c->shard->now - c->refused_since >= c->shard->broker->options.refuse_close_ms;
    return p->qos > 0 && (c->protocol == PROTOCOL_311 || (result->waits && !long_enough));
}

static void publish_waits_no_more(struct connection *c) {
    c->refused_since = 0;
    if (c->waits != NULL) {
        mem_free(c->waits);
        c->waits = NULL;
    }
}

/* 0x97, and what was over which limit for those who want to know. */
static void publish_say_refused(struct connection *c, const struct packet_publish *p,
                                const struct route_result *result) {
    const enum packet_type type = p->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC;
    char text[REASON_BYTES];
    if (c->protocol != PROTOCOL_5 || !c->problem_information || c->packet_bytes_max < TEXT_PACKET_BYTES) {
        connection_send_ack(c, type, p->packet_id, REASON_QUOTA_EXCEEDED, c->session->last_lsn);
        return;
    }
    (void)snprintf(text, sizeof text, "%s %s", result->what, result->why);
    struct packet_ack ack = {.packet_id = p->packet_id, .reason = REASON_QUOTA_EXCEEDED};
    ack.properties.present = PROPERTY_REASON_STRING;
    ack.properties.reason_string = span_str(text);
    packet_encode_ack(connection_begin(c, c->session->last_lsn), PROTOCOL_5, type, &ack);
    connection_commit(c);
}

static void publish_refused(struct connection *c, const struct packet_publish *p, const struct route_result *result) {
    struct shard *shard = c->shard;
    if (publish_waits(c, p, result)) { /* it is tried again, and counted when it is accepted */
        if (c->refused_since == 0) {
            c->refused_since = shard->now;
            c->waits = overfull_waits_create();
            expiry_watch(c);
            shard->counters.publish_refused++;
            shard_log(shard, LOG_WARNING, "%s (%s) waits: %s %s", c->peer, shard_text(c->session->client_id),
                      result->what, result->why);
        }
        input_pause(c, PAUSE_REFUSED);
        return;
    }
    shard->counters.publish_received++;
    shard->counters.publish_refused += c->refused_since == 0;
    publish_waits_no_more(c);
    if (!result->said) {
        shard_log(shard, LOG_NOTICE, "a message of %s (%s) is refused: %s %s", c->peer,
                  shard_text(c->session->client_id), result->what, result->why);
    }
    if (p->qos > 0) {
        publish_say_refused(c, p, result);
    }
}

/* MUTANT_R8: every other PUBACK is kept back and leaves after its successor. */
static void mutant_puback(struct connection *c, packet_id_t packet_id, uint8_t reason, lsn_t after) {
    packet_id_t kept = c->mutant_kept_ack;
    if (kept == 0) {
        c->mutant_kept_ack = packet_id;
        return;
    }
    c->mutant_kept_ack = 0;
    connection_send_ack(c, PACKET_PUBACK, packet_id, reason, after);
    connection_send_ack(c, PACKET_PUBACK, kept, reason, after);
}

/* The answer to an accepted PUBLISH (B2). */
static void publish_answer(struct connection *c, const struct packet_publish *p, const struct route_result *result) {
    lsn_t after = shard_barrier(c->shard, MUTANT_B2_ACK, result->lsn);
    uint8_t reason = result->matched ? REASON_SUCCESS : REASON_NO_MATCHING_SUBSCRIBERS;
    if (c->protocol == PROTOCOL_311) {
        reason = REASON_SUCCESS;
    }
    if (p->qos == 1) {
        if (after > c->shard->durable) {
            connection_ack_waits(c, after);
        }
        if (broker_mutant(c->shard, MUTANT_R8)) {
            mutant_puback(c, p->packet_id, reason, after);
            return;
        }
        connection_send_ack(c, PACKET_PUBACK, p->packet_id, reason, after);
    } else if (p->qos == 2) {
        if (qos_in_hold(&c->session->in, p->packet_id)) {
            c->shard->counters.held_ids++;
        }
        if (c->protocol == PROTOCOL_5) {
            (void)qos_in_hold(&c->counted, p->packet_id);
        }
        connection_send_ack(c, PACKET_PUBREC, p->packet_id, reason, after);
    }
}

bool publish_reserved_topic(struct span topic) {
    struct span prefix = SPAN("$SYS");
    return topic.len >= prefix.len && memcmp(topic.ptr, prefix.ptr, prefix.len) == 0 &&
           (topic.len == prefix.len || topic.ptr[prefix.len] == '/');
}

/* $SYS is the broker's own [MQTT-4.7.2-1]: 5.0 is told so, 3.1.1 has no word and gets an answer all the same. */
static bool publish_to_reserved(struct connection *c, const struct packet_publish *p) {
    uint8_t reason = c->protocol == PROTOCOL_5 ? REASON_NOT_AUTHORIZED : REASON_SUCCESS;
    if (!publish_reserved_topic(p->topic)) {
        return false;
    }
    c->shard->counters.publish_received++;
    c->shard->counters.publish_refused++;
    if (p->qos > 0) {
        enum packet_type answer = p->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC;
        connection_send_ack(c, answer, p->packet_id, reason, c->session->last_lsn);
    }
    return true;
}

static bool publish_allowed(struct connection *c, const struct packet_publish *p) {
    if ((p->properties.present & PROPERTY_TOPIC_ALIAS) != 0) {
        connection_wrong(c, &(struct verdict){REASON_TOPIC_ALIAS_INVALID, "MQTT-3.3.2-9",
                                              "a topic alias, but Topic Alias Maximum is 0"});
        return false;
    }
    if (p->qos > 0 && c->protocol == PROTOCOL_5) {
        connection_acks_left(c, c->shard->durable);
        if (c->counted.count + connection_acks(c) >= c->shard->broker->options.receive_maximum) {
            connection_wrong(c, &(struct verdict){REASON_RECEIVE_MAXIMUM_EXCEEDED, "MQTT-3.3.4-7",
                                                  "more QoS 1 and 2 messages in flight than Receive Maximum"});
            return false;
        }
    }
    return true;
}

static wall_ms_t publish_expires_at(const struct connection *c, const struct packet_publish *p) {
    if ((p->properties.present & PROPERTY_MESSAGE_EXPIRY_INTERVAL) == 0) {
        return 0;
    }
    return c->shard->wall + (wall_ms_t)p->properties.message_expiry_interval_s * 1000;
}

static struct route_result publish_route(struct connection *c, const struct packet_publish *p) {
    struct buf properties = {NULL, 0, 0};
    if (p->properties.present != 0 || p->properties.user_property_count > 0) {
        packet_properties_forward(&properties, &p->properties);
    }
    struct route_request request = {.origin = c->session,
                                    .hold_id = p->qos == 2 ? p->packet_id : 0,
                                    .is_will = false,
                                    .waits = c->waits,
                                    .parts = {.qos = p->qos,
                                              .retain = p->retain,
                                              .expires_at = publish_expires_at(c, p),
                                              .topic = p->topic,
                                              .properties = buf_span(&properties),
                                              .payload = p->payload,
                                              .owner = retained_owner(c->session, p->retain, p->payload)}};
    struct route_result result = route_message(c->shard, &request);
    if (c->waits != NULL) {
        overfull_waits_tried(c->waits);
    }
    buf_deinit(&properties);
    return result;
}

void publish_packet(struct connection *c, const struct packet_publish *p) {
    struct shard *shard = c->shard;
    if (strain_deliveries(shard) && !strain_share_left(c)) {
        input_pause(c, PAUSE_WORK);
        return;
    }
    if (p->qos == 2 && publish_is_repeat(c, p)) {
        shard->counters.publish_received++;
        if (broker_mutant(shard, MUTANT_DUP_FORWARD)) {
            (void)publish_route(c, p);
        }
        publish_repeat(c, p);
        return;
    }
    if (!publish_allowed(c, p) || publish_to_reserved(c, p)) {
        return;
    }
    shard_spend(shard, p->retain ? RETAIN_POINTS : 0);
    struct route_result result = publish_route(c, p);
    if (result.waits && overfull_work(shard)) {
        if (c->state != CONNECTION_LIVE) { /* it was its own stalled subscriber */
            return;
        }
        result = publish_route(c, p);
    }
    if (result.never || result.many) {
        publish_refused_for_good(c, p, &result);
    }
    if (result.refused && c->state == CONNECTION_LIVE) {
        publish_refused(c, p, &result);
    }
    if (result.refused) {
        return;
    }
    shard->counters.publish_received++;
    publish_waits_no_more(c);
    publish_answer(c, p, &result);
}

/* B4: the id is forgotten in the log before PUBCOMP says so. An unknown id is answered too (R6) [MQTT-4.3.3-11]. */
void publish_pubrel(struct connection *c, const struct packet_ack *p) {
    struct session *session = c->session;
    struct shard *shard = c->shard;
    if (qos_in_free(&session->in, p->packet_id)) {
        shard->counters.held_ids--;
        (void)qos_in_free(&c->counted, p->packet_id);
        lsn_t lsn = session_stage_flow(session, RECORD_FREED, p->packet_id);
        connection_send_ack(c, PACKET_PUBCOMP, p->packet_id, 0, shard_barrier(shard, MUTANT_B4, lsn));
        return;
    }
    if (broker_mutant(shard, MUTANT_R6_PUBREL)) {
        return;
    }
    uint8_t reason = c->protocol == PROTOCOL_5 ? REASON_PACKET_IDENTIFIER_NOT_FOUND : REASON_SUCCESS;
    connection_send_ack(c, PACKET_PUBCOMP, p->packet_id, reason, shard_barrier(shard, MUTANT_B4, session->last_lsn));
}
