#include "config/config.h"

#include "base/mem.h"
#include "base/must.h"
#include "config/option.h"
#include "config/problem.h"
#include "config/suggest.h"
#include "config/value.h"
#include "config/walk.h"
#include "config/word.h"

void config_init(struct config *config) {
    *config = (struct config){
#define NUMBER_DEFAULT(name, unit, min, max, initial, text) .name = (initial),
        CONFIG_NUMBER_ROWS(NUMBER_DEFAULT)
#undef NUMBER_DEFAULT
#define FLAG_DEFAULT(name, initial, text) .name = (initial),
            CONFIG_FLAG_ROWS(FLAG_DEFAULT)
#undef FLAG_DEFAULT
                .default_listener = {.port = 1883},
        .log_types = CONFIG_LOG_ERROR | CONFIG_LOG_WARNING | CONFIG_LOG_NOTICE,
        .log_dests = CONFIG_LOG_STDERR,
    };
}

static void listener_deinit(struct config_listener *l) {
    mem_free(l->path);
    mem_free(l->address);
    mem_free(l->origin);
}

void config_deinit(struct config *config) {
#define TEXT_FREE(name, text) mem_free(config->name);
    CONFIG_TEXT_ROWS(TEXT_FREE)
#undef TEXT_FREE
    for (size_t i = 0; i < config->listener_count; i++) {
        listener_deinit(&config->listeners[i]);
    }
    listener_deinit(&config->default_listener);
    mem_free(config->log_file);
    *config = (struct config){0};
}

/* The field of `option` in `config`. */
static void *option_field(struct config *config, const struct option *option) {
    return (char *)config + option->offset;
}

static void set_number(struct config *config, const struct place *place, const struct option *option, struct span value,
                       struct config_report *report) {
    static const struct {
        bool (*parse)(struct span text, uint64_t *value);
        const char *written;
        uint64_t shown_as; /* bounds are divided by it */
    } units[] = {
        [OPTION_COUNT] = {value_count, "", 1},
        [OPTION_BYTES] = {value_bytes, " bytes (or with K, M or G)", 1},
        [OPTION_TIME] = {value_time, " milliseconds (written in seconds, or with ms, s, m or h)", 1},
        [OPTION_LIFE] = {value_life, " seconds (written with s, h, d, w, m or y)", 1},
    };
    uint64_t number;
    must(units[option->kind].parse != NULL);
    if (!units[option->kind].parse(value, &number) || number < option->min || number > option->max) {
        problem_error(report, place, "%s: \"%s\" is not a number from %llu to %llu%s", option->name, shown(value).text,
                      (unsigned long long)option->min, (unsigned long long)option->max, units[option->kind].written);
        return;
    }
    *(uint64_t *)option_field(config, option) = number;
}

static void set_flag(struct config *config, const struct place *place, const struct option *option, struct span value,
                     struct config_report *report) {
    bool *field = option_field(config, option);
    if (!value_flag(value, field)) {
        problem_error(report, place, "%s: \"%s\" is neither true nor false", option->name, shown(value).text);
    } else if (field == &config->allow_anonymous) {
        config->allow_anonymous_given = true;
    }
}

static void set_text(struct config *config, const struct option *option, struct span value) {
    char **field = option_field(config, option);
    mem_free(*field);
    *field = mem_copy(value.ptr, value.len);
}

static void unknown_option(struct config_report *report, const struct place *place, struct span name) {
    static const char plugin_option[] = "plugin_opt_";
    static const char auth_option[] = "auth_opt_";
    if ((name.len > strlen(plugin_option) && memcmp(name.ptr, plugin_option, strlen(plugin_option)) == 0) ||
        (name.len > strlen(auth_option) && memcmp(name.ptr, auth_option, strlen(auth_option)) == 0)) {
        problem_error(report, place, "%s is refused: plugins are not supported", shown(name).text);
        return;
    }
    struct suggestion best = {0};
    for (size_t i = 0; i < options_count; i++) {
        if (options[i].kind != OPTION_HARMLESS && options[i].kind != OPTION_LATER) {
            suggestion_consider(&best, name, options[i].name);
        }
    }
    if (best.word != NULL) {
        problem_error(report, place, "there is no option \"%s\"; did you mean %s?", shown(name).text, best.word);
    } else {
        problem_error(report, place, "there is no option \"%s\"", shown(name).text);
    }
}

