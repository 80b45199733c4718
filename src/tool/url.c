#include <string.h>
#include <strings.h>

#include "tool/options.h"

/* Ends the text at the first `c` and returns what follows it; NULL when there is none. */
static char *cut_at(char *text, char c) {
    char *at = strchr(text, c);
    if (at != NULL) {
        *at++ = 0;
    }
    return at;
}

/* user[:password]@ before the host. The last '@' counts, so that a password may hold one. */
static char *take_user(struct tool_options *options, char *authority) {
    char *at = strrchr(authority, '@');
    if (at == NULL) {
        return authority;
    }
    *at = 0;
    char *password = cut_at(authority, ':');
    options->username = authority;
    if (password != NULL) {
        options->password = password;
    }
    return at + 1;
}

static bool take_host(struct tool_options *options, char *host, struct error *error) {
    char *port = NULL;
    if (*host == '[') {
        host++;
        port = cut_at(host, ']');
        port = port != NULL && *port == ':' ? port + 1 : NULL;
    } else {
        port = cut_at(host, ':');
    }
    if (port != NULL && !tool_number("the port of -L", port, 1, 65535, &options->port, error)) {
        return false;
    }
    options->host = host;
    return true;
}

bool tool_url_take(struct tool_options *options, const char *url, struct error *error) {
    static const char scheme[] = "mqtt://";
    if (strncasecmp(url, "mqtts://", 8) == 0 || strncasecmp(url, "ws://", 5) == 0 ||
        strncasecmp(url, "wss://", 6) == 0) {
        return error_set(error, ERROR_INVALID, 0, "TLS and WebSocket are not supported: -L %s", url);
    }
    if (strncasecmp(url, scheme, sizeof scheme - 1) != 0) {
        return error_set(error, ERROR_INVALID, 0, "-L needs mqtt://[user[:password]@]host[:port]/topic, not \"%s\"",
                         url);
    }
    struct buf *text = &options->texts[TOOL_TEXT_URL];
    if (text->len > 0) {
        return error_set(error, ERROR_INVALID, 0, "-L can be given once");
    }
    buf_bytes(text, span_str(url + sizeof scheme - 1));
    buf_u8(text, 0);
    char *authority = (char *)text->ptr;
    char *topic = cut_at(authority, '/');
    if (topic == NULL) {
        return error_set(error, ERROR_INVALID, 0, "the URL of -L has no topic");
    }
    tool_strings_add(&options->topics, topic);
    return take_host(options, take_user(options, authority), error);
}
