#include "net/log_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "net/log_limit.h"
#include "net/syslog_out.h"
#include "net/thread.h"

#define LINE_BYTES_MAX 1024
#define BATCH_BYTES (128U * 1024)
#define ERRORS_BYTES (16U * 1024) /* of a batch: for errors alone */
#define TELL_MS 250               /* how often it looks whether left out lines are to be told */
#define LAST_WORDS_MS 1000

/* Who frees it: its owner, or a thread that was left behind. */
enum fate { FATE_RUNS, FATE_DONE, FATE_LEFT };

enum { OUT_STDERR, OUT_STDOUT, OUT_FILE, OUTS };

/* Where lines go. The thread's. */
struct log_out {
    int fd; /* -1: nowhere */
    uint64_t lost;
};

/* Before each line in a batch. */
struct log_head {
    uint16_t bytes; /* of the whole line, its newline included */
    uint8_t text;   /* where the sentence begins, for syslog */
    uint8_t level;
};

struct log_batch {
    size_t used;
    uint32_t lines;
    uint8_t bytes[BATCH_BYTES];
};

struct log_writer {
    pthread_t thread;
    sem_t wake;
    sem_t done;       /* the thread has written its last line */
    _Atomic int fate; /* enum fate */
    _Atomic bool ending;
    _Atomic bool reopen;
    _Atomic uint64_t written;        /* lines of all that were put, whatever has become of them */
    const char *_Atomic last_words;  /* to be written by the thread, once */
    _Atomic bool last_words_written; /* and it has */
    bool timestamps;                 /* what follows is constant or the thread's */
    bool to_syslog;
    unsigned out_count;
    struct log_out outs[OUTS];
    char *path; /* of the file; NULL: none */
    struct log_batch *writing;
    pthread_mutex_t mutex; /* what follows is under it */
    struct log_batch *filling;
    struct log_limit limit;
    uint64_t put;
    uint64_t dropped;
};

/* ---- one line ---- */

static int put_time(char *out, size_t bytes) {
    struct timespec now;
    struct tm utc;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    size_t len = strftime(out, bytes, "%Y-%m-%dT%H:%M:%S", &utc);
    return (int)len + snprintf(out + len, bytes - len, ".%03ldZ ", now.tv_nsec / 1000000);
}

/* A whole line with its newline, cut when it is too long. */
static struct log_head print_line(const struct log_writer *w, unsigned level, const char *line,
                                  char out[LINE_BYTES_MAX]) {
    static const char *const names[] = {"", "error  ", "warning", "notice ", "info   ", "debug  "};
    int at = w->timestamps ? put_time(out, LINE_BYTES_MAX) : 0;
    at += snprintf(out + at, LINE_BYTES_MAX - (size_t)at, "%s  ", names[level]);
    int len = at + snprintf(out + at, LINE_BYTES_MAX - (size_t)at, "%s\n", line);
    if (len >= LINE_BYTES_MAX) {
        len = LINE_BYTES_MAX - 1;
        out[len - 1] = '\n';
    }
    return (struct log_head){(uint16_t)len, (uint8_t)at, (uint8_t)level};
}

/* ---- writing: the log's thread ---- */

/* With somewhere else to go, a line does not wait for a reader who sleeps. */
static bool out_ready(const struct log_writer *w, int fd) {
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return w->out_count <= 1 || poll(&p, 1, 0) != 0;
}

static bool out_bytes(int fd, const char *text, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            (void)poll(&p, 1, -1);
        } else if (n < 0 && errno != EINTR) {
            return false;
        } else if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return true;
}

static void lost_line(const struct log_writer *w, uint64_t lost, char out[LINE_BYTES_MAX], struct log_head *head) {
    char line[96];
    (void)snprintf(line, sizeof line, "%llu lines were dropped: the log was not read, or could not be written",
                   (unsigned long long)lost);
    *head = print_line(w, LOG_WARNING, line, out);
}

static void out_line(struct log_writer *w, struct log_out *o, const char *text, size_t len) {
    char told[LINE_BYTES_MAX];
    struct log_head head;
    bool ready = out_ready(w, o->fd);
    if (ready && o->lost > 0) {
        lost_line(w, o->lost, told, &head);
        ready = out_bytes(o->fd, told, head.bytes);
        o->lost = ready ? 0 : o->lost;
    }
    if (!ready || !out_bytes(o->fd, text, len)) {
        o->lost++;
    }
}

static void write_line(struct log_writer *w, struct log_head head, const char *text) {
    for (size_t i = 0; i < OUTS; i++) {
        if (w->outs[i].fd >= 0) {
            out_line(w, &w->outs[i], text, head.bytes);
        }
    }
    if (w->to_syslog) {
        syslog_out_line((int)head.level + 2, text + head.text, (int)head.bytes - head.text - 1);
    }
}

static void write_own(struct log_writer *w, unsigned level, const char *line) {
    char text[LINE_BYTES_MAX];
    struct log_head head = print_line(w, level, line, text);
    write_line(w, head, text);
}

