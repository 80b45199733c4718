#include "config/option.h"

const struct option options[] = {
#define ROW_NUMBER(name, unit, min, max, initial, text)                                                                \
    {#name, OPTION_##unit, text, offsetof(struct config, name), min, max, initial},
    CONFIG_NUMBER_ROWS(ROW_NUMBER)
#define ROW_FLAG(name, initial, text) {#name, OPTION_FLAG, text, offsetof(struct config, name), 0, 1, initial},
        CONFIG_FLAG_ROWS(ROW_FLAG)
#define ROW_TEXT(name, text) {#name, OPTION_TEXT, text, offsetof(struct config, name), 0, 0, 0},
            CONFIG_TEXT_ROWS(ROW_TEXT)
#define ROW_WORD(name, shape, text) {#name, OPTION_WORD, shape, 0, 0, 0, 0},
                CONFIG_WORD_ROWS(ROW_WORD)
#define ROW_HARMLESS(name, why) {#name, OPTION_HARMLESS, why, 0, 0, 0, 0},
                    CONFIG_HARMLESS_ROWS(ROW_HARMLESS)
#define ROW_LATER(name, why) {#name, OPTION_LATER, why, 0, 0, 0, 0},
                        CONFIG_LATER_ROWS(ROW_LATER)};
const size_t options_count = sizeof options / sizeof *options;
_Static_assert(sizeof options / sizeof *options <= 64 * sizeof((struct config *)NULL)->given / sizeof(uint64_t),
               "struct config has one bit for each option");

const struct option *option_find(struct span name) {
    for (size_t i = 0; i < options_count; i++) {
        if (span_equal(name, span_str(options[i].name))) {
            return &options[i];
        }
    }
    return NULL;
}

void config_each_option(void (*visit)(void *user, const char *name), void *user) {
    for (size_t i = 0; i < options_count; i++) {
        visit(user, options[i].name);
    }
}
