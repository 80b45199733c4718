#include "tool/loop.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/must.h"
#include "packet/reason.h"

enum {
    MORE_MAX = 4,
    WRITE_BYTES = 4096,                          /* what a pipe takes at once when it takes anything */
    PACKET_BYTES_MAX = 268435460,                /* the longest of MQTT */
    OUTBOX_BYTES = PACKET_BYTES_MAX + (1 << 20), /* without a store: has room for the longest message */
};

/* ---- errors ---- */

/* What the library advises a programmer means nothing to somebody with a command line. */
static const char *advice_of(int error) {
    static const struct {
        int error;
        const char *text;
    } rows[] = {
        {QUARTET_FULL, "start the broker, or take less at once"},
        {QUARTET_STORE_LOCKED, "end it, or use another --store"},
        {QUARTET_STORE_DAMAGED, "see `quartet store check DIR`"},
        {QUARTET_STORE_FORMAT, "use another --store, or the version that wrote it"},
        {QUARTET_STORE_FULL, "make room, then run it again"},
        {QUARTET_STORE_FAILED, "what was acknowledged is safe, but the disk is not to be trusted"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].error == error) {
            return rows[i].text;
        }
    }
    return NULL;
}

int tool_exit_of(int error) {
    static const struct {
        int error;
        int exit;
    } rows[] = {
        {QUARTET_OK, TOOL_EXIT_OK},
        {QUARTET_INVALID, TOOL_EXIT_INVALID},
        {QUARTET_UNSAFE, TOOL_EXIT_INVALID},
        {QUARTET_TIMEOUT, TOOL_EXIT_TIMEOUT},
        {QUARTET_PROTOCOL, TOOL_EXIT_PROTOCOL},
        {QUARTET_SYSTEM, TOOL_EXIT_SYSTEM},
        {QUARTET_STORE_LOCKED, TOOL_EXIT_SYSTEM},
        {QUARTET_STORE_DAMAGED, TOOL_EXIT_SYSTEM},
        {QUARTET_STORE_FORMAT, TOOL_EXIT_SYSTEM},
        {QUARTET_STORE_FULL, TOOL_EXIT_SYSTEM},
        {QUARTET_STORE_FAILED, TOOL_EXIT_SYSTEM},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].error == error) {
            return rows[i].exit;
        }
    }
    return TOOL_EXIT_FAILED;
}

void tool_loop_say(const struct tool_loop *s, const char *format, ...) {
    va_list arguments;
    if (s->options->quiet) {
        return;
    }
    (void)fprintf(stderr, "quartet %s: ", tool_program_name(s->options->program));
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
}

void tool_loop_end(struct tool_loop *s, int status) {
    if (!s->ended) {
        s->ended = true;
        s->status = status;
    }
}

void tool_loop_fail(struct tool_loop *s, const char *what, int error) {
    const char *last = quartet_last_error();
    const char *advice = advice_of(error);
    tool_loop_say(s, "%s: %s%s%s", what, *last != 0 ? last : quartet_error_text(error), advice == NULL ? "" : "; ",
                  advice == NULL ? "" : advice);
    tool_loop_end(s, tool_exit_of(error));
}

int64_t tool_loop_now_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- callbacks of the library ---- */

/* Whether a connection that cannot be made, or was lost, is tried again. */
static bool goes_on(const struct tool_loop *s) {
    return s->options->store != NULL || (s->was_connected && s->reconnects);
}

/* Whether a broker that says so may take us again when we ask later. */
static bool is_passing(int protocol, uint8_t reason) {
    static const uint8_t reasons[] = {
        REASON_UNSPECIFIED_ERROR,        REASON_IMPLEMENTATION_SPECIFIC_ERROR,
        REASON_SERVER_UNAVAILABLE,       REASON_SERVER_BUSY,
        REASON_SERVER_SHUTTING_DOWN,     REASON_KEEP_ALIVE_TIMEOUT,
        REASON_MESSAGE_RATE_TOO_HIGH,    REASON_QUOTA_EXCEEDED,
        REASON_CONNECTION_RATE_EXCEEDED, REASON_MAXIMUM_CONNECT_TIME,
    };
    return protocol == 4 ? reason == 3 : memchr(reasons, reason, sizeof reasons) != NULL;
}

/* A broker that goes away in order, or with a store one that has no time yet, is as one that is not there. */
static bool is_refused(const struct tool_loop *s, const struct quartet_event *e) {
    bool waits = (s->connected || s->options->store != NULL) && goes_on(s) && is_passing(e->protocol, e->reason);
    return e->error == QUARTET_REFUSED && e->reason != 0 && (e->final || !waits);
}

