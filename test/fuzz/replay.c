/* Runs a fuzz target over files and folders of inputs, so that any compiler can replay a corpus and a finding:
 * TARGET [PATH...]. Without a path it reads standard input. */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

enum { INPUT_MAX = 1 << 20, PATH_MAX_BYTES = 4096 };

/* The input has its own memory, so that a read beyond its end is seen. */
static void replay_stream(FILE *stream) {
    uint8_t *room = malloc(INPUT_MAX);
    if (room == NULL) {
        abort();
    }
    size_t len = fread(room, 1, INPUT_MAX, stream);
    uint8_t *exact = malloc(len > 0 ? len : 1);
    if (exact == NULL) {
        abort();
    }
    memcpy(exact, room, len);
    free(room);
    (void)LLVMFuzzerTestOneInput(exact, len);
    free(exact);
}

static bool replay_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return false;
    }
    replay_stream(file);
    fclose(file);
    return true;
}

/* Files of one folder; folders within it are not entered. */
static bool replay_folder(const char *path, size_t *count) {
    DIR *folder = opendir(path);
    bool good = folder != NULL;
    for (struct dirent *entry; good && (entry = readdir(folder)) != NULL;) {
        char file[PATH_MAX_BYTES];
        struct stat status;
        snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        if (stat(file, &status) == 0 && S_ISREG(status.st_mode)) {
            good = replay_file(file);
            *count += 1;
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return good;
}

int main(int argc, char **argv) {
    size_t count = 0;
    bool good = true;
    if (argc == 1) {
        replay_stream(stdin);
        count = 1;
    }
    for (int i = 1; i < argc && good; i++) {
        struct stat status;
        if (stat(argv[i], &status) == 0 && S_ISDIR(status.st_mode)) {
            good = replay_folder(argv[i], &count);
        } else {
            good = replay_file(argv[i]);
            count++;
        }
    }
    printf("replayed %zu inputs\n", count);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
