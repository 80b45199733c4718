#include "bench/options.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum option_kind { OPTION_FLAG = 1, OPTION_NUMBER, OPTION_TEXT, OPTION_CHOICE };

struct option_row {
    const char *name;
    enum option_kind kind;
    size_t offset;       /* of the field in struct bench_options */
    uint64_t min;        /* of a number */
    uint64_t max;        /* of a number */
    const char *choices; /* words with a bar between them; also what the help shows for a value */
    const char *doc;
};

#define FLAG(name, field, doc)                                                                                         \
    { name, OPTION_FLAG, offsetof(struct bench_options, field), 0, 0, NULL, doc }
#define NUMBER(name, field, min, max, doc)                                                                             \
    { name, OPTION_NUMBER, offsetof(struct bench_options, field), min, max, "N", doc }
#define TEXT(name, field, doc)                                                                                         \
    { name, OPTION_TEXT, offsetof(struct bench_options, field), 0, 0, "TEXT", doc }
#define CHOICE(name, field, words, doc)                                                                                \
    { name, OPTION_CHOICE, offsetof(struct bench_options, field), 0, 0, words, doc }

#define TOPOLOGIES "pairs|fan-in|fan-out|fan-all"

static const struct option_row option_rows[] = {
    TEXT("--host", host, "the broker's name or address (127.0.0.1)"),
    NUMBER("--port", port, 1, 65535, "its port (1883; with --nats 4222)"),
    NUMBER("--publishers", publishers, 0, 60000, "publishing connections (10; 0 when only --idle is wanted)"),
    NUMBER("--subscribers", subscribers, 0, 60000, "subscribing connections (as many as the topology needs)"),
    CHOICE("--topology", topology, TOPOLOGIES, "who hears whom (pairs)"),
    NUMBER("--qos", qos, 0, 2, "of the messages (0)"),
    NUMBER("--sub-qos", sub_qos, 0, 2, "that the subscriptions ask for (as --qos)"),
    NUMBER("--payload", payload, BENCH_PAYLOAD_BYTES_MIN, 1 << 20, "bytes of each message (64)"),
    NUMBER("--window", window, 1, 65000, "messages in flight for each publisher at QoS 1 and 2 (100)"),
    NUMBER("--backlog", backlog, 0, 1 << 30,
           "messages of one publisher on their way to subscribers; 0 is no bound (0)"),
    NUMBER("--receive-maximum", receive_maximum, 1, 65535, "that subscribers announce in 5.0 (65535)"),
    CHOICE("--protocol", protocol, "3.1.1|5", "MQTT version (3.1.1)"),
    FLAG("--clean", clean, "sessions end with their connection (this is the default)"),
    FLAG("--durable", durable, "sessions outlive their connection, on both ends; removed at the end"),
    NUMBER("--messages", messages, 1, UINT32_MAX, "send so many in all and measure until the last one is through"),
    NUMBER("--seconds", seconds, 1, 86400, "measure for so long (10)"),
    NUMBER("--warmup", warmup, 0, 3600, "seconds of load before measuring (1)"),
    NUMBER("--drain", drain, 1, 3600, "seconds without progress after which the rest counts as lost (5; QoS 0: 1)"),
    NUMBER("--rate", rate, 1, 100000000, "messages per second in all; latency counts from the intended time"),
    NUMBER("--idle", idle, 1, 1000000, "open so many idle connections and report the memory of each (needs --pid)"),
    NUMBER("--connect-rate", connect_rate, 1, 1000000, "connections to open per second (no bound)"),
    CHOICE("--stage", stage, "all|fill|drain|wipe",
           "with --run. fill: leave messages queued; drain: fetch them; wipe: clean up"),
    TEXT("--run", run, "a word in topics and client identifiers, to find the sessions again (made up)"),
    NUMBER("--pid", pid, 1, INT32_MAX, "the broker's process: measure its CPU time, memory and writes"),
    FLAG("--nats", nats, "speak the NATS protocol instead of MQTT; QoS 0 only"),
    FLAG("--stub", stub, "be the broker: an epoll loop that answers and forwards and keeps nothing"),
    FLAG("--json", json, "print the report as JSON"),
    FLAG("--progress", progress, "print a line each second even if standard error is no terminal"),
    FLAG("--help", help, "print this"),
};

#define OPTION_ROWS (sizeof(option_rows) / sizeof(option_rows[0]))

