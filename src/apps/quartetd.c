/* quartetd, the broker: command line and configuration, then net/server.h. */
#include <stdio.h>

#include "apps/descriptors.h"
#include "apps/ending.h"
#include "apps/quartetd_arguments.h"
#include "apps/quartetd_daemon.h"
#include "base/mem.h"
#include "config/config.h"
#include "net/last_words.h"
#include "net/preflight.h"
#include "net/process.h"
#include "net/server.h"

#define EXIT_WRONG 2

static void say_problem(void *user, bool error, const char *line) {
    (void)user;
    (void)fprintf(stderr, "%s: %s\n", error ? "error" : "warning", line);
}

/* -p moves the loopback listeners; a configuration with listeners of its own has said where to listen. */
static void apply_port(struct config *config, const char *port, struct config_report *report) {
    if (config->default_listener_given || config->listener_count > 0) {
        report->errors++;
        report->say(report->user, true, "-p: the configuration names its listeners; change the port there");
        return;
    }
    config_set(config, "-p", "port", port, report);
    config->default_listener_given = false;
}

static void configure(struct config *config, const struct arguments *a, struct config_report *report) {
    config_init(config);
    if (a->config_file != NULL) {
        config_read_file(config, a->config_file, report);
    }
    if (a->port != NULL) {
        apply_port(config, a->port, report);
    }
    if (a->data != NULL) {
        config_set(config, "--data", "persistence_location", a->data, report);
    }
    if (a->shards != NULL) {
        config_set(config, "--shards", "shards", a->shards, report);
    }
    if (a->verbose) {
        config->log_types |= CONFIG_LOG_INFORMATION | CONFIG_LOG_DEBUG;
    }
    if (a->daemon && !config->log_dests_given) {
        config->log_dests |= CONFIG_LOG_SYSLOG;
    }
    config_check(config, report);
}

static void serving(void *user) {
    (void)user;
    daemon_ready();
}

static int run(const struct config *config, bool in_background) {
    struct log log = {0};
    struct error error = {0};
    if (in_background) {
        daemon_begin();
    }
    if (!log_open(&log, config, &error)) {
        (void)fprintf(stderr, "error: %s\n", error.text);
        return EXIT_WRONG;
    }
    last_words_arm(&log);
    struct server_options options = {.config = config, .log = &log, .ready = serving};
    enum server_exit status = server_run(&options);
    last_words_disarm();
    log_close(&log);
    return (int)status;
}

static int test(const struct config *config, struct config_report *report) {
    preflight(config, report);
    if (report->errors > 0) {
        (void)fprintf(stderr, "the configuration is fine, but with it nothing could be started here: %u error%s\n",
                      report->errors, report->errors == 1 ? "" : "s");
        return EXIT_WRONG;
    }
    (void)printf("the configuration is fine\n");
    return 0;
}

static int configured(const struct arguments *arguments) {
    struct config config;
    struct config_report report = {say_problem, NULL, 0};
    configure(&config, arguments, &report);
    int status = 0;
    if (report.errors > 0) {
        (void)fprintf(stderr, "nothing was started: %u error%s in the configuration\n", report.errors,
                      report.errors == 1 ? "" : "s");
        status = EXIT_WRONG;
    } else {
        status = arguments->test_config ? test(&config, &report) : run(&config, arguments->daemon);
    }
    config_deinit(&config);
    return status;
}

int main(int argc, char **argv) {
    if (!descriptors_occupy()) {
        return 1;
    }
    signals_ignore();
    mem_keep_little();
    struct arguments arguments;
    enum arguments_status parsed = arguments_parse(argc, argv, &arguments);
    if (parsed != ARGUMENTS_RUN) {
        return ending("quartetd", parsed == ARGUMENTS_DONE ? 0 : EXIT_WRONG);
    }
    return ending("quartetd", configured(&arguments));
}
