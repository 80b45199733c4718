/* `quartet store`: the offline tools on a store that no broker has open. Exit status: 0 all well, 1 damage or another
 * failure, 2 wrong arguments. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/quartet.h"
#include "store/store_local.h"
#include "topic/topic.h"

#define EXIT_WRONG 2
#define TABLE_BYTES_MAX (1ULL << 40) /* address space only */

struct tool {
    const char *name;
    const char *argument; /* NULL: none */
    bool (*run)(const struct disk *disk, struct table *table, const char *argument, struct buf *out,
                struct error *error);
    const char *text;
};

static bool run_check(const struct disk *disk, struct table *table, const char *argument, struct buf *out,
                      struct error *error) {
    (void)argument;
    return store_local_check(disk, table, out, error);
}

static bool run_dump(const struct disk *disk, struct table *table, const char *argument, struct buf *out,
                     struct error *error) {
    (void)argument;
    return store_local_dump(disk, table, out, error);
}

static bool run_repair(const struct disk *disk, struct table *table, const char *argument, struct buf *out,
                       struct error *error) {
    (void)argument;
    return store_local_repair(disk, table, out, error);
}

static bool run_list(const struct disk *disk, struct table *table, const char *argument, struct buf *out,
                     struct error *error) {
    (void)argument;
    return store_local_list(disk, table, out, error);
}

static bool run_end_session(const struct disk *disk, struct table *table, const char *argument, struct buf *out,
                            struct error *error) {
    return store_local_end_session(disk, table, span_str(argument), out, error);
}

static bool matches(void *user, struct span topic) {
    return topic_matches(span_str(user), topic);
}

static bool run_clear_retained(const struct disk *disk, struct table *table, const char *argument, struct buf *out,
                               struct error *error) {
    if (!topic_filter_valid(span_str(argument))) {
        return error_set(error, ERROR_INVALID, 0, "%.200s is no topic filter", argument);
    }
    return store_local_clear_retained(disk, table, matches, (void *)(uintptr_t)argument, out, error);
}

static const struct tool tools[] = {
    {"check", NULL, run_check, "reads everything and says what is damaged; changes nothing"},
    {"dump", NULL, run_dump, "prints every record, one a line"},
    {"repair", NULL, run_repair, "cuts damaged frames out and lists every record that is gone"},
    {"list", NULL, run_list, "lists the sessions, those with the longest queues first"},
    {"end-session", "CLIENT_ID", run_end_session, "ends a session: its queue goes with it"},
    {"clear-retained", "FILTER", run_clear_retained, "clears the retained messages whose topics match"},
};

static void usage(FILE *out) {
    (void)fputs("usage: quartet store TOOL DIRECTORY [ARGUMENT]\n\n", out);
    for (size_t i = 0; i < sizeof tools / sizeof tools[0]; i++) {
        (void)fprintf(out, "  %-14s %-9s  %s\n", tools[i].name, tools[i].argument != NULL ? tools[i].argument : "",
                      tools[i].text);
    }
    (void)fputs("\nlist, end-session and clear-retained fold the journal first, as a start does.\n", out);
}

/* A name that is mistyped is not to become a store. */
static bool is_store(const char *directory, struct error *error) {
    static const char *const files[] = {"table.mdb", "journal-0000"};
    struct stat status;
    if (stat(directory, &status) != 0 || !S_ISDIR(status.st_mode)) {
        return error_set(error, ERROR_INVALID, 0, "there is no directory %.200s", directory);
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[4096];
        int length = snprintf(path, sizeof path, "%s/%s", directory, files[i]);
        if (length > 0 && (size_t)length < sizeof path && access(path, F_OK) == 0) {
            return true;
        }
    }
    return error_set(error, ERROR_INVALID, 0, "there is no store in %.200s", directory);
}

static bool run(const struct tool *tool, const char *directory, const char *argument, struct error *error) {
    struct disk disk;
    struct buf out = {0};
    if (!is_store(directory, error) || !disk_posix_open(directory, &disk, error)) {
        return false;
    }
    bool fits = !table_lmdb_missing(directory) || store_local_may_begin(&disk, error);
    struct table *table = fits ? table_lmdb_open(directory, TABLE_BYTES_MAX, error) : NULL;
    bool well = table != NULL && tool->run(&disk, table, argument, &out, error);
    if (out.len > 0) {
        (void)fwrite(out.ptr, 1, out.len, stdout);
    }
    buf_deinit(&out);
    if (table != NULL) {
        table->ops->close(table);
    }
    disk_posix_close(&disk);
    return well;
}

int quartet_store_main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; argc >= 3 && i < sizeof tools / sizeof tools[0]; i++) {
        struct error error = {0};
        if (strcmp(argv[1], tools[i].name) != 0 || argc != (tools[i].argument != NULL ? 4 : 3)) {
            continue;
        }
        if (!run(&tools[i], argv[2], tools[i].argument != NULL ? argv[3] : NULL, &error)) {
            (void)fprintf(stderr, "quartet store %s: %s\n", tools[i].name, error.text);
            return 1;
        }
        return 0;
    }
    usage(stderr);
    return EXIT_WRONG;
}
