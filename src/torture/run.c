/* The schedule of runs, and the loop. */
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "torture/torture.h"

#define EVENTS 128
#define SILENT_NS (60000 * NS_PER_MS)  /* a broker that answers no CONNECT for so long is gone */
#define STRANGER_NS (5000 * NS_PER_MS) /* one that is not ours and has never answered is not there */
#define WIPE_NS (5000 * NS_PER_MS)     /* for leaving no session behind */
#define RUN_MESSAGES 40U
#define WINDOW_MESSAGES 1000U
#define MESSAGES_MIN 12U
#define RUN_MESSAGES_MAX 10000000U /* all of a run's packets are kept until it is judged */
#define STORIES_READ 3U            /* findings of one column of one run that are looked at for a shorter story */
#define PLACES_BYTES 160U

/* Rows that are drawn one after the other, each once before any comes again. */
struct deck {
    size_t rows[STATS_MAX];
    size_t count;
    size_t next;
    uint64_t left; /* runs to come */
    uint64_t all;
};

int64_t clock_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

void torture_fail(struct torture *t, const char *format, ...) {
    va_list arguments;
    if (t->failed) {
        return;
    }
    t->failed = true;
    va_start(arguments, format);
    (void)vsnprintf(t->failure, sizeof(t->failure), format, arguments);
    va_end(arguments);
}

void torture_trouble(struct torture *t, const char *text, uint8_t reason) {
    t->trouble = text;
    t->trouble_reason = reason;
}

void torture_ghost(struct torture *t, const struct actor *c, enum wire_event event) {
    if (t->ghost_count == t->ghost_capacity) {
        t->ghost_capacity = t->ghost_capacity > 0 ? t->ghost_capacity * 2 : 32;
        t->ghosts = mem_resize(t->ghosts, t->ghost_capacity * sizeof(*t->ghosts));
    }
    t->ghosts[t->ghost_count++] = (struct ghost){c->fd, c->lane, c->who, c->connection, event == EVENT_SILENCE};
}

