#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "bench/bench.h"

enum { EVENTS_MAX = 1024 };

/* Handshakes under way at once: below the listen backlog of common brokers. */
#define OPENING_MAX 64U
/* The longest sleep of a turn; bounds how late a phase can end on an idle broker. */
#define TURN_NS_MAX (10 * 1000 * 1000ULL)
#define OPEN_STALL_S 30U
#define LEAVE_S 10U
#define SETTLE_S 1U

uint64_t bench_clock_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t cpu_clock_ns(void) {
    struct timespec used;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}

void bench_fail(struct bench *b, const char *format, ...) {
    if (b->failed) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(b->failure, sizeof(b->failure), format, arguments);
    va_end(arguments);
    b->failed = true;
}

uint64_t bench_lost(const struct bench *b) {
    uint64_t present = b->counts.delivered;
    return b->counts.expected > present ? b->counts.expected - present : 0;
}

static uint32_t worker_count(const struct bench *b) {
    return (uint32_t)(b->options->subscribers + b->options->publishers);
}

static uint64_t phase_elapsed_ns(const struct bench *b) {
    return b->now_ns - b->phase_started_ns;
}

static bool stalled(const struct bench *b) {
    uint64_t since = b->active_ns > b->phase_started_ns ? b->active_ns : b->phase_started_ns;
    return b->now_ns > since && b->now_ns - since > b->options->drain * NS_PER_S;
}

/* ---- opening ---- */

static void opener_start(struct bench *b, uint32_t first, uint32_t end, enum client_aim aim) {
    b->opener = (struct opener){.next = first, .end = end, .aim = (uint8_t)aim, .started_ns = b->now_ns};
}

static bool opener_may_open(const struct bench *b) {
    const struct opener *o = &b->opener;
    uint64_t rate = b->options->connect_rate;
    return !b->failed && o->next < o->end && b->busy < OPENING_MAX &&
           (rate == 0 || o->opened * NS_PER_S <= (b->now_ns - o->started_ns) * rate);
}

static void opener_step(struct bench *b) {
    while (opener_may_open(b)) {
        client_open(b, &b->clients[b->opener.next], (enum client_aim)b->opener.aim);
        b->opener.next++;
        b->opener.opened++;
    }
}

static bool opener_over(struct bench *b) {
    if (b->opener.next < b->opener.end || b->busy > 0) {
        if (b->now_ns > b->active_ns && b->now_ns - b->active_ns > OPEN_STALL_S * NS_PER_S) {
            bench_fail(b, "the broker does not answer: %" PRIu32 " handshakes are waiting", b->busy);
        }
        return false;
    }
    if (b->opener.opened > 0 && b->opener.aim != AIM_WIPE) {
        b->connect_ns += b->now_ns - b->opener.started_ns;
    }
    return true;
}

/* ---- measuring ---- */

static void sample(struct bench *b, struct process_sample *to) {
    struct error error = {0};
    if (b->options->pid != 0 && !process_sample(b->options->pid, to, &error)) {
        bench_fail(b, "%s", error.text);
    }
}

static void measure_begin(struct bench *b) {
    sample(b, &b->process_start);
    histogram_reset(&b->delivery);
    histogram_reset(&b->acknowledgement);
    b->now_ns = bench_clock_ns();
    b->counts.time_ns = b->now_ns;
    b->counts.cpu_ns = cpu_clock_ns();
    b->counts_start = b->counts;
    b->recording = true;
}

static void measure_end(struct bench *b) {
    /* With a fixed number of messages the last one ends the period, not the wait that found out that it was the last.
     */
    b->counts.time_ns = b->options->messages > 0 && b->active_ns > b->counts_start.time_ns ? b->active_ns : b->now_ns;
    b->counts.cpu_ns = cpu_clock_ns();
    b->counts_end = b->counts;
    b->recording = false;
    sample(b, &b->process_end);
}

/* Nothing is under way between publishers, broker and subscribers. */
static bool all_through(const struct bench *b) {
    const struct bench_counts *c = &b->counts;
    return c->in_flight == 0 && c->unreleased == 0 && c->delivered >= c->expected;
}

/* ---- phases: what begins with each, and when it is over ---- */

static void enter_subscribe(struct bench *b) {
    const struct bench_options *o = b->options;
    bool drain = o->stage == STAGE_DRAIN;
    opener_start(b, 0, o->stage == STAGE_WIPE ? 0 : (uint32_t)o->subscribers, drain ? AIM_RESUME : AIM_FRESH);
    if (drain) {
        for (uint64_t i = 0; i < o->publishers; i++) {
            b->counts.expected += bench_quota(o, i) * bench_fan(o, i);
        }
        measure_begin(b);
    }
}

static void leave_range(struct bench *b, uint32_t end) {
    for (uint32_t i = 0; i < end; i++) {
        if (b->clients[i].state == CLIENT_READY) {
            client_leave(b, &b->clients[i]);
        }
    }
}

static void enter_detach(struct bench *b) {
    if (b->options->stage == STAGE_FILL) {
        leave_range(b, (uint32_t)b->options->subscribers);
    }
}

