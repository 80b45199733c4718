#include "tool/ack.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

enum { GRACE_MS = 2000 }; /* between SIGTERM and SIGKILL for a command */

void tool_ack_deinit(struct tool_acks *a) {
    for (size_t i = 0; i < a->count; i++) {
        quartet_message_free(a->waiting[a->first + i]);
    }
    mem_free(a->waiting);
}

static struct quartet_message *first(const struct tool_acks *a) {
    return a->waiting[a->first];
}

/* Moves what waits to the front; grows when more than half of the places are in use. */
static void make_room(struct tool_acks *a) {
    if (a->count >= a->capacity / 2) {
        a->capacity = a->capacity == 0 ? 16 : a->capacity * 2;
        a->waiting = mem_resize(a->waiting, a->capacity * sizeof(struct quartet_message *));
    }
    memmove(a->waiting, a->waiting + a->first, a->count * sizeof(struct quartet_message *));
    a->first = 0;
}

void tool_ack_add(struct tool_acks *a, struct quartet_message *m) {
    if (a->first + a->count == a->capacity) {
        make_room(a);
    }
    a->waiting[a->first + a->count++] = quartet_message_keep(m);
}

static void first_is_done(struct tool_acks *a) {
    int code = quartet_done(a->s->quartet, first(a));
    if (code != QUARTET_OK) {
        tool_loop_fail(a->s, "a message cannot be marked as done", code);
    }
    quartet_message_free(first(a));
    a->first++;
    a->count--;
    a->done++;
}

/* ---- the command's environment ---- */

struct environment {
    char **items; /* ours first, then the process's own */
    size_t ours;
};

static void set(struct environment *e, const char *name, const char *value) {
    struct buf text = {0};
    buf_bytes(&text, SPAN("QUARTET_"));
    buf_bytes(&text, span_str(name));
    buf_u8(&text, '=');
    buf_bytes(&text, span_str(value));
    buf_u8(&text, 0);
    e->items = mem_resize(e->items, (e->ours + 1) * sizeof(char *));
    e->items[e->ours++] = (char *)text.ptr;
}

static void set_number(struct environment *e, const char *name, uint64_t number) {
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    set(e, name, text);
}

static void set_hex(struct environment *e, const char *name, const uint8_t *bytes, size_t count, const char *after) {
    struct buf text = {0};
    for (size_t i = 0; i < count; i++) {
        char digits[4];
        (void)snprintf(digits, sizeof digits, "%02x", bytes[i]);
        buf_bytes(&text, span_str(digits));
    }
    buf_bytes(&text, span_str(after));
    buf_u8(&text, 0);
    set(e, name, (const char *)text.ptr);
    buf_deinit(&text);
}

/* QUARTET_ID is the message's name: the same however often it is tried, also after a crash. */
static void set_id(struct environment *e, const struct quartet_position *p) {
    char sequence[32];
    (void)snprintf(sequence, sizeof sequence, ":%llu", (unsigned long long)p->sequence);
    set_hex(e, "ID", p->epoch, sizeof p->epoch, sequence);
}

static struct environment environment_of(const struct quartet_message *m) {
    struct environment e = {0};
    const struct quartet_properties *p = &m->properties;
    set(&e, "TOPIC", m->topic);
    set_number(&e, "QOS", (uint64_t)m->qos);
    set_number(&e, "RETAIN", m->retain ? 1 : 0);
    set_number(&e, "REDELIVERED", m->redelivered ? 1 : 0);
    set_number(&e, "BYTES", m->payload_bytes);
    if (m->position.sequence != 0) {
        set_id(&e, &m->position);
    }
    if (p->content_type != NULL) {
        set(&e, "CONTENT_TYPE", p->content_type);
    }
    if (p->response_topic != NULL) {
        set(&e, "RESPONSE_TOPIC", p->response_topic);
    }
    if (p->correlation_data != NULL) {
        set_hex(&e, "CORRELATION_DATA", p->correlation_data, p->correlation_bytes, "");
    }
    size_t others = 0;
    while (environ[others] != NULL) {
        others++;
    }
    e.items = mem_resize(e.items, (e.ours + others + 1) * sizeof(char *));
    memcpy(e.items + e.ours, environ, (others + 1) * sizeof(char *));
    return e;
}

static void environment_deinit(struct environment *e) {
    for (size_t i = 0; i < e->ours; i++) {
        mem_free(e->items[i]);
    }
    mem_free(e->items);
}

/* ---- running the command ---- */

static int give_up(int fd) {
    int number = errno;
    (void)close(fd);
    errno = number;
    return -1;
}

