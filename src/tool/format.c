#include "tool/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tool/message_json.h"

#define NO_PRECISION UINT32_MAX

struct spec {
    bool left;
    bool zero;
    bool grouped; /* %:x */
    uint32_t width;
    uint32_t precision;
    char letter;
};

struct context {
    struct buf *out;
    const struct quartet_message *m;
    const struct timespec *when;
    bool pretty;
    bool good;
};

static uint32_t read_digits(const char **at) {
    uint32_t number = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++) {
        uint32_t digit = (uint32_t)(**at - '0');
        number = number > FORMAT_WIDTH_MAX ? number : number * 10 + digit;
    }
    return number;
}

/* Reads what follows '%' up to its letter, which is 0 when the format ends before. */
static struct spec read_spec(const char **at) {
    struct spec s = {.precision = NO_PRECISION};
    if (**at == '-') {
        s.left = true;
        (*at)++;
    }
    if (**at == '0') {
        s.zero = true;
        (*at)++;
    }
    s.width = read_digits(at);
    if (**at == '.') {
        (*at)++;
        s.precision = read_digits(at);
    }
    if (**at == ':' && ((*at)[1] == 'x' || (*at)[1] == 'X')) {
        s.grouped = true;
        (*at)++;
    }
    s.letter = **at;
    if (s.letter != 0) {
        (*at)++;
    }
    return s;
}

static const char escape_letters[] = "\\0aenrtv";
static const char escape_bytes[] = {'\\', 0, '\a', '\033', '\n', '\r', '\t', '\v'};

static bool check_percent(const char **at, struct error *error) {
    struct spec s = read_spec(at);
    if (s.letter == 0) {
        return error_set(error, ERROR_INVALID, 0, "-F: the format ends within a %% sequence");
    }
    if (strchr("%ACDEFIJPRSUXdfjlmpqrtx", s.letter) == NULL) {
        return error_set(error, ERROR_INVALID, 0, "-F: there is no %%%c", s.letter);
    }
    return (s.width <= FORMAT_WIDTH_MAX && (s.precision <= FORMAT_WIDTH_MAX || s.precision == NO_PRECISION)) ||
           error_set(error, ERROR_INVALID, 0, "-F: a width of %%%c is greater than %d", s.letter, FORMAT_WIDTH_MAX);
}

bool tool_format_check(const char *format, struct error *error) {
    while (*format != 0) {
        char c = *format++;
        if (c == '%') {
            if (!check_percent(&format, error)) {
                return false;
            }
        } else if (c == '@' || c == '\\') {
            if (*format == 0) {
                return error_set(error, ERROR_INVALID, 0, "-F: the format ends after %c", c);
            }
            if (c == '\\' && strchr(escape_letters, *format) == NULL) {
                return error_set(error, ERROR_INVALID, 0, "-F: there is no \\%c", *format);
            }
            format++;
        }
    }
    return true;
}

static void pad(struct buf *out, size_t length, uint32_t width, char with) {
    for (size_t i = length; i < width; i++) {
        buf_u8(out, (uint8_t)with);
    }
}

static void print_padded(struct buf *out, struct span text, const struct spec *s, char with) {
    bool left = s->left && text.len > 0;
    if (!left) {
        pad(out, text.len, s->width, with);
    }
    buf_bytes(out, text);
    if (left) {
        pad(out, text.len, s->width, ' ');
    }
}

/* Text: cut to the precision, padded with blanks. */
static void print_text(struct buf *out, struct span text, const struct spec *s) {
    if (text.len > s->precision) {
        text.len = s->precision;
    }
    print_padded(out, text, s, ' ');
}

static void print_number(struct buf *out, bool present, uint64_t number, const struct spec *s) {
    char text[24] = "";
    if (present) {
        (void)snprintf(text, sizeof text, "%" PRIu64, number);
    }
    print_padded(out, span_str(text), s, s->zero ? '0' : ' ');
}

/* The payload in hexadecimal; grouped: a colon after each PRECISION bytes, 1 when none is given. */
static void print_hex(const struct context *c, const struct spec *s) {
    const char *digits = s->letter == 'x' ? "0123456789abcdef" : "0123456789ABCDEF";
    const uint8_t *payload = c->m->payload;
    size_t group = !s->grouped ? 0 : s->precision == NO_PRECISION ? 1 : s->precision;
    struct buf text = {0};
    for (size_t i = 0; i < c->m->payload_bytes; i++) {
        if (group > 0 && i > 0 && i % group == 0) {
            buf_u8(&text, ':');
        }
        buf_u8(&text, (uint8_t)digits[payload[i] >> 4]);
        buf_u8(&text, (uint8_t)digits[payload[i] & 15]);
    }
    print_padded(c->out, buf_span(&text), s, s->zero ? '0' : ' ');
    buf_deinit(&text);
}

