#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "lib/lib.h"
#include "packet/reason.h"

#define TEXT(x) #x
#define VERSION_TEXT(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

static _Thread_local char last_error[512];

const char *quartet_version(void) {
    return VERSION_TEXT(QUARTET_VERSION_MAJOR, QUARTET_VERSION_MINOR, QUARTET_VERSION_PATCH);
}

struct error_row {
    int number;
    const char *name;
    const char *text;
    const char *advice;
};

/* The last row is for numbers that are no error. */
static const struct error_row error_rows[] = {
#define ERROR_ROW(name, number, text, advice) {number, "QUARTET_" #name, text, advice},
    QUARTET_ERROR_ROWS(ERROR_ROW)
#undef ERROR_ROW
        {0, "not an error of libquartet", "unknown", "compare with enum quartet_error"},
};

static const struct error_row *row_of(int error) {
    size_t i = 0;
    while (i < sizeof error_rows / sizeof *error_rows - 1 && error_rows[i].number != error) {
        i++;
    }
    return &error_rows[i];
}

const char *quartet_error_name(int error) {
    return row_of(error)->name;
}

const char *quartet_error_text(int error) {
    return row_of(error)->text;
}

const char *quartet_error_advice(int error) {
    return row_of(error)->advice;
}

const char *quartet_last_error(void) {
    return last_error;
}

/* Return codes of CONNACK, 3.1.1 section 3.2.2.3; 0x80 is SUBACK's. */
static const char *return_code_text(uint8_t code) {
    static const char *const names[] = {"Connection Accepted",
                                        "Connection Refused, unacceptable protocol version",
                                        "Connection Refused, identifier rejected",
                                        "Connection Refused, Server unavailable",
                                        "Connection Refused, bad user name or password",
                                        "Connection Refused, not authorized"};
    return code < sizeof names / sizeof *names ? names[code] : code == 0x80 ? "Failure" : "Unknown return code";
}

const char *quartet_reason_name(int protocol, uint8_t reason) {
    return protocol == 4 ? return_code_text(reason) : reason_text(reason);
}

int lib_fail(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
    return code;
}

/* A disk that fails is one thing, a directory that is not there or not ours another. */
static int code_of_io(int system) {
    return system == EIO || system == 0 ? QUARTET_STORE_FAILED : QUARTET_SYSTEM;
}

int lib_code_of(const struct error *error) {
    switch (error->kind) {
    case ERROR_IO:
        return code_of_io(error->system);
    case ERROR_NO_SPACE:
        return QUARTET_STORE_FULL;
    case ERROR_DAMAGED:
        return QUARTET_STORE_DAMAGED;
    case ERROR_LOCKED:
        return QUARTET_STORE_LOCKED;
    case ERROR_FORMAT:
        return QUARTET_STORE_FORMAT;
    case ERROR_NONE:
    case ERROR_INVALID:
    case ERROR_CRASHED:
        break;
    }
    return QUARTET_INVALID;
}

int lib_fail_error(const struct error *error) {
    return lib_fail(lib_code_of(error), "%s", error->text);
}

int lib_fail_closed(void) {
    return lib_fail(QUARTET_CLOSED, "the client is being closed");
}
