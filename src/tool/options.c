#include "tool/options.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum option_kind {
    OPTION_FLAG = 1,
    OPTION_TEXT,
    OPTION_NUMBER,
    OPTION_REAL,
    OPTION_LIST,
    OPTION_CALL,   /* a function takes it */
    OPTION_ABSENT, /* known, but there is no such transport in this program */
};

struct option_values {
    const char *const *texts; /* that follow the name */
    size_t count;
    size_t used;
};

struct option_row {
    const char *short_name; /* either may be NULL */
    const char *long_name;
    unsigned programs; /* enum tool_program bits */
    enum option_kind kind;
    size_t offset;     /* of the field in struct tool_options */
    uint64_t min, max; /* of a number */
    bool (*call)(struct tool_options *o, struct option_values *values, struct error *error);
    const char *value; /* its name in the help; NULL: the option takes none */
    const char *doc;
};

static bool take_payload(struct tool_options *o, enum tool_payload kind, struct error *error) {
    if (o->payload != TOOL_PAYLOAD_NONE) {
        return error_set(error, ERROR_INVALID, 0, "only one of -f, -l, -m, -n and -s can be given");
    }
    o->payload = kind;
    return true;
}

static bool take_message(struct tool_options *o, struct option_values *values, struct error *error) {
    o->payload_text = values->texts[0];
    return take_payload(o, TOOL_PAYLOAD_TEXT, error);
}

static bool take_empty(struct tool_options *o, struct option_values *values, struct error *error) {
    (void)values;
    return take_payload(o, TOOL_PAYLOAD_EMPTY, error);
}

static bool take_file(struct tool_options *o, struct option_values *values, struct error *error) {
    o->payload_file = values->texts[0];
    return take_payload(o, TOOL_PAYLOAD_FILE, error);
}

static bool take_input(struct tool_options *o, struct option_values *values, struct error *error) {
    (void)values;
    return take_payload(o, TOOL_PAYLOAD_INPUT, error);
}

static bool take_lines(struct tool_options *o, struct option_values *values, struct error *error) {
    (void)values;
    return take_payload(o, TOOL_PAYLOAD_LINES, error);
}

static bool take_url(struct tool_options *o, struct option_values *values, struct error *error) {
    return tool_url_take(o, values->texts[0], error);
}

static bool take_property(struct tool_options *o, struct option_values *values, struct error *error) {
    o->protocol = 5; /* a later -V may take it back */
    return tool_property_take(o->properties, values->texts, values->count, &values->used, error);
}

static bool take_expiry(struct tool_options *o, struct option_values *values, struct error *error) {
    const char *text = values->texts[0];
    if (strcmp(text, "-1") == 0 || strcmp(text, "\u221e") == 0) {
        o->session_expiry_s = TOOL_NEVER;
        return true;
    }
    return tool_number("-x", text, 0, UINT32_MAX, &o->session_expiry_s, error);
}

/* The words of one meaning with a space between them, one group for each number from `first`. */
static bool take_word(const char *name, const char *text, const char *const *groups, size_t count, uint64_t first,
                      uint64_t *value, struct error *error) {
    size_t length = strlen(text);
    for (size_t i = 0; i < count && length > 0; i++) {
        for (const char *word = groups[i]; *word != 0; word += strspn(word, " ")) {
            size_t word_length = strcspn(word, " ");
            if (word_length == length && memcmp(word, text, length) == 0) {
                *value = first + i;
                return true;
            }
            word += word_length;
        }
    }
    return error_set(error, ERROR_INVALID, 0, "%s does not know \"%s\"", name, text);
}

static bool take_protocol(struct tool_options *o, struct option_values *values, struct error *error) {
    static const char *const words[] = {"mqttv311 311 3.1.1 4", "mqttv5 5 5.0"};
    const char *text = values->texts[0];
    if (strcmp(text, "mqttv31") == 0 || strcmp(text, "31") == 0) {
        return error_set(error, ERROR_INVALID, 0, "MQTT 3.1 is not spoken here: use -V mqttv311 or -V mqttv5");
    }
    return take_word("-V", text, words, 2, 4, &o->protocol, error);
}

static bool take_retain_handling(struct tool_options *o, struct option_values *values, struct error *error) {
    static const char *const words[] = {"always 0", "new 1", "never 2"};
    return take_word("--retain-handling", values->texts[0], words, 3, 0, &o->retain_handling, error);
}

static bool take_ack(struct tool_options *o, struct option_values *values, struct error *error) {
    static const char *const words[] = {"printed", "command", "stdin"};
    return take_word("--ack", values->texts[0], words, 3, TOOL_ACK_PRINTED, &o->ack, error);
}

