#include "net/server.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "net/local_store.h"
#include "net/loop.h"
#include "net/options.h"
#include "net/reclaim.h"
#include "net/store_work.h"
#include "store/store_memory.h"

#define DATA_DEFAULT "quartet-data"
#define DESCRIPTORS_OF_PROCESS 32 /* the store without its journal, the log, standard streams */
#define DESCRIPTORS_OF_LOOP 5     /* its own, and a connection that is accepted only to be refused */

struct server {
    const struct server_options *options;
    const struct config *config;
    struct log *log;
    struct listeners listeners;
    struct local_store local; /* without persistence: not open */
    struct store *store;
    struct loop_shared shared;
    _Atomic unsigned loops_running;
    uv_loop_t uv; /* of the main thread: signals, and the end */
    uv_signal_t signals[3];
    uv_async_t ended;
    bool stopping;
    bool pid_written;
    _Atomic bool failed; /* a thread says so, and ends the process */
};

/* ---- the process ---- */

static unsigned cores_available(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 1;
    }
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : count > 64 ? 64 : (unsigned)count;
}

/* As many open files as may be. */
static uint64_t raise_files_limit(void) {
    struct rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    }
    return limit.rlim_cur > 10000000 ? 10000000 : limit.rlim_cur;
}

/* Connections get what open files leave when everything else is open: the store ends the process when it cannot open
 * its next journal file. Of a limit that is too low for both, each gets half. */
static bool count_connections(struct server *s, uint64_t files, struct error *error) {
    uint64_t sockets = s->listeners.socket_count * s->shared.shards;
    uint64_t others = DESCRIPTORS_OF_PROCESS + DESCRIPTORS_OF_LOOP * (s->shared.shards + 1ULL) + sockets;
    if (files < others + 2) {
        return error_set(error, ERROR_INVALID, 0,
                         "the limit of open files is %llu, and %u shards need %llu; raise it (ulimit -n)",
                         (unsigned long long)files, s->shared.shards, (unsigned long long)others + 2);
    }
    uint64_t rest = files - others;
    uint64_t journal = s->config->persistence ? s->config->max_segments : 0;
    uint64_t allowed = rest - (journal < rest / 2 ? journal : rest / 2);
    uint64_t wanted = s->config->global_max_connections;
    if (wanted > allowed) {
        log_say(s->log, LOG_WARNING, "global_max_connections is %llu, but the limit of open files allows %llu",
                (unsigned long long)wanted, (unsigned long long)allowed);
    }
    s->shared.connections_max = (uint32_t)(wanted != 0 && wanted < allowed ? wanted : allowed);
    return true;
}

static bool become_user(const char *name, struct error *error) {
    if (name == NULL || geteuid() != 0) {
        return true;
    }
    errno = 0;
    const struct passwd *user = getpwnam(name);
    if (user == NULL) {
        return error_set(error, ERROR_INVALID, errno, "there is no user %s", name);
    }
    if (initgroups(name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0) {
        return error_set(error, ERROR_INVALID, errno, "cannot become user %s", name);
    }
    return true;
}

static bool write_pid_file(struct server *s, struct error *error) {
    const char *path = s->config->pid_file;
    if (path == NULL) {
        return true;
    }
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        return error_set(error, ERROR_INVALID, errno, "the pid file %s cannot be written", path);
    }
    bool written = fprintf(file, "%ld\n", (long)getpid()) > 0;
    written = fclose(file) == 0 && written;
    s->pid_written = true;
    return written ? true : error_set(error, ERROR_INVALID, errno, "the pid file %s cannot be written", path);
}

static uint64_t random_number(void) {
    uint64_t number = 0;
    must(getrandom(&number, sizeof number, 0) == (ssize_t)sizeof number);
    return number;
}

/* ---- the store ---- */

static bool server_open_local(struct server *s, struct error *error) {
    const char *path = s->config->persistence_location != NULL ? s->config->persistence_location : DATA_DEFAULT;
    struct store_local_options options = options_store(s->config, random_number());
    if (!local_store_open(&s->local, path, s->config->table_size, &options, error)) {
        return false;
    }
    s->store = s->local.store;
    log_say(s->log, LOG_NOTICE, "the store is in %s", path);
    return true;
}

static bool server_open_store(struct server *s, struct error *error) {
    if (s->config->persistence) {
        return server_open_local(s, error);
    }
    log_line(s->log, LOG_WARNING, "persistence is false: nothing is kept when the broker stops");
    s->store = store_memory_create();
    return true;
}

