/* What the tests of the real library share: a real broker that can be killed and started again on the same port and
 * store, a false one that says what a test wants, and a client's messages as a list. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <sys/types.h>

#include <quartet/quartet.h>

/* ---- a folder that is gone with the test ---- */

char *folder_make(void);
/* The name of a file in it; valid until the next call. */
const char *folder_file(const char *folder, const char *name);
/* Removes everything and frees the name. */
void folder_drop(char *folder);

/* ---- a real broker ---- */

struct broker {
    pid_t pid; /* 0: none */
    int port;
    char *folder;
    char url[64];
};

/* A free port; nothing runs yet. */
void broker_init(struct broker *b);
/* Starts it and waits until it accepts connections. */
void broker_start(struct broker *b);
/* SIGKILL. */
void broker_kill(struct broker *b);
/* Its store is gone: the sessions are forgotten. */
void broker_forget(struct broker *b);
void broker_deinit(struct broker *b);

/* ---- a false broker ---- */

/* A listening socket on this machine, and what its one connection at a time is told. */
struct false_broker {
    int listener;
    int port; /* 0: a UNIX socket */
    char url[160];
    pthread_t thread;
    void (*serve)(int fd, int connection, void *user); /* each connection, one after the other, from 0 */
    void *user;
    int connections;
    _Atomic int stopping;
};

void false_broker_start(struct false_broker *f, const char *path, void (*serve)(int, int, void *), void *user);
void false_broker_stop(struct false_broker *f);
/* Reads one whole packet; its first byte, its body in `body` (cut to `max`), *len its length. -1 at the end. */
int packet_read(int fd, unsigned char *body, size_t max, size_t *len);
void packet_write(int fd, const void *bytes, size_t len);
/* CONNECT, then CONNACK of 5.0 with these. */
void false_connack(int fd, int session_present, int reason);
/* To be given to false_broker_start(): a connection as it should be, with no session, until it ends. Everything is
 * acknowledged, nothing delivered. */
void false_serve(int fd, int connection, void *user);
/* The same, but PUBLISH of QoS 1 is refused with this reason code. */
void false_refuse(int fd, int reason);

/* ---- what a client was given ---- */

#define COLLECTED_MAX 20000

struct collected {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned count;
    unsigned numbers[COLLECTED_MAX]; /* what the payloads say */
    unsigned events[16];             /* how many of each kind */
    struct quartet_event last[16];   /* without its strings */
    char texts[16][200];             /* of the last of each kind */
};

void collected_init(struct collected *c);
void collected_deinit(struct collected *c);
void collect_message(struct quartet *client, struct quartet_message *message, void *user);
void collect_event(struct quartet *client, const struct quartet_event *event, void *user);
/* Waits until so many have come; fails the test after 30 s. */
void collected_wait(struct collected *c, unsigned count);
void collected_wait_event(struct collected *c, enum quartet_event_kind kind, unsigned count);
/* The last event of a kind, and what it said (valid until the next such call); the client may still be running. */
struct quartet_event collected_last(struct collected *c, enum quartet_event_kind kind);
const char *collected_text(struct collected *c, enum quartet_event_kind kind);
/* How many messages, and events of a kind, have come so far. */
unsigned collected_count(struct collected *c);
unsigned collected_events(struct collected *c, enum quartet_event_kind kind);
/* Waits until the last event of a kind has this id, or a higher one. */
void collected_wait_id(struct collected *c, enum quartet_event_kind kind, uint64_t id);
/* Exactly 0, 1, ... count - 1, each once, in order. */
void collected_are(struct collected *c, unsigned count);

/* Milliseconds of a clock that never jumps. */
int64_t now_ms(void);
/* Publishes the number as a decimal text; waits for the disk when there is a store. */
int publish_number(struct quartet *client, const char *topic, int qos, unsigned number, uint64_t *id);
/* Fails the test with the library's own sentence. */
#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        int code_ = (call);                                                                                            \
        if (code_ != QUARTET_OK) {                                                                                     \
            fail_msg("%s: %s: %s", #call, quartet_error_name(code_), quartet_last_error());                            \
        }                                                                                                              \
    } while (0)