static bool take_session_lost(struct tool_options *o, struct option_values *values, struct error *error) {
    static const char *const words[] = {"hold", "resend", "drop"};
    return take_word("--session-lost", values->texts[0], words, 3, QUARTET_LOST_HOLD, &o->session_lost, error);
}

static bool take_ack_command(struct tool_options *o, struct option_values *values, struct error *error) {
    (void)error;
    o->ack = TOOL_ACK_COMMAND;
    o->ack_command = values->texts[0];
    return true;
}

static bool take_trace(struct tool_options *o, struct option_values *values, struct error *error) {
    (void)values;
    (void)error;
    o->trace = TOOL_TRACE_TEXT;
    return true;
}

static bool take_trace_json(struct tool_options *o, struct option_values *values, struct error *error) {
    (void)values;
    (void)error;
    o->trace = TOOL_TRACE_JSON;
    return true;
}

#define AT(field) offsetof(struct tool_options, field)
#define FLAG(short, long, programs, field, doc)                                                                        \
    { short, long, programs, OPTION_FLAG, AT(field), 0, 0, NULL, NULL, doc }
#define TEXT(short, long, programs, field, value, doc)                                                                 \
    { short, long, programs, OPTION_TEXT, AT(field), 0, 0, NULL, value, doc }
#define NUMBER(short, long, programs, field, min, max, value, doc)                                                     \
    { short, long, programs, OPTION_NUMBER, AT(field), min, max, NULL, value, doc }
#define REAL(short, long, programs, field, value, doc)                                                                 \
    { short, long, programs, OPTION_REAL, AT(field), 0, 0, NULL, value, doc }
#define LIST(short, long, programs, field, value, doc)                                                                 \
    { short, long, programs, OPTION_LIST, AT(field), 0, 0, NULL, value, doc }
#define CALL(short, long, programs, function, value, doc)                                                              \
    { short, long, programs, OPTION_CALL, 0, 0, 0, function, value, doc }
#define ABSENT(short, long, value)                                                                                     \
    { short, long, TOOL_ALL, OPTION_ABSENT, 0, 0, 0, NULL, value, NULL }

#define PUB TOOL_PUB
#define SUB TOOL_SUB
#define RR TOOL_RR
#define ALL TOOL_ALL