/* True once the broker has closed the connection. */
static bool ghost_closed(const struct ghost *g) {
    char bytes[4096];
    ssize_t n;
    do {
        n = recv(g->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    } while (n > 0);
    return n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/* Whoever fell silent has connected anew since, so the broker must have closed the old connection. It is given the
 * time that a missing message is given. */
static void look_at_ghosts(struct torture *t) {
    const int64_t until = clock_ns() + (int64_t)t->options->patience_ms * NS_PER_MS;
    const struct timespec pause = {.tv_nsec = NS_PER_MS};
    for (size_t i = 0; i < t->ghost_count; i++) {
        const struct ghost *g = &t->ghosts[i];
        while (g->silent && !ghost_closed(g)) {
            if (clock_ns() > until) {
                wire_add(&g->lane->wire, &(struct wire_record){.time_ns = clock_ns() - g->lane->began_ns,
                                                               .message = WIRE_NO_MESSAGE,
                                                               .who = g->who,
                                                               .connection = g->connection,
                                                               .event = EVENT_KEPT});
                break;
            }
            (void)nanosleep(&pause, NULL);
        }
    }
}

static void drop_ghosts(struct torture *t) {
    for (size_t i = 0; i < t->ghost_count; i++) {
        close(t->ghosts[i].fd);
    }
    t->ghost_count = 0;
}

uint64_t torture_count(const struct torture *t, enum judge_column column) {
    uint64_t sum = 0;
    for (size_t i = 0; i < t->stats_count; i++) {
        sum += t->stats[i].counts[column];
    }
    return sum;
}

bool torture_clean(const struct torture *t) {
    uint64_t sum = 0;
    for (size_t column = 0; column < JUDGE_COLUMNS; column++) {
        sum += torture_count(t, (enum judge_column)column);
    }
    return sum == 0;
}

/* ---- set-up ---- */

static bool resolve(struct torture *t) {
    char service[8];
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    t->port = (uint16_t)t->options->port;
    if (t->port == 0) {
        t->port = victim_free_port((uint64_t)clock_ns());
    }
    if (t->port == 0) {
        torture_fail(t, "cannot find a free port for the broker: %s", strerror(errno));
        return false;
    }
    (void)snprintf(service, sizeof(service), "%u", t->port);
    int status = getaddrinfo(t->options->host, service, &hints, &found);
    if (status != 0) {
        torture_fail(t, "cannot resolve %s: %s", t->options->host, gai_strerror(status));
        return false;
    }
    for (const struct addrinfo *a = found; a != NULL && t->address_count < ADDRESSES_MAX; a = a->ai_next) {
        struct address *to = &t->addresses[t->address_count++];
        memcpy(&to->name, a->ai_addr, a->ai_addrlen);
        to->length = a->ai_addrlen;
    }
    freeaddrinfo(found);
    return true;
}

static void deck_init(struct torture *t, struct deck *deck, bool kills, enum fault_kind kind, uint64_t runs) {
    *deck = (struct deck){.left = runs};
    for (size_t i = 0; i < t->table.count; i++) {
        const struct fault_row *row = &t->table.rows[i];
        if (fault_is_kill(row) ? kills && row->kind == kind : !kills) {
            deck->rows[deck->count++] = i;
        }
    }
    if (runs == UINT64_MAX) {
        deck->left = deck->count;
    }
    deck->left = deck->count == 0 ? 0 : deck->left;
    deck->all = deck->left;
    deck->next = deck->count;
}

static size_t deck_draw(struct torture *t, struct deck *deck) {
    if (deck->next == deck->count) {
        for (size_t i = deck->count - 1; i > 0; i--) {
            size_t other = prng_below(&t->prng, i + 1);
            size_t row = deck->rows[i];
            deck->rows[i] = deck->rows[other];
            deck->rows[other] = row;
        }
        deck->next = 0;
    }
    deck->left--;
    return deck->rows[deck->next++];
}

static size_t add_stats(struct torture *t, const struct fault_row *row) {
    t->stats[t->stats_count].row = *row;
    return t->stats_count++;
}

/* The rows of the statistics are those of the table, then the deaths that strike at any moment. */
static void set_up_rows(struct torture *t) {
    const struct fault_row kill_any = {FAMILY_KILL, HOP_BOTH, 0, LOSS_NONE, KIND_KILL, 1};
    const struct fault_row power_any = {FAMILY_POWER, HOP_BOTH, 0, LOSS_NONE, KIND_POWER, 1};
    fault_table_init(&t->table, t->options->only);
    for (size_t i = 0; i < t->table.count; i++) {
        (void)add_stats(t, &t->table.rows[i]);
    }
    t->kill_any = add_stats(t, &kill_any);
    t->power_any = add_stats(t, &power_any);
    fault_table_init(&t->all, NULL);
    size_t kept = 0;
    for (size_t i = 0; i < t->all.count; i++) {
        if (!fault_is_kill(&t->all.rows[i]) && t->all.rows[i].point != 0) {
            t->all.rows[kept++] = t->all.rows[i];
        }
    }
    t->all.count = kept;
}

/* ---- death ---- */

static void announce_death(struct torture *t, enum wire_event event) {
    for (size_t i = 0; i < t->busy_lanes; i++) {
        struct lane *lane = &t->lanes[i];
        if (lane->phase == LANE_RUN || lane->phase == LANE_CALM) {
            lane_event(lane, &lane->clients[0], event);
            lane->strike.struck = true;
        }
    }
}

static void power_off(struct torture *t) {
    struct error error = {0};
    t->unpowered = true;
    struct prng prng = prng_of(t->options->seed ^ t->power_cuts);
    t->kill_ns = t->now_ns + 1 + (int64_t)prng_below(&prng, 20 * NS_PER_MS);
    announce_death(t, EVENT_POWER);
    if (!victim_power_off(&t->victim, &error)) {
        torture_fail(t, "%s", error.text);
    }
}

static void die_and_live(struct torture *t) {
    struct error error = {0};
    victim_kill(&t->victim);
    announce_death(t, EVENT_KILLED);
    t->kill_ns = 0;
    t->killed = true;
    for (size_t i = 0; i < t->busy_lanes; i++) {
        for (size_t k = 0; k < t->lanes[i].client_count; k++) {
            actor_broker_died(&t->lanes[i].clients[k]);
        }
    }
    if (t->unpowered) {
        t->power_cuts++;
        t->unpowered = false;
        if (!victim_power_on(&t->victim, &error)) {
            torture_fail(t, "%s", error.text);
            return;
        }
    } else {
        t->kills++;
    }
    if (!victim_start(&t->victim, &error)) {
        torture_fail(t, "%s", error.text);
    }
}

static void check_death(struct torture *t) {
    struct error error = {0};
    if (t->kill_ns > 0 && t->now_ns >= t->kill_ns) {
        if (t->kill_kind == KIND_POWER && !t->unpowered) {
            power_off(t);
        } else {
            die_and_live(t);
        }
    } else if (t->kill_ns == 0 && !victim_alive(&t->victim, &error)) {
        torture_fail(t, "%s", error.text);
    }
}

/* ---- the loop ---- */

static bool all_in(const struct torture *t, enum lane_phase phase) {
    for (size_t i = 0; i < t->busy_lanes; i++) {
        if (t->lanes[i].phase != phase) {
            return false;
        }
    }
    return true;
}

static void begin_running(struct torture *t) {
    for (size_t i = 0; i < t->busy_lanes; i++) {
        t->lanes[i].phase = LANE_RUN;
        t->lanes[i].active_ns = t->now_ns;
        sender_fill(&t->lanes[i].clients[0]);
    }
}

/* Milliseconds until something is due: exact enough for deadlines that wait for a broker. */
static int time_out(const struct torture *t) {
    int ms = 20;
    for (size_t i = 0; i < t->busy_lanes; i++) {
        for (size_t k = 0; k < t->lanes[i].client_count; k++) {
            const struct actor *c = &t->lanes[i].clients[k];
            if (c->cut || (c->state == ACTOR_DOWN && c->reopen_ns > 0 && c->reopen_ns <= t->now_ns)) {
                return 0;
            }
            ms = c->state == ACTOR_DOWN && c->reopen_ns > 0 ? 1 : ms;
        }
    }
    return t->kill_ns > 0 ? (t->kill_ns <= t->now_ns ? 0 : 1) : ms;
}

static void check_silence(struct torture *t) {
    for (size_t i = 0; i < t->busy_lanes; i++) {
        const struct lane *lane = &t->lanes[i];
        bool stranger = t->options->broker == NULL && !t->answered;
        int64_t limit = lane->messages == 0 ? WIPE_NS : stranger ? STRANGER_NS : SILENT_NS;
        if (lane->phase < LANE_READY && t->now_ns - lane->phase_ns > limit) {
            char reason[16] = "";
            if (t->trouble_reason != 0) {
                (void)snprintf(reason, sizeof(reason), " 0x%02X", t->trouble_reason);
            }
            torture_fail(t, "the broker at %s port %u does not let us in: %s%s", t->options->host, t->port,
                         t->trouble != NULL ? t->trouble : "it does not answer CONNECT", reason);
        }
    }
}

static void show_progress(struct torture *t) {
    if (!t->options->progress || t->now_ns < t->progress_ns) {
        return;
    }
    const uint64_t deaths = t->kills + t->power_cuts;
    t->progress_ns = t->now_ns + 1000 * NS_PER_MS;
    (void)fprintf(stderr, "%6.0f s  %llu runs, %llu messages, %llu cuts, %llu kills",
                  (double)(t->now_ns - t->started_ns) / 1e9, (unsigned long long)t->runs,
                  (unsigned long long)t->messages, (unsigned long long)t->cuts, (unsigned long long)deaths);
    for (size_t column = 0; column < JUDGE_COLUMNS; column++) {
        (void)fprintf(stderr, ", %llu %s", (unsigned long long)torture_count(t, (enum judge_column)column),
                      judge_column_text((enum judge_column)column));
    }
    (void)fputs("\n", stderr);
}

static void turn(struct torture *t) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(t->epoll, events, EVENTS, time_out(t));
    t->now_ns = clock_ns();
    for (int i = 0; i < count; i++) {
        actor_ready(events[i].data.ptr, events[i].events);
    }
    for (size_t i = 0; i < t->busy_lanes; i++) {
        for (size_t k = 0; k < t->lanes[i].client_count; k++) {
            actor_turn(&t->lanes[i].clients[k]);
        }
    }
    check_death(t);
    for (size_t i = 0; i < t->busy_lanes; i++) {
        lane_step(&t->lanes[i]);
    }
    if (all_in(t, LANE_READY)) {
        begin_running(t);
    }
    check_silence(t);
    show_progress(t);
}

/* Ends early at the signal of this number. */
static void loop_until_done(struct torture *t, int signals) {
    while (!all_in(t, LANE_DONE) && !t->failed && *t->stop < signals) {
        turn(t);
    }
}

/* ---- verdicts ---- */

/* The story of this column of this row; a new one when there is none. */
static struct story *story_of(struct torture *t, size_t row, enum judge_column column) {
    for (size_t i = 0; i < t->story_count; i++) {
        if (t->stories[i].row == row && t->stories[i].finding.column == column) {
            return &t->stories[i];
        }
    }
    t->stories[t->story_count] = (struct story){.row = row, .finding.column = column, .lines = SIZE_MAX};
    return &t->stories[t->story_count++];
}

/* Notes which message of which run it was. */
static void note_place(struct story *s, uint64_t run, uint32_t message) {
    if (message == WIRE_NO_MESSAGE || s->places_left_out > 0 || s->places.len > PLACES_BYTES) {
        s->places_left_out += message != WIRE_NO_MESSAGE;
    } else if (s->places_run == run) {
        wire_text(&s->places, ", %u", (unsigned)message);
    } else {
        wire_text(&s->places, "%srun %llu: %u", s->places.len > 0 ? "; " : "", (unsigned long long)run,
                  (unsigned)message);
    }
    s->places_run = run;
}

/* Keeps the shortest story of each column of each row. */
static void keep_story(struct torture *t, const struct lane *lane, const struct judge_finding *finding, bool read) {
    struct story *story = story_of(t, lane->row, finding->column);
    struct buf text = {0};
    note_place(story, lane->run, finding->message);
    size_t lines = read ? judge_excerpt(&text, &lane->wire, finding) : SIZE_MAX;
    if (story->lines <= lines) {
        buf_deinit(&text);
        return;
    }
    buf_deinit(&story->text);
    story->run = lane->run;
    story->finding = *finding;
    story->protocol = lane->protocol;
    story->lines = lines;
    story->text = text;
}

/* Says at once what a run has shown. */
static void tell(const struct torture *t, const struct lane *lane, const struct judgement *judgement) {
    char name[64];
    if (!t->options->progress || judgement_clean(judgement)) {
        return;
    }
    (void)fprintf(stderr, "%6.0f s  run %llu, %s:", (double)(t->now_ns - t->started_ns) / 1e9,
                  (unsigned long long)lane->run, fault_name(&t->stats[lane->row].row, name, sizeof(name)));
    for (size_t column = 0; column < JUDGE_COLUMNS; column++) {
        if (judgement->counts[column] > 0) {
            (void)fprintf(stderr, " %llu %s", (unsigned long long)judgement->counts[column],
                          judge_column_text((enum judge_column)column));
        }
    }
    (void)fputs("\n", stderr);
}

static void judge_lane(struct torture *t, struct lane *lane) {
    struct judgement judgement;
    const struct judge_terms terms = {.protocol = lane->protocol,
                                      .messages = lane->messages,
                                      .subscribers = (uint8_t)(lane->client_count - 1),
                                      .receive_maximum = TORTURE_RECEIVE_MAXIMUM};
    struct row_stats *stats = &t->stats[lane->row];
    size_t told[JUDGE_COLUMNS] = {0};
    judge_run(t->judge, &lane->wire, &terms, &judgement);
    tell(t, lane, &judgement);
    stats->runs += lane->strike.struck;
    stats->missed += !lane->strike.struck;
    t->runs++;
    t->messages += judgement.published;
    t->deliveries += judgement.deliveries;
    for (size_t column = 0; column < JUDGE_COLUMNS; column++) {
        stats->counts[column] += judgement.counts[column];
    }
    for (size_t i = 0; i < judgement.finding_count; i++) {
        size_t *count = &told[judgement.findings[i].column];
        keep_story(t, lane, &judgement.findings[i], (*count)++ < STORIES_READ);
    }
}

static void finish_batch(struct torture *t) {
    loop_until_done(t, 1);
    if (!t->failed && *t->stop == 0) {
        look_at_ghosts(t);
    }
    for (size_t i = 0; i < t->busy_lanes && !t->failed && *t->stop == 0; i++) {
        judge_lane(t, &t->lanes[i]);
    }
    for (size_t i = 0; i < t->busy_lanes; i++) {
        t->lanes[i].phase = LANE_IDLE;
        for (size_t k = 0; k < t->lanes[i].client_count; k++) {
            actor_drop(&t->lanes[i].clients[k], -1);
        }
    }
    drop_ghosts(t);
}

/* ---- batches ---- */

static uint32_t weight_of(const struct torture *t, size_t row) {
    enum fault_family family = t->stats[row].row.family;
    return family == FAMILY_MIX ? (uint32_t)(t->options->mix_cuts + 1) / 2 : family == FAMILY_WINDOW ? 25 : 1;
}

/* Messages of one run of weight 1, so that all runs together have as many as were asked for. */
static uint32_t share(const struct torture *t, const struct deck *cuts, uint64_t deaths) {
    uint64_t weights = 0;
    for (size_t i = 0; i < cuts->count; i++) {
        weights += weight_of(t, cuts->rows[i]);
    }
    uint64_t all = deaths * t->lane_count + (cuts->count > 0 ? cuts->all * weights / cuts->count : 0);
    uint64_t each = t->options->messages == 0 || all == 0 ? RUN_MESSAGES : t->options->messages / all + 1;
    return each < MESSAGES_MIN ? MESSAGES_MIN : each > RUN_MESSAGES_MAX ? RUN_MESSAGES_MAX : (uint32_t)each;
}

static void begin_batch(struct torture *t) {
    t->busy_lanes = 0;
    t->killed = false;
    t->kill_ns = 0;
    t->now_ns = clock_ns();
}

static void cut_batch(struct torture *t, struct deck *cuts, uint32_t messages, uint64_t *run) {
    begin_batch(t);
    while (t->busy_lanes < t->lane_count && cuts->left > 0) {
        size_t row = deck_draw(t, cuts);
        uint64_t weighted = (uint64_t)messages * weight_of(t, row);
        lane_begin(&t->lanes[t->busy_lanes++], row, ++*run,
                   weighted < RUN_MESSAGES_MAX ? (uint32_t)weighted : RUN_MESSAGES_MAX);
    }
    finish_batch(t);
}

/* One lane says when the broker dies; which one, is drawn. */
static void death_batch(struct torture *t, struct deck *deaths, size_t any, uint32_t messages, uint64_t *run) {
    begin_batch(t);
    size_t row = deck_draw(t, deaths);
    size_t first = prng_below(&t->prng, t->lane_count);
    while (t->busy_lanes < t->lane_count) {
        size_t lane = t->busy_lanes++;
        lane_begin(&t->lanes[lane], lane == first ? row : any, ++*run, messages);
    }
    finish_batch(t);
}

/* Batches with and without deaths alternate as their numbers want it. */
static void run_all(struct torture *t) {
    struct deck cuts;
    struct deck kills;
    struct deck powers;
    uint64_t run = 0;
    deck_init(t, &cuts, false, KIND_NOTHING, t->options->cuts);
    deck_init(t, &kills, true, KIND_KILL, t->options->kills);
    deck_init(t, &powers, true, KIND_POWER, t->options->power_cuts);
    uint32_t messages = share(t, &cuts, kills.all + powers.all);
    while ((cuts.left > 0 || kills.left > 0 || powers.left > 0) && !t->failed && *t->stop == 0) {
        double cut = cuts.left == 0 ? -1 : (double)cuts.left / (double)cuts.all;
        double kill = kills.left == 0 ? -1 : (double)kills.left / (double)kills.all;
        double power = powers.left == 0 ? -1 : (double)powers.left / (double)powers.all;
        if (cut >= kill && cut >= power) {
            cut_batch(t, &cuts, messages, &run);
        } else if (kill >= power) {
            death_batch(t, &kills, t->kill_any, messages, &run);
        } else {
            death_batch(t, &powers, t->power_any, messages, &run);
        }
    }
}

/* Leaves no session behind. */
static void wipe_all(struct torture *t) {
    begin_batch(t);
    while (t->busy_lanes < t->lane_count) {
        lane_begin(&t->lanes[t->busy_lanes++], t->kill_any, 0, 0);
    }
    loop_until_done(t, 2);
    drop_ghosts(t);
}

/* Nothing found is worth nothing when nothing was done. */
static void check_work(struct torture *t) {
    uint64_t struck = 0;
    for (size_t i = 0; i < t->stats_count; i++) {
        struck += t->stats[i].runs;
    }
    if (t->runs == 0) {
        torture_fail(t, "there is nothing to do: --cuts, --kills, --power-cuts and --only leave no run");
    } else if (struck == 0) {
        torture_fail(t, "nothing was tried: in %llu runs the packet that was to be struck never came",
                     (unsigned long long)t->runs);
    }
}

bool torture_run(struct torture *t, const struct torture_options *options, const volatile sig_atomic_t *stop) {
    struct error error = {0};
    t->options = options;
    t->stop = stop;
    t->prng = prng_of(options->seed);
    t->judge = judge_create();
    t->started_ns = t->now_ns = clock_ns();
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    set_up_rows(t);
    if (t->epoll < 0) {
        torture_fail(t, "cannot wait for sockets: %s", strerror(errno));
    } else if (t->table.count == 0) {
        torture_fail(t, "no row of the catalogue has a name with \"%s\" in it; see --list", options->only);
    } else if (resolve(t) &&
               (!victim_init(&t->victim, options->broker, t->port, options->data, options->data_image, &error) ||
                (options->broker != NULL && !victim_start(&t->victim, &error)))) {
        torture_fail(t, "%s", error.text);
    }
    for (; t->lane_count < options->publishers && !t->failed; t->lane_count++) {
        lane_init(t, &t->lanes[t->lane_count], (uint16_t)t->lane_count);
    }
    if (!t->failed) {
        run_all(t);
    }
    if (!t->failed && *stop == 0) {
        check_work(t);
    }
    if (!t->failed && t->answered && options->broker == NULL && *stop <= 1) {
        wipe_all(t);
    }
    if (*stop != 0) {
        t->failed = false;
        torture_fail(t, "interrupted");
    }
    return !t->failed;
}

void torture_deinit(struct torture *t) {
    for (size_t i = 0; i < t->lane_count; i++) {
        lane_deinit(&t->lanes[i]);
    }
    for (size_t i = 0; i < t->story_count; i++) {
        buf_deinit(&t->stories[i].text);
        buf_deinit(&t->stories[i].places);
    }
    drop_ghosts(t);
    mem_free(t->ghosts);
    buf_deinit(&t->scratch);
    judge_destroy(t->judge);
    victim_deinit(&t->victim);
    if (t->epoll >= 0) {
        close(t->epoll);
    }
}