static bool leave_over(struct bench *b) {
    return b->busy == 0 || phase_elapsed_ns(b) > LEAVE_S * NS_PER_S;
}

static bool publishes(const struct bench *b) {
    return b->options->publishers > 0 && b->options->stage != STAGE_DRAIN && b->options->stage != STAGE_WIPE;
}

static void enter_publish(struct bench *b) {
    uint32_t first = (uint32_t)b->options->subscribers;
    opener_start(b, first, publishes(b) ? worker_count(b) : first, AIM_FRESH);
}

static void enter_idle(struct bench *b) {
    if (b->options->idle > 0) {
        sample(b, &b->process_before_idle);
    }
    opener_start(b, worker_count(b), b->client_count, AIM_FRESH);
}

static void enter_nothing(struct bench *b) {
    (void)b;
}

static bool settle_over(struct bench *b) {
    if (b->options->idle == 0) {
        return true;
    }
    if (phase_elapsed_ns(b) < SETTLE_S * NS_PER_S) {
        return false;
    }
    sample(b, &b->process_after_idle);
    return true;
}

static void enter_warm_up(struct bench *b) {
    if (!publishes(b)) {
        return;
    }
    b->publishing = true;
    b->pace_start_ns = b->now_ns;
    if (b->options->rate > 0) {
        b->ns_per_message = (double)NS_PER_S / (double)b->options->rate;
        return;
    }
    for (uint64_t i = 0; i < b->options->publishers; i++) {
        client_mark(b, bench_publisher(b, i));
    }
}

static bool warm_up_over(struct bench *b) {
    return !publishes(b) || phase_elapsed_ns(b) >= b->options->warmup * NS_PER_S;
}

static void enter_measure(struct bench *b) {
    if (!b->recording) {
        measure_begin(b);
    }
}

static bool measure_over(struct bench *b) {
    const struct bench_options *o = b->options;
    bool over = false;
    if (o->stage != STAGE_DRAIN && !publishes(b)) {
        over = true;
    } else if (o->messages == 0) {
        over = phase_elapsed_ns(b) >= o->seconds * NS_PER_S;
    } else {
        bool sent = o->stage == STAGE_DRAIN || b->counts.published == o->messages;
        over = (sent && all_through(b)) || stalled(b);
        b->stuck = over && !sent;
    }
    if (over) {
        measure_end(b);
    }
    return over;
}

static void enter_drain(struct bench *b) {
    b->publishing = false;
}

static bool drain_over(struct bench *b) {
    return all_through(b) || stalled(b);
}

static void enter_leave(struct bench *b) {
    leave_range(b, worker_count(b));
}

static void enter_wipe(struct bench *b) {
    for (uint32_t i = 0; i < b->client_count; i++) {
        if (b->clients[i].state != CLIENT_CLOSED) {
            client_become(b, &b->clients[i], CLIENT_CLOSED);
        }
    }
    bool wipe = b->options->durable && b->options->stage != STAGE_FILL;
    opener_start(b, 0, wipe ? worker_count(b) : 0, AIM_WIPE);
}

struct phase_row {
    const char *name;
    void (*enter)(struct bench *b);
    bool (*over)(struct bench *b);
};

static const struct phase_row phase_rows[PHASE_DONE] = {
    [PHASE_SUBSCRIBE] = {"subscribe", enter_subscribe, opener_over},
    [PHASE_DETACH] = {"detach", enter_detach, leave_over},
    [PHASE_PUBLISH] = {"connect", enter_publish, opener_over},
    [PHASE_IDLE] = {"idle", enter_idle, opener_over},
    [PHASE_SETTLE] = {"settle", enter_nothing, settle_over},
    [PHASE_WARM_UP] = {"warm up", enter_warm_up, warm_up_over},
    [PHASE_MEASURE] = {"measure", enter_measure, measure_over},
    [PHASE_DRAIN] = {"drain", enter_drain, drain_over},
    [PHASE_LEAVE] = {"leave", enter_leave, leave_over},
    [PHASE_WIPE] = {"wipe", enter_wipe, opener_over},
};

static void phase_enter(struct bench *b, enum bench_phase phase) {
    b->phase = phase;
    b->phase_started_ns = b->now_ns;
    b->active_ns = b->now_ns;
    if (phase != PHASE_DONE) {
        phase_rows[phase].enter(b);
    }
}

static void phases_step(struct bench *b) {
    /* Asked once, we let what is under way arrive; asked again, we leave at once. */
    bool hurry = *b->stop > 1 || b->phase < PHASE_WARM_UP;
    if (*b->stop != 0 && b->phase < (hurry ? PHASE_LEAVE : PHASE_DRAIN)) {
        phase_enter(b, hurry ? PHASE_LEAVE : PHASE_DRAIN);
    }
    while (!b->failed && b->phase != PHASE_DONE && phase_rows[b->phase].over(b)) {
        phase_enter(b, (enum bench_phase)(b->phase + 1));
    }
}

/* ---- turns ---- */