static const struct option_row option_rows[] = {
    TEXT("-A", NULL, ALL, bind_address, "ADDRESS", "connect from this address of this machine"),
    FLAG("-c", "--disable-clean-session", ALL, keep_session, "keep the session: the broker remembers it (needs -i)"),
    NUMBER("-C", NULL, SUB, message_count, 1, INT32_MAX, "N", "end after N messages"),
    FLAG("-d", "--debug", ALL, debug, "print what is sent and received"),
    CALL("-D", "--property", ALL, take_property, "COMMAND NAME VALUE", "a property of MQTT 5.0"),
    TEXT("-e", NULL, RR, response_topic, "TOPIC", "where the response is awaited"),
    FLAG("-E", NULL, SUB, exit_on_suback, "end when all subscriptions are answered"),
    CALL("-f", "--file", PUB | RR, take_file, "FILE", "publish what is in the file"),
    TEXT("-F", NULL, SUB | RR, format, "FORMAT", "how a message is printed; see quartet(1)"),
    TEXT("-h", "--host", ALL, host, "HOST", "the broker (localhost)"),
    TEXT("-i", "--id", ALL, client_id, "ID", "the client identifier (the broker gives one)"),
    TEXT("-I", "--id-prefix", ALL, id_prefix, "PREFIX", "the client identifier is this and the process id"),
    NUMBER("-k", "--keepalive", ALL, keep_alive_s, 5, 65535, "SECONDS", "keep alive (60)"),
    CALL("-l", "--stdin-line", PUB, take_lines, NULL, "publish each line of standard input"),
    CALL("-L", "--url", ALL, take_url, "URL", "mqtt://[user[:password]@]host[:port]/topic"),
    CALL("-m", "--message", PUB | RR, take_message, "TEXT", "publish this"),
    NUMBER("-M", NULL, ALL, send_window, 1, UINT32_MAX, "N", "messages on their way at once, QoS 1 and 2"),
    CALL("-n", "--null-message", PUB | RR, take_empty, NULL, "publish an empty message"),
    FLAG("-N", NULL, SUB | RR, no_eol, "no end of line after a message"),
    TEXT("-o", NULL, ALL, config_file, "FILE", "read options from this file instead of the usual one"),
    NUMBER("-p", "--port", ALL, port, 1, 65535, "PORT", "the broker's port (1883)"),
    TEXT("-P", "--pw", ALL, password, "PASSWORD", "needs -u in MQTT 3.1.1"),
    NUMBER("-q", "--qos", ALL, qos, 0, 2, "N", "quality of service (0)"),
    FLAG("-r", "--retain", PUB, retain, "the broker keeps the message for later subscribers"),
    FLAG("-R", NULL, SUB | RR, no_retained, "do not print messages that were retained"),
    CALL("-s", "--stdin-file", PUB | RR, take_input, NULL, "publish all of standard input as one message"),
    LIST("-t", "--topic", ALL, topics, "TOPIC", "what to publish to; for sub a filter, any number of times"),
    LIST("-T", "--filter-out", SUB, filters_out, "FILTER", "do not print messages of these topics"),
    TEXT("-u", "--username", ALL, username, "NAME", "the user name"),
    LIST("-U", "--unsubscribe", SUB, unsubscribe, "FILTER", "unsubscribe from this in a session that was kept"),
    FLAG("-v", "--verbose", SUB | RR, verbose, "print the topic before the payload"),
    CALL("-V", "--protocol-version", ALL, take_protocol, "VERSION",
         "mqttv311 or mqttv5 (pub, sub: mqttv311; rr: mqttv5)"),
    FLAG("-w", "--watch", SUB, watch, "one line of the terminal for each topic, with its newest message"),
    NUMBER("-W", NULL, ALL, timeout_s, 1, INT32_MAX / 1000, "SECONDS", "end after this time with exit code 27"),
    CALL("-x", "--session-expiry-interval", ALL, take_expiry, "SECONDS",
         "how long the broker keeps the session, MQTT 5.0; -1: for ever"),
    FLAG(NULL, "--latency", RR, latency, "print how long the response took"),
    FLAG(NULL, "--message-rate", SUB, message_rate, "print how many messages came in each second, not the messages"),
    FLAG(NULL, "--nodelay", ALL, no_delay, "send small packets at once (always so)"),
    FLAG(NULL, "--pretty", SUB | RR, pretty, "JSON on several lines"),
    FLAG(NULL, "--quiet", ALL, quiet, "print no error messages"),
    REAL(NULL, "--random-filter", SUB, random_filter, "PERCENT", "print only so many of the messages, by chance"),
    FLAG(NULL, "--remove-retained", SUB, remove_retained, "make the broker forget each retained message that comes"),
    NUMBER(NULL, "--repeat", PUB, repeat, 1, INT32_MAX, "N", "publish it N times (not with -l)"),
    REAL(NULL, "--repeat-delay", PUB, repeat_delay_s, "SECONDS", "the pause between them (0)"),
    FLAG(NULL, "--retain-as-published", SUB, retain_as_published, "leave the retain flag as the publisher set it"),
    CALL(NULL, "--retain-handling", SUB, take_retain_handling, "WHEN", "retained messages: always, new or never"),
    FLAG(NULL, "--retained-only", SUB, retained_only, "only retained messages; end at the first that is not"),
    TEXT(NULL, "--unix", ALL, unix_path, "PATH", "connect to a UNIX socket"),
    TEXT(NULL, "--will-topic", ALL, will_topic, "TOPIC", "where the broker publishes the will"),
    TEXT(NULL, "--will-payload", ALL, will_payload, "TEXT", "the will's payload"),
    NUMBER(NULL, "--will-qos", ALL, will_qos, 0, 2, "N", "the will's quality of service"),
    FLAG(NULL, "--will-retain", ALL, will_retain, "the will is retained"),
    TEXT(NULL, "--store", PUB | SUB, store, "DIR", "keep messages and session in this directory (needs -i)"),
    FLAG(NULL, "--exactly-once", PUB | SUB, exactly_once, "each message exactly once: -q 2 -c -x -1, needs --store"),
    FLAG(NULL, "--stored", PUB, stored_is_enough, "with --store: end when all is on disk; a later run sends it"),
    FLAG(NULL, "--flush", PUB, flush, "with --store: publish nothing new, send what is stored"),
    FLAG(NULL, "--numbered", PUB, numbered, "with --store and -l: a line that an earlier run has taken is left out"),
    CALL(NULL, "--session-lost", PUB | SUB, take_session_lost, "WHAT",
         "when the broker has forgotten the session: hold, resend or drop what was on its way (hold)"),
    CALL(NULL, "--ack-cmd", SUB, take_ack_command, "COMMAND",
         "a message is done when this command has succeeded; it reads the payload from standard input"),
    NUMBER(NULL, "--ack-pause", SUB, ack_pause_ms, 0, 3600000, "MS", "pause before it is tried again (1000)"),
    CALL(NULL, "--ack", SUB, take_ack, "WHEN", "stdin: a message is done when a line comes on standard input"),
    CALL(NULL, "--trace", ALL, take_trace, NULL, "print each packet with its time to standard error"),
    CALL(NULL, "--trace=json", ALL, take_trace_json, NULL, "the same as lines of JSON"),
    FLAG(NULL, "--help", ALL, help, "print this"),
    FLAG(NULL, "--version", ALL, version, "print the version"),
    ABSENT("-S", "--srv", NULL),
    ABSENT(NULL, "--cafile", "FILE"),
    ABSENT(NULL, "--capath", "DIR"),
    ABSENT(NULL, "--cert", "FILE"),
    ABSENT(NULL, "--key", "FILE"),
    ABSENT(NULL, "--keyform", "WORD"),
    ABSENT(NULL, "--ciphers", "LIST"),
    ABSENT(NULL, "--tls-version", "VERSION"),
    ABSENT(NULL, "--tls-alpn", "PROTOCOL"),
    ABSENT(NULL, "--tls-engine", "ENGINE"),
    ABSENT(NULL, "--tls-engine-kpass-sha1", "HASH"),
    ABSENT(NULL, "--tls-use-os-certs", NULL),
    ABSENT(NULL, "--tls-keylog", "FILE"),
    ABSENT(NULL, "--insecure", NULL),
    ABSENT(NULL, "--psk", "KEY"),
    ABSENT(NULL, "--psk-identity", "NAME"),
    ABSENT(NULL, "--proxy", "URL"),
    ABSENT(NULL, "--ws", NULL),
};