static void server_close_store(struct server *s) {
    if (s->local.store == NULL && s->store != NULL) {
        store_memory_destroy(s->store);
    }
    local_store_close(&s->local);
}

static void server_committed(void *user) {
    struct server *s = user;
    for (unsigned i = 0; i < s->shared.shards; i++) {
        loop_committed(&s->shared.loops[i]);
    }
}

static void server_folded(void *user) {
    struct server *s = user;
    for (unsigned i = 0; i < s->shared.shards; i++) {
        waker_wake(&s->shared.loops[i].waker);
    }
}

/* A deep queue that went to the table leaves much freed memory behind. */
static void server_rests(void *user) {
    (void)user;
    mem_give_back();
}

static const char *advice(const struct error *error) {
    switch (error->kind) {
    case ERROR_NO_SPACE:
        return "; make room on the disk, then start again";
    case ERROR_LOCKED:
        return "; stop the other process or use another directory (--data)";
    case ERROR_DAMAGED:
        return "; nothing was changed; keep a copy of the directory before any repair";
    case ERROR_IO:
        return "; look at the disk and at the kernel's log before you start again";
    case ERROR_FORMAT:
        return "; the directory belongs to another program or version";
    case ERROR_NONE:
    case ERROR_INVALID:
    case ERROR_CRASHED:
        break;
    }
    return "";
}

/* Nothing that was acknowledged is lost, and nothing more may be acknowledged: the process ends here. */
static void server_failed(void *user) {
    struct server *s = user;
    while (atomic_exchange(&s->failed, true)) {
        (void)pause(); /* another thread is here already; one line is enough */
    }
    log_say(s->log, LOG_ERROR, "the store has failed and the broker stops at once: %s%s", s->store->error.text,
            advice(&s->store->error));
    _exit(SERVER_EXIT_FAILED);
}

static void server_warned(void *user, const char *sentence) {
    struct server *s = user;
    log_line(s->log, LOG_WARNING, sentence);
}

/* ---- signals ---- */

static void server_stop(struct server *s, int number) {
    if (s->stopping) {
        log_line(s->log, LOG_WARNING, "stopped by a second signal; what was acknowledged is on the disk");
        _exit(128 + number);
    }
    s->stopping = true;
    log_say(s->log, LOG_NOTICE, "%s: stopping", number == SIGINT ? "SIGINT" : "SIGTERM");
    atomic_store(&s->shared.stopping, true);
    for (unsigned i = 0; i < s->shared.shards; i++) {
        waker_wake(&s->shared.loops[i].waker);
    }
}

static void server_signal(uv_signal_t *handle, int number) {
    struct server *s = handle->data;
    if (number == SIGHUP) {
        log_line(s->log, LOG_NOTICE, "SIGHUP: the configuration is read at the start only; nothing has changed");
    } else {
        server_stop(s, number);
    }
}

static void server_watch_signals(struct server *s) {
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        must(uv_signal_init(&s->uv, &s->signals[i]) == 0);
        s->signals[i].data = s;
        must(uv_signal_start(&s->signals[i], server_signal, numbers[i]) == 0);
    }
}

/* The main thread waits for others from now on: a second signal ends the process all the same, whether it has come
 * already or comes later. */
