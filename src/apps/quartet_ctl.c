/* `quartet ctl`: a question to the broker of this machine, by way of its UNIX socket, and the answer as a table or as
 * JSON. The words are those of net/ctl_text.h. Exit status: 0; 1: no broker, no answer, or nothing that the question
 * was about is there; 2: wrong arguments. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "apps/quartet.h"
#include "base/buf.h"
#include "base/terminal.h"
#include "net/ctl_text.h"

#define EXIT_WRONG 2
#define COLUMNS_MAX 16
#define SOCKET_DEFAULT "quartet-data/ctl"

struct flags {
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    const char *owner;
    const char *rows;
    const char *verb;
    const char *argument;
    bool all;
    bool json;
};

static void usage(FILE *out) {
    (void)fputs(
        "usage: quartet ctl [--data DIRECTORY | --socket PATH] [--json] VERB ...\n\n"
        "  sessions [--owner OWNER] [--rows N]  sessions with the largest queues, 20 unless told otherwise\n"
        "  end CLIENT-ID                        ends a session; a client that is connected is told\n"
        "  end --owner OWNER                    ends all sessions of an owner, the address of a peer\n"
        "  clear [--all] FILTER                 clears the retained messages that match; --all: also those on topics\n"
        "                                       that begin with $, which # and +/x do not match\n"
        "  accounts [--rows N]                  who has taken how much of what is bounded, nearest to a bound first\n"
        "  counters                             what the broker counts\n\n"
        "The broker is found by its data directory, quartet-data unless told otherwise. Root may ask, and the\n"
        "user that the broker runs as.\n",
        out);
}

static bool set_path(struct flags *f, const char *path, const char *below) {
    int len = snprintf(f->path, sizeof f->path, "%s%s", path, below);
    if (len < 0 || (size_t)len >= sizeof f->path) {
        (void)fprintf(stderr, "quartet ctl: the path %s is too long for a UNIX socket\n", path);
        return false;
    }
    return true;
}

/* A flag with a value; false when it is none. `*right`: the value is there and makes sense. */
static bool flag_parse(struct flags *f, const char *flag, const char *value, bool *right) {
    bool is_data = strcmp(flag, "--data") == 0;
    bool is_path = is_data || strcmp(flag, "--socket") == 0;
    bool is_owner = strcmp(flag, "--owner") == 0;
    if (!is_path && !is_owner && strcmp(flag, "--rows") != 0) {
        return false;
    }
    *right = value != NULL && (!is_path || set_path(f, value, is_data ? "/ctl" : ""));
    if (is_owner) {
        f->owner = value;
    } else if (!is_path) {
        f->rows = value;
    }
    return true;
}

static bool parse(int argc, char **argv, struct flags *f) {
    bool right = set_path(f, SOCKET_DEFAULT, "");
    for (int i = 1; i < argc && right; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            f->json = true;
        } else if (strcmp(argv[i], "--all") == 0) {
            f->all = true;
        } else if (flag_parse(f, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &right)) {
            i++;
        } else if (f->verb == NULL && argv[i][0] != '-') {
            f->verb = argv[i];
        } else if (f->verb != NULL && f->argument == NULL) {
            f->argument = argv[i];
        } else {
            right = false;
        }
    }
    return right && f->verb != NULL;
}

/* ---- the question ---- */

static void add_word(struct buf *line, const char *word) {
    buf_u8(line, '\t');
    ctl_word_put(line, span_str(word != NULL ? word : ""));
}

/* False when the flags do not belong to the verb. */
static bool question(const struct flags *f, struct buf *line) {
    bool by_owner = strcmp(f->verb, "end") == 0 && f->owner != NULL;
    bool sessions = strcmp(f->verb, "sessions") == 0;
    bool accounts = strcmp(f->verb, "accounts") == 0;
    bool clear = strcmp(f->verb, "clear") == 0;
    bool takes = strcmp(f->verb, "end") == 0 || clear;
    if ((takes && !by_owner) != (f->argument != NULL) || (f->rows != NULL && !sessions && !accounts) ||
        (f->owner != NULL && !sessions && !by_owner) || (f->all && !clear)) {
        return false;
    }
    ctl_word_put(line, span_str(by_owner ? "end-owner" : f->verb));
    if (sessions) {
        add_word(line, f->owner);
        add_word(line, f->rows);
    } else if (accounts) {
        add_word(line, f->rows);
    } else if (takes) {
        add_word(line, by_owner ? f->owner : f->argument);
        if (f->all) {
            add_word(line, "all");
        }
    }
    buf_u8(line, '\n');
    return true;
}

static bool transfer(int fd, const struct buf *line, struct buf *answer) {
    for (size_t sent = 0; sent < line->len;) {
        ssize_t n = send(fd, line->ptr + sent, line->len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        sent += n > 0 ? (size_t)n : 0;
    }
    for (;;) {
        uint8_t bytes[65536];
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n == 0) {
            return true;
        }
        if (n < 0 && errno != EINTR) {
            return false;
        }
        buf_bytes(answer, span_of(bytes, n > 0 ? (size_t)n : 0));
    }
}

static bool ask(const char *path, const struct buf *line, struct buf *answer) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool there = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (!there) {
        (void)fprintf(stderr, "quartet ctl: no broker answers at %s: %s\n", path, strerror(errno));
    } else if (!transfer(fd, line, answer)) {
        (void)fprintf(stderr, "quartet ctl: the broker does not answer: %s\n", strerror(errno));
        there = false;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return there;
}

/* ---- the answer ---- */

