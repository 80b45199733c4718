/* Subscribes, and prints what comes or gives it to a command, until told to end. */
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/prng.h"
#include "tool/ack.h"
#include "tool/output.h"
#include "tool/verbs.h"
#include "topic/topic.h"

struct subscriber {
    struct tool_loop s;
    struct tool_output output;
    struct tool_acks ack;
    struct prng chance;
    uint64_t printed;
    size_t answered; /* subscriptions */
    size_t denied;
    bool unsubscribing;  /* all subscriptions are answered, and -U is under way */
    size_t unsubscribed; /* answers to it */
    uint8_t reason;      /* of the last one that was denied */
    uint64_t in_second;  /* messages, for --message-rate */
    int64_t second_ms;   /* when the next number is printed; 0: nothing came yet */
    bool finishing;      /* ends when what was published has left */
};

/* ---- answers ---- */

/* -U comes after -t, also where both name the same filter. */
static void unsubscribe(struct subscriber *sub) {
    const struct tool_strings *filters = &sub->s.options->unsubscribe;
    sub->unsubscribing = true;
    sub->unsubscribed = 0;
    for (size_t i = 0; i < filters->count; i++) {
        int code = quartet_unsubscribe(sub->s.quartet, filters->items[i]);
        if (code != QUARTET_OK) {
            tool_loop_fail(&sub->s, "the subscription cannot be ended", code);
        }
    }
}

static void all_answered(struct subscriber *sub) {
    if (sub->denied == sub->s.options->topics.count) {
        tool_loop_say(&sub->s, "all subscriptions were denied");
        tool_loop_end(&sub->s, sub->reason);
    } else if (sub->s.options->unsubscribe.count > 0) {
        unsubscribe(sub);
    } else if (sub->s.options->exit_on_suback) {
        tool_loop_end(&sub->s, TOOL_EXIT_OK);
    }
}

static void hear_unsubscribed(struct subscriber *sub, const struct quartet_event *e) {
    if (e->reason >= 0x80) {
        tool_loop_say(&sub->s, "the subscription to %s was not ended: %s", e->text, quartet_reason_name(5, e->reason));
    }
    sub->unsubscribed++;
    if (sub->unsubscribing && sub->unsubscribed == sub->s.options->unsubscribe.count &&
        sub->s.options->exit_on_suback) {
        tool_loop_end(&sub->s, TOOL_EXIT_OK);
    }
}

/* A store knows what was granted before; that holds when the broker says that it knows the session too. */
static void connected(struct subscriber *sub, bool session_present) {
    if (!session_present) {
        sub->answered = sub->denied = 0;
        sub->unsubscribing = false;
    } else if (sub->answered == sub->s.options->topics.count) {
        all_answered(sub);
    }
}

static void hear(struct tool_loop *s, const struct quartet_event *e) {
    struct subscriber *sub = s->verb;
    if (e->kind == QUARTET_EVENT_CONNECTED) {
        connected(sub, e->session_present);
    }
    if (e->kind == QUARTET_EVENT_UNSUBSCRIBED) {
        hear_unsubscribed(sub, e);
    }
    if (e->kind != QUARTET_EVENT_SUBSCRIBED) {
        return;
    }
    if (e->reason >= 0x80) {
        tool_loop_say(s, "the subscription to %s was denied: %s", e->text, quartet_reason_name(5, e->reason));
        sub->denied++;
        sub->reason = e->reason;
    }
    sub->answered++;
    if (sub->answered == s->options->topics.count && s->was_connected) {
        all_answered(sub);
    }
}

/* ---- messages ---- */

static bool is_filtered_out(const struct tool_options *o, const struct quartet_message *m) {
    for (size_t i = 0; i < o->filters_out.count; i++) {
        struct topic_filter parsed;
        (void)topic_filter_parse(span_str(o->filters_out.items[i]), &parsed);
        if (topic_matches(parsed.filter, span_of(m->topic, m->topic_bytes))) {
            return true;
        }
    }
    return false;
}

static bool is_by_chance(struct subscriber *sub) {
    double percent = sub->s.options->random_filter;
    return percent >= 100 || prng_below(&sub->chance, 1000000) < (uint64_t)(percent * 10000);
}

static void forget_retained(struct subscriber *sub, const struct quartet_message *m) {
    struct quartet_publication empty = {.topic = m->topic, .qos = 1, .retain = true, .no_wait = true};
    int code = quartet_publish(sub->s.quartet, &empty, NULL);
    if (code != QUARTET_OK) {
        tool_loop_fail(&sub->s, "a retained message cannot be removed", code);
    }
}

/* Ends as soon as what was published, by --remove-retained, has left. */
static void finish(struct subscriber *sub) {
    if (sub->s.options->remove_retained) {
        sub->finishing = true;
    } else {
        tool_loop_end(&sub->s, TOOL_EXIT_OK);
    }
}

static void count(struct subscriber *sub, uint64_t messages) {
    uint64_t wanted = sub->s.options->message_count;
    if (wanted > 0 && messages >= wanted) {
        finish(sub);
    }
}

/* It is not done: the next run of this store gets it. */
static void leave(struct quartet_message *m) {
    quartet_message_free(quartet_message_keep(m));
}