static void server_unwatch_signals(struct server *s) {
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    must(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    (void)uv_run(&s->uv, UV_RUN_NOWAIT);
    for (size_t i = 0; i < sizeof s->signals / sizeof *s->signals; i++) {
        must(uv_signal_stop(&s->signals[i]) == 0);
    }
    (void)signal(SIGHUP, SIG_IGN);
    must(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}

/* ---- running ---- */

/* Any shard's thread: it has ended. */
static void server_loop_ended(void *user) {
    struct server *s = user;
    if (atomic_fetch_sub(&s->loops_running, 1) == 1) {
        must(uv_async_send(&s->ended) == 0);
    }
}

static void server_all_ended(uv_async_t *async) {
    uv_stop(async->loop);
}

static void broker_says(void *user, enum log_level level, const char *line) {
    log_line(user, level, line);
}

static bool server_create_broker(struct server *s, unsigned shards, struct error *error) {
    struct broker_options options = options_broker(s->config);
    struct broker_outside outside = {s->log, broker_says, reclaim_later, random_number()};
    s->shared.store = s->store;
    s->shared.broker = broker_create(&options, &outside, s->store, shards);
    clock_start(&s->shared.clock, &s->store->clock, loop_wall(), loop_boot());
    return broker_load(s->shared.broker, clock_time(&s->shared.clock, loop_boot()), error);
}

static void server_start_threads(struct server *s) {
    struct loop_shared *shared = &s->shared;
    for (unsigned i = 0; i < shared->shards; i++) {
        loop_init(&shared->loops[i], shared, i);
    }
    if (s->config->persistence) {
        struct store_work_options work = {
            .store = s->store,
            .segment_bytes = s->config->segment_size,
            .user = s,
            .committed = server_committed,
            .folded = server_folded,
            .rests = server_rests,
            .failed = server_failed,
            .warned = server_warned,
        };
        shared->work = store_work_start(&work);
        must(shared->work != NULL);
    }
    atomic_store(&s->loops_running, shared->shards);
    for (unsigned i = 0; i < shared->shards; i++) {
        loop_start(&shared->loops[i]);
    }
}

static void server_end_threads(struct server *s) {
    for (unsigned i = 0; i < s->shared.shards; i++) {
        loop_join(&s->shared.loops[i]);
    }
    if (s->shared.work != NULL) {
        store_work_finish(s->shared.work);
    }
    for (unsigned i = 0; i < s->shared.shards; i++) {
        loop_deinit(&s->shared.loops[i]);
    }
}

static void server_close_handle(uv_handle_t *handle, void *user) {
    (void)user;
    uv_close(handle, NULL);
}

static void server_announce(const struct server *s) {
    for (size_t i = 0; i < s->listeners.socket_count; i++) {
        log_say(s->log, LOG_NOTICE, "listening on %s", s->listeners.sockets[i].name);
    }
    if (!s->config->local_only) {
        log_line(s->log, LOG_WARNING, "clients need no password: whoever reaches a listener may read and write all");
    }
    log_say(s->log, LOG_NOTICE, "ready: %u shard%s, up to %u connections", s->shared.shards,
            s->shared.shards == 1 ? "" : "s", s->shared.connections_max);
}

/* From here on nothing fails but the store. */
static void server_serve(struct server *s) {
    must(uv_loop_init(&s->uv) == 0);
    must(uv_async_init(&s->uv, &s->ended, server_all_ended) == 0);
    server_watch_signals(s);
    server_start_threads(s);
    server_announce(s);
    s->options->ready(s->options->user);
    reclaim_offline();
    (void)uv_run(&s->uv, UV_RUN_DEFAULT);
    server_unwatch_signals(s);
    server_end_threads(s);
    reclaim_online();
    uv_walk(&s->uv, server_close_handle, NULL);
    (void)uv_run(&s->uv, UV_RUN_DEFAULT);
    must(uv_loop_close(&s->uv) == 0);
}

/* Opens everything and serves; false with an error when that is not possible. */
static bool server_open_and_serve(struct server *s, unsigned shards, struct error *error) {
    uint64_t files = raise_files_limit();
    if (!listeners_open(&s->listeners, s->config, shards, s->log, error) || !write_pid_file(s, error) ||
        !become_user(s->config->user, error) || !listeners_open_files(&s->listeners, s->config, s->log, error) ||
        !count_connections(s, files, error) || !server_open_store(s, error) ||
        !server_create_broker(s, shards, error)) {
        return false;
    }
    server_serve(s);
    return true;
}

enum server_exit server_run(const struct server_options *options) {
    struct server s = {.options = options, .config = options->config, .log = options->log};
    (void)umask(077);
    (void)signal(SIGPIPE, SIG_IGN);
    reclaim_enter();
    unsigned shards = s.config->shards != 0 ? (unsigned)s.config->shards : cores_available();
    s.shared = (struct loop_shared){
        .log = s.log,
        .listeners = &s.listeners,
        .shards = shards,
        .user = &s,
        .failed = server_failed,
        .ended = server_loop_ended,
    };
    s.shared.loops = mem_zero(shards, sizeof *s.shared.loops);
    struct error error = {0};
    bool served = server_open_and_serve(&s, shards, &error);
    if (!served) {
        log_say(s.log, LOG_ERROR, "%s%s", error.text, advice(&error));
    }
    if (s.shared.broker != NULL) {
        broker_destroy(s.shared.broker);
    }
    reclaim_finish();
    server_close_store(&s);
    listeners_close(&s.listeners);
    mem_free(s.shared.loops);
    reclaim_leave();
    if (s.pid_written) {
        (void)unlink(s.config->pid_file);
    }
    if (served) {
        log_line(s.log, LOG_NOTICE, "stopped");
    }
    return served ? SERVER_EXIT_OK : SERVER_EXIT_FAILED;
}
