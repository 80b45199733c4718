/* What `quartet pub`, `sub` and `rr` shall do: their flags as values.
 *
 * The flags are those of mosquitto_pub, mosquitto_sub and mosquitto_rr, and some of ours. One row for each drives
 * parsing, bounds, the configuration file and the help. Knows nothing of the network; the only file it opens is the
 * configuration file. Strings of the arguments are borrowed for the life of the options. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/error.h"
#include "tool/property.h"

enum tool_program {
    TOOL_PUB = 1,
    TOOL_SUB = 2,
    TOOL_RR = 4,
};
#define TOOL_ALL (TOOL_PUB | TOOL_SUB | TOOL_RR)

/* Where the payload of what is published comes from. */
enum tool_payload {
    TOOL_PAYLOAD_NONE = 0,
    TOOL_PAYLOAD_TEXT,  /* -m */
    TOOL_PAYLOAD_EMPTY, /* -n */
    TOOL_PAYLOAD_FILE,  /* -f */
    TOOL_PAYLOAD_INPUT, /* -s: all of standard input is one message */
    TOOL_PAYLOAD_LINES, /* -l: each of its lines is one */
};

/* When a received message is done. */
enum tool_ack {
    TOOL_ACK_PRINTED = 0, /* it is written to standard output */
    TOOL_ACK_COMMAND,     /* a command has succeeded */
    TOOL_ACK_INPUT,       /* a line has come on standard input */
};

enum tool_trace { TOOL_TRACE_NONE = 0, TOOL_TRACE_TEXT, TOOL_TRACE_JSON };

/* Strings in the order in which they were given. */
struct tool_strings {
    const char **items;
    size_t count;
};

#define TOOL_UNSET UINT64_MAX
#define TOOL_NEVER UINT32_MAX /* a session expiry interval */

struct tool_options {
    enum tool_program program;

    /* where and as whom */
    const char *host;
    const char *unix_path;
    uint64_t port;
    const char *bind_address;
    const char *client_id;
    const char *id_prefix;
    const char *username;
    const char *password;
    uint64_t keep_alive_s;
    uint64_t protocol; /* 5 or 4; 0: the program's own */
    bool keep_session;
    uint64_t session_expiry_s; /* TOOL_UNSET: as keep_session says */
    uint64_t send_window;      /* 0: as the library has it */
    const char *will_topic;
    const char *will_payload;
    uint64_t will_qos;
    bool will_retain;
    struct tool_properties properties[TOOL_COMMANDS];

    /* what is asked for or sent */
    struct tool_strings topics;
    struct tool_strings filters_out;
    struct tool_strings unsubscribe;
    uint64_t qos;
    bool retain;
    const char *response_topic;
    uint64_t payload; /* enum tool_payload */
    const char *payload_text;
    const char *payload_file;
    uint64_t repeat;
    double repeat_delay_s;
    bool no_retained;
    bool retained_only;
    bool remove_retained;
    bool retain_as_published;
    uint64_t retain_handling;
    double random_filter; /* percent */

    /* what is printed, and when it ends */
    const char *format;
    bool verbose;
    bool no_eol;
    bool pretty;
    bool watch;
    bool message_rate;
    bool latency;
    uint64_t message_count; /* 0: no end */
    uint64_t timeout_s;     /* 0: none */
    bool exit_on_suback;
    bool debug;
    bool quiet;
    uint64_t trace; /* enum tool_trace */

    /* exactly once */
    const char *store;
    bool exactly_once;
    uint64_t ack; /* enum tool_ack */
    const char *ack_command;
    uint64_t ack_pause_ms; /* before a command that failed is run again */
    bool stored_is_enough;
    bool numbered;         /* the number of a line is the sequence of its message */
    uint64_t session_lost; /* enum quartet_lost_policy */
    bool flush;

    bool no_delay; /* what the library does anyway */
    bool help;
    bool version;

    /* owned */
    struct buf texts[3];     /* of the configuration file, the URL and the client id */
    const char *config_file; /* -o */
};

enum { TOOL_TEXT_CONFIG = 0, TOOL_TEXT_URL, TOOL_TEXT_ID };

/* Reads the configuration file (NULL: none; one that is not there is none), or the one that -o names, and then the
 * arguments after argv[0]; fills in defaults and checks. False with a sentence for the person who typed them. In either
 * case tool_options_deinit(). */
bool tool_options_parse(struct tool_options *options, enum tool_program program, const char *config_file, int argc,
                        char **argv, struct error *error);
void tool_options_deinit(struct tool_options *options);
/* Prints one line for each flag of the program. */
void tool_options_help(FILE *out, enum tool_program program);
/* "pub", "sub", "rr". */
const char *tool_program_name(enum tool_program program);

/* What is published to: the last of the topics. */
static inline const char *tool_publish_topic(const struct tool_options *options) {
    return options->topics.items[options->topics.count - 1];
}

/* The version of MQTT that will be spoken. */
int tool_protocol(const struct tool_options *options);

/* Takes the options of a file, one a line, as if they stood before the arguments. A file that is not there, or not for
 * us to read, is none, unless it is needed. */
bool tool_config_load(struct tool_options *options, const char *path, bool needed, struct error *error);
/* $XDG_CONFIG_HOME/mosquitto_PROGRAM or else $HOME/.config/mosquitto_PROGRAM; appends the path with its zero, nothing
 * when neither is set. */
void tool_config_path(struct buf *path, enum tool_program program);

/* One option with its values, as the arguments or a line of the file have it. `values` are those that follow; *used
 * says how many of them belong to the option. */
bool tool_option_take(struct tool_options *options, const char *name, const char *const *values, size_t count,
                      size_t *used, struct error *error);
/* How many values the option takes at least; for a name that is none, 0. */
size_t tool_option_values(enum tool_program program, const char *name);

/* -L: takes mqtt://[user[:password]@]host[:port]/topic apart. */
bool tool_url_take(struct tool_options *options, const char *url, struct error *error);

/* What must hold between the options; and the defaults that follow from others. */
bool tool_options_check(struct tool_options *options, struct error *error);

void tool_strings_add(struct tool_strings *strings, const char *text);
/* Leaves each text once, where it first stood. */
void tool_strings_unique(struct tool_strings *strings);
/* A decimal number within bounds; false with a sentence that names `what`. */
bool tool_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *value, struct error *error);
