#include "bench/report.h"

#include <inttypes.h>
#include <string.h>

/* A figure of the report: the same rows make the table and the JSON. */
struct figure {
    const char *key;   /* in JSON */
    const char *label; /* in the table; NULL: JSON only */
    const char *unit;
    double value;
    int digits; /* after the point */
};

struct figures {
    struct figure rows[48];
    size_t count;
};

static void add(struct figures *f, const char *key, const char *label, const char *unit, double value, int digits) {
    if (f->count < sizeof(f->rows) / sizeof(f->rows[0])) {
        f->rows[f->count++] = (struct figure){key, label, unit, value, digits};
    }
}

static double ratio(double value, double by) {
    return by > 0 ? value / by : 0;
}

bool report_clean(const struct bench *b) {
    bool may_lose = b->options->qos == 0 || b->options->sub_qos == 0;
    const struct bench_counts *c = &b->counts;
    return (may_lose || bench_lost(b) == 0) && c->duplicates == 0 && c->violations == 0 && c->refused == 0;
}

static void add_latency(struct figures *f, const struct histogram *h, const char *const keys[5],
                        const char *const labels[5]) {
    static const uint32_t per_million[] = {500000, 900000, 990000, 999000, 1000000};
    for (size_t i = 0; h->count > 0 && i < 5; i++) {
        add(f, keys[i], labels[i], "us", (double)histogram_quantile(h, per_million[i]) / 1000, 1);
    }
}

/* How busy we were ourselves: a generator at its limit measures itself. It also is at 100 % when it only waits for
 * room, at QoS 0 without rate and backlog. */
static void add_generator(struct figures *f, const struct bench *b) {
    double seconds = (double)(b->counts_end.time_ns - b->counts_start.time_ns);
    add(f, "generator_cpu_percent", "generator: CPU", "%",
        ratio((double)(b->counts_end.cpu_ns - b->counts_start.cpu_ns) * 100, seconds), 1);
}

static void add_latencies(struct figures *f, const struct bench *b) {
    static const char *const delivery_keys[] = {"delivery_p50_us", "delivery_p90_us", "delivery_p99_us",
                                                "delivery_p999_us", "delivery_max_us"};
    static const char *const delivery_labels[] = {"delivery latency p50", "                 p90",
                                                  "                 p99", "                 p99.9",
                                                  "                 max"};
    static const char *const ack_keys[] = {"ack_p50_us", "ack_p90_us", "ack_p99_us", "ack_p999_us", "ack_max_us"};
    static const char *const ack_labels[] = {"acknowledged after p50", "                   p90",
                                             "                   p99", "                   p99.9",
                                             "                   max"};
    add_latency(f, &b->delivery, delivery_keys, delivery_labels);
    add_latency(f, &b->acknowledgement, ack_keys, ack_labels);
}

static void add_rates(struct figures *f, const struct bench *b) {
    const struct bench_counts *from = &b->counts_start;
    const struct bench_counts *to = &b->counts_end;
    double seconds = (double)(to->time_ns - from->time_ns) / (double)NS_PER_S;
    double completed = (double)(to->completed - from->completed);
    double delivered = (double)(to->delivered - from->delivered);
    add(f, "seconds", "measured", "s", seconds, 3);
    add(f, "published_per_s", "published", "messages/s", ratio(completed, seconds), 0);
    add(f, "delivered_per_s", "delivered", "messages/s", ratio(delivered, seconds), 0);
}

static void add_totals(struct figures *f, const struct bench *b) {
    const struct bench_counts *c = &b->counts;
    add(f, "total_published", "published in all", "", (double)c->published, 0);
    add(f, "total_delivered", "delivered in all", "", (double)c->delivered, 0);
    add(f, "unfinished", "handshakes unfinished", "", (double)(c->in_flight + c->unreleased), 0);
    add(f, "lost", b->failed ? "lost or on their way" : "lost", "", (double)bench_lost(b), 0);
    add(f, "duplicates", "duplicated", "", (double)c->duplicates, 0);
    add(f, "late", "out of order", "", (double)c->late, 0);
    add(f, "refused", "refused", "", (double)c->refused, 0);
    add(f, "violations", "against the protocol", "", (double)c->violations, 0);
}

static void add_process(struct figures *f, const struct bench *b) {
    if (b->options->pid == 0 || b->counts_end.time_ns == b->counts_start.time_ns) {
        return;
    }
    const struct process_sample *from = &b->process_start;
    const struct process_sample *to = &b->process_end;
    double completed = (double)(b->counts_end.completed - b->counts_start.completed);
    double delivered = (double)(b->counts_end.delivered - b->counts_start.delivered);
    double messages = completed > 0 ? completed : delivered;
    double cpu_us = (double)(to->cpu_ns - from->cpu_ns) / 1000;
    double seconds = (double)(b->counts_end.time_ns - b->counts_start.time_ns) / (double)NS_PER_S;
    add(f, "broker_cpu_percent", "broker: CPU", "%", ratio(cpu_us, seconds * 1e4), 1);
    add(f, "broker_cpu_us_per_message", "        CPU per message", "us", ratio(cpu_us, messages), 3);
    if (b->options->subscribers > 0) {
        add(f, "broker_cpu_us_per_delivery", "        CPU per delivery", "us", ratio(cpu_us, delivered), 3);
    }
    add(f, "broker_rss_bytes", "        resident memory", "B", (double)to->rss_bytes, 0);
    add(f, "broker_pss_bytes", "        proportional memory", "B", (double)to->pss_bytes, 0);
    add(f, "broker_peak_bytes", "        peak memory", "B", (double)to->peak_bytes, 0);
    add(f, "broker_waits_per_message", "        waits per message", "",
        ratio((double)(to->voluntary_switches - from->voluntary_switches), messages), 4);
    add(f, "broker_written_bytes_per_message", "        written per message", "B",
        ratio((double)(to->write_bytes - from->write_bytes), messages), 1);
}