/* The payload as a file without a name, to be read from its beginning; -1 with errno. */
static int payload_file(const struct quartet_message *m) {
    int fd = memfd_create("payload", MFD_CLOEXEC);
    const char *at = m->payload;
    size_t left = m->payload_bytes;
    while (fd >= 0 && left > 0) {
        ssize_t written = write(fd, at, left);
        if (written < 0 && errno != EINTR) {
            return give_up(fd);
        }
        at += written > 0 ? written : 0;
        left -= written > 0 ? (size_t)written : 0;
    }
    return fd >= 0 && lseek(fd, 0, SEEK_SET) != 0 ? give_up(fd) : fd;
}

/* In a process group of its own: Ctrl-C ends us, not the work that is under way. */
static int spawn(struct tool_acks *a, int input) {
    char shell[] = "sh", dash[] = "-c";
    char *arguments[] = {shell, dash, (char *)(uintptr_t)a->s->options->ack_command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, piped;
    (void)sigemptyset(&none);
    (void)sigemptyset(&piped);
    (void)sigaddset(&piped, SIGPIPE); /* which we ignore */
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &piped);
    (void)posix_spawnattr_setpgroup(&attributes, 0);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    struct environment e = environment_of(first(a));
    int code = posix_spawn(&a->child, "/bin/sh", &actions, &attributes, arguments, e.items);
    environment_deinit(&e);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return code;
}

static void try_later(struct tool_acks *a) {
    a->again_ms = tool_loop_now_ms() + (int64_t)a->s->options->ack_pause_ms;
}

void tool_ack_run(struct tool_acks *a) {
    if (a->s->options->ack != TOOL_ACK_COMMAND || a->child != 0 || a->count == 0 || tool_loop_now_ms() < a->again_ms) {
        return;
    }
    int input = payload_file(first(a));
    int code = input < 0 ? errno : spawn(a, input);
    if (input >= 0) {
        (void)close(input);
    }
    if (code != 0) {
        a->child = 0;
        tool_loop_say(a->s, "the command cannot be run: %s; trying again", strerror(code));
        try_later(a);
    }
}

int tool_ack_timeout_ms(const struct tool_acks *a) {
    if (a->s->options->ack != TOOL_ACK_COMMAND || a->child != 0 || a->count == 0) {
        return -1;
    }
    int64_t left = a->again_ms - tool_loop_now_ms();
    return left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
}

static void command_ended(struct tool_acks *a, int status) {
    a->child = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        first_is_done(a);
        return;
    }
    char next[48] = "it is not done";
    if (!a->s->ended) {
        (void)snprintf(next, sizeof next, "trying again in %llu ms", (unsigned long long)a->s->options->ack_pause_ms);
        try_later(a);
    }
    tool_loop_say(a->s, "the command has failed (%s %d) for a message of topic %s; %s",
                  WIFEXITED(status) ? "status" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
                  first(a)->topic, next);
}

void tool_ack_reap(struct tool_acks *a) {
    int status = 0;
    if (a->child != 0 && waitpid(a->child, &status, WNOHANG) == a->child) {
        command_ended(a, status);
    }
}

/* Waits until the command ends, another signal comes, or it is `until_ms` (-1: never). */
static void wait_for_command(struct tool_acks *a, int64_t until_ms) {
    unsigned before = a->s->interruptions;
    tool_ack_reap(a);
    while (a->child != 0 && a->s->interruptions == before && (until_ms < 0 || tool_loop_now_ms() < until_ms)) {
        int64_t left = until_ms < 0 ? 60000 : until_ms - tool_loop_now_ms();
        (void)tool_loop_wait(a->s, -1, 0, left < 0 ? 0 : left > 60000 ? 60000 : (int)left);
        tool_ack_reap(a);
    }
}

void tool_ack_finish(struct tool_acks *a) {
    if (a->child != 0 && a->s->killed_by != 0) {
        tool_loop_say(a->s, "waiting for the command to end; another signal ends it");
    }
    wait_for_command(a, a->s->deadline_ms);
    if (a->child != 0) {
        (void)kill(-a->child, SIGTERM);
        wait_for_command(a, tool_loop_now_ms() + GRACE_MS);
    }
    if (a->child != 0) {
        (void)kill(-a->child, SIGKILL);
        wait_for_command(a, -1);
    }
}

/* ---- lines ---- */

void tool_ack_read(struct tool_acks *a) {
    char bytes[4096];
    ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    for (ssize_t i = 0; i < got && !a->s->ended; i++) {
        if (bytes[i] != '\n') {
            continue;
        }
        if (a->count > 0) {
            first_is_done(a);
        } else {
            tool_loop_say(a->s, "a line on standard input says that a message is done, but none waits");
        }
    }
    if (got <= 0) {
        a->input_over = true;
        tool_loop_end(a->s, a->count == 0 ? TOOL_EXIT_OK : TOOL_EXIT_FAILED);
    }
}