static void lost(struct tool_loop *s, const struct quartet_event *e) {
    if (is_refused(s, e)) {
        tool_loop_say(s, "%s %s the connection: %s", e->server, s->connected ? "ended" : "refused",
                      quartet_reason_name(e->protocol, e->reason));
        tool_loop_end(s, e->reason);
    } else if (e->final || !goes_on(s)) {
        bool cut = e->error == QUARTET_NETWORK && s->was_connected;
        tool_loop_say(s, "%s: %s", e->server, *e->text != 0 ? e->text : quartet_error_text(e->error));
        tool_loop_end(s, e->error == QUARTET_OK ? s->status : cut ? TOOL_EXIT_LOST : tool_exit_of(e->error));
    } else {
        tool_loop_say(s, "%s: %s; trying again", e->server, *e->text != 0 ? e->text : quartet_error_text(e->error));
    }
}

static int64_t end_of_time(const struct tool_loop *s) {
    return s->options->timeout_s == 0 ? -1 : tool_loop_now_ms() + (int64_t)s->options->timeout_s * 1000;
}

/* The time of -W begins with the connection; with a store, where a broker is waited for, with the program. */
static void start_the_time(struct tool_loop *s) {
    if (!s->was_connected && s->options->store == NULL) {
        s->deadline_ms = end_of_time(s);
    }
}

static void hear_event(struct quartet *q, const struct quartet_event *e, void *user) {
    struct tool_loop *s = user;
    (void)q;
    if (s->ended && e->kind != QUARTET_EVENT_PACKET) {
        return;
    }
    switch (e->kind) {
    case QUARTET_EVENT_PACKET:
        tool_trace_packet(s, e);
        return;
    case QUARTET_EVENT_CONNECTED:
        start_the_time(s);
        s->was_connected = s->connected = true;
        break;
    case QUARTET_EVENT_DISCONNECTED:
        lost(s, e);
        s->connected = false;
        break;
    case QUARTET_EVENT_SESSION_LOST:
        if (s->options->session_lost == QUARTET_LOST_HOLD) {
            tool_loop_say(s,
                          "the broker has forgotten the session while %llu messages were on their way: run again with "
                          "--session-lost resend (some may arrive twice) or drop (some may be lost)",
                          (unsigned long long)e->count);
            tool_loop_end(s, TOOL_EXIT_FAILED);
        }
        break;
    case QUARTET_EVENT_STORE_FAILED:
        tool_loop_say(s, "the store has failed: %s", e->text);
        tool_loop_end(s, tool_exit_of(e->error));
        break;
    case QUARTET_EVENT_STORED:
    case QUARTET_EVENT_PUBLISHED:
    case QUARTET_EVENT_SUBSCRIBED:
    case QUARTET_EVENT_UNSUBSCRIBED:
        break;
    }
    if (s->on_event != NULL && !s->ended) {
        s->on_event(s, e);
    }
}

static void hear_message(struct quartet *q, struct quartet_message *m, void *user) {
    struct tool_loop *s = user;
    (void)q;
    if (!s->ended) {
        s->on_message(s, m);
    } else if (s->options->ack == TOOL_ACK_PRINTED) {
        /* Not printed, so not done: the next run of this store gets it. */
        quartet_message_free(quartet_message_keep(m));
    }
}

/* ---- opening ---- */

static void write_server(struct buf *server, const struct tool_options *o) {
    char port[16];
    if (o->unix_path != NULL) {
        char folder[PATH_MAX] = "";
        buf_bytes(server, SPAN("unix://"));
        if (o->unix_path[0] != '/' && getcwd(folder, sizeof folder) != NULL) {
            buf_bytes(server, span_str(folder));
            buf_u8(server, '/');
        }
        buf_bytes(server, span_str(o->unix_path));
        buf_u8(server, 0);
        return;
    }
    const char *host = o->host == NULL ? "localhost" : o->host;
    bool literal = strchr(host, ':') != NULL; /* of IPv6 */
    buf_bytes(server, SPAN("mqtt://"));
    buf_bytes(server, literal ? SPAN("[") : SPAN(""));
    buf_bytes(server, span_str(host));
    buf_bytes(server, literal ? SPAN("]:") : SPAN(":"));
    (void)snprintf(port, sizeof port, "%u", o->port == 0 ? 1883 : (unsigned)o->port);
    buf_bytes(server, span_str(port));
    buf_u8(server, 0);
}