static const struct option_row *option_find(const char *name) {
    for (size_t i = 0; i < OPTION_ROWS; i++) {
        if (strcmp(option_rows[i].name, name) == 0) {
            return &option_rows[i];
        }
    }
    return NULL;
}

static bool parse_number(const struct option_row *row, const char *text, uint64_t *value, struct error *error) {
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != 0 || errno != 0) {
        return error_set(error, ERROR_INVALID, 0, "%s needs a number, not \"%s\"", row->name, text);
    }
    if (number < row->min || number > row->max) {
        return error_set(error, ERROR_INVALID, 0, "%s must be between %llu and %llu, not %s", row->name,
                         (unsigned long long)row->min, (unsigned long long)row->max, text);
    }
    *value = number;
    return true;
}

static bool parse_choice(const struct option_row *row, const char *text, uint64_t *value, struct error *error) {
    size_t length = strlen(text);
    const char *word = row->choices;
    for (uint64_t i = 0;; i++) {
        size_t word_length = strcspn(word, "|");
        if (word_length == length && memcmp(word, text, length) == 0) {
            *value = i;
            return true;
        }
        if (word[word_length] == 0) {
            return error_set(error, ERROR_INVALID, 0, "%s must be one of %s, not \"%s\"", row->name, row->choices,
                             text);
        }
        word += word_length + 1;
    }
}

/* Reads the value of one flag; `text` is NULL when the arguments end. */
static bool parse_value(const struct option_row *row, const char *text, struct bench_options *options,
                        struct error *error) {
    char *field = (char *)options + row->offset;
    uint64_t number = 0;
    if (text == NULL) {
        return error_set(error, ERROR_INVALID, 0, "%s needs a value", row->name);
    }
    if (row->kind == OPTION_TEXT) {
        memcpy(field, &text, sizeof(text));
        return true;
    }
    bool good =
        row->kind == OPTION_NUMBER ? parse_number(row, text, &number, error) : parse_choice(row, text, &number, error);
    if (good) {
        memcpy(field, &number, sizeof(number));
    }
    return good;
}

static void set_if_unset(uint64_t *value, uint64_t otherwise) {
    if (*value == BENCH_UNSET) {
        *value = otherwise;
    }
}

static uint64_t default_subscribers(const struct bench_options *o) {
    if (o->publishers == 0) {
        return 0;
    }
    switch ((enum bench_topology)o->topology) {
    case TOPOLOGY_PAIRS:
        return o->publishers;
    case TOPOLOGY_FAN_IN:
        return 1;
    case TOPOLOGY_FAN_OUT:
    case TOPOLOGY_FAN_ALL:
        return 10;
    }
    return 0;
}

static void fill_defaults(struct bench_options *o) {
    set_if_unset(&o->port, o->nats ? 4222 : 1883);
    set_if_unset(&o->publishers, o->idle > 0 ? 0 : 10);
    set_if_unset(&o->subscribers, default_subscribers(o));
    set_if_unset(&o->sub_qos, o->qos);
    set_if_unset(&o->warmup, o->messages > 0 ? 0 : 1);
    set_if_unset(&o->seconds, 10);
    set_if_unset(&o->drain, o->qos == 0 ? 1 : 5);
}

static bool check_topology(const struct bench_options *o, struct error *error) {
    if (o->subscribers == 0 || o->publishers == 0) {
        return true;
    }
    if (o->topology == TOPOLOGY_PAIRS && o->subscribers != o->publishers) {
        return error_set(error, ERROR_INVALID, 0, "pairs need as many subscribers as publishers");
    }
    if (o->topology == TOPOLOGY_FAN_IN && o->subscribers > o->publishers) {
        return error_set(error, ERROR_INVALID, 0, "fan-in needs at least as many publishers as subscribers");
    }
    if (o->topology == TOPOLOGY_FAN_OUT && o->subscribers < o->publishers) {
        return error_set(error, ERROR_INVALID, 0, "fan-out needs at least as many subscribers as publishers");
    }
    return true;
}

static bool check_stage(const struct bench_options *o, struct error *error) {
    if (o->stage == STAGE_ALL) {
        return true;
    }
    if (!o->durable) {
        return error_set(error, ERROR_INVALID, 0, "--stage needs --durable");
    }
    if (o->run == NULL) {
        return error_set(error, ERROR_INVALID, 0, "--stage needs --run to find the sessions again");
    }
    if (o->stage == STAGE_WIPE) {
        return true;
    }
    if (o->qos == 0 || o->sub_qos == 0) {
        return error_set(error, ERROR_INVALID, 0, "--stage fill and drain need QoS 1 or 2");
    }
    if (o->messages == 0 || o->subscribers == 0 || o->publishers == 0) {
        return error_set(error, ERROR_INVALID, 0, "--stage fill and drain need --messages and subscribers");
    }
    return true;
}