/* The payload as a binary floating-point number of this machine; nothing when it has another size. */
static void print_real(const struct context *c, const struct spec *s) {
    char text[400];
    double value = 0;
    float small = 0;
    int precision = s->precision == NO_PRECISION ? 6 : s->precision > 60 ? 60 : (int)s->precision;
    if (s->letter == 'd' && c->m->payload_bytes == sizeof value) {
        memcpy(&value, c->m->payload, sizeof value);
    } else if (s->letter == 'f' && c->m->payload_bytes == sizeof small) {
        memcpy(&small, c->m->payload, sizeof small);
        value = (double)small;
    } else {
        return;
    }
    int length = snprintf(text, sizeof text, "%.*f", precision, value);
    print_padded(c->out, span_of(text, (size_t)length), s, s->zero ? '0' : ' ');
}

static void print_user_properties(const struct context *c) {
    const struct quartet_properties *p = &c->m->properties;
    for (size_t i = 0; i < p->user_count; i++) {
        if (i > 0) {
            buf_u8(c->out, ' ');
        }
        buf_bytes(c->out, span_str(p->user[i].name));
        buf_u8(c->out, ':');
        buf_bytes(c->out, span_str(p->user[i].value));
    }
}

static void print_time(struct buf *out, const struct timespec *when, const char *format, const struct spec *s) {
    struct tm parts;
    char text[256];
    (void)localtime_r(&when->tv_sec, &parts);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t length = strftime(text, sizeof text, format, &parts);
#pragma GCC diagnostic pop
    print_text(out, span_of(text, length), s);
}

static void print_unix_time(struct buf *out, const struct timespec *when) {
    char text[48];
    (void)snprintf(text, sizeof text, "%" PRId64 ".%09ld", (int64_t)when->tv_sec, when->tv_nsec);
    buf_bytes(out, span_str(text));
}

static struct span span_of_text(const char *text) {
    return text == NULL ? SPAN("") : span_str(text);
}

/* Those of MQTT 5.0; false when the letter is none of them. */
static bool print_property(const struct context *c, const struct spec *s) {
    const struct quartet_properties *p = &c->m->properties;
    switch (s->letter) {
    case 'A':
        print_number(c->out, p->topic_alias != 0, p->topic_alias, s);
        return true;
    case 'C':
        print_text(c->out, span_of_text(p->content_type), s);
        return true;
    case 'D':
        buf_bytes(c->out, span_of(p->correlation_data, p->correlation_bytes));
        return true;
    case 'E':
        print_number(c->out, p->has_expiry, p->expiry_s, s);
        return true;
    case 'F':
        print_number(c->out, p->payload_is_text, 1, s);
        return true;
    case 'P':
        print_user_properties(c);
        return true;
    case 'R':
        if (p->response_topic != NULL) {
            print_text(c->out, span_str(p->response_topic), s);
        }
        return true;
    case 'S':
        print_number(c->out, p->subscription_identifier_count > 0,
                     p->subscription_identifier_count > 0 ? p->subscription_identifiers[0] : 0, s);
        return true;
    default:
        return false;
    }
}

static void print_spec(struct context *c, const struct spec *s) {
    const struct quartet_message *m = c->m;
    switch (s->letter) {
    case '%':
        buf_u8(c->out, '%');
        break;
    case 'I':
        print_time(c->out, c->when, "%Y-%m-%dT%H:%M:%S%z", s);
        break;
    case 'j':
    case 'J':
        c->good = tool_message_json(c->out, m, c->when, s->letter == 'J', c->pretty) && c->good;
        break;
    case 'U':
        print_unix_time(c->out, c->when);
        break;
    case 'X':
    case 'x':
        print_hex(c, s);
        break;
    case 'd':
    case 'f':
        print_real(c, s);
        break;
    case 'l':
        print_number(c->out, true, m->payload_bytes, s);
        break;
    case 'm':
        print_number(c->out, true, m->packet_id, s);
        break;
    case 'p':
        print_padded(c->out, span_of(m->payload, m->payload_bytes), s, s->zero ? '0' : ' ');
        break;
    case 'q':
        buf_u8(c->out, (uint8_t)('0' + m->qos));
        break;
    case 'r':
        buf_u8(c->out, m->retain ? '1' : '0');
        break;
    case 't':
        print_text(c->out, span_of(m->topic, m->topic_bytes), s);
        break;
    default:
        (void)print_property(c, s);
        break;
    }
}

static void print_at(struct buf *out, char letter, const struct timespec *when) {
    static const struct spec plain = {.precision = NO_PRECISION};
    if (letter == '@') {
        buf_u8(out, '@');
    } else if (letter == 'N') {
        char text[24];
        (void)snprintf(text, sizeof text, "%09ld", when->tv_nsec);
        buf_bytes(out, span_str(text));
    } else {
        char format[] = {'%', letter, 0};
        print_time(out, when, format, &plain);
    }
}

bool tool_format_print(struct buf *out, const char *format, const struct quartet_message *m,
                       const struct timespec *when, bool pretty) {
    struct context c = {.out = out, .m = m, .when = when, .pretty = pretty, .good = true};
    while (*format != 0) {
        char letter = *format++;
        if (letter == '%') {
            struct spec s = read_spec(&format);
            print_spec(&c, &s);
        } else if (letter == '@') {
            print_at(out, *format++, when);
        } else if (letter == '\\') {
            buf_u8(out, (uint8_t)escape_bytes[strchr(escape_letters, *format++) - escape_letters]);
        } else {
            buf_u8(out, (uint8_t)letter);
        }
    }
    return c.good;
}
