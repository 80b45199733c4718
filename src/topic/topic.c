#include "topic/topic.h"

#include "topic/level.h"

enum { TOPIC_BYTES_MAX = 65535 };

static bool length_valid(struct span topic) {
    return topic.len >= 1 && topic.len <= TOPIC_BYTES_MAX;
}

static bool contains(struct span s, uint8_t byte) {
    return s.len > 0 && memchr(s.ptr, byte, s.len) != NULL;
}

bool topic_name_valid(struct span name) {
    return length_valid(name) && !contains(name, '+') && !contains(name, '#') && !contains(name, 0);
}

/* Whether the wildcard at `i` stands alone in its level. */
static bool stands_alone(struct span filter, size_t i) {
    return (i == 0 || filter.ptr[i - 1] == '/') && (i + 1 == filter.len || filter.ptr[i + 1] == '/');
}

bool topic_filter_valid(struct span filter) {
    if (!length_valid(filter)) {
        return false;
    }
    for (size_t i = 0; i < filter.len; i++) {
        uint8_t c = filter.ptr[i];
        if (c == 0 || ((c == '+' || c == '#') && !stands_alone(filter, i)) || (c == '#' && i + 1 != filter.len)) {
            return false;
        }
    }
    return true;
}

size_t topic_levels(struct span topic) {
    size_t levels = 1;
    for (size_t i = 0; i < topic.len; i++) {
        levels += topic.ptr[i] == '/';
    }
    return levels;
}

/* A filter that begins with a wildcard does not reach names that begin with `$`. */
static bool is_hidden(struct span filter, struct span name) {
    return name.ptr[0] == '$' && (filter.ptr[0] == '+' || filter.ptr[0] == '#');
}

bool topic_matches(struct span filter, struct span name) {
    if (is_hidden(filter, name)) {
        return false;
    }
    for (;;) {
        struct span wanted = topic_level_at(filter, 0);
        struct span level = topic_level_at(name, 0);
        if (topic_level_is(wanted, '#')) {
            return true;
        }
        if (!topic_level_is(wanted, '+') && !span_equal(wanted, level)) {
            return false;
        }
        filter = span_skip(filter, wanted.len);
        name = span_skip(name, level.len);
        if (name.len == 0) {
            return filter.len == 0 || span_equal(filter, SPAN("/#"));
        }
        if (filter.len == 0) {
            return false;
        }
        filter = span_skip(filter, 1);
        name = span_skip(name, 1);
    }
}

enum topic_filter_status topic_filter_parse(struct span subscribed, struct topic_filter *out) {
    static const struct span prefix = {(const uint8_t *)"$share/", 7};
    *out = (struct topic_filter){{NULL, 0}, subscribed};
    if (!length_valid(subscribed) || contains(subscribed, 0)) {
        return TOPIC_FILTER_INVALID;
    }
    if (subscribed.len < prefix.len || !span_equal(span_of(subscribed.ptr, prefix.len), prefix)) {
        return topic_filter_valid(subscribed) ? TOPIC_FILTER_OK : TOPIC_FILTER_INVALID;
    }
    struct span rest = span_skip(subscribed, prefix.len);
    out->share = topic_level_at(rest, 0);
    if (out->share.len == 0 || contains(out->share, '+') || contains(out->share, '#') ||
        rest.len < out->share.len + 2) {
        return TOPIC_SHARE_INVALID;
    }
    out->filter = span_skip(rest, out->share.len + 1);
    return topic_filter_valid(out->filter) ? TOPIC_FILTER_OK : TOPIC_FILTER_INVALID;
}