/* -A may be a name; of several addresses IPv4's comes first. False, and the program ends, when it is none. */
static bool find_bind_address(struct tool_loop *s, char *text, size_t size) {
    const char *name = s->options->bind_address;
    struct addrinfo *found = NULL;
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    int code = getaddrinfo(name, NULL, &hints, &found);
    if (code != 0) {
        hints.ai_family = AF_UNSPEC;
        code = getaddrinfo(name, NULL, &hints, &found);
    }
    if (code == 0) {
        code = getnameinfo(found->ai_addr, found->ai_addrlen, text, (socklen_t)size, NULL, 0, NI_NUMERICHOST);
        freeaddrinfo(found);
    }
    if (code != 0) {
        tool_loop_say(s, "-A: there is no address \"%s\": %s", name, gai_strerror(code));
        tool_loop_end(s, TOOL_EXIT_FAILED);
    }
    return code == 0;
}

static struct quartet_will will_of(const struct tool_options *o) {
    const struct tool_properties *p = &o->properties[TOOL_COMMAND_WILL];
    return (struct quartet_will){
        .topic = o->will_topic,
        .payload = o->will_payload,
        .payload_bytes = o->will_payload == NULL ? 0 : strlen(o->will_payload),
        .qos = (int)o->will_qos,
        .retain = o->will_retain,
        .delay_s = tool_property_present(p, PROPERTY_WILL_DELAY_INTERVAL) ? p->values.will_delay_interval_s : 0,
        .properties = tool_properties_of_message(p),
    };
}

/* How long the session lives: the flags of mosquitto's tools in the words of the library. */
static void set_session(struct quartet_options *q, const struct tool_options *o) {
    const struct tool_properties *p = &o->properties[TOOL_COMMAND_CONNECT];
    uint64_t expiry_s = o->session_expiry_s;
    if (expiry_s == TOOL_UNSET && tool_property_present(p, PROPERTY_SESSION_EXPIRY_INTERVAL)) {
        expiry_s = p->values.session_expiry_interval_s;
    }
    if (expiry_s == TOOL_UNSET || q->protocol == 4) {
        expiry_s = o->keep_session ? TOOL_NEVER : 0;
    }
    q->clean_start = !o->keep_session;
    q->end_session = expiry_s == 0;
    q->session_expiry_s = expiry_s == TOOL_NEVER ? 0 : (uint32_t)expiry_s;
}

/* A store is laid out for its longest message, so there the library's bound holds unless another one is asked for. */
static uint32_t packet_bytes_max(const struct tool_options *o) {
    const struct tool_properties *p = &o->properties[TOOL_COMMAND_CONNECT];
    uint32_t asked = p->values.maximum_packet_size;
    if (tool_property_present(p, PROPERTY_MAXIMUM_PACKET_SIZE)) {
        return asked < PACKET_BYTES_MAX ? asked : PACKET_BYTES_MAX;
    }
    return o->store == NULL ? PACKET_BYTES_MAX : 0;
}

static struct quartet_options options_of(struct tool_loop *s) {
    const struct tool_options *o = s->options;
    const struct tool_properties *p = &o->properties[TOOL_COMMAND_CONNECT];
    struct quartet_options q = {
        .client_id = o->client_id,
        .username = o->username,
        .password = o->password,
        .password_bytes = o->password == NULL ? 0 : strlen(o->password),
        .protocol = tool_protocol(o),
        .keep_alive_s = (uint16_t)o->keep_alive_s,
        .receive_maximum = tool_property_present(p, PROPERTY_RECEIVE_MAXIMUM) ? p->values.receive_maximum : 0,
        .packet_bytes_max = packet_bytes_max(o),
        .outbox_bytes = o->store == NULL ? OUTBOX_BYTES : 0,
        .send_window = (uint16_t)(o->send_window > UINT16_MAX ? UINT16_MAX : o->send_window),
        .will = will_of(o),
        .store = o->store,
        .guarantee = o->exactly_once ? QUARTET_EXACTLY_ONCE : QUARTET_AS_ASKED,
        .session_lost = (enum quartet_lost_policy)o->session_lost,
        .manual_done = o->ack != TOOL_ACK_PRINTED,
        .on_message = s->on_message == NULL ? NULL : hear_message,
        .on_event = hear_event,
        .user = s,
        .trace = o->trace != TOOL_TRACE_NONE || o->debug,
    };
    set_session(&q, o);
    return q;
}

