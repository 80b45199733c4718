#include "torture/options.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define UNSET UINT64_MAX

enum flag_kind { FLAG_SWITCH = 0, FLAG_TEXT, FLAG_NUMBER, FLAG_PROTOCOL };

struct flag {
    const char *name;
    enum flag_kind kind;
    size_t offset;
    uint64_t max;
    const char *value; /* what the help shows for it */
    const char *text;
};

#define FIELD(name) offsetof(struct torture_options, name)

static const struct flag flags[] = {
    {"--host", FLAG_TEXT, FIELD(host), 0, "NAME", "the broker's name or address (127.0.0.1)"},
    {"--port", FLAG_NUMBER, FIELD(port), 65535, "N", "its port (1883; with --broker a free one)"},
    {"--username", FLAG_TEXT, FIELD(username), 0, "NAME", "what the clients call themselves to the broker (nothing)"},
    {"--password", FLAG_TEXT, FIELD(password), 0, "TEXT", "their password (none)"},
    {"--broker", FLAG_TEXT, FIELD(broker), 0, "COMMAND",
     "start this broker, kill it and start it again; {port} and {data}, or $PORT and $DATA, are filled in"},
    {"--data", FLAG_TEXT, FIELD(data), 0, "DIR", "the directory for {data} (a new one, removed at the end)"},
    {"--data-image", FLAG_TEXT, FIELD(data_image), 0, "FILE",
     "put {data} on an ext4 file system in this file and cut its power, too (root)"},
    {"--messages", FLAG_NUMBER, FIELD(messages), 100000000, "N", "messages in all (40 for each run)"},
    {"--cuts", FLAG_NUMBER, FIELD(cuts), 100000000, "N", "runs with a cut connection (each row once)"},
    {"--kills", FLAG_NUMBER, FIELD(kills), 1000000, "N", "SIGKILLs (12; needs --broker)"},
    {"--power-cuts", FLAG_NUMBER, FIELD(power_cuts), 1000000, "N", "power cuts (12; needs --data-image)"},
    {"--seed", FLAG_NUMBER, FIELD(seed), UINT64_MAX - 1, "N", "the schedule of faults (drawn and printed)"},
    {"--window", FLAG_NUMBER, FIELD(window), 1000, "N", "messages in flight from each publisher (8)"},
    {"--protocol", FLAG_PROTOCOL, FIELD(protocol), 0, "3.1.1|5|both", "MQTT version (3.1.1)"},
    {"--publishers", FLAG_NUMBER, FIELD(publishers), 100, "N", "publishers side by side, each in a run of its own (4)"},
    {"--subscribers", FLAG_NUMBER, FIELD(subscribers), 16, "N", "durable subscribers of each publisher (1)"},
    {"--mix-cuts", FLAG_NUMBER, FIELD(mix_cuts), 100000, "N", "cuts in each run of the row mix (20)"},
    {"--patience", FLAG_NUMBER, FIELD(patience_ms), 600000, "MS",
     "milliseconds without a packet after which what is missing counts as missing (1500)"},
    {"--only", FLAG_TEXT, FIELD(only), 0, "WORD", "only the rows of --list whose names contain WORD"},
    {"--list", FLAG_SWITCH, FIELD(list), 0, "", "print the catalogue of faults and end"},
    {"--json", FLAG_SWITCH, FIELD(json), 0, "", "print the report as JSON"},
    {"--trace", FLAG_SWITCH, FIELD(trace), 0, "", "print every trace that is kept, not the shortest alone"},
    {"--progress", FLAG_SWITCH, FIELD(progress), 0, "",
     "print a line each second even if standard error is no terminal"},
    {"--help", FLAG_SWITCH, FIELD(help), 0, "", "print this"},
};

#define FLAGS (sizeof(flags) / sizeof(flags[0]))

static bool read_number(const struct flag *flag, const char *text, uint64_t *value, struct error *error) {
    char *end = NULL;
    errno = 0;
    *value = strtoull(text, &end, 0);
    if (end == text || *end != 0 || errno != 0 || text[0] == '-' || *value > flag->max) {
        return error_set(error, ERROR_INVALID, 0, "%s takes a number up to %llu, not \"%s\"", flag->name,
                         (unsigned long long)flag->max, text);
    }
    return true;
}

