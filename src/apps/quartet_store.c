/* `quartet store`: the offline tools on a store that no broker has open. Exit status: 0 all well, 1 damage or another
 * failure, 2 wrong arguments. */
#include <stdio.h>
#include <string.h>

#include "apps/quartet.h"
#include "store/store_local.h"

#define EXIT_WRONG 2
#define TABLE_BYTES_MAX (1ULL << 40) /* address space only */

struct tool {
    const char *name;
    bool (*run)(const struct disk *disk, struct table *table, struct buf *out, struct error *error);
    const char *text;
};

static const struct tool tools[] = {
    {"check", store_local_check, "reads everything and says what is damaged; changes nothing"},
    {"dump", store_local_dump, "prints every record, one a line"},
    {"repair", store_local_repair, "cuts damaged frames out and lists every record that is gone"},
};

static void usage(FILE *out) {
    (void)fputs("usage: quartet store TOOL DIRECTORY\n\n", out);
    for (size_t i = 0; i < sizeof tools / sizeof tools[0]; i++) {
        (void)fprintf(out, "  %-6s %s\n", tools[i].name, tools[i].text);
    }
}

static bool run(const struct tool *tool, const char *directory, struct error *error) {
    struct disk disk;
    struct buf out = {0};
    if (!disk_posix_open(directory, &disk, error)) {
        return false;
    }
    struct table *table = table_lmdb_open(directory, TABLE_BYTES_MAX, error);
    bool well = table != NULL && tool->run(&disk, table, &out, error);
    (void)fwrite(out.ptr, 1, out.len, stdout);
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
    for (size_t i = 0; argc == 3 && i < sizeof tools / sizeof tools[0]; i++) {
        struct error error = {0};
        if (strcmp(argv[1], tools[i].name) != 0) {
            continue;
        }
        if (!run(&tools[i], argv[2], &error)) {
            (void)fprintf(stderr, "quartet store %s: %s\n", tools[i].name, error.text);
            return 1;
        }
        return 0;
    }
    usage(stderr);
    return EXIT_WRONG;
}
