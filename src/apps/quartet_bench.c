/* `quartet bench`: flags in, report out.
 *
 * Exit status: 0 all well; 1 the run could not be finished; 2 the flags make no sense; 3 it was finished, but messages
 * were lost above QoS 0, duplicated or refused, or the broker broke the protocol. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "apps/quartet.h"
#include "base/mem.h"
#include "bench/bench.h"
#include "bench/options.h"
#include "bench/report.h"
#include "bench/stub.h"

static volatile sig_atomic_t stop;

/* The first signal ends the load, a second one does not wait for messages on their way, the next one kills. */
static void on_signal(int number) {
    stop = stop + 1;
    if (stop > 1) {
        (void)signal(number, SIG_DFL);
    }
}

static int run(struct bench_options *options) {
    struct bench *b = mem_zero(1, sizeof(*b));
    options->progress = options->progress || (isatty(STDERR_FILENO) && !options->json);
    (void)signal(SIGINT, on_signal);
    (void)signal(SIGTERM, on_signal);
    bool finished = bench_run(b, options, &stop);
    report_print(stdout, b, options->json);
    if (!finished) {
        (void)fprintf(stderr, "quartet bench: %s\n", b->failure);
    }
    int status = !finished ? 1 : report_clean(b) ? 0 : 3;
    bench_deinit(b);
    mem_free(b);
    return status;
}

int quartet_bench_main(int argc, char **argv) {
    struct bench_options options;
    struct error error = {0};
    if (!bench_options_parse(argc, argv, &options, &error)) {
        (void)fprintf(stderr, "quartet bench: %s\n", error.text);
        return 2;
    }
    if (options.help) {
        bench_options_help(stdout);
        return 0;
    }
    if (options.stub) {
        (void)stub_run(options.host, (uint16_t)options.port, &error);
        (void)fprintf(stderr, "quartet bench: %s\n", error.text);
        return 1;
    }
    return run(&options);
}