static bool read_protocol(const char *text, uint64_t *value, struct error *error) {
    static const char *const words[] = {"3.1.1", "5", "both"};
    for (*value = 0; *value <= TORTURE_BOTH; ++*value) {
        if (strcmp(words[*value], text) == 0) {
            return true;
        }
    }
    return error_set(error, ERROR_INVALID, 0, "--protocol is 3.1.1, 5 or both, not \"%s\"", text);
}

static bool read_value(const struct flag *flag, const char *text, struct torture_options *o, struct error *error) {
    char *field = (char *)o + flag->offset;
    if (text == NULL) {
        return error_set(error, ERROR_INVALID, 0, "%s wants a value after it", flag->name);
    }
    if (flag->kind == FLAG_TEXT) {
        memcpy(field, &text, sizeof(text));
        return true;
    }
    uint64_t value = 0;
    bool good = flag->kind == FLAG_NUMBER ? read_number(flag, text, &value, error) : read_protocol(text, &value, error);
    memcpy(field, &value, sizeof(value));
    return good;
}

static const struct flag *flag_of(const char *name) {
    for (size_t i = 0; i < FLAGS; i++) {
        if (strcmp(flags[i].name, name) == 0) {
            return &flags[i];
        }
    }
    return NULL;
}

static void fill_in(struct torture_options *o) {
    uint64_t *const fields[] = {&o->port, &o->kills, &o->power_cuts, &o->cuts};
    const uint64_t values[] = {o->broker != NULL ? 0 : 1883, o->broker != NULL ? 12 : 0, o->data_image != NULL ? 12 : 0,
                               UNSET};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (*fields[i] == UNSET) {
            *fields[i] = values[i];
        }
    }
}

static bool sensible(const struct torture_options *o, struct error *error) {
    if (o->password != NULL && o->username == NULL) {
        return error_set(error, ERROR_INVALID, 0, "--password needs --username, as 3.1.1 does");
    }
    if (o->broker == NULL && (o->kills > 0 || o->data != NULL || o->data_image != NULL)) {
        return error_set(error, ERROR_INVALID, 0, "--kills, --data and --data-image need --broker");
    }
    if (o->data_image != NULL && o->data != NULL) {
        return error_set(error, ERROR_INVALID, 0, "--data and --data-image exclude each other");
    }
    if (o->power_cuts > 0 && o->data_image == NULL) {
        return error_set(error, ERROR_INVALID, 0, "--power-cuts needs --data-image");
    }
    if (o->publishers == 0 || o->subscribers == 0 || o->window == 0 || (o->port == 0 && o->broker == NULL) ||
        o->patience_ms == 0) {
        return error_set(error, ERROR_INVALID, 0,
                         "--publishers, --subscribers, --window, --port and --patience are at least 1");
    }
    return true;
}

bool torture_options_parse(int argc, char **argv, struct torture_options *o, struct error *error) {
    *o = (struct torture_options){.host = "127.0.0.1",
                                  .port = UNSET,
                                  .kills = UNSET,
                                  .cuts = UNSET,
                                  .power_cuts = UNSET,
                                  .seed = UNSET,
                                  .window = 8,
                                  .publishers = 4,
                                  .subscribers = 1,
                                  .mix_cuts = 20,
                                  .patience_ms = 1500};
    for (int i = 1; i < argc; i++) {
        const struct flag *flag = flag_of(argv[i]);
        if (flag == NULL) {
            return error_set(error, ERROR_INVALID, 0, "%s is no flag of this command; see --help", argv[i]);
        }
        if (flag->kind == FLAG_SWITCH) {
            const bool on = true;
            memcpy((char *)o + flag->offset, &on, sizeof(on));
        } else if (!read_value(flag, argv[++i], o, error)) {
            return false;
        }
    }
    o->seed_given = o->seed != UNSET;
    fill_in(o);
    return o->help || o->list || sensible(o, error);
}

void torture_options_help(FILE *out) {
    (void)fputs("quartet torture [flags]: exactly-once trials of any MQTT broker, judged by the recorded wire\n\n",
                out);
    for (size_t i = 0; i < FLAGS; i++) {
        char head[48];
        (void)snprintf(head, sizeof(head), "%s %s", flags[i].name, flags[i].value);
        (void)fprintf(out, "  %-26s %s\n", head, flags[i].text);
    }
    (void)fputs(
        "\nExit status: 0 clean; 1 could not be finished; 2 wrong flags; 3 something was found.\n"
        "The same flags with the same seed give the same schedule of faults. What the broker and the kernel do\n"
        "meanwhile is theirs: a race may need several runs.\n",
        out);
}