static void progress(struct bench *b) {
    if (!b->options->progress || b->now_ns < b->progress_ns) {
        return;
    }
    double seconds = (double)(b->now_ns - b->counts_shown.time_ns) / (double)NS_PER_S;
    const struct bench_counts *c = &b->counts;
    const struct bench_counts *before = &b->counts_shown;
    fprintf(stderr, "%-9s  %10.0f published/s  %10.0f delivered/s  %8" PRIu64 " in flight  %9" PRIu64 " on their way\n",
            phase_rows[b->phase].name, (double)(c->completed - before->completed) / seconds,
            (double)(c->delivered - before->delivered) / seconds, c->in_flight, bench_lost(b));
    b->counts_shown = *c;
    b->counts_shown.time_ns = b->now_ns;
    b->progress_ns = b->now_ns + NS_PER_S;
}

/* How long this turn may sleep. */
static uint64_t turn_ns(const struct bench *b) {
    if (b->dirty_count > 0) {
        return 0;
    }
    if (b->options->rate > 0 && b->publishing) {
        uint64_t due = b->pace_start_ns + (uint64_t)((double)b->paced * b->ns_per_message);
        uint64_t wait = due > b->now_ns ? due - b->now_ns : 0;
        return wait < TURN_NS_MAX ? wait : TURN_NS_MAX;
    }
    return b->options->connect_rate > 0 && b->opener.next < b->opener.end ? TURN_NS_MAX / 20 : TURN_NS_MAX;
}

static void turn(struct bench *b) {
    struct epoll_event events[EVENTS_MAX];
    uint64_t sleep_ns = turn_ns(b);
    struct timespec timeout = {(time_t)(sleep_ns / NS_PER_S), (long)(sleep_ns % NS_PER_S)};
    int count = epoll_pwait2(b->epoll, events, EVENTS_MAX, &timeout, NULL);
    if (count < 0 && errno != EINTR) {
        bench_fail(b, "epoll failed: %s", strerror(errno));
        return;
    }
    b->now_ns = bench_clock_ns();
    for (int i = 0; i < count && !b->failed; i++) {
        client_ready(b, events[i].data.ptr, events[i].events);
    }
    opener_step(b);
    publisher_pace(b);
    client_serve(b);
    progress(b);
}

/* ---- the run ---- */

static void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void name_run(struct bench *b) {
    if (b->options->run != NULL) {
        (void)snprintf(b->run, sizeof(b->run), "%s", b->options->run);
    } else {
        (void)snprintf(b->run, sizeof(b->run), "%08" PRIx32, (uint32_t)(b->now_ns >> 10) ^ (uint32_t)getpid() << 16);
    }
}

static void clients_init(struct bench *b) {
    const struct bench_options *o = b->options;
    b->client_count = worker_count(b) + (uint32_t)o->idle;
    b->clients = mem_zero(b->client_count, sizeof(*b->clients));
    b->dirty = mem_zero(b->client_count, sizeof(*b->dirty));
    for (uint32_t i = 0; i < b->client_count; i++) {
        struct client *c = &b->clients[i];
        c->channel.fd = -1;
        if (i < o->subscribers) {
            c->role = CLIENT_SUBSCRIBER;
            c->number = i;
            subscriber_init(b, c);
        } else if (i < worker_count(b)) {
            c->role = CLIENT_PUBLISHER;
            c->number = i - (uint32_t)o->subscribers;
            publisher_init(b, c);
        } else {
            c->role = CLIENT_IDLE;
            c->number = i - worker_count(b);
        }
    }
}

bool bench_run(struct bench *b, const struct bench_options *options, const volatile sig_atomic_t *stop) {
    struct error error = {0};
    *b = (struct bench){.options = options, .stop = stop, .epoll = -1};
    b->dialect = options->nats ? &dialect_nats : &dialect_mqtt;
    b->now_ns = bench_clock_ns();
    b->progress_ns = b->now_ns + NS_PER_S;
    b->counts_shown.time_ns = b->now_ns;
    raise_file_limit();
    name_run(b);
    clients_init(b);
    if (!channel_resolve(options->host, (uint16_t)options->port, &b->address, &error)) {
        bench_fail(b, "%s", error.text);
        return false;
    }
    b->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (b->epoll < 0) {
        bench_fail(b, "cannot make an epoll instance: %s", strerror(errno));
        return false;
    }
    phase_enter(b, PHASE_SUBSCRIBE);
    for (phases_step(b); !b->failed && b->phase != PHASE_DONE; phases_step(b)) {
        turn(b);
    }
    if (b->recording) {
        measure_end(b);
    }
    if (*stop != 0) {
        bench_fail(b, "it was stopped");
    } else if (b->stuck) {
        bench_fail(b, "the broker was silent for %" PRIu64 " s, %" PRIu64 " messages were never sent", options->drain,
                   options->messages - b->counts.published);
    }
    return !b->failed;
}

void bench_deinit(struct bench *b) {
    for (uint32_t i = 0; i < b->client_count; i++) {
        channel_close(&b->clients[i].channel);
        publisher_deinit(b->clients[i].publisher);
        subscriber_deinit(b->clients[i].subscriber);
    }
    mem_free(b->clients);
    mem_free(b->dirty);
    buf_deinit(&b->input);
    if (b->epoll >= 0) {
        (void)close(b->epoll);
    }
}
