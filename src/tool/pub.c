/* Publishes one message some times, or each line of standard input, and ends when the broker has all of them for good
 * (with --stored: when the disk has). */
#include <unistd.h>

#include "tool/loop.h"
#include "tool/payload.h"
#include "tool/verbs.h"

/* Lines are not read while so many messages, or bytes, wait for the broker. */
#define WAITING_MAX 20000
#define WAITING_BYTES_MAX (64 << 20)

struct publisher {
    struct tool_loop s;
    struct buf payload;
    struct tool_payload_lines lines;
    struct span line; /* read, but not taken by the library */
    bool has_line;
    uint64_t number;    /* of the line */
    uint64_t taken;     /* by earlier runs with this store: the highest number */
    bool told_full;     /* that there is no room */
    uint64_t left;      /* times that the one message is still to be published */
    int64_t next_ms;    /* when */
    bool all_published; /* nothing new comes */
    int refused;        /* reason code of a message that the broker refused */
};

static void hear(struct tool_loop *s, const struct quartet_event *e) {
    struct publisher *p = s->verb;
    if (e->kind != QUARTET_EVENT_PUBLISHED || (e->reason < 0x80 && e->error == QUARTET_OK)) {
        return;
    }
    p->refused = e->reason >= 0x80 ? e->reason : tool_exit_of(e->error);
    tool_loop_say(s, "a message was refused: %s",
                  e->reason >= 0x80 ? quartet_reason_name(e->protocol, e->reason) : quartet_error_text(e->error));
}

/* Gives a message to the library; false when that must be tried again later, or has failed for good. */
static bool publish(struct publisher *p, struct span payload, uint64_t sequence) {
    const struct tool_options *o = p->s.options;
    struct quartet_publication publication = {
        .topic = tool_publish_topic(o),
        .payload = payload.ptr,
        .payload_bytes = payload.len,
        .qos = (int)o->qos,
        .retain = o->retain,
        .sequence = sequence,
        .no_wait = true,
        .properties = tool_properties_of_message(&o->properties[TOOL_COMMAND_PUBLISH]),
    };
    int code = quartet_publish(p->s.quartet, &publication, NULL);
    if (code == QUARTET_STORE_FULL && !o->stored_is_enough && !p->told_full) {
        tool_loop_say(&p->s, "the disk is full: waiting for room");
        p->told_full = true;
    }
    if (code != QUARTET_OK && code != QUARTET_FULL && code != QUARTET_STORE_FULL) {
        tool_loop_fail(&p->s, "the message cannot be published", code);
    }
    return code == QUARTET_OK;
}

/* ---- one message, some times ---- */

static void publish_due(struct publisher *p) {
    while (!p->all_published && !p->s.ended && tool_loop_now_ms() >= p->next_ms) {
        if (!publish(p, buf_span(&p->payload), 0)) {
            return;
        }
        p->left--;
        p->next_ms = tool_loop_now_ms() + (int64_t)(p->s.options->repeat_delay_s * 1000);
        p->all_published = p->left == 0;
    }
}

/* ---- lines ---- */

static bool may_read(const struct publisher *p) {
    struct quartet_status status;
    quartet_status(p->s.quartet, &status);
    return p->s.options->stored_is_enough ||
           (status.outbox_messages < WAITING_MAX && status.outbox_bytes < WAITING_BYTES_MAX);
}

static void publish_lines(struct publisher *p) {
    while (!p->s.ended && may_read(p)) {
        if (!p->has_line && !tool_payload_lines_next(&p->lines, &p->line)) {
            p->all_published = p->lines.over;
            return;
        }
        p->has_line = true;
        if (!publish(p, p->line, p->s.options->numbered ? p->number + 1 : 0)) {
            return;
        }
        p->has_line = false;
        p->number++;
    }
}

static void read_lines(struct publisher *p) {
    struct error error;
    if (!p->has_line && !tool_payload_lines_read(&p->lines, &error)) {
        tool_loop_say(&p->s, "%s", error.text);
        tool_loop_end(&p->s, TOOL_EXIT_FAILED);
    }
}

/* ---- the loop ---- */