static struct span line_take(struct span *text) {
    const uint8_t *end = text->len > 0 ? memchr(text->ptr, '\n', text->len) : NULL;
    size_t len = end != NULL ? (size_t)(end - text->ptr) : text->len;
    struct span line = span_of(text->ptr, len);
    *text = span_skip(*text, end != NULL ? len + 1 : len);
    return line;
}

/* The next cell as it is written. */
static struct span cell_take(struct span *line) {
    const uint8_t *end = line->len > 0 ? memchr(line->ptr, '\t', line->len) : NULL;
    size_t len = end != NULL ? (size_t)(end - line->ptr) : line->len;
    struct span cell = span_of(line->ptr, len);
    *line = span_skip(*line, end != NULL ? len + 1 : len);
    return cell;
}

struct column {
    struct span name;
    bool number;
    size_t width;
};

/* Bytes that begin a character: what a person counts. */
static size_t width_of(struct span cell) {
    size_t width = 0;
    for (size_t i = 0; i < cell.len; i++) {
        width += (cell.ptr[i] & 0xc0) != 0x80;
    }
    return width;
}

static size_t columns_read(struct span line, struct column columns[COLUMNS_MAX]) {
    size_t count = 0;
    while (line.len > 0 && count < COLUMNS_MAX) {
        struct span name = cell_take(&line);
        bool number = name.len > 0 && name.ptr[0] == '#';
        name = span_skip(name, number ? 1 : 0);
        columns[count++] = (struct column){name, number, name.len};
    }
    return count;
}

static void print_cell(struct span cell, const struct column *column, bool last) {
    int pad = (int)(column->width - width_of(cell));
    if (column->number) {
        (void)printf("%*s", pad, "");
    }
    (void)fwrite(cell.ptr, 1, cell.len, stdout);
    if (!last) {
        (void)printf("%*s", column->number ? 2 : pad + 2, "");
    }
}

static void print_table(struct span rows, struct column *columns, size_t count) {
    for (struct span text = rows; text.len > 0;) {
        struct span line = line_take(&text);
        for (size_t i = 0; i < count; i++) {
            size_t width = width_of(cell_take(&line));
            columns[i].width = width > columns[i].width ? width : columns[i].width;
        }
    }
    for (size_t i = 0; i < count; i++) {
        print_cell(columns[i].name, &columns[i], i + 1 == count);
    }
    (void)printf("\n");
    while (rows.len > 0) {
        struct span line = line_take(&rows);
        for (size_t i = 0; i < count; i++) {
            print_cell(cell_take(&line), &columns[i], i + 1 == count);
        }
        (void)printf("\n");
    }
}

static void print_json_text(struct span cell) {
    struct buf word = {NULL, 0, 0};
    (void)ctl_word_take(&cell, &word);
    (void)putchar('"');
    for (size_t i = 0; i < word.len; i++) {
        const uint8_t byte = word.ptr[i];
        if (terminal_shows(buf_span(&word), i) && byte != '"' && byte != '\\') {
            (void)putchar(byte);
        } else if (byte == 0xc2 && i + 1 < word.len && word.ptr[i + 1] >= 0x80) {
            (void)printf("\\u%04x", word.ptr[++i]); /* its second byte is the number of the control */
        } else {
            (void)printf("\\u%04x", byte);
        }
    }
    (void)putchar('"');
    buf_deinit(&word);
}

static void print_json(struct span rows, const struct column *columns, size_t count) {
    (void)printf("[");
    for (bool first = true; rows.len > 0; first = false) {
        struct span line = line_take(&rows);
        (void)printf(first ? "\n  {" : ",\n  {");
        for (size_t i = 0; i < count; i++) {
            (void)printf("%s\"%.*s\": ", i > 0 ? ", " : "", (int)columns[i].name.len,
                         (const char *)columns[i].name.ptr);
            struct span cell = cell_take(&line);
            if (columns[i].number) {
                (void)fwrite(cell.ptr, 1, cell.len, stdout);
            } else {
                print_json_text(cell);
            }
        }
        (void)printf("}");
    }
    (void)printf("\n]\n");
}

/* Whether something was changed that was to be. */
static bool changed(const struct flags *f, struct span rows) {
    bool changes = strcmp(f->verb, "end") == 0;
    return !changes || !span_equal(rows, SPAN("0\n"));
}

static int print_answer(const struct flags *f, struct span text) {
    static const char last[] = "\nend\n";
    size_t tail = sizeof last - 1;
    if (text.len < tail || memcmp(text.ptr + text.len - tail, last, tail) != 0) {
        (void)fputs("quartet ctl: the answer is not whole: the broker has refused it, or is stopping\n", stderr);
        return 1;
    }
    text.len -= tail - 1; /* the newline before belongs to the answer */
    struct span head = line_take(&text);
    struct column columns[COLUMNS_MAX];
    if (span_equal(cell_take(&head), SPAN("error"))) {
        (void)fprintf(stderr, "quartet ctl: %.*s\n", (int)head.len, (const char *)head.ptr);
        return EXIT_WRONG;
    }
    size_t count = columns_read(line_take(&text), columns);
    if (f->json) {
        print_json(text, columns, count);
    } else {
        print_table(text, columns, count);
    }
    return changed(f, text) ? 0 : 1;
}

int quartet_ctl_main(int argc, char **argv) {
    struct flags flags = {.verb = NULL};
    struct buf line = {NULL, 0, 0};
    struct buf answer = {NULL, 0, 0};
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    if (!parse(argc, argv, &flags) || !question(&flags, &line)) {
        usage(stderr);
        buf_deinit(&line);
        return EXIT_WRONG;
    }
    int status = ask(flags.path, &line, &answer) ? print_answer(&flags, buf_span(&answer)) : 1;
    buf_deinit(&line);
    buf_deinit(&answer);
    return status;
}