static void print(struct subscriber *sub, struct quartet_message *m) {
    if (sub->s.options->message_rate) {
        sub->in_second++;
    } else if (!tool_output_message(&sub->output, "", m)) {
        leave(m);
    }
}

static bool is_wanted(struct subscriber *sub, const struct quartet_message *m) {
    const struct tool_options *o = sub->s.options;
    if ((o->no_retained && m->retain) || is_filtered_out(o, m)) {
        return false;
    }
    if (o->remove_retained && m->retain) {
        forget_retained(sub, m);
    }
    return is_by_chance(sub);
}

/* What waits to be done makes up the number of -C. */
static bool has_enough(const struct subscriber *sub) {
    uint64_t wanted = sub->s.options->message_count;
    return wanted > 0 && sub->ack.done + sub->ack.count >= wanted;
}

static void take(struct tool_loop *s, struct quartet_message *m) {
    struct subscriber *sub = s->verb;
    if (s->options->retained_only && !m->retain) {
        finish(sub);
    }
    if (sub->finishing || s->ended || has_enough(sub)) {
        leave(m);
        return;
    }
    if (!is_wanted(sub, m)) {
        if (s->options->ack != TOOL_ACK_PRINTED) {
            (void)quartet_done(s->quartet, m);
        }
        return;
    }
    if (s->options->ack != TOOL_ACK_COMMAND) {
        print(sub, m);
    }
    if (s->options->ack != TOOL_ACK_PRINTED) {
        tool_ack_add(&sub->ack, m);
    } else if (!s->ended) {
        count(sub, ++sub->printed);
    }
}

/* ---- the loop ---- */

static void subscribe(struct subscriber *sub) {
    const struct tool_options *o = sub->s.options;
    const struct tool_properties *p = &o->properties[TOOL_COMMAND_SUBSCRIBE];
    bool identified = tool_property_present(p, PROPERTY_SUBSCRIPTION_IDENTIFIER);
    struct quartet_subscription *list = mem_zero(o->topics.count, sizeof *list);
    for (size_t i = 0; i < o->topics.count; i++) {
        list[i] = (struct quartet_subscription){
            .filter = o->topics.items[i],
            .qos = (int)o->qos,
            .retain_as_published = o->retain_as_published,
            .retain_handling = (int)o->retain_handling,
            .identifier = identified ? p->values.subscription_identifier : 0,
        };
    }
    int code = quartet_subscribe(sub->s.quartet, list, o->topics.count);
    if (code != QUARTET_OK) {
        tool_loop_fail(&sub->s, "the subscription cannot be made", code);
    }
    mem_free(list);
}

static void child_ended(struct tool_loop *s, int number) {
    (void)number;
    struct subscriber *sub = s->verb;
    uint64_t before = sub->ack.done;
    tool_ack_reap(&sub->ack);
    if (sub->ack.done != before) {
        count(sub, sub->ack.done);
    }
}

/* Prints how many messages came in the second that has passed; how long until the next time. */
static int print_rate(struct subscriber *sub) {
    int64_t now = tool_loop_now_ms();
    if (!sub->s.options->message_rate) {
        return -1;
    }
    if (sub->second_ms == 0) {
        sub->second_ms = now + 1000;
    }
    if (now >= sub->second_ms) {
        char line[24];
        (void)snprintf(line, sizeof line, "%llu\n", (unsigned long long)sub->in_second);
        if (!tool_loop_write(&sub->s, span_str(line))) {
            tool_loop_end(&sub->s, TOOL_EXIT_SYSTEM);
        }
        sub->in_second = 0;
        sub->second_ms += 1000;
    }
    return sub->second_ms > now ? (int)(sub->second_ms - now) : 0;
}

static void turn(struct subscriber *sub) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    bool reads = sub->s.options->ack == TOOL_ACK_INPUT && !sub->ack.input_over;
    tool_ack_run(&sub->ack);
    tool_loop_turn(&sub->s, &input, reads ? 1 : 0, tool_loop_sooner(tool_ack_timeout_ms(&sub->ack), print_rate(sub)));
    if (reads && input.revents != 0 && !sub->s.ended) {
        tool_ack_read(&sub->ack);
        count(sub, sub->ack.done);
    }
    if (sub->finishing && quartet_wait(sub->s.quartet, 0, 0) != QUARTET_TIMEOUT) {
        tool_loop_end(&sub->s, TOOL_EXIT_OK);
    }
}

int tool_sub(const struct tool_options *options) {
    struct subscriber sub = {
        .s = {.options = options,
              .verb = &sub,
              .on_event = hear,
              .on_message = take,
              .on_signal = child_ended,
              .reconnects = true,
              .signals = -1},
        .ack = {.s = &sub.s},
    };
    sub.chance = prng_of((uint64_t)tool_loop_now_ms() ^ (uint64_t)getpid() << 32);
    tool_output_init(&sub.output, &sub.s);
    if (tool_loop_open(&sub.s)) {
        subscribe(&sub);
    }
    while (!sub.s.ended) {
        turn(&sub);
    }
    tool_ack_finish(&sub.ack);
    tool_ack_deinit(&sub.ack);
    int status = tool_loop_close(&sub.s);
    tool_output_deinit(&sub.output);
    return status;
}
