/* A disk in memory for the tests of the store, with a power switch.
 *
 * What was written and not synced is, after a crash, per sector of 512 bytes: kept, dropped, or garbage, as the seed
 * has it. A file whose directory entry was not synced may be gone. Every call is counted; the call with a chosen number
 * crashes, fails for ever with EIO, or finds the disk full until space is given back. */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/must.h"
#include "base/prng.h"
#include "store/disk.h"
#include "store/table.h"

enum { SECTOR = 512, FAULT_FILES = 32, FAULT_NAME = 32 };

enum fault { FAULT_NONE, FAULT_CRASH, FAULT_EIO, FAULT_FULL };

struct disk_file {
    bool exists;       /* as programs see it */
    bool entry_synced; /* as a crash leaves it */
    char name[FAULT_NAME];
    uint8_t *now; /* what reads see */
    uint64_t now_bytes;
    uint8_t *stable; /* what a crash surely leaves */
    uint64_t stable_bytes;
};

struct fault_disk {
    struct disk_file files[FAULT_FILES];
    struct prng prng;
    uint64_t calls;
    uint64_t fault_at; /* the number of the call, from 1; 0: never */
    enum fault fault;
    bool crashed;    /* every call fails until fault_disk_restart() */
    bool broken;     /* EIO was reported: every write and sync fails */
    bool full;       /* writes that need space find none, */
    bool table_room; /* but the table does */
    int grace;       /* so many commits of the table find space whatever there is */
    int files_max;   /* the table finds no space while more files have more than a page; 0: any number */
    struct table_memory *table;
};

#define FAULT_UNUSED __attribute__((unused))

/* Counts a call that changes something. False with an error when this one fails. */
static bool fault_call(struct fault_disk *d, bool needs_space, struct error *error) {
    if (d->crashed) {
        return error_set(error, ERROR_CRASHED, 0, "the power is off");
    }
    d->calls++;
    if (d->calls == d->fault_at) {
        switch (d->fault) {
        case FAULT_CRASH:
            d->crashed = true;
            return error_set(error, ERROR_CRASHED, 0, "the power is off");
        case FAULT_EIO:
            d->broken = true;
            break;
        case FAULT_FULL:
            d->full = true;
            break;
        case FAULT_NONE:
            break;
        }
    }
    if (d->broken) {
        return error_set(error, ERROR_IO, EIO, "the disk is broken");
    }
    if (d->full && needs_space) {
        return error_set(error, ERROR_NO_SPACE, ENOSPC, "the disk is full");
    }
    return true;
}

static void fault_extend(uint8_t **bytes, uint64_t *have, uint64_t want) {
    if (want > *have) {
        *bytes = mem_resize(*bytes, want);
        memset(*bytes + *have, 0, want - *have);
        *have = want;
    }
}

static struct disk_file *fault_find(struct fault_disk *d, const char *name) {
    for (int i = 0; i < FAULT_FILES; i++) {
        if (d->files[i].exists && strcmp(d->files[i].name, name) == 0) {
            return &d->files[i];
        }
    }
    return NULL;
}

static struct disk_file *fault_open(void *user, const char *name, bool create, struct error *error) {
    struct fault_disk *d = user;
    struct disk_file *f = fault_find(d, name);
    if (f != NULL || !create) {
        if (d->crashed) {
            error_set(error, ERROR_CRASHED, 0, "the power is off");
            return NULL;
        }
        if (f == NULL) {
            error_set(error, ERROR_IO, ENOENT, "%s does not exist", name);
        }
        return f;
    }
    if (!fault_call(d, true, error)) {
        return NULL;
    }
    for (int i = 0; i < FAULT_FILES; i++) {
        f = &d->files[i];
        if (!f->exists && !f->entry_synced) {
            *f = (struct disk_file){.exists = true};
            (void)snprintf(f->name, sizeof f->name, "%s", name);
            return f;
        }
    }
    must(false);
    return NULL;
}

static void fault_close(void *user, struct disk_file *file) {
    (void)user;
    (void)file;
}

static bool fault_size(void *user, struct disk_file *file, uint64_t *bytes, struct error *error) {
    struct fault_disk *d = user;
    *bytes = file->now_bytes;
    return !d->crashed || error_set(error, ERROR_CRASHED, 0, "the power is off");
}

