/* The space inside LMDB's file: how much of it no tree uses, and giving that back to the disk.
 *
 * A file never becomes shorter: LMDB reuses its pages. So pages that are free are taken out of the middle of the file
 * (a hole costs no disk), and a file of which most is free is copied when nobody has it open.
 *
 * Crash-safe: a hole is made only of pages that the next write transaction could overwrite as well: neither the last
 * commit nor the one before refers to them. The copy takes the place of the file when it is on stable storage. */
#pragma once

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Pages in the file that no tree uses. */
uint64_t table_space_free(MDB_env *env);
/* What is known about the blocks of the file. The thread that writes alone uses it. */
struct table_space {
    MDB_env *env;
    uint64_t *backed; /* a bit for each page, set when it surely has blocks: other pages may be holes */
    size_t words;
    uint64_t page_bytes;
    uint64_t end;     /* of the last page, when it was last looked at */
    uint64_t behind;  /* blocks are reserved from the end up to this offset; 0: none */
    unsigned starved; /* so many commits one after the other have found no space */
};

/* Sees to it that the pages that LMDB takes next have blocks, so many bytes of them: free pages in LMDB's order first,
 * for as long as it finds some it does not come to the end of the file, then blocks behind that end. After a commit
 * that found no space, more: twice as many inside for each, and all behind the end as well, for a long value needs
 * pages that follow one another, and LMDB passes by others. On a full disk the free pages that come last give their
 * blocks to the first, when they may: nobody reads. 0, or the number of the error: ENOSPC. */
int table_space_reserve(struct table_space *s, uint64_t bytes, bool may_punch);
/* A write transaction has ended: with space enough, or without. */
void table_space_ended(struct table_space *s, bool space);
/* Gives free pages back to the disk, but for `keep` bytes of them, those that LMDB takes next, and all that was
 * reserved behind the end of the file. Nobody reads. 0, or the number of the error; a file system without holes is
 * none. */
int table_space_punch(struct table_space *s, uint64_t keep);
void table_space_deinit(struct table_space *s);
/* Writes what the table holds, without free pages, into the file `to`, which is then on stable storage. 0, or the
 * number of the error. */
int table_space_copy(MDB_env *env, const char *to);