static void add_idle(struct figures *f, const struct bench *b) {
    uint64_t idle = b->options->idle;
    if (idle == 0) {
        return;
    }
    const struct process_sample *from = &b->process_before_idle;
    const struct process_sample *to = &b->process_after_idle;
    add(f, "idle", "idle connections", "", (double)idle, 0);
    add(f, "idle_lost", "        closed by the broker", "", (double)b->idle_lost, 0);
    if (b->options->pid != 0) {
        add(f, "idle_rss_bytes", "        resident memory of each", "B",
            ((double)to->rss_bytes - (double)from->rss_bytes) / (double)idle, 1);
        add(f, "idle_pss_bytes", "        proportional memory of each", "B",
            ((double)to->pss_bytes - (double)from->pss_bytes) / (double)idle, 1);
    }
}

static void collect(struct figures *f, const struct bench *b) {
    add(f, "connected", "connected", "clients", (double)b->connected, 0);
    add(f, "connected_per_s", "", "clients/s", ratio((double)b->connected, (double)b->connect_ns / (double)NS_PER_S),
        0);
    if (b->options->publishers > 0) {
        add_rates(f, b);
        add_latencies(f, b);
        add_totals(f, b);
        add_generator(f, b);
    }
    add_process(f, b);
    add_idle(f, b);
}

static void print_json_text(FILE *out, const char *text) {
    fputc('"', out);
    for (const char *at = text; *at != 0; at++) {
        if (*at == '"' || *at == '\\') {
            fputc('\\', out);
        }
        fputc((unsigned char)*at < 0x20 ? ' ' : *at, out);
    }
    fputc('"', out);
}

static const char *protocol_name(const struct bench_options *o) {
    return o->nats ? "NATS" : o->protocol == 1 ? "MQTT 5.0" : "MQTT 3.1.1";
}

static void print_json(FILE *out, const struct bench *b, const struct figures *f) {
    const struct bench_options *o = b->options;
    fprintf(out,
            "{\"protocol\": \"%s\", \"topology\": \"%s\", \"durable\": %s, \"publishers\": %" PRIu64
            ", \"subscribers\": %" PRIu64 ", \"qos\": %" PRIu64 ", \"sub_qos\": %" PRIu64 ", \"payload\": %" PRIu64
            ", \"window\": %" PRIu64 ", \"backlog\": %" PRIu64 ", \"rate\": %" PRIu64,
            protocol_name(o), bench_topology_name(o->topology), o->durable ? "true" : "false", o->publishers,
            o->subscribers, o->qos, o->sub_qos, o->payload, o->window, o->backlog, o->rate);
    for (size_t i = 0; i < f->count; i++) {
        fprintf(out, ", \"%s\": %.*f", f->rows[i].key, f->rows[i].digits, f->rows[i].value);
    }
    fprintf(out, ", \"finished\": %s, \"clean\": %s, \"failure\": ", b->failed ? "false" : "true",
            report_clean(b) ? "true" : "false");
    print_json_text(out, b->failure);
    fputs("}\n", out);
}

/* Digits in groups of three, so that millions are told from thousands at a glance. */
static void print_number(FILE *out, double value, int digits) {
    char text[64];
    int length = snprintf(text, sizeof(text), "%.*f", digits, value);
    int whole = digits > 0 ? length - digits - 1 : length;
    int width = length + (whole - 1) / 3;
    fprintf(out, "%*s", width < 16 ? 16 - width : 1, "");
    for (int i = 0; i < length; i++) {
        fputc(text[i], out);
        if (i + 1 < whole && (whole - i - 1) % 3 == 0 && text[i] != '-') {
            fputc(',', out);
        }
    }
}

static void print_table(FILE *out, const struct bench *b, const struct figures *f) {
    const struct bench_options *o = b->options;
    fprintf(out, "%s, %s, QoS %" PRIu64, protocol_name(o), bench_topology_name(o->topology), o->qos);
    if (o->sub_qos != o->qos) {
        fprintf(out, " (subscribers %" PRIu64 ")", o->sub_qos);
    }
    fprintf(out, ", %s sessions, %" PRIu64 " to %" PRIu64 ", %" PRIu64 " bytes", o->durable ? "durable" : "clean",
            o->publishers, o->subscribers, o->payload);
    if (o->qos > 0) {
        fprintf(out, ", window %" PRIu64, o->window);
    }
    fputs("\n\n", out);
    for (size_t i = 0; i < f->count; i++) {
        const struct figure *row = &f->rows[i];
        fprintf(out, "  %-32s", row->label);
        print_number(out, row->value, row->digits);
        fprintf(out, " %s\n", row->unit);
    }
    if (b->failed) {
        fprintf(out, "\nThe run failed: %s.\n", b->failure);
    }
}

void report_print(FILE *out, const struct bench *b, bool json) {
    struct figures figures = {.count = 0};
    collect(&figures, b);
    if (json) {
        print_json(out, b, &figures);
    } else {
        print_table(out, b, &figures);
    }
}
