/* A simulated disk, with the operating system's page cache before it.
 *
 * The fault model:
 *
 *   - A write goes to the cache. sync() of its file moves it to the platter; until then each 4 KiB page of it is, when
 *     the power goes, kept, dropped, torn (some of its 512-byte sectors kept, the others dropped) or partly garbage,
 *     page by page as the choices say. What was synced is never touched.
 *   - A file's new size is durable with the next sync() of the file; before that the old or the new one is found, and
 *     what lies between them reads as kept data, zeros or garbage.
 *   - A file that was cut has, before the next sync() of it, its old or its new size; of what is written behind the cut
 *     meanwhile the fate is as above.
 *   - A name that was created or removed is durable with sync_directory(); before that each such change may be undone,
 *     in any combination, but changes of one name in their order. Syncing a file does not save its name.
 *   - The power can go at any call: the call does a part of its work or none, returns ERROR_CRASHED, and so do all
 *     calls after it, until the machine is on again.
 *   - When only the process dies (kill -9) the cache survives: what was written is still read back, although a later
 *     power cut may take it away.
 *   - A failing sync() (EIO) may have moved any of the pages, and the others are forgotten: they are clean in the
 *     cache but not on the platter, so that a second sync() would report success and save nothing. A cache that lets go
 *     of such a page shows the old content.
 *   - No space (ENOSPC): writes beyond a file's end and new files fail while it lasts; writes inside a file go on.
 *   - Reads, writes and directory syncs fail (EIO) on request.
 *   - Not modelled: damage to what was synced (there are tests of the journal for that), several un-synced versions of
 *     one sector, and disks that lie about flushes.
 *
 * One thread. A copy of the whole is possible, to ask what would be found if the power went now. */
#pragma once

#include "sim/choice.h"
#include "store/disk.h"

#define SIM_DISK_FILES_MAX 48
#define SIM_DISK_NAME_BYTES 48
#define SIM_DISK_SECTOR 512
#define SIM_DISK_PAGE 4096

struct sim_inode {
    uint8_t *cache;   /* what reads see */
    uint8_t *platter; /* what survives */
    uint8_t *dirty;   /* one byte for each sector of the cache that sync() must move */
    size_t capacity;  /* bytes allocated in each; a multiple of the page */
    size_t cache_size, platter_size;
    bool any_dirty;
    bool was_cut;                  /* since the last sync, */
    size_t cut_size;               /* to this size at least once */
    size_t dirty_begin, dirty_end; /* sectors outside of these are clean */
    unsigned names;                /* in the cache's directory */
    unsigned handles;              /* open files */
};

struct sim_name {
    char name[SIM_DISK_NAME_BYTES];
    int inode; /* index; -1: the entry is free */
};

struct sim_name_change {
    bool created; /* else removed */
    struct sim_name entry;
};

/* What becomes of un-synced data when the power goes. */
enum sim_power { SIM_POWER_DROP = 1, SIM_POWER_KEEP, SIM_POWER_CHOOSE };

struct sim_disk {
    struct choices *choices;
    struct sim_inode inodes[SIM_DISK_FILES_MAX];
    struct sim_name names[SIM_DISK_FILES_MAX];              /* as the cache has them */
    struct sim_name_change changes[SIM_DISK_FILES_MAX * 4]; /* since the last sync_directory() */
    size_t change_count;
    uint64_t calls;    /* made so far */
    uint64_t crash_at; /* the power goes at this call; 0: it does not */
    uint64_t fail_at;  /* this call fails with EIO; 0: none does */
    bool off;          /* the power is gone */
    bool no_space;
    uint64_t writes, syncs; /* calls that succeeded, for reports */
};

/* Borrows `choices`. An empty disk. */
void sim_disk_init(struct sim_disk *d, struct choices *choices);
void sim_disk_deinit(struct sim_disk *d);
/* The interface that the store uses; borrows `d`. */
struct disk sim_disk_interface(struct sim_disk *d);
/* The power goes (at the latest now): un-synced data is settled. Files that are still open can only be closed. */
void sim_disk_power_cut(struct sim_disk *d, enum sim_power how);
/* The machine is on again. */
void sim_disk_power_on(struct sim_disk *d);
/* The cache lets go of clean pages that differ from the platter (after a failed sync). */
void sim_disk_evict(struct sim_disk *d);
/* Makes `to` (not initialised) a copy without open files. */
void sim_disk_copy(struct sim_disk *to, const struct sim_disk *from, struct choices *choices);
/* True when every write and name is on the platter. */
bool sim_disk_clean(const struct sim_disk *d);
/* Equal for equal content and equal un-synced changes. */
uint64_t sim_disk_digest(const struct sim_disk *d);
