#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_S = 30 };

/* ---- folders ---- */

/* In memory where that is possible: processes die here, the kernel does not. */
char *folder_make(void) {
    char memory[] = "/dev/shm/quartet-client-XXXXXX";
    char disk[] = "/tmp/quartet-client-XXXXXX";
    char *made = mkdtemp(memory);
    made = made != NULL ? made : mkdtemp(disk);
    assert_non_null(made);
    return strdup(made);
}

const char *folder_file(const char *folder, const char *name) {
    static _Thread_local char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk) {
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

void folder_drop(char *folder) {
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(folder);
}

/* ---- the real broker ---- */

static int bound_socket(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(0x7f000001)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* Below the ephemeral range: nobody's outgoing connection sits on it while the broker is down. */
static int free_port(void) {
    for (;;) {
        unsigned random = 0;
        (void)!getrandom(&random, sizeof random, 0);
        int port = 15000 + (int)(random % 17000);
        int fd = bound_socket(port);
        if (fd >= 0) {
            (void)close(fd);
            return port;
        }
    }
}

void broker_init(struct broker *b) {
    *b = (struct broker){.port = free_port(), .folder = folder_make()};
    (void)snprintf(b->url, sizeof b->url, "mqtt://127.0.0.1:%d", b->port);
}

static void become_broker(const struct broker *b) {
    char port[8];
    char log[200];
    char data[200];
    (void)snprintf(port, sizeof port, "%d", b->port);
    (void)snprintf(log, sizeof log, "%s/log", b->folder);
    (void)snprintf(data, sizeof data, "%s/data", b->folder);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    (void)dup2(fd, STDOUT_FILENO);
    (void)dup2(fd, STDERR_FILENO);
    (void)execl(QUARTETD, QUARTETD, "-p", port, "--data", data, "--shards", "1", (char *)NULL);
    _exit(127);
}

void broker_start(struct broker *b) {
    b->pid = fork();
    assert_true(b->pid >= 0);
    if (b->pid == 0) {
        become_broker(b);
    }
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)b->port), .sin_addr = {htonl(0x7f000001)}};
    for (int i = 0; i < PATIENCE_S * 200; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool up = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
        (void)close(fd);
        if (up) {
            return;
        }
        assert_int_equal(waitpid(b->pid, NULL, WNOHANG), 0);
        (void)nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    fail_msg("the broker does not start");
}

void broker_kill(struct broker *b) {
    if (b->pid > 0) {
        (void)kill(b->pid, SIGKILL);
        (void)waitpid(b->pid, NULL, 0);
    }
    b->pid = 0;
}

