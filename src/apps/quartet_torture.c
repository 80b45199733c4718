/* `quartet torture`: flags in, table out.
 *
 * Exit status: 0 clean; 1 could not be finished; 2 the flags make no sense; 3 something was found. */
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#include "apps/quartet.h"
#include "base/mem.h"
#include "torture/report.h"

static volatile sig_atomic_t stop;

static void on_signal(int number) {
    stop = stop + 1;
    if (stop > 1) {
        (void)signal(number, SIG_DFL);
    }
}

/* A short number, easy to type again. */
static uint64_t draw_seed(void) {
    uint32_t seed = 0;
    return getrandom(&seed, sizeof(seed), 0) == (ssize_t)sizeof(seed) ? seed : (uint32_t)clock_ns();
}

int quartet_torture_main(int argc, char **argv) {
    struct torture_options options;
    struct error error = {0};
    if (!torture_options_parse(argc, argv, &options, &error)) {
        (void)fprintf(stderr, "quartet torture: %s\n", error.text);
        return 2;
    }
    if (options.help || options.list) {
        if (options.help) {
            torture_options_help(stdout);
        } else {
            torture_catalogue(stdout, options.only);
        }
        return 0;
    }
    options.seed = options.seed_given ? options.seed : draw_seed();
    options.progress = options.progress || isatty(STDERR_FILENO);
    (void)signal(SIGINT, on_signal);
    (void)signal(SIGTERM, on_signal);
    (void)signal(SIGPIPE, SIG_IGN);
    struct torture *t = mem_zero(1, sizeof(*t));
    bool finished = torture_run(t, &options, &stop);
    torture_report(stdout, t);
    if (!finished) {
        (void)fprintf(stderr, "quartet torture: %s\n", t->failure);
        victim_log(&t->victim, stderr);
    }
    int status = !finished ? 1 : torture_clean(t) ? 0 : 3;
    torture_deinit(t);
    mem_free(t);
    return status;
}
