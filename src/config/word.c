#include "config/word.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/must.h"
#include "config/value.h"

/* What one handler needs. */
struct word {
    struct config *config;
    const struct place *place;
    const char *name;
    struct span value;
    struct config_report *report;
};

/* The first word of `rest`, which moves behind it and the blanks that follow. */
static struct span word_take(struct span *rest) {
    size_t len = 0;
    while (len < rest->len && rest->ptr[len] != ' ' && rest->ptr[len] != '\t') {
        len++;
    }
    struct span first = {rest->ptr, len};
    while (len < rest->len && (rest->ptr[len] == ' ' || rest->ptr[len] == '\t')) {
        len++;
    }
    *rest = span_skip(*rest, len);
    return first;
}

/* Options about a listener are about the one named last, or about the default one. */
static struct config_listener *word_listener(struct config *config) {
    return config->listener_count > 0 ? &config->listeners[config->listener_count - 1] : &config->default_listener;
}

static char *word_origin(const struct place *place) {
    char text[300];
    int len = place->line > 0 ? snprintf(text, sizeof text, "%.255s:%u", place->name, place->line)
                              : snprintf(text, sizeof text, "%.255s", place->name);
    return mem_copy(text, (size_t)len);
}

static void text_replace(char **text, struct span value) {
    mem_free(*text);
    *text = mem_copy(value.ptr, value.len);
}

static bool word_port(const struct word *w, struct span text, uint16_t *port) {
    uint64_t number;
    if (!value_count(text, &number) || number > 65535) {
        problem_error(w->report, w->place, "%s: \"%s\" is not a port from 0 to 65535", w->name, shown(text).text);
        return false;
    }
    *port = (uint16_t)number;
    return true;
}

/* A host name has no slash. What begins with @ is no path, but the name of a socket all the same. */
static bool word_is_path(struct span where) {
    return where.len > 0 && (memchr(where.ptr, '/', where.len) != NULL || where.ptr[0] == '@');
}

static bool word_has_blank(struct span text) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] == 0x7f) {
            return true;
        }
    }
    return false;
}

static bool word_path_fits(const struct word *w, uint16_t port, struct span path) {
    const struct shown seen = shown(path);
    if (path.ptr[0] == '@') {
        problem_error(w->report, w->place,
                      "%s: \"%s\" is an abstract name, which every user could connect to; give a path", w->name,
                      seen.text);
    } else if (port != 0) {
        problem_error(w->report, w->place, "%s: a UNIX socket has no port; write `listener 0 %s`", w->name, seen.text);
    } else if (path.len > CONFIG_PATH_BYTES_MAX) {
        problem_error(w->report, w->place, "%s: \"%s\" has %zu bytes, and the path of a UNIX socket may have %d",
                      w->name, seen.text, path.len, CONFIG_PATH_BYTES_MAX);
    } else if (word_has_blank(path)) {
        problem_error(w->report, w->place, "%s: \"%s\" is not a path: it has a blank", w->name, seen.text);
    } else {
        return true;
    }
    return false;
}

static bool word_address_fits(const struct word *w, struct span address) {
    if (address.len > 255 || memchr(address.ptr, ' ', address.len) != NULL) {
        problem_error(w->report, w->place, "%s: \"%s\" is not an address", w->name, shown(address).text);
        return false;
    }
    return true;
}

static void set_listener(const struct word *w) {
    struct span where = w->value;
    struct span port = word_take(&where);
    struct config_listener l = {0};
    bool local = word_is_path(where);
    if (!word_port(w, port, &l.port) ||
        !(local ? word_path_fits(w, l.port, where) : where.len == 0 || word_address_fits(w, where))) {
        return;
    }
    if (w->config->listener_count == CONFIG_LISTENERS_MAX) {
        problem_error(w->report, w->place, "more than %d listeners", CONFIG_LISTENERS_MAX);
        return;
    }
    if (where.len > 0) {
        *(local ? &l.path : &l.address) = mem_copy(where.ptr, where.len);
    }
    l.origin = word_origin(w->place);
    w->config->listeners[w->config->listener_count++] = l;
}

static void default_listener_given(const struct word *w) {
    w->config->default_listener_given = true;
    mem_free(w->config->default_listener.origin);
    w->config->default_listener.origin = word_origin(w->place);
}

static void set_port(const struct word *w) {
    if (word_port(w, w->value, &w->config->default_listener.port)) {
        default_listener_given(w);
    }
}

static void set_bind_address(const struct word *w) {
    if (word_is_path(w->value)) {
        problem_error(w->report, w->place, "%s: \"%s\" is not an address; write `listener 0 PATH` for a UNIX socket",
                      w->name, shown(w->value).text);
    } else if (word_address_fits(w, w->value)) {
        text_replace(&w->config->default_listener.address, w->value);
        default_listener_given(w);
    }
}

static void set_socket_domain(const struct word *w) {
    struct config_listener *l = word_listener(w->config);
    bool local = span_equal(w->value, SPAN("unix"));
    uint8_t family = span_equal(w->value, SPAN("ipv4")) ? 4 : span_equal(w->value, SPAN("ipv6")) ? 6 : 0;
    if (family == 0 && !local) {
        problem_error(w->report, w->place, "socket_domain: \"%s\" is none of ipv4, ipv6, unix", shown(w->value).text);
    } else if (l->path != NULL) {
        problem_warning(w->report, w->place, "socket_domain has no effect: the listener above is a UNIX socket");
    } else if (local) {
        problem_error(w->report, w->place, "socket_domain: a UNIX socket needs a path; write `listener 0 PATH`");
    } else {
        l->family = family;
    }
}

