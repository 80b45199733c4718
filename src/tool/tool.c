#include "tool/tool.h"

#include <signal.h>
#include <stdio.h>

#include <quartet/quartet.h>

#include "tool/loop.h"
#include "tool/verbs.h"

static void print_help(enum tool_program program) {
    static const char *const texts[] = {
        [TOOL_PUB] = "publishes messages and ends when the broker has them",
        [TOOL_SUB] = "prints the messages of some topics",
        [TOOL_RR] = "publishes a request and prints the response",
    };
    (void)printf("quartet %s [OPTION ...]: %s\n\n", tool_program_name(program), texts[program]);
    tool_options_help(stdout, program);
}

static int run(const struct tool_options *options) {
    if (options->help) {
        print_help(options->program);
        return TOOL_EXIT_OK;
    }
    if (options->version) {
        (void)printf("quartet %s\n", quartet_version());
        return TOOL_EXIT_OK;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    return options->program == TOOL_PUB   ? tool_pub(options)
           : options->program == TOOL_SUB ? tool_sub(options)
                                          : tool_rr(options);
}

int tool_main(enum tool_program program, int argc, char **argv) {
    struct tool_options options;
    struct error error = {0};
    struct buf path = {0};
    int status = TOOL_EXIT_FAILED;
    tool_config_path(&path, program);
    if (tool_options_parse(&options, program, (const char *)path.ptr, argc, argv, &error)) {
        status = run(&options);
    } else if (!options.quiet) {
        (void)fprintf(stderr, "quartet %s: %s\n", tool_program_name(program), error.text);
    }
    tool_options_deinit(&options);
    buf_deinit(&path);
    return status;
}
