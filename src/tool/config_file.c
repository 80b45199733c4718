/* The configuration file: one option with its value a line, '#' begins a comment. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tool/options.h"

enum { VALUES_MAX = 4, CONFIG_BYTES_MAX = 1 << 20 };

void tool_config_path(struct buf *path, enum tool_program program) {
    const char *folder = getenv("XDG_CONFIG_HOME");
    const char *between = "/";
    if (folder == NULL || *folder == 0) {
        folder = getenv("HOME");
        between = "/.config/";
    }
    if (folder == NULL) {
        return;
    }
    buf_bytes(path, span_str(folder));
    buf_bytes(path, span_str(between));
    buf_bytes(path, SPAN("mosquitto_"));
    buf_bytes(path, span_str(tool_program_name(program)));
    buf_u8(path, 0);
}

static bool read_all(FILE *in, const char *path, struct buf *text, struct error *error) {
    size_t got;
    do {
        uint8_t *at = buf_reserve(text, 4096);
        got = fread(at, 1, 4096, in);
        text->len += got;
    } while (got > 0 && text->len <= CONFIG_BYTES_MAX);
    if (ferror(in)) {
        return error_set(error, ERROR_IO, errno, "the file %s cannot be read", path);
    }
    if (text->len > CONFIG_BYTES_MAX || memchr(text->ptr, 0, text->len) != NULL) {
        return error_set(error, ERROR_FORMAT, 0, "the file %s is not a file of options", path);
    }
    buf_u8(text, 0);
    return true;
}

/* Cuts the first word off: ends it with NUL and moves *at to what follows; the last value is the rest of the line. */
static char *cut_word(char **at) {
    char *word = *at;
    size_t length = strcspn(word, " \t");
    *at = word + length + strspn(word + length, " \t");
    word[length] = 0;
    return word;
}

static bool take_line(struct tool_options *options, char *line, struct error *error) {
    const char *values[VALUES_MAX];
    size_t count = 0;
    char *name = cut_word(&line);
    size_t wanted = tool_option_values(options->program, name);
    while (*line != 0 && count + 1 < wanted) {
        values[count++] = cut_word(&line);
        wanted += wanted == 3 && count == 2 && tool_property_is_pair(values[1]) ? 1 : 0;
    }
    if (*line != 0) {
        values[count++] = line;
    }
    size_t used = 0;
    if (!tool_option_take(options, name, values, count, &used, error)) {
        return false;
    }
    if (used != count) {
        return error_set(error, ERROR_INVALID, 0, "%s takes no value, but here is \"%s\"", name, values[used]);
    }
    return true;
}

bool tool_config_load(struct tool_options *options, const char *path, bool needed, struct error *error) {
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        bool allowed = !needed && (errno == ENOENT || errno == ENOTDIR || errno == EACCES);
        return allowed || error_set(error, ERROR_IO, errno, "the file %s cannot be opened", path);
    }
    struct buf *text = &options->texts[TOOL_TEXT_CONFIG];
    bool good = read_all(in, path, text, error);
    (void)fclose(in);
    char *at = (char *)text->ptr;
    for (unsigned number = 1; good && *at != 0; number++) {
        char *line = at + strspn(at, " \t");
        size_t length = strcspn(at, "\r\n");
        at += length + (at[length] == '\r' && at[length + 1] == '\n' ? 1 : 0);
        char *next = *at == 0 ? at : at + 1;
        *at = 0;
        line[strcspn(line, "\r\n")] = 0;
        at = next;
        struct error cause;
        if (*line != 0 && *line != '#' && !take_line(options, line, &cause)) {
            good = error_set(error, cause.kind, cause.system, "%.200s, line %u: %.150s", path, number, cause.text);
        }
    }
    return good;
}