static void write_batch(struct log_writer *w) {
    const struct log_batch *b = w->writing;
    for (size_t at = 0; at < b->used;) {
        struct log_head head;
        memcpy(&head, b->bytes + at, sizeof head);
        write_line(w, head, (const char *)b->bytes + at + sizeof head);
        at += sizeof head + head.bytes;
    }
}

static int file_open(const char *path) {
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static void file_reopen(struct log_writer *w) {
    if (w->path == NULL) {
        return;
    }
    int fd = file_open(w->path);
    if (fd < 0) {
        char line[LINE_BYTES_MAX];
        (void)snprintf(line, sizeof line, "the log file %s cannot be opened again: %s; the old one is used", w->path,
                       strerror(errno));
        write_own(w, LOG_WARNING, line);
        return;
    }
    (void)close(w->outs[OUT_FILE].fd);
    w->outs[OUT_FILE].fd = fd;
}

/* Kinds that were cut in a second that is over. */
static void write_left_out(struct log_writer *w, int64_t second) {
    for (;;) {
        uint32_t count = 0;
        must(pthread_mutex_lock(&w->mutex) == 0);
        const struct log_kind *found = log_limit_tell(&w->limit, second, &count);
        const struct log_kind kind = found != NULL ? *found : (struct log_kind){0};
        must(pthread_mutex_unlock(&w->mutex) == 0);
        if (count == 0) {
            return;
        }
        char like[256];
        char line[LINE_BYTES_MAX];
        log_kind_print(&kind, like, sizeof like);
        (void)snprintf(line, sizeof line, "%u more lines like this were left out: %s", count, like);
        write_own(w, kind.level, line);
    }
}

/* ---- the thread ---- */

static int64_t second_now(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static struct timespec deadline(int64_t ms) {
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += ms % 1000 * 1000000;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

static bool wait_for(sem_t *sem, int64_t ms) {
    struct timespec at = deadline(ms);
    int got;
    do {
        got = sem_clockwait(sem, CLOCK_MONOTONIC, &at);
    } while (got != 0 && errno == EINTR);
    return got == 0;
}

/* Takes what is there; false when that is nothing. `*tell`: lines were left out. */
static bool take(struct log_writer *w, uint64_t *dropped, bool *tell) {
    must(pthread_mutex_lock(&w->mutex) == 0);
    struct log_batch *filled = w->filling;
    w->filling = w->writing;
    w->writing = filled;
    w->filling->used = w->filling->lines = 0;
    *dropped = w->dropped;
    *tell = w->limit.left_out > 0;
    w->dropped = 0;
    must(pthread_mutex_unlock(&w->mutex) == 0);
    return filled->used > 0 || *dropped > 0;
}

static void write_last_words(struct log_writer *w) {
    const char *words = atomic_exchange(&w->last_words, NULL);
    if (words != NULL) {
        write_own(w, LOG_ERROR, words);
        atomic_store(&w->last_words_written, true);
    }
}

static void write_taken(struct log_writer *w, uint64_t dropped) {
    char told[LINE_BYTES_MAX];
    struct log_head head;
    if (atomic_exchange(&w->reopen, false)) {
        file_reopen(w);
    }
    write_batch(w);
    if (dropped > 0) {
        lost_line(w, dropped, told, &head);
        write_line(w, head, told);
    }
    atomic_fetch_add(&w->written, w->writing->lines + dropped);
}

static void writer_free(struct log_writer *w) {
    if (w->outs[OUT_FILE].fd >= 0) {
        (void)close(w->outs[OUT_FILE].fd);
    }
    if (w->to_syslog) {
        syslog_out_close();
    }
    (void)sem_destroy(&w->wake);
    (void)sem_destroy(&w->done);
    (void)pthread_mutex_destroy(&w->mutex);
    mem_free(w->path);
    mem_free(w->writing);
    mem_free(w->filling);
    mem_free(w);
}

/* Its end, which somebody waits for, or nobody any more. */
static void writer_ends(struct log_writer *w) {
    int runs = FATE_RUNS;
    if (atomic_compare_exchange_strong(&w->fate, &runs, FATE_DONE)) {
        (void)sem_post(&w->done);
    } else {
        writer_free(w);
    }
}

static void *writer_main(void *argument) {
    struct log_writer *w = argument;
    for (;;) {
        uint64_t dropped;
        bool tell;
        bool ending = atomic_load(&w->ending);
        bool more = take(w, &dropped, &tell);
        write_taken(w, dropped);
        if (tell) {
            write_left_out(w, ending ? -1 : second_now());
        }
        write_last_words(w);
        if (ending && !more) {
            writer_ends(w);
            return NULL;
        }
        if (!more && tell) {
            (void)wait_for(&w->wake, TELL_MS);
        } else if (!more) {
            (void)sem_wait(&w->wake);
        }
    }
}

/* ---- any thread ---- */

/* Puts a line into the batch that is being filled, or counts it as dropped. Under the mutex. */
static void fill(struct log_writer *w, struct log_head head, const char *text) {
    struct log_batch *b = w->filling;
    size_t most = head.level == LOG_ERROR ? BATCH_BYTES : BATCH_BYTES - ERRORS_BYTES;
    w->put++;
    if (b->used + sizeof head + head.bytes > most) {
        w->dropped++;
        return;
    }
    memcpy(b->bytes + b->used, &head, sizeof head);
    memcpy(b->bytes + b->used + sizeof head, text, head.bytes);
    b->used += sizeof head + head.bytes;
    b->lines++;
}

void log_writer_put(struct log_writer *w, enum log_level level, const char *kind, const char *line) {
    int64_t second = second_now();
    must(pthread_mutex_lock(&w->mutex) == 0);
    bool wake = w->filling->used == 0 && w->dropped == 0;
    if (level == LOG_ERROR || log_limit_allows(&w->limit, kind, level, second)) {
        char text[LINE_BYTES_MAX];
        struct log_head head = print_line(w, level, line, text);
        fill(w, head, text);
    } else {
        wake = w->limit.left_out == 1;
    }
    must(pthread_mutex_unlock(&w->mutex) == 0);
    if (wake) {
        (void)sem_post(&w->wake);
    }
}

void log_writer_flush(struct log_writer *w, int64_t ms) {
    static const struct timespec moment = {0, 1000000};
    must(pthread_mutex_lock(&w->mutex) == 0);
    uint64_t put = w->put;
    must(pthread_mutex_unlock(&w->mutex) == 0);
    for (int64_t i = 0; i < ms && atomic_load(&w->written) < put; i++) {
        (void)nanosleep(&moment, NULL);
    }
}

void log_writer_reopen(struct log_writer *w) {
    atomic_store(&w->reopen, true);
    (void)sem_post(&w->wake);
}

void log_writer_last_words(struct log_writer *w, const char *line) {
    static const struct timespec moment = {0, 1000000};
    if (pthread_equal(pthread_self(), w->thread)) {
        write_own(w, LOG_ERROR, line);
        return;
    }
    atomic_store(&w->last_words, line);
    (void)sem_post(&w->wake);
    for (int i = 0; i < LAST_WORDS_MS && !atomic_load(&w->last_words_written); i++) {
        (void)nanosleep(&moment, NULL);
    }
}

/* ---- life ---- */

static bool open_outs(struct log_writer *w, const struct config *config, struct error *error) {
    w->outs[OUT_STDERR].fd = (config->log_dests & CONFIG_LOG_STDERR) != 0 ? STDERR_FILENO : -1;
    w->outs[OUT_STDOUT].fd = (config->log_dests & CONFIG_LOG_STDOUT) != 0 ? STDOUT_FILENO : -1;
    w->outs[OUT_FILE].fd = -1;
    if ((config->log_dests & CONFIG_LOG_FILE) != 0) {
        w->outs[OUT_FILE].fd = file_open(config->log_file);
        if (w->outs[OUT_FILE].fd < 0) {
            return error_set(error, ERROR_INVALID, errno, "the log file %s cannot be opened", config->log_file);
        }
        w->path = mem_copy(config->log_file, strlen(config->log_file));
    }
    w->to_syslog = (config->log_dests & CONFIG_LOG_SYSLOG) != 0;
    w->out_count = w->to_syslog;
    for (size_t i = 0; i < OUTS; i++) {
        w->out_count += w->outs[i].fd >= 0;
    }
    return true;
}

struct log_writer *log_writer_start(const struct config *config, struct error *error) {
    struct log_writer *w = mem_zero(1, sizeof *w);
    w->timestamps = config->log_timestamp;
    w->writing = mem_zero(1, sizeof *w->writing);
    w->filling = mem_zero(1, sizeof *w->filling);
    must(sem_init(&w->wake, 0, 0) == 0 && sem_init(&w->done, 0, 0) == 0);
    must(pthread_mutex_init(&w->mutex, NULL) == 0);
    if (!open_outs(w, config, error)) {
        writer_free(w);
        return NULL;
    }
    if (w->to_syslog) {
        syslog_out_open();
    }
    int failure = thread_try(&w->thread, "log", writer_main, w);
    if (failure != 0) {
        (void)error_set(error, ERROR_INVALID, failure, "there can be no thread for the log");
        writer_free(w);
        return NULL;
    }
    return w;
}

void log_writer_end(struct log_writer *w, int64_t ms) {
    atomic_store(&w->ending, true);
    (void)sem_post(&w->wake);
    pthread_t thread = w->thread;
    int runs = FATE_RUNS;
    if (!wait_for(&w->done, ms) && atomic_compare_exchange_strong(&w->fate, &runs, FATE_LEFT)) {
        (void)pthread_detach(thread);
        return;
    }
    must(pthread_join(w->thread, NULL) == 0);
    writer_free(w);
}
