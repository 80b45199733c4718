/* A directory of its own for a test that needs the real disk. */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/must.h"

static char temporary[64];

__attribute__((unused)) static const char *temporary_make(void) {
    (void)snprintf(temporary, sizeof temporary, "/tmp/quartet-test-XXXXXX");
    must(mkdtemp(temporary) != NULL);
    return temporary;
}

__attribute__((unused)) static void temporary_path(char *out, size_t bytes, const char *name) {
    int length = snprintf(out, bytes, "%s/%s", temporary, name);
    must(length > 0 && (size_t)length < bytes);
}

/* Removes the files in a directory, and the directory. */
__attribute__((unused)) static void temporary_remove(const char *path) {
    DIR *d = opendir(path);
    if (d == NULL) {
        return;
    }
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            (void)unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    (void)closedir(d);
    (void)rmdir(path);
}