static void set_protocol(const struct word *w) {
    if (span_equal(w->value, SPAN("websockets"))) {
        problem_error(w->report, w->place, "protocol: WebSocket listeners come later");
    } else if (!span_equal(w->value, SPAN("mqtt"))) {
        problem_error(w->report, w->place, "protocol: \"%s\" is not mqtt", shown(w->value).text);
    }
}

static void set_max_connections(const struct word *w) {
    uint64_t number = 0;
    if (!span_equal(w->value, SPAN("-1")) && (!value_count(w->value, &number) || number < 1 || number > 10000000)) {
        problem_error(w->report, w->place, "max_connections: \"%s\" is neither -1 nor a number from 1 to 10000000",
                      shown(w->value).text);
        return;
    }
    word_listener(w->config)->max_connections = (uint32_t)number;
}

static void set_log_file(const struct word *w, struct span path) {
    if (path.len == 0) {
        problem_error(w->report, w->place, "log_dest: file needs a path");
        return;
    }
    text_replace(&w->config->log_file, path);
    w->config->log_dests |= CONFIG_LOG_FILE;
}

static void set_log_dest(const struct word *w) {
    static const struct {
        const char *name;
        unsigned bit;
    } dests[] = {{"stderr", CONFIG_LOG_STDERR}, {"stdout", CONFIG_LOG_STDOUT}, {"syslog", CONFIG_LOG_SYSLOG}};
    struct config *config = w->config;
    struct span rest = w->value;
    struct span dest = word_take(&rest);
    if (!config->log_dests_given) {
        config->log_dests = 0;
        config->log_dests_given = true;
    }
    if (span_equal(dest, SPAN("file"))) {
        set_log_file(w, rest);
        return;
    }
    for (size_t i = 0; i < sizeof dests / sizeof *dests && rest.len == 0; i++) {
        if (span_equal(dest, span_str(dests[i].name))) {
            config->log_dests |= dests[i].bit;
            return;
        }
    }
    if (span_equal(w->value, SPAN("none"))) {
        config->log_dests = 0;
    } else if (span_equal(w->value, SPAN("topic")) || span_equal(w->value, SPAN("dlt"))) {
        problem_warning(w->report, w->place, "log_dest: %s is not supported and is left out", shown(w->value).text);
    } else {
        problem_error(w->report, w->place, "log_dest: \"%s\" is none of stderr, stdout, syslog, file PATH, none",
                      shown(w->value).text);
    }
}

static void set_log_type(const struct word *w) {
    static const struct {
        const char *name;
        unsigned bits;
    } types[] = {
        {"error", CONFIG_LOG_ERROR},
        {"warning", CONFIG_LOG_WARNING},
        {"notice", CONFIG_LOG_NOTICE},
        {"information", CONFIG_LOG_INFORMATION},
        {"debug", CONFIG_LOG_DEBUG},
        {"all", CONFIG_LOG_ALL},
        {"subscribe", CONFIG_LOG_INFORMATION},
        {"unsubscribe", CONFIG_LOG_INFORMATION},
        {"websockets", 0},
    };
    struct config *config = w->config;
    if (!config->log_types_given) {
        config->log_types = 0;
        config->log_types_given = true;
    }
    if (span_equal(w->value, SPAN("none"))) {
        config->log_types = 0;
        return;
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (span_equal(w->value, span_str(types[i].name))) {
            config->log_types |= types[i].bits;
            return;
        }
    }
    problem_error(w->report, w->place,
                  "log_type: \"%s\" is none of error, warning, notice, information, debug, all, none",
                  shown(w->value).text);
}

static void set_max_queued_policy(const struct word *w) {
    bool refuses = span_equal(w->value, SPAN("refuse"));
    if (!refuses && !span_equal(w->value, SPAN("end-session"))) {
        problem_error(w->report, w->place, "max_queued_policy: \"%s\" is neither end-session nor refuse",
                      shown(w->value).text);
        return;
    }
    w->config->queue_refuses = refuses;
}

static void set_data(const struct word *w) {
    text_replace(&w->config->persistence_location, w->value);
}

static void set_include_dir(const struct word *w) {
    problem_error(w->report, w->place, "include_dir: only the main configuration file may include others");
}

void word_set(struct config *config, const struct place *place, const char *name, struct span value,
              struct config_report *report) {
    static const struct {
        const char *name;
        void (*set)(const struct word *w);
    } handlers[] = {
#define WORD_HANDLER(option, shape, text) {#option, set_##option},
        CONFIG_WORD_ROWS(WORD_HANDLER)
#undef WORD_HANDLER
    };
    const struct word w = {config, place, name, value, report};
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        if (strcmp(name, handlers[i].name) == 0) {
            handlers[i].set(&w);
            return;
        }
    }
    must_fail("every word option has a handler", __FILE__, __LINE__, __func__);
}