static bool fault_read(void *user, struct disk_file *file, uint64_t offset, void *to, size_t bytes,
                       struct error *error) {
    struct fault_disk *d = user;
    if (d->crashed) {
        return error_set(error, ERROR_CRASHED, 0, "the power is off");
    }
    if (offset + bytes > file->now_bytes) {
        return error_set(error, ERROR_IO, 0, "%s is too short", file->name);
    }
    if (bytes > 0) {
        memcpy(to, file->now + offset, bytes);
    }
    return true;
}

/* A crash in the middle of a write leaves it un-synced as a whole: the sectors then decide. */
static bool fault_write(void *user, struct disk_file *file, uint64_t offset, struct span from, struct error *error) {
    struct fault_disk *d = user;
    bool was_on = !d->crashed;
    bool ok = fault_call(d, offset + from.len > file->now_bytes, error);
    if (ok || (was_on && d->crashed)) {
        fault_extend(&file->now, &file->now_bytes, offset + from.len);
        memcpy(file->now + offset, from.ptr, from.len);
    }
    return ok;
}

/* A crash in the middle of a cut leaves the decision to the restart. */
static bool fault_cut(void *user, struct disk_file *file, uint64_t bytes, struct error *error) {
    struct fault_disk *d = user;
    bool was_on = !d->crashed;
    bool ok = fault_call(d, false, error);
    if ((ok || (was_on && d->crashed)) && bytes < file->now_bytes) {
        file->now_bytes = bytes;
    }
    return ok;
}

static void fault_settle(struct disk_file *f) {
    f->stable = mem_resize(f->stable, f->now_bytes);
    if (f->now_bytes > 0) {
        memcpy(f->stable, f->now, f->now_bytes);
    }
    f->stable_bytes = f->now_bytes;
}

static bool fault_sync(void *user, struct disk_file *file, struct error *error) {
    struct fault_disk *d = user;
    bool was_on = !d->crashed;
    bool ok = fault_call(d, false, error);
    if (ok || (was_on && d->crashed && prng_chance(&d->prng, 1, 2))) {
        fault_settle(file);
    }
    return ok;
}

static bool fault_remove(void *user, const char *name, struct error *error) {
    struct fault_disk *d = user;
    if (!fault_call(d, false, error)) {
        return false;
    }
    struct disk_file *f = fault_find(d, name);
    if (f != NULL) {
        f->exists = false;
    }
    return true;
}

static void fault_forget(struct disk_file *f) {
    mem_free(f->now);
    mem_free(f->stable);
    *f = (struct disk_file){.exists = false};
}

static bool fault_sync_directory(void *user, struct error *error) {
    struct fault_disk *d = user;
    bool was_on = !d->crashed;
    bool ok = fault_call(d, false, error);
    if (ok || (was_on && d->crashed && prng_chance(&d->prng, 1, 2))) {
        for (int i = 0; i < FAULT_FILES; i++) {
            if (d->files[i].exists) {
                d->files[i].entry_synced = true;
            } else {
                fault_forget(&d->files[i]);
            }
        }
    }
    return ok;
}

static bool fault_list(void *user, void (*visit)(void *context, const char *name), void *context, struct error *error) {
    struct fault_disk *d = user;
    if (d->crashed) {
        return error_set(error, ERROR_CRASHED, 0, "the power is off");
    }
    for (int i = 0; i < FAULT_FILES; i++) {
        if (d->files[i].exists) {
            visit(context, d->files[i].name);
        }
    }
    return true;
}

/* A commit of the table is one call too; a crash comes before it or after it. */
static bool fault_table_commit(void *user, struct error *error) {
    struct fault_disk *d = user;
    bool was_on = !d->crashed;
    bool ok = fault_call(d, !d->table_room, error);
    int files = 0;
    for (int i = 0; i < FAULT_FILES; i++) {
        files += d->files[i].exists && d->files[i].now_bytes > 4096;
    }
    if (ok && d->files_max > 0 && files > d->files_max && d->grace-- <= 0) {
        return error_set(error, ERROR_NO_SPACE, ENOSPC, "the disk is full");
    }
    return ok || (was_on && d->crashed && prng_chance(&d->prng, 1, 2));
}