void broker_forget(struct broker *b) {
    (void)nftw(folder_file(b->folder, "data"), remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void broker_deinit(struct broker *b) {
    broker_kill(b);
    folder_drop(b->folder);
}

/* ---- the false broker ---- */

static void *serve_main(void *argument) {
    struct false_broker *f = argument;
    struct pollfd wait = {.fd = f->listener, .events = POLLIN};
    while (!f->stopping) {
        if (poll(&wait, 1, 20) == 1) {
            int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0) {
                struct timeval limit = {PATIENCE_S, 0};
                (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
                f->serve(fd, f->connections++, f->user);
                (void)close(fd);
            }
        }
    }
    return NULL;
}

void false_broker_start(struct false_broker *f, const char *path, void (*serve)(int, int, void *), void *user) {
    *f = (struct false_broker){.serve = serve, .user = user};
    if (path != NULL) {
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
        f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(f->listener, (struct sockaddr *)&at, sizeof at), 0);
        (void)snprintf(f->url, sizeof f->url, "unix://%s", path);
    } else {
        f->port = free_port();
        f->listener = bound_socket(f->port);
        (void)snprintf(f->url, sizeof f->url, "mqtt://127.0.0.1:%d", f->port);
    }
    assert_int_equal(listen(f->listener, 16), 0);
    assert_int_equal(pthread_create(&f->thread, NULL, serve_main, f), 0);
}

void false_broker_stop(struct false_broker *f) {
    f->stopping = 1;
    assert_int_equal(pthread_join(f->thread, NULL), 0);
    (void)close(f->listener);
}

static bool read_all(int fd, void *to, size_t len) {
    size_t got = 0;
    while (got < len) {
        ssize_t n = recv(fd, (char *)to + got, len - got, 0);
        if (n <= 0) {
            return false;
        }
        got += (size_t)n;
    }
    return true;
}

int packet_read(int fd, unsigned char *body, size_t max, size_t *len) {
    unsigned char first;
    unsigned char byte = 0x80;
    size_t length = 0;
    if (!read_all(fd, &first, 1)) {
        return -1;
    }
    for (unsigned shift = 0; (byte & 0x80) != 0; shift += 7) {
        if (!read_all(fd, &byte, 1)) {
            return -1;
        }
        length |= (size_t)(byte & 0x7f) << shift;
    }
    *len = length;
    for (size_t i = 0; i < length; i++) {
        if (!read_all(fd, &byte, 1)) {
            return -1;
        }
        if (i < max) {
            body[i] = byte;
        }
    }
    return first;
}

void packet_write(int fd, const void *bytes, size_t len) {
    (void)!send(fd, bytes, len, MSG_NOSIGNAL);
}

void false_connack(int fd, int session_present, int reason) {
    unsigned char body[64];
    size_t len;
    unsigned char connack[] = {0x20, 3, (unsigned char)session_present, (unsigned char)reason, 0};
    (void)packet_read(fd, body, sizeof body, &len);
    packet_write(fd, connack, sizeof connack);
}

/* The packet identifier of a PUBLISH. */
static const unsigned char *publish_id(const unsigned char *body) {
    return body + 2 + ((size_t)body[0] << 8) + body[1];
}

/* Answers one packet; PUBLISH of QoS 1 with this reason code. */
static void false_answer(int fd, int first, const unsigned char *body, int reason) {
    const unsigned char *id = (first & 0xf0) == 0x30 ? publish_id(body) : body;
    unsigned char one = (unsigned char)reason;
    if ((first & 0xf6) == 0x32) {
        packet_write(fd, (unsigned char[]){0x40, 3, id[0], id[1], one}, 5);
    } else if ((first & 0xf6) == 0x34) {
        packet_write(fd, (unsigned char[]){0x50, 2, id[0], id[1]}, 4);
    } else if (first == 0x62) {
        packet_write(fd, (unsigned char[]){0x70, 2, id[0], id[1]}, 4);
    } else if (first == 0x82) {
        packet_write(fd, (unsigned char[]){0x90, 4, id[0], id[1], 0, 2}, 6);
    }
}

void false_refuse(int fd, int reason) {
    unsigned char body[64];
    size_t len;
    false_connack(fd, 0, 0);
    for (int first = 0; first >= 0;) {
        first = packet_read(fd, body, sizeof body, &len);
        false_answer(fd, first, body, reason);
    }
}

void false_serve(int fd, int connection, void *user) {
    (void)connection;
    (void)user;
    false_refuse(fd, 0);
}

/* ---- collecting ---- */

void collected_init(struct collected *c) {
    memset(c, 0, sizeof *c);
    (void)pthread_mutex_init(&c->mutex, NULL);
    (void)pthread_cond_init(&c->changed, NULL);
}

void collected_deinit(struct collected *c) {
    (void)pthread_cond_destroy(&c->changed);
    (void)pthread_mutex_destroy(&c->mutex);
}

void collect_message(struct quartet *client, struct quartet_message *message, void *user) {
    (void)client;
    struct collected *c = user;
    (void)pthread_mutex_lock(&c->mutex);
    if (c->count < COLLECTED_MAX) {
        c->numbers[c->count++] = (unsigned)strtoul(message->payload, NULL, 10);
    }
    (void)pthread_cond_broadcast(&c->changed);
    (void)pthread_mutex_unlock(&c->mutex);
}

void collect_event(struct quartet *client, const struct quartet_event *event, void *user) {
    (void)client;
    struct collected *c = user;
    (void)pthread_mutex_lock(&c->mutex);
    c->events[event->kind]++;
    c->last[event->kind] = *event;
    (void)snprintf(c->texts[event->kind], sizeof c->texts[event->kind], "%s", event->text);
    (void)pthread_cond_broadcast(&c->changed);
    (void)pthread_mutex_unlock(&c->mutex);
}

static struct timespec patience(void) {
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    return until;
}

/* Waits until *what has reached `count`; false after a while. */
static bool reaches(struct collected *c, const unsigned *what, unsigned count) {
    struct timespec until = patience();
    (void)pthread_mutex_lock(&c->mutex);
    int code = 0;
    while (*what < count && code == 0) {
        code = pthread_cond_timedwait(&c->changed, &c->mutex, &until);
    }
    bool reached = *what >= count;
    (void)pthread_mutex_unlock(&c->mutex);
    return reached;
}

void collected_wait(struct collected *c, unsigned count) {
    if (!reaches(c, &c->count, count)) {
        fail_msg("%u of %u messages have come", c->count, count);
    }
}

void collected_wait_event(struct collected *c, enum quartet_event_kind kind, unsigned count) {
    if (!reaches(c, &c->events[kind], count)) {
        fail_msg("%u of %u events %d have come", c->events[kind], count, kind);
    }
}

void collected_wait_id(struct collected *c, enum quartet_event_kind kind, uint64_t id) {
    struct timespec until = patience();
    (void)pthread_mutex_lock(&c->mutex);
    int code = 0;
    while (c->last[kind].id < id && code == 0) {
        code = pthread_cond_timedwait(&c->changed, &c->mutex, &until);
    }
    uint64_t last = c->last[kind].id;
    (void)pthread_mutex_unlock(&c->mutex);
    if (last < id) {
        fail_msg("event %d came up to id %llu, not %llu", kind, (unsigned long long)last, (unsigned long long)id);
    }
}

struct quartet_event collected_last(struct collected *c, enum quartet_event_kind kind) {
    (void)pthread_mutex_lock(&c->mutex);
    struct quartet_event last = c->last[kind];
    (void)pthread_mutex_unlock(&c->mutex);
    return last;
}

const char *collected_text(struct collected *c, enum quartet_event_kind kind) {
    static char text[sizeof c->texts[0]];
    (void)pthread_mutex_lock(&c->mutex);
    memcpy(text, c->texts[kind], sizeof text);
    (void)pthread_mutex_unlock(&c->mutex);
    return text;
}

unsigned collected_count(struct collected *c) {
    (void)pthread_mutex_lock(&c->mutex);
    unsigned count = c->count;
    (void)pthread_mutex_unlock(&c->mutex);
    return count;
}

unsigned collected_events(struct collected *c, enum quartet_event_kind kind) {
    (void)pthread_mutex_lock(&c->mutex);
    unsigned count = c->events[kind];
    (void)pthread_mutex_unlock(&c->mutex);
    return count;
}

void collected_are(struct collected *c, unsigned count) {
    (void)pthread_mutex_lock(&c->mutex);
    for (unsigned i = 0; i < c->count; i++) {
        if (c->numbers[i] != i) {
            fail_msg("message %u came where %u was expected", c->numbers[i], i);
        }
    }
    assert_int_equal(c->count, count);
    (void)pthread_mutex_unlock(&c->mutex);
}

int64_t now_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int publish_number(struct quartet *client, const char *topic, int qos, unsigned number, uint64_t *id) {
    char text[16];
    int len = snprintf(text, sizeof text, "%u", number);
    struct quartet_publication p = {.topic = topic, .payload = text, .payload_bytes = (size_t)len, .qos = qos};
    return quartet_publish(client, &p, id);
}