/* Options that hold one value: a second one replaces the first, which somebody may not have meant. */
static void warn_when_repeated(struct config *config, const struct place *place, const struct option *option,
                               struct config_report *report) {
    size_t index = (size_t)(option - options);
    uint64_t bit = 1ULL << (index % 64);
    if ((config->given[index / 64] & bit) != 0 && place->line > 0) {
        problem_warning(report, place, "%s was set before; this value counts", option->name);
    }
    config->given[index / 64] |= bit;
}

/* Asks for what happens anyway. */
static bool later_default(const struct option *option, struct span value) {
    static const struct {
        const char *name;
        const char *value;
    } rows[] = {
#define LATER_DEFAULT(option_name, initial) {#option_name, initial},
        CONFIG_LATER_DEFAULT_ROWS(LATER_DEFAULT)
#undef LATER_DEFAULT
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, option->name) == 0) {
            return span_equal(value, span_str(rows[i].value));
        }
    }
    return false;
}

static void config_option(struct config *config, const struct place *place, struct span name, struct span value,
                          struct config_report *report) {
    const struct option *option = option_find(name);
    if (option == NULL) {
        unknown_option(report, place, name);
        return;
    }
    if (option->kind == OPTION_LATER && later_default(option, value)) {
        return;
    }
    if (option->kind == OPTION_LATER) {
        problem_error(report, place, "%s is refused: %s", option->name, option->text);
        return;
    }
    if (option->kind == OPTION_HARMLESS) {
        problem_warning(report, place, "%s has no effect: %s", option->name, option->text);
        return;
    }
    if (value.len == 0 || memchr(value.ptr, '\0', value.len) != NULL) {
        problem_error(report, place, "%s: it needs a value", option->name);
        return;
    }
    if (option->kind == OPTION_WORD) {
        word_set(config, place, option->name, value, report);
        return;
    }
    warn_when_repeated(config, place, option, report);
    if (option->kind == OPTION_FLAG) {
        set_flag(config, place, option, value, report);
    } else if (option->kind == OPTION_TEXT) {
        set_text(config, option, value);
    } else {
        set_number(config, place, option, value, report);
    }
}

void config_set(struct config *config, const char *place, const char *option, const char *value,
                struct config_report *report) {
    const struct place at = {place, 0};
    config_option(config, &at, span_str(option), span_str(value), report);
}

static bool blank(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\r';
}

static struct span trim(struct span s) {
    while (s.len > 0 && blank(s.ptr[0])) {
        s = span_skip(s, 1);
    }
    while (s.len > 0 && blank(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

/* The next line of `text`, without blanks around it; false at the end. */
static bool next_line(struct span *text, struct span *line) {
    if (text->len == 0) {
        return false;
    }
    const uint8_t *end = memchr(text->ptr, '\n', text->len);
    size_t len = end != NULL ? (size_t)(end - text->ptr) : text->len;
    *line = trim((struct span){text->ptr, len});
    *text = span_skip(*text, end != NULL ? len + 1 : len);
    return true;
}

static void split_line(struct span line, struct span *name, struct span *value) {
    size_t len = 0;
    while (len < line.len && !blank(line.ptr[len])) {
        len++;
    }
    *name = (struct span){line.ptr, len};
    *value = trim(span_skip(line, len));
}

void config_walk(struct config *config, const char *file, struct span text, config_include *include,
                 struct config_report *report) {
    struct place place = {file, 0};
    struct span line;
    while (next_line(&text, &line)) {
        place.line++;
        if (line.len == 0 || line.ptr[0] == '#') {
            continue;
        }
        struct span name;
        struct span value;
        split_line(line, &name, &value);
        if (include != NULL && value.len > 0 && span_equal(name, SPAN("include_dir"))) {
            include(config, &place, value, report);
        } else {
            config_option(config, &place, name, value, report);
        }
    }
}

void config_read_text(struct config *config, const char *name, struct span text, struct config_report *report) {
    config_walk(config, name, text, NULL, report);
}
