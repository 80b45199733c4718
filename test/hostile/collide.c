/* Texts whose XXH3 ends in the same bits, for the attack `colliding_keys`. The seed is the attacker's guess.
 *
 *     hostile_collide SEED COUNT BITS [PREFIX]     COUNT texts of 8 bytes, one a line; PREFIX,
 *                                                  in hexadecimal digits, is not printed */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 8 };
static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";

/* The nth text. */
static void spell(unsigned char *text, int from, unsigned long long n) {
    for (int i = SIZE - 1; i >= from; i--) {
        text[i] = (unsigned char)letters[n & 63U];
        n >>= 6U;
    }
}

int main(int argc, char **argv) {
    if (argc < 4) {
        return 2;
    }
    const unsigned long long seed = strtoull(argv[1], NULL, 0), count = strtoull(argv[2], NULL, 0);
    const unsigned long long mask = (1ULL << strtoul(argv[3], NULL, 0)) - 1;
    unsigned char text[SIZE] = {0};
    const int from = argc > 4 ? (int)strlen(argv[4]) / 2 : 0;
    for (int i = 0; i < from; i++) {
        const char digits[3] = {argv[4][2 * i], argv[4][2 * i + 1], 0};
        text[i] = (unsigned char)strtoul(digits, NULL, 16);
    }
    unsigned long long found = 0;
    for (unsigned long long n = 0; found < count; n++) {
        spell(text, from, n);
        if ((XXH3_64bits_withSeed(text, SIZE, seed) & mask) == 5) {
            (void)printf("%.*s\n", SIZE - from, (const char *)text + from);
            found++;
        }
    }
    return 0;
}
