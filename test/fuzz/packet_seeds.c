/* Writes what the fuzzer of the codec begins with, made from the rows that the codec and its tests are made from:
 *
 *     packet_seeds dictionary FILE      property identifiers, first bytes, and the strings that matter
 *     packet_seeds corpus FOLDER        one file for each packet of test/data
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/packet_bytes.h"
#include "packet/codec.h"

enum { SEED_BYTES_MAX = 1 << 18, SEED_PATH_MAX = 4096 };

/* ---- dictionary ---- */

/* As AFL++ and libFuzzer read it: name="bytes". */
static void write_word(FILE *file, const char *name, unsigned number, const uint8_t *bytes, size_t len) {
    fprintf(file, "%s_%02x=\"", name, number);
    for (size_t i = 0; i < len; i++) {
        fprintf(file, "\\x%02x", bytes[i]);
    }
    fprintf(file, "\"\n");
}

/* A property with a value of its kind that is allowed. */
static size_t property_sample(const struct property_row *row, uint8_t out[8]) {
    static const uint8_t pair[] = {0, 1, 'n', 0, 1, 'v'};
    static const uint8_t text[] = {0, 1, 't'};
    const uint8_t *value = text;
    uint8_t number[4] = {0, 0, 0, 1};
    size_t len = 0;
    switch (row->kind) {
    case PROPERTY_BYTE:
    case PROPERTY_VARINT:
        len = 1;
        value = number + 3;
        break;
    case PROPERTY_U16:
        len = 2;
        value = number + 2;
        break;
    case PROPERTY_U32:
        len = 4;
        value = number;
        break;
    case PROPERTY_STRING:
    case PROPERTY_TOPIC:
    case PROPERTY_BINARY:
        len = sizeof(text);
        break;
    case PROPERTY_PAIR:
        len = sizeof(pair);
        value = pair;
        break;
    }
    out[0] = row->id;
    memcpy(out + 1, value, len);
    return 1 + len;
}

static void write_dictionary(FILE *file) {
    static const char *const words[] = {
        "\0\004MQTT\004",   "\0\004MQTT\005",       "$share/g/t",      "#", "+", "/", "\xED\xA0\x80", "\xC0\x80",
        "\xF4\x90\x80\x80", "\x80\x80\x80\x80\x01", "\xFF\xFF\xFF\x7F"};
    static const size_t lengths[] = {7, 7, 10, 1, 1, 1, 3, 2, 4, 5, 4};
    for (unsigned i = 0; i < PROPERTY_COUNT; i++) {
        uint8_t bytes[8];
        write_word(file, "property", property_rows[i].id, bytes, property_sample(&property_rows[i], bytes));
    }
    for (unsigned type = 1; type < PACKET_TYPES; type++) {
        uint8_t first = (uint8_t)(type << 4 | packet_rows[type].flags);
        write_word(file, "type", first, &first, 1);
    }
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        write_word(file, "word", i, (const uint8_t *)words[i], lengths[i]);
    }
}

/* ---- corpus ---- */

enum { FIRST, LATER };
enum { CLIENT = 0, SERVER = 1 };
#define SEED_PROTOCOL_NONE 0
#define SEED_PROTOCOL_311 0
#define SEED_PROTOCOL_5 2

/* One packet and what the target's first byte says of it. */
struct seed {
    const char *name;
    int choice;
    const char *bytes;
};

static const struct seed seeds[] = {
#define SEED(name, sender, protocol, when, bytes)                                                                      \
    {name, sender | SEED_PROTOCOL_##protocol | ((when) == LATER ? 4 : 0), bytes},
#define WELLFORMED(name, sender, protocol, when, form, bytes) SEED(name, sender, protocol, when, bytes)
#define MALFORMED(name, sender, protocol, when, bytes, reason, statement) SEED(name, sender, protocol, when, bytes)
#include "data/malformed.inc"
#include "data/wellformed.inc"
};

static bool write_seed(const char *folder, const struct seed *seed) {
    static uint8_t bytes[SEED_BYTES_MAX];
    char path[SEED_PATH_MAX];
    size_t len;
    if (!packet_bytes_read(seed->bytes, bytes, sizeof(bytes), &len)) {
        fprintf(stderr, "%s cannot be read\n", seed->name);
        return false;
    }
    snprintf(path, sizeof(path), "%s/%s", folder, seed->name);
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        perror(path);
        return false;
    }
    bool good = fputc(seed->choice, file) != EOF && fwrite(bytes, 1, len, file) == len;
    return fclose(file) == 0 && good;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "dictionary") == 0) {
        FILE *file = fopen(argv[2], "w");
        if (file == NULL) {
            perror(argv[2]);
            return EXIT_FAILURE;
        }
        write_dictionary(file);
        return fclose(file) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (argc == 3 && strcmp(argv[1], "corpus") == 0) {
        bool good = true;
        for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
            good = write_seed(argv[2], &seeds[i]) && good;
        }
        return good ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    fprintf(stderr, "usage: %s dictionary FILE | corpus FOLDER\n", argv[0]);
    return EXIT_FAILURE;
}
