#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"

/* NATS in short: lines that end with CR LF; PUB and MSG are followed by a payload and another CR LF.
 *
 *      we:     CONNECT {...}   SUB subject sid   PUB subject bytes   PING   PONG
 *      server: INFO {...}      MSG subject sid [reply] bytes         PING   PONG   +OK   -ERR 'text'
 */

static void put_text(struct buf *out, const char *text) {
    buf_bytes(out, span_str(text));
}

static void nats_hello(struct bench *b, struct client *c) {
    char line[128];
    put_text(&c->channel.out, "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"1\"}\r\n");
    if (c->role == CLIENT_SUBSCRIBER) {
        uint64_t topics = bench_topics(b->options);
        if (b->options->topology == TOPOLOGY_FAN_ALL || topics == 0) {
            (void)snprintf(line, sizeof(line), "SUB qb.%s.> 1\r\n", b->run);
        } else {
            (void)snprintf(line, sizeof(line), "SUB qb.%s.%" PRIu64 " 1\r\n", b->run, c->number % topics);
        }
        put_text(&c->channel.out, line);
    }
    put_text(&c->channel.out, "PING\r\n");
}

/* NATS has no word for it; the half-closed connection says enough. */
static void nats_goodbye(struct client *c) {
    (void)c;
}

static struct wire_template nats_template(const struct bench *b, uint32_t publisher) {
    char line[128];
    struct wire_template t = {0};
    size_t payload = b->options->payload;
    (void)snprintf(line, sizeof(line), "PUB qb.%s.%" PRIu64 " %zu\r\n", b->run, publisher % bench_topics(b->options),
                   payload);
    put_text(&t.bytes, line);
    t.stamp_at = t.bytes.len;
    memset(buf_extend(&t.bytes, payload), 'q', payload);
    put_text(&t.bytes, "\r\n");
    return t;
}

/* The number at the end of a line; false when there is none. */
static bool last_number(struct span line, size_t *number) {
    size_t at = line.len;
    size_t unit = 1;
    *number = 0;
    while (at > 0 && line.len - at < 9 && line.ptr[at - 1] >= '0' && line.ptr[at - 1] <= '9') {
        at--;
        *number += unit * (size_t)(line.ptr[at] - '0');
        unit *= 10;
    }
    return at < line.len && at > 0 && line.ptr[at - 1] == ' ';
}

static bool begins(struct span line, const char *word) {
    size_t length = strlen(word);
    return line.len >= length && memcmp(line.ptr, word, length) == 0;
}

/* Takes a message whose first line is known; false when its payload is not there yet. */
static bool take_message(struct bench *b, struct client *c, struct span line, struct span *in) {
    size_t size = 0;
    if (!last_number(line, &size)) {
        bench_fail(b, "the server sent a MSG line without size");
        return false;
    }
    if (in->len < line.len + 2 + size + 2) {
        return false;
    }
    if (c->subscriber == NULL) {
        b->counts.violations++;
    } else {
        subscriber_deliver(b, c, span_of(in->ptr + line.len + 2, size));
    }
    *in = span_skip(*in, line.len + 2 + size + 2);
    return true;
}

static void take_line(struct bench *b, struct client *c, struct span line) {
    if (begins(line, "PONG")) {
        if (c->state == CLIENT_OPENING) {
            client_become(b, c, CLIENT_READY);
        }
    } else if (begins(line, "PING")) {
        put_text(&c->channel.out, "PONG\r\n");
    } else if (begins(line, "-ERR")) {
        bench_fail(b, "the server says %.*s", (int)line.len, (const char *)line.ptr);
    } else if (!begins(line, "INFO") && !begins(line, "+OK")) {
        b->counts.violations++;
    }
}

static void nats_take(struct bench *b, struct client *c, struct span *in) {
    while (!b->failed && in->len > 0) {
        const uint8_t *end = memchr(in->ptr, '\r', in->len);
        if (end == NULL || (size_t)(end - in->ptr) + 2 > in->len) {
            return;
        }
        struct span line = span_of(in->ptr, (size_t)(end - in->ptr));
        if (begins(line, "MSG ")) {
            if (!take_message(b, c, line, in)) {
                return;
            }
        } else {
            take_line(b, c, line);
            *in = span_skip(*in, line.len + 2);
        }
    }
}

const struct dialect dialect_nats = {
    .hello = nats_hello,
    .goodbye = nats_goodbye,
    .take = nats_take,
    .template = nats_template,
};