static int open_signals(void) {
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGCHLD);
    must(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

bool tool_loop_open(struct tool_loop *s) {
    struct buf server = {0};
    char bind_address[NI_MAXHOST] = "";
    if (s->options->bind_address != NULL && !find_bind_address(s, bind_address, sizeof bind_address)) {
        return false;
    }
    s->deadline_ms = end_of_time(s);
    s->signals = open_signals();
    struct quartet_options options = options_of(s);
    options.bind_address = *bind_address == 0 ? NULL : bind_address;
    write_server(&server, s->options);
    options.servers = (const char *)server.ptr;
    int code = s->signals < 0 ? QUARTET_SYSTEM : quartet_open(&s->quartet, &options);
    if (code != QUARTET_OK) {
        tool_loop_fail(s, "this cannot begin", code);
    }
    buf_deinit(&server);
    return code == QUARTET_OK;
}

/* ---- the loop ---- */

int tool_loop_sooner(int a, int b) {
    return a < 0 ? b : b < 0 || a < b ? a : b;
}

static int until(int64_t deadline_ms) {
    int64_t left = deadline_ms < 0 ? -1 : deadline_ms - tool_loop_now_ms();
    return deadline_ms < 0 ? -1 : left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
}

static void interrupt(struct tool_loop *s, int number) {
    s->interruptions++;
    if (!s->ended) {
        s->killed_by = number;
        s->reason = 0x04; /* the will is published */
        tool_loop_end(s, TOOL_EXIT_OK);
    }
}

static void take_signals(struct tool_loop *s) {
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGCHLD) {
            interrupt(s, (int)info.ssi_signo);
        }
        if (s->on_signal != NULL) {
            s->on_signal(s, (int)info.ssi_signo);
        }
    }
}

static void look_at_the_clock(struct tool_loop *s) {
    if (s->deadline_ms >= 0 && tool_loop_now_ms() >= s->deadline_ms && !s->ended) {
        tool_loop_say(s, "the time of -W is over");
        s->reason = 0x04;
        tool_loop_end(s, TOOL_EXIT_TIMEOUT);
    }
}

bool tool_loop_wait(struct tool_loop *s, int fd, short events, int timeout_ms) {
    struct pollfd fds[] = {{.fd = s->signals, .events = POLLIN}, {.fd = fd, .events = events}};
    int ready = poll(fds, 2, tool_loop_sooner(timeout_ms, until(s->ended ? -1 : s->deadline_ms)));
    take_signals(s);
    look_at_the_clock(s);
    return ready > 0 && fds[1].revents != 0;
}

/* A file never makes us wait; of anything else only so much is given as it has said to take, so that a reader who does
 * not read cannot keep us from ending. */
bool tool_loop_write(struct tool_loop *s, struct span bytes) {
    struct stat about;
    bool waits = fstat(STDOUT_FILENO, &about) != 0 || !S_ISREG(about.st_mode);
    while (bytes.len > 0) {
        if (waits && !tool_loop_wait(s, STDOUT_FILENO, POLLOUT, -1)) {
            if (s->ended) {
                return false;
            }
            continue;
        }
        ssize_t written = write(STDOUT_FILENO, bytes.ptr, waits && bytes.len > WRITE_BYTES ? WRITE_BYTES : bytes.len);
        if (written < 0 && errno != EINTR && errno != EAGAIN) {
            return false;
        }
        bytes = span_skip(bytes, written > 0 ? (size_t)written : 0);
    }
    return true;
}

void tool_loop_turn(struct tool_loop *s, struct pollfd *more, nfds_t count, int timeout_ms) {
    struct pollfd fds[2 + MORE_MAX];
    must(count <= MORE_MAX);
    fds[0] = (struct pollfd){.fd = quartet_fd(s->quartet), .events = POLLIN};
    fds[1] = (struct pollfd){.fd = s->signals, .events = POLLIN};
    for (nfds_t i = 0; i < count; i++) {
        more[i].revents = 0;
        fds[2 + i] = more[i];
    }
    int timeout = tool_loop_sooner(timeout_ms, tool_loop_sooner(until(s->deadline_ms), quartet_timeout_ms(s->quartet)));
    if (poll(fds, 2 + count, timeout) < 0) {
        return; /* a signal: look again */
    }
    for (nfds_t i = 0; i < count; i++) {
        more[i].revents = fds[2 + i].revents;
    }
    take_signals(s);
    int code = quartet_handle(s->quartet);
    if (code != QUARTET_OK && !s->ended) {
        tool_loop_fail(s, "the client cannot go on", code);
    }
    look_at_the_clock(s);
}

/* As if there were no handler: whoever started us can tell it from success. */
static void die_by(int number) {
    sigset_t set;
    (void)signal(number, SIG_DFL);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, number);
    (void)raise(number);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int tool_loop_close(struct tool_loop *s) {
    if (s->quartet != NULL) {
        (void)quartet_disconnect(s->quartet, s->reason, 0);
        (void)quartet_handle(s->quartet); /* --trace shows the DISCONNECT too */
        quartet_close(s->quartet);
        s->quartet = NULL;
    }
    if (s->signals >= 0) {
        (void)close(s->signals);
    }
    if (s->killed_by != 0 && s->options->program != TOOL_SUB) {
        die_by(s->killed_by);
    }
    return s->status;
}