#undef PUB
#undef SUB
#undef RR
#undef ALL

#define OPTION_ROWS (sizeof(option_rows) / sizeof(option_rows[0]))

static const struct option_row *option_find(enum tool_program program, const char *name) {
    for (size_t i = 0; i < OPTION_ROWS; i++) {
        const struct option_row *row = &option_rows[i];
        bool named = (row->short_name != NULL && strcmp(row->short_name, name) == 0) ||
                     (row->long_name != NULL && strcmp(row->long_name, name) == 0);
        if (named && (row->programs & program) != 0) {
            return row;
        }
    }
    return NULL;
}

size_t tool_option_values(enum tool_program program, const char *name) {
    const struct option_row *row = option_find(program, name);
    if (row == NULL || row->value == NULL) {
        return 0;
    }
    return row->call == take_property ? 3 : 1;
}

bool tool_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *value, struct error *error) {
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != 0 || errno != 0) {
        return error_set(error, ERROR_INVALID, 0, "%s needs a number, not \"%s\"", what, text);
    }
    if (number < min || number > max) {
        return error_set(error, ERROR_INVALID, 0, "%s must be between %llu and %llu, not %s", what,
                         (unsigned long long)min, (unsigned long long)max, text);
    }
    *value = number;
    return true;
}

static bool take_real(const struct option_row *row, const char *text, double *value, struct error *error) {
    char *end = NULL;
    errno = 0;
    *value = strtod(text, &end);
    if (text == end || *end != 0 || errno != 0 || !isfinite(*value) || *value < 0) {
        return error_set(error, ERROR_INVALID, 0, "%s needs a number that is not negative, not \"%s\"", row->long_name,
                         text);
    }
    return true;
}

void tool_strings_add(struct tool_strings *strings, const char *text) {
    strings->items = mem_resize(strings->items, (strings->count + 1) * sizeof *strings->items);
    strings->items[strings->count++] = text;
}

void tool_strings_unique(struct tool_strings *strings) {
    size_t kept = 0;
    for (size_t i = 0; i < strings->count; i++) {
        size_t same = 0;
        while (same < kept && strcmp(strings->items[same], strings->items[i]) != 0) {
            same++;
        }
        if (same == kept) {
            strings->items[kept++] = strings->items[i];
        }
    }
    strings->count = kept;
}

static bool take_row(struct tool_options *o, const struct option_row *row, const char *name,
                     struct option_values *values, struct error *error) {
    void *field = (char *)o + row->offset;
    switch (row->kind) {
    case OPTION_FLAG:
        *(bool *)field = true;
        return true;
    case OPTION_TEXT:
        *(const char **)field = values->texts[0];
        return true;
    case OPTION_NUMBER:
        return tool_number(name, values->texts[0], row->min, row->max, field, error);
    case OPTION_REAL:
        return take_real(row, values->texts[0], field, error);
    case OPTION_LIST:
        tool_strings_add(field, values->texts[0]);
        return true;
    case OPTION_CALL:
        return row->call(o, values, error);
    case OPTION_ABSENT:
        return error_set(error, ERROR_INVALID, 0,
                         "%s is not supported: only plain TCP and UNIX sockets are, without TLS, WebSocket and proxy",
                         name);
    }
    return false;
}

