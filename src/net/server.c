#include "net/server.h"

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "net/ctl.h"
#include "net/local_store.h"
#include "net/loop.h"
#include "net/memory.h"
#include "net/notify.h"
#include "net/options.h"
#include "net/pid_file.h"
#include "net/process.h"
#include "net/reclaim.h"
#include "net/store_work.h"
#include "store/store_memory.h"

#define RETRY_MS 1000                /* for addresses that are not there */
#define FREED_BYTES_KEPT (32U << 20) /* by the allocator, when all is quiet */

struct server {
    const struct server_options *options;
    const struct config *config;
    struct log *log;
    struct listeners listeners;
    struct local_store local; /* without persistence: not open */
    struct store *store;
    uint64_t store_limit; /* bytes; 0: there is no disk */
    struct loop_shared shared;
    _Atomic unsigned loops_running;
    uv_loop_t uv; /* of the main thread: signals, and the end */
    uv_signal_t signals[5];
    uv_timer_t retry; /* while a listener's address is not there */
    uv_async_t ended;
    bool stopping;
    struct pid_file pid_file;
    struct ctl ctl;
    _Atomic bool failed; /* a thread says so, and ends the process */
};

/* ---- the process ---- */

/* As many as may be at once. */
static bool count_connections(struct server *s, uint64_t files, struct error *error) {
    uint64_t allowed = 0;
    uint64_t wanted = s->config->global_max_connections;
    if (!connections_allowed(s->config, files, s->shared.shards, s->listeners.socket_count, &allowed, error)) {
        return false;
    }
    if (wanted > allowed) {
        log_say(s->log, LOG_WARNING, "global_max_connections is %llu, but the limit of open files allows %llu",
                (unsigned long long)wanted, (unsigned long long)allowed);
    }
    s->shared.connections_max = (uint32_t)(wanted != 0 && wanted < allowed ? wanted : allowed);
    uint64_t of_one = s->config->max_connections_per_address;
    s->shared.peers.connections_max = of_one != 0 ? (uint32_t)of_one : s->shared.connections_max / 2 + 1;
    s->shared.peers.rate = (uint32_t)s->config->max_connection_rate;
    return true;
}

static uint64_t random_number(void) {
    uint64_t number;
    random_bytes(&number, sizeof number);
    return number;
}

/* ---- the store ---- */

static bool server_open_local(struct server *s, struct error *error) {
    const char *path = data_directory(s->config);
    struct store_local_options options = options_store(s->config, random_number());
    uint64_t most = local_store_limit(NULL, path, s->config->store_limit) / 4 / options.segment_bytes;
    options.segments_max = options.segments_max < most ? options.segments_max : (uint32_t)(most > 3 ? most : 3);
    if (!local_store_open(&s->local, path, s->config->table_size, &options, error)) {
        return false;
    }
    s->store = s->local.store;
    uint64_t limit = local_store_limit(&s->local, path, s->config->store_limit);
    store_local_limit(s->store, limit);
    s->store_limit = limit;
    log_say(s->log, LOG_NOTICE, "the store is in %s; it may take %llu MB", path, (unsigned long long)limit >> 20);
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

/* Beside the store, unless it is told where. */
static bool server_open_ctl(struct server *s, struct error *error) {
    const char *path = s->config->ctl_socket;
    char beside[4096];
    if (path != NULL) {
        return ctl_open(&s->ctl, strcmp(path, "none") == 0 ? NULL : path, error);
    }
    (void)snprintf(beside, sizeof beside, "%s/ctl", data_directory(s->config));
    if (!ctl_open(&s->ctl, s->config->persistence ? beside : NULL, error)) {
        log_say(s->log, LOG_WARNING, "there is no socket for `quartet ctl`: %s; see ctl_socket", error->text);
        *error = (struct error){0};
    }
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
    if (memory_anonymous() > mem_live() + FREED_BYTES_KEPT) {
        mem_give_back();
    }
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
    log_flush(s->log, LOG_CLOSE_MS);
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
        log_flush(s->log, LOG_CLOSE_MS);
        _exit(128 + number);
    }
    s->stopping = true;
    notify_send("STOPPING=1\nSTATUS=stopping");
    must(uv_timer_stop(&s->retry) == 0);
    ctl_stop(&s->ctl);
    log_say(s->log, LOG_NOTICE, "%s: stopping", number == SIGINT ? "SIGINT" : "SIGTERM");
    atomic_store(&s->shared.stopping, true);
    for (unsigned i = 0; i < s->shared.shards; i++) {
        waker_wake(&s->shared.loops[i].waker);
    }
}

static void server_signal(uv_signal_t *handle, int number) {
    struct server *s = handle->data;
    if (number == SIGHUP) {
        log_reopen(s->log);
        log_line(s->log, LOG_NOTICE,
                 "SIGHUP: a log file is opened again; the configuration is read at the start only and has not changed");
    } else if (number == SIGTERM || number == SIGINT) {
        server_stop(s, number);
    } else {
        log_line(s->log, LOG_NOTICE, "SIGUSR1 and SIGUSR2 have no effect: every record is on the disk already");
    }
}