static bool check(const struct bench_options *o, bool seconds_given, struct error *error) {
    if (o->clean && o->durable) {
        return error_set(error, ERROR_INVALID, 0, "--clean and --durable exclude each other");
    }
    if (o->messages > 0 && seconds_given) {
        return error_set(error, ERROR_INVALID, 0, "--messages and --seconds exclude each other");
    }
    if (o->nats && (o->qos > 0 || o->sub_qos > 0 || o->durable)) {
        return error_set(error, ERROR_INVALID, 0, "--nats knows QoS 0 without sessions only");
    }
    if (o->publishers == 0 && o->subscribers == 0 && o->idle == 0 && !o->stub) {
        return error_set(error, ERROR_INVALID, 0, "there is nothing to do: no publishers, no idle connections");
    }
    if (o->run != NULL && (o->run[0] == 0 || strlen(o->run) > 40 || strpbrk(o->run, "+#/.*> \t\r\n$\"\\") != NULL)) {
        return error_set(error, ERROR_INVALID, 0, "--run must be a word of 1 to 40 letters and digits");
    }
    if (o->backlog > 0 && o->subscribers == 0) {
        return error_set(error, ERROR_INVALID, 0, "--backlog needs subscribers");
    }
    return check_topology(o, error) && check_stage(o, error);
}

bool bench_options_parse(int argc, char **argv, struct bench_options *options, struct error *error) {
    *options = (struct bench_options){.host = "127.0.0.1",
                                      .payload = 64,
                                      .window = 100,
                                      .receive_maximum = 65535,
                                      .port = BENCH_UNSET,
                                      .publishers = BENCH_UNSET,
                                      .subscribers = BENCH_UNSET,
                                      .sub_qos = BENCH_UNSET,
                                      .warmup = BENCH_UNSET,
                                      .seconds = BENCH_UNSET,
                                      .drain = BENCH_UNSET};
    for (int i = 1; i < argc; i++) {
        const struct option_row *row = option_find(argv[i]);
        if (row == NULL) {
            return error_set(error, ERROR_INVALID, 0, "there is no flag \"%s\"; --help lists them", argv[i]);
        }
        if (row->kind == OPTION_FLAG) {
            *((bool *)options + row->offset / sizeof(bool)) = true;
        } else if (!parse_value(row, argv[++i], options, error)) {
            return false;
        }
    }
    bool seconds_given = options->seconds != BENCH_UNSET;
    fill_defaults(options);
    return options->help || check(options, seconds_given, error);
}

void bench_options_help(FILE *out) {
    fputs("quartet bench [flags]: load for an MQTT broker, and what came of it\n\n", out);
    for (size_t i = 0; i < OPTION_ROWS; i++) {
        const struct option_row *row = &option_rows[i];
        const char *value = row->choices == NULL ? "" : row->choices;
        int width = (int)(strlen(row->name) + strlen(value));
        fprintf(out, "  %s %s%*s %s\n", row->name, value, width < 24 ? 24 - width : 1, "", row->doc);
    }
}

const char *bench_topology_name(uint64_t topology) {
    static const char *const names[] = {"pairs", "fan-in", "fan-out", "fan-all"};
    return topology < sizeof(names) / sizeof(names[0]) ? names[topology] : "?";
}

uint64_t bench_topics(const struct bench_options *o) {
    if (o->topology == TOPOLOGY_FAN_ALL || o->subscribers == 0 || o->publishers < o->subscribers) {
        return o->publishers;
    }
    return o->subscribers;
}

uint64_t bench_fan(const struct bench_options *o, uint64_t publisher) {
    if (o->topology == TOPOLOGY_FAN_ALL || o->subscribers == 0) {
        return o->subscribers;
    }
    uint64_t topics = bench_topics(o);
    uint64_t group = publisher % topics;
    return (o->subscribers - group + topics - 1) / topics;
}

uint64_t bench_quota(const struct bench_options *o, uint64_t publisher) {
    return o->messages / o->publishers + (publisher < o->messages % o->publishers ? 1 : 0);
}
