/* The space inside LMDB's file: how much of it no tree uses, and giving that back to the disk.
 *
 * A file never becomes shorter: LMDB reuses its pages. So pages that are free are taken out of the middle of the file
 * (a hole costs no disk), and a file of which most is free is copied when nobody has it open.
 *
 * Crash-safe: a hole is made only of pages that the next write transaction could overwrite as well: neither the last
 * commit nor the one before refers to them. The copy takes the place of the file when it is on stable storage. */
#pragma once

#include <lmdb.h>
#include <stdint.h>

#include "base/error.h"

/* Pages in the file that no tree uses. */
uint64_t table_space_free(MDB_env *env);
/* Gives free pages back to the disk, but for `keep` of them, the first ones, and all that was reserved behind the end
 * of the file. Nobody reads; the caller is the one who writes. 0, or the number of the error; a file system without
 * holes is none. */
int table_space_punch(MDB_env *env, uint64_t keep);
/* Writes what the table holds, without free pages, into the file `to`, which is then on stable storage. 0, or the
 * number of the error. */
int table_space_copy(MDB_env *env, const char *to);