static void server_watch_signals(struct server *s) {
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
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
    signals_ignore();
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

static void broker_says(void *user, enum log_level level, const char *kind, const char *line) {
    log_kind_line(user, level, kind, line);
}

static void broker_draws(void *user, void *out, size_t bytes) {
    (void)user;
    random_bytes(out, bytes);
}

static bool server_create_broker(struct server *s, unsigned shards, struct error *error) {
    struct broker_options options = options_broker(s->config);
    options.store_limit = s->store_limit;
    struct broker_outside outside = {
        .user = s->log, .log = broker_says, .reclaim = reclaim_later, .random = broker_draws};
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
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

static void server_announce(const struct server *s) {
    for (size_t i = 0; i < s->listeners.socket_count; i++) {
        if (s->listeners.sockets[i].failure == 0) {
            log_say(s->log, LOG_NOTICE, "listening on %s", s->listeners.sockets[i].name);
        }
    }
    if (!s->config->local_only) {
        log_line(s->log, LOG_WARNING, "clients need no password: whoever reaches a listener may read and write all");
    }
    log_say(s->log, LOG_NOTICE, "ready: %u shard%s, up to %u connections", s->shared.shards,
            s->shared.shards == 1 ? "" : "s", s->shared.connections_max);
}

static void server_retry_addresses(uv_timer_t *timer) {
    struct server *s = timer->data;
    listeners_retry(&s->listeners, s->log);
    if (!listeners_missing(&s->listeners)) {
        must(uv_timer_stop(timer) == 0);
    }
}

static void server_watch_addresses(struct server *s) {
    must(uv_timer_init(&s->uv, &s->retry) == 0);
    s->retry.data = s;
    if (listeners_missing(&s->listeners)) {
        must(uv_timer_start(&s->retry, server_retry_addresses, RETRY_MS, RETRY_MS) == 0);
    }
}

/* From here on nothing fails but the store. */
static void server_serve(struct server *s) {
    must(uv_loop_init(&s->uv) == 0);
    must(uv_async_init(&s->uv, &s->ended, server_all_ended) == 0);
    server_watch_signals(s);
    server_watch_addresses(s);
    ctl_start(&s->ctl, &s->uv, &s->shared);
    server_start_threads(s);
    server_announce(s);
    s->options->ready(s->options->user);
    notify_send("READY=1\nSTATUS=connections are accepted");
    reclaim_offline();
    (void)uv_run(&s->uv, UV_RUN_DEFAULT);
    server_unwatch_signals(s);
    server_end_threads(s);
    reclaim_online();
    uv_walk(&s->uv, server_close_handle, NULL);
    (void)uv_run(&s->uv, UV_RUN_DEFAULT);
    must(uv_loop_close(&s->uv) == 0);
    ctl_close(&s->ctl);
}

/* Opens everything and serves; false with an error when that is not possible. */
static bool server_open_and_serve(struct server *s, unsigned shards, struct error *error) {
    uint64_t files = raise_files_limit();
    if (!listeners_open(&s->listeners, s->config, shards, s->log, error) ||
        !pid_file_open(&s->pid_file, s->config->pid_file, error) || !become_user(s->config->user, error) ||
        !listeners_open_files(&s->listeners, s->config, s->log, error) || !count_connections(s, files, error)) {
        return false;
    }
    if (!server_open_store(s, error) || !pid_file_write(&s->pid_file, error) || !server_open_ctl(s, error) ||
        !server_create_broker(s, shards, error) || !listeners_listen(&s->listeners, error)) {
        return false;
    }
    server_serve(s);
    return true;
}

/* Last words of a start, also to who waits for a process in the background. */
static void server_say_failure(const struct server *s, const struct error *error) {
    log_say(s->log, LOG_ERROR, "%s%s", error->text, advice(error));
    if ((s->config->log_dests & CONFIG_LOG_STDERR) == 0) {
        (void)fprintf(stderr, "error: %s%s\n", error->text, advice(error));
    }
    char status[512];
    (void)snprintf(status, sizeof status, "STATUS=%s%s", error->text, advice(error));
    notify_send(status);
}

enum server_exit server_run(const struct server_options *options) {
    struct server s = {.options = options, .config = options->config, .log = options->log, .ctl.fd = -1};
    (void)umask(077);
    reclaim_enter();
    unsigned shards = shards_wanted(s.config);
    s.shared = (struct loop_shared){
        .log = s.log,
        .listeners = &s.listeners,
        .shards = shards,
        .user = &s,
        .failed = server_failed,
        .ended = server_loop_ended,
    };
    peers_init(&s.shared.peers, random_number());
    s.shared.loops = mem_zero(shards, sizeof *s.shared.loops);
    struct error error = {0};
    bool served = server_open_and_serve(&s, shards, &error);
    if (!served) {
        server_say_failure(&s, &error);
    }
    if (s.shared.broker != NULL && mem_is_watched()) { /* it is half of a stop with many sessions */
        broker_destroy(s.shared.broker);
    }
    reclaim_finish();
    ctl_close(&s.ctl);
    server_close_store(&s);
    listeners_close(&s.listeners);
    mem_free(s.shared.loops);
    peers_deinit(&s.shared.peers);
    reclaim_leave();
    pid_file_close(&s.pid_file);
    if (served) {
        log_line(s.log, LOG_NOTICE, "stopped");
    }
    return served ? SERVER_EXIT_OK : SERVER_EXIT_FAILED;
}
