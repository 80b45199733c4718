/* What the process is to the system: its cores, open files, user and signals. */
#pragma once

#include "base/error.h"
#include "config/config.h"

/* Signals that would end a process that does not expect them: none does from now on. Before anything else; SIGHUP is
 * given a meaning later. */
void signals_ignore(void);
/* Bytes of the system's random source. */
void random_bytes(void *out, size_t bytes);
/* How many shards there are to be. */
unsigned shards_wanted(const struct config *config);
/* Directory of the store. */
const char *data_directory(const struct config *config);
/* As many open files as may be: raises the limit and returns it. */
uint64_t raise_files_limit(void);
/* The connections that open files leave when everything else is open, with so many sockets to listen on; false with an
 * error when that is none. */
bool connections_allowed(const struct config *config, uint64_t files, unsigned shards, size_t sockets,
                         uint64_t *allowed, struct error *error);
/* From root to the user of that name; NULL, or not root: nothing happens. False with an error. */
bool become_user(const char *name, struct error *error);