static void publish_more(struct publisher *p) {
    if (p->all_published) {
        return;
    }
    if (p->s.options->payload == TOOL_PAYLOAD_LINES) {
        publish_lines(p);
    } else {
        publish_due(p);
    }
}

/* How long a turn may last: until the next repetition, or until a full outbox is tried again. */
static int turn_ms(const struct publisher *p) {
    int64_t wait = p->next_ms - tool_loop_now_ms();
    if (p->all_published || (p->s.options->payload == TOOL_PAYLOAD_LINES && !p->has_line)) {
        return -1;
    }
    return wait > 60000 ? 60000 : wait > 0 ? (int)wait : 100;
}

static void turn(struct publisher *p) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    bool wants = p->s.options->payload == TOOL_PAYLOAD_LINES && !p->all_published && !p->has_line && may_read(p);
    tool_loop_turn(&p->s, &input, wants ? 1 : 0, turn_ms(p));
    if (wants && input.revents != 0 && !p->s.ended) {
        read_lines(p);
    }
}

static void look_whether_done(struct publisher *p) {
    if (!p->all_published || p->s.ended) {
        return;
    }
    int code = quartet_wait(p->s.quartet, 0, 0);
    if (code == QUARTET_OK) {
        tool_loop_end(&p->s, p->refused);
    } else if (code != QUARTET_TIMEOUT) {
        tool_loop_fail(&p->s, "not everything has reached the broker", code);
    }
}

static void run_online(struct publisher *p) {
    publish_more(p);
    while (!p->s.ended) {
        turn(p);
        publish_more(p);
        look_whether_done(p);
    }
}

/* --stored: the network is left alone. */
static void run_offline(struct publisher *p) {
    while (!p->s.ended && !p->all_published) {
        publish_more(p);
        if (p->s.ended || p->all_published) {
            break;
        }
        if (p->s.options->payload == TOOL_PAYLOAD_LINES && !p->has_line) {
            if (tool_loop_wait(&p->s, STDIN_FILENO, POLLIN, -1)) {
                read_lines(p);
            }
        } else if (p->next_ms <= tool_loop_now_ms()) {
            tool_loop_fail(&p->s, "the outbox takes no more without the broker", QUARTET_FULL);
        } else {
            (void)tool_loop_wait(&p->s, -1, 0, turn_ms(p));
        }
    }
    int code = p->s.ended ? QUARTET_OK : quartet_wait_stored(p->s.quartet, 0, -1);
    if (code != QUARTET_OK) {
        tool_loop_fail(&p->s, "the messages cannot be stored", code);
    }
    tool_loop_end(&p->s, TOOL_EXIT_OK);
}

/* Whoever gives other lines with the same numbers must hear that they were taken for the old ones. */
static void tell_what_was_left_out(const struct publisher *p) {
    uint64_t left_out = p->number < p->taken ? p->number : p->taken;
    if (left_out > 0) {
        tool_loop_say(
            &p->s, "lines 1 to %llu were left out: an earlier run with this store has taken lines with these numbers",
            (unsigned long long)left_out);
    }
}

static void run(struct publisher *p) {
    p->taken = p->s.options->numbered ? quartet_last_sequence(p->s.quartet) : 0;
    if (p->s.options->stored_is_enough) {
        run_offline(p);
    } else {
        run_online(p);
    }
    tell_what_was_left_out(p);
}

int tool_pub(const struct tool_options *options) {
    struct error error;
    struct publisher p = {
        .s = {.options = options,
              .verb = &p,
              .on_event = hear,
              .signals = -1,
              .reconnects = options->payload == TOOL_PAYLOAD_LINES},
        .lines = {.fd = STDIN_FILENO},
        .left = options->repeat,
        .all_published = options->flush,
    };
    if (!tool_payload_load(options, &p.payload, &error)) {
        tool_loop_say(&p.s, "%s", error.text);
        tool_loop_end(&p.s, TOOL_EXIT_FAILED);
    } else if (tool_loop_open(&p.s)) {
        run(&p);
    }
    int status = tool_loop_close(&p.s);
    buf_deinit(&p.payload);
    buf_deinit(&p.lines.bytes);
    return status;
}