FAULT_UNUSED static struct disk fault_disk_of(struct fault_disk *d) {
    return (struct disk){
        .user = d,
        .open = fault_open,
        .close = fault_close,
        .size = fault_size,
        .read = fault_read,
        .write = fault_write,
        .cut = fault_cut,
        .sync = fault_sync,
        .remove = fault_remove,
        .sync_directory = fault_sync_directory,
        .list = fault_list,
    };
}

FAULT_UNUSED static void fault_disk_init(struct fault_disk *d, uint64_t seed) {
    *d = (struct fault_disk){.prng = prng_of(seed)};
    d->table = table_memory_create(fault_table_commit, d);
}

FAULT_UNUSED static void fault_disk_deinit(struct fault_disk *d) {
    for (int i = 0; i < FAULT_FILES; i++) {
        fault_forget(&d->files[i]);
    }
    table_memory_destroy(d->table);
}

static void fault_tear_sector(struct fault_disk *d, struct disk_file *f, uint64_t at) {
    uint64_t bytes = f->now_bytes - at < SECTOR ? f->now_bytes - at : SECTOR;
    uint64_t choice = prng_below(&d->prng, 8);
    if (choice < 4) {
        return; /* kept */
    }
    if (choice < 7) { /* dropped */
        uint64_t old = f->stable_bytes > at ? f->stable_bytes - at : 0;
        old = old < bytes ? old : bytes;
        memset(f->now + at, 0, bytes);
        if (old > 0) {
            memcpy(f->now + at, f->stable + at, old);
        }
        return;
    }
    for (uint64_t i = 0; i < bytes; i++) {
        f->now[at + i] = (uint8_t)prng_next(&d->prng);
    }
}

static void fault_tear(struct fault_disk *d, struct disk_file *f) {
    if (f->now_bytes > f->stable_bytes && prng_chance(&d->prng, 1, 2)) {
        f->now_bytes = f->stable_bytes + prng_below(&d->prng, f->now_bytes - f->stable_bytes + 1);
    }
    if (f->now_bytes < f->stable_bytes && prng_chance(&d->prng, 1, 2)) {
        uint64_t cut = f->now_bytes;
        fault_extend(&f->now, &f->now_bytes, f->stable_bytes);
        memcpy(f->now + cut, f->stable + cut, f->stable_bytes - cut);
    }
    bool all = prng_chance(&d->prng, 1, 4); /* nothing of the cache has survived */
    for (uint64_t at = 0; at < f->now_bytes; at += SECTOR) {
        uint64_t bytes = f->now_bytes - at < SECTOR ? f->now_bytes - at : SECTOR;
        bool same = at + bytes <= f->stable_bytes && memcmp(f->now + at, f->stable + at, bytes) == 0;
        if (same) {
            continue;
        }
        if (all) {
            fault_tear_sector(d, f, at);
            memset(f->now + at, 0, bytes);
            if (at + bytes <= f->stable_bytes) {
                memcpy(f->now + at, f->stable + at, bytes);
            }
        } else {
            fault_tear_sector(d, f, at);
        }
    }
    fault_settle(f);
}

/* The power comes back: what was not synced is decided; nothing fails any more. `power` false: only the program died,
 * and the operating system has all its pages. */
FAULT_UNUSED static void fault_disk_restart(struct fault_disk *d, bool power) {
    for (int i = 0; i < FAULT_FILES; i++) {
        struct disk_file *f = &d->files[i];
        if (!f->exists && !f->entry_synced) {
            continue;
        }
        if (!power) {
            continue;
        }
        if (!f->entry_synced && prng_chance(&d->prng, 1, 2)) {
            fault_forget(f); /* created, never synced: gone */
            continue;
        }
        if (!f->exists && prng_chance(&d->prng, 1, 2)) {
            fault_forget(f);
            continue;
        }
        f->exists = true;
        f->entry_synced = true;
        fault_tear(d, f);
    }
    d->crashed = false;
    d->broken = false;
    d->fault_at = 0;
}