bool tool_option_take(struct tool_options *options, const char *name, const char *const *values, size_t count,
                      size_t *used, struct error *error) {
    const struct option_row *row = option_find(options->program, name);
    if (row == NULL) {
        return error_set(error, ERROR_INVALID, 0, "there is no option \"%s\"; --help lists them", name);
    }
    struct option_values taken = {.texts = values, .count = count, .used = row->value == NULL ? 0 : 1};
    if (count < taken.used) {
        return error_set(error, ERROR_INVALID, 0, "%s needs a value: %s", name, row->value);
    }
    bool good = take_row(options, row, name, &taken, error);
    *used = taken.used;
    return good;
}

static bool take_arguments(struct tool_options *options, int argc, char **argv, struct error *error) {
    for (int i = 1; i < argc;) {
        size_t used = 0;
        if (!tool_option_take(options, argv[i], (const char *const *)&argv[i + 1], (size_t)(argc - i - 1), &used,
                              error)) {
            return false;
        }
        i += 1 + (int)used;
    }
    return true;
}

/* -o is looked for before anything is read, for what it names comes before all arguments; NULL when it is not given. */
static const char *named_file(enum tool_program program, int argc, char **argv) {
    for (int i = 1; i + 1 < argc;) {
        if (strcmp(argv[i], "-o") == 0) {
            return argv[i + 1];
        }
        size_t values = tool_option_values(program, argv[i]);
        bool pair = values == 3 && i + 2 < argc && tool_property_is_pair(argv[i + 2]);
        i += 1 + (int)values + (pair ? 1 : 0);
    }
    return NULL;
}

bool tool_options_parse(struct tool_options *options, enum tool_program program, const char *config_file, int argc,
                        char **argv, struct error *error) {
    *options = (struct tool_options){
        .program = program,
        .keep_alive_s = 60,
        .session_expiry_s = TOOL_UNSET,
        .repeat = 1,
        .random_filter = 100,
        .ack_pause_ms = 1000,
    };
    const char *named = named_file(program, argc, argv);
    const char *file = named != NULL ? named : config_file;
    if (file != NULL && !tool_config_load(options, file, named != NULL, error)) {
        return false;
    }
    return take_arguments(options, argc, argv, error) &&
           (options->help || options->version || tool_options_check(options, error));
}

void tool_options_deinit(struct tool_options *options) {
    for (size_t i = 0; i < TOOL_COMMANDS; i++) {
        tool_properties_deinit(&options->properties[i]);
    }
    for (size_t i = 0; i < sizeof options->texts / sizeof options->texts[0]; i++) {
        buf_deinit(&options->texts[i]);
    }
    mem_free(options->topics.items);
    mem_free(options->filters_out.items);
    mem_free(options->unsubscribe.items);
}

static void print_row(FILE *out, const struct option_row *row) {
    char left[80];
    bool both = row->short_name != NULL && row->long_name != NULL;
    const char *value = row->value == NULL ? "" : row->value;
    (void)snprintf(left, sizeof left, "%s%s%s%s%s", row->short_name == NULL ? "    " : row->short_name,
                   both ? ", " : "", row->long_name == NULL ? "" : row->long_name, *value == 0 ? "" : " ", value);
    (void)fprintf(out, "  %-40s %s\n", left, row->doc);
}

void tool_options_help(FILE *out, enum tool_program program) {
    for (size_t i = 0; i < OPTION_ROWS; i++) {
        if ((option_rows[i].programs & program) != 0 && option_rows[i].doc != NULL) {
            print_row(out, &option_rows[i]);
        }
    }
    (void)fputs("\nTLS, WebSocket and proxy options are known but refused: only TCP and UNIX sockets are there.\n"
                "Options also come from $XDG_CONFIG_HOME/mosquitto_",
                out);
    (void)fprintf(out, "%s or ~/.config/mosquitto_%s, one a line.\n", tool_program_name(program),
                  tool_program_name(program));
}

const char *tool_program_name(enum tool_program program) {
    return program == TOOL_PUB ? "pub" : program == TOOL_SUB ? "sub" : "rr";
}

int tool_protocol(const struct tool_options *options) {
    if (options->protocol != 0) {
        return (int)options->protocol;
    }
    return options->program == TOOL_RR || options->store != NULL ? 5 : 4;
}
