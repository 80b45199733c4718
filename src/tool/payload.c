#include "tool/payload.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 65536 };

/* Appends what one read gives; *over at the end. */
static bool read_once(int fd, const char *name, struct buf *out, bool *over, struct error *error) {
    ssize_t got = read(fd, buf_reserve(out, READ_BYTES), READ_BYTES);
    if (got < 0) {
        return errno == EINTR || errno == EAGAIN || error_set(error, ERROR_IO, errno, "%s cannot be read", name);
    }
    out->len += (size_t)got;
    *over = got == 0;
    return true;
}

static bool read_all(int fd, const char *name, struct buf *out, struct error *error) {
    bool over = false;
    while (!over) {
        if (!read_once(fd, name, out, &over, error)) {
            return false;
        }
        if (out->len > PAYLOAD_BYTES_MAX) {
            return error_set(error, ERROR_INVALID, 0, "%s is longer than a message can be: %d bytes", name,
                             PAYLOAD_BYTES_MAX);
        }
    }
    return true;
}

static bool load_file(const char *path, struct buf *payload, struct error *error) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_set(error, ERROR_IO, errno, "the file \"%s\" cannot be opened", path);
    }
    bool good = read_all(fd, path, payload, error);
    (void)close(fd);
    return good;
}

bool tool_payload_load(const struct tool_options *options, struct buf *payload, struct error *error) {
    switch ((enum tool_payload)options->payload) {
    case TOOL_PAYLOAD_TEXT:
        buf_bytes(payload, span_str(options->payload_text));
        return true;
    case TOOL_PAYLOAD_FILE:
        return load_file(options->payload_file, payload, error);
    case TOOL_PAYLOAD_INPUT:
        return read_all(STDIN_FILENO, "standard input", payload, error) &&
               (payload->len > 0 ||
                error_set(error, ERROR_INVALID, 0, "standard input is empty; -n publishes an empty message"));
    case TOOL_PAYLOAD_NONE:
    case TOOL_PAYLOAD_EMPTY:
    case TOOL_PAYLOAD_LINES:
        return true;
    }
    return false;
}

bool tool_payload_lines_read(struct tool_payload_lines *lines, struct error *error) {
    buf_drop_front(&lines->bytes, lines->begin);
    lines->searched -= lines->begin;
    lines->begin = 0;
    if (!read_once(lines->fd, "standard input", &lines->bytes, &lines->over, error)) {
        return false;
    }
    return lines->searched <= PAYLOAD_BYTES_MAX ||
           error_set(error, ERROR_INVALID, 0, "a line is longer than a message can be");
}

bool tool_payload_lines_next(struct tool_payload_lines *lines, struct span *line) {
    struct span left = span_skip(buf_span(&lines->bytes), lines->searched);
    const uint8_t *end = left.len == 0 ? NULL : memchr(left.ptr, '\n', left.len);
    lines->searched = end == NULL ? lines->bytes.len : (size_t)(end - lines->bytes.ptr);
    if (end == NULL && (!lines->over || lines->begin == lines->bytes.len)) {
        return false;
    }
    *line = span_of(lines->bytes.ptr + lines->begin, lines->searched - lines->begin);
    if (end != NULL) {
        lines->searched++;
    }
    lines->begin = lines->searched;
    return true;
}
