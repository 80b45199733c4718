/* The local engine: a journal and a table on one disk.
 *
 * It has no threads of its own; its two long-running duties are steps that the owner drives (net/ with two threads,
 * the simulator with events):
 *
 *   commit      take what is staged -> write one frame -> sync -> durable grows          store_local_commit_step()
 *   checkpoint  fold a finished segment into the table -> folded grows -> recycle it     store_local_checkpoint_step()
 *
 * Staging is possible at any time from any thread while both are under way. Opening recovers: the journal's tail is
 * checked, and every row of the table (damage to acknowledged data refuses, and then not one byte has been changed; an
 * unacknowledged tail is cut), everything is folded into the table and
 * committed, and a new journal generation begins. So there is one way to load, after a clean stop and after a crash. */
#pragma once

#include "store/disk.h"
#include "store/store.h"
#include "store/table.h"

struct store_local_options {
    uint64_t segment_bytes;      /* of one journal file; a multiple of 4096; default 32 MiB */
    uint64_t segment_bytes_max;  /* to which files grow for a record that is longer, and under load, until the store is
                                    opened again; default segment_bytes: they do not */
    uint32_t segments_max;       /* journal files at most, the reserve included; default 16 */
    uint64_t frame_bytes_max;    /* what one commit takes at most; default 4 MiB; a larger single record still fits
                                    when segment_bytes_max allows */
    uint64_t staged_bytes_busy;  /* STORE_BUSY beyond this; default 4 MiB */
    uint64_t journal_bytes_busy; /* the same, of what the table does not have yet; 0: any */
    uint64_t changed_bytes_max;  /* of memory that a commit of the table takes, about; default 32 MiB */
    uint64_t salt;               /* random: makes generations different */
    bool mutant_rest; /* MUTANT_REST: at rest a segment that is not folded is cut. Only the simulator sets it */
};

/* Opens (creates, recovers). Takes neither disk nor table: they outlive the store. NULL with an error that names file,
 * offset and lsn of any damage and the command that helps. */
struct store *store_local_open(const struct disk *disk, struct table *table, const struct store_local_options *options,
                               struct error *error);
/* Before a table is made where there is none: false with an error when the disk holds a journal, for one belongs to it.
 */
bool store_local_may_begin(const struct disk *disk, struct error *error);
/* Frees memory and closes files. Nothing is written: what is staged and not durable is lost, as in a crash. */
void store_local_close(struct store *store);

enum store_step {
    STORE_STEP_IDLE = 1, /* nothing to do */
    STORE_STEP_MORE,     /* one disk operation was done; call again */
    STORE_STEP_DONE,     /* a commit (or checkpoint) is complete: durable (or folded) has grown */
    STORE_STEP_WAIT,     /* no space: nothing was changed; call again in a second */
    STORE_STEP_FAILED,   /* the store has stopped for good */
};

/* Commit thread only. At most one frame is un-synced at any time. Also keeps the next segment zero-filled ahead. */
enum store_step store_local_commit_step(struct store *store);
/* Commit thread only: after a pause without records, writes one small frame that says that the last one is durable, so
 * that damage to it can be told from a torn tail. IDLE when that was already done. */
enum store_step store_local_seal_step(struct store *store);
/* Checkpoint thread only. `all`: fold also the segment in use, up to what is durable (at a clean stop, when idle). The
 * commit thread may go on meanwhile. */
enum store_step store_local_checkpoint_step(struct store *store, bool all);
/* Checkpoint thread only, when little or nothing was staged for some time and all is folded: gives space back to the
 * disk that neither the journal nor the table will need soon. MORE: call again; IDLE: done; WAIT: the disk is full. */
enum store_step store_local_rest_step(struct store *store);
/* What the disk may have of the store: what rows take in the table, the files of the journal, and the room that is kept
 * for folding it. It is full when there is no room for what the journal has and three segments; busy when folding what
 * it has would give it room. 0: no limit. What makes it less is never refused. Any thread. */
void store_local_limit(struct store *store, uint64_t bytes);

/* What keeps it at its limit, as last looked at. Any thread. */
enum store_excess {
    STORE_EXCESS_NONE = 0,
    STORE_EXCESS_FREE,    /* space that nobody uses: a rest gives it back */
    STORE_EXCESS_JOURNAL, /* a journal that is not folded */
    STORE_EXCESS_FULL,    /* what it holds */
};
enum store_excess store_local_excess(const struct store *store);
/* True when a checkpoint step is wanted soon, whether there is something to fold or not. Any thread. */
bool store_local_asks(const struct store *store);
/* Bytes that journal and table take on the disk. Any thread. */
uint64_t store_local_disk_bytes(const struct store *store);
/* How many bytes are staged and not durable; `*busy`: beyond how many the pressure is STORE_BUSY. Any thread. */
uint64_t store_local_staged_bytes(const struct store *store, uint64_t *busy);
/* True when something is staged that no commit has taken. Any thread. */
bool store_local_staged(const struct store *store);
/* A digest of the records that are staged and not durable, on their way or not. Commit thread only: for simulators. */
uint64_t store_local_staged_digest(const struct store *store);
/* Bytes of journal that no checkpoint has folded. Any thread. */
uint64_t store_local_journal_bytes(const struct store *store);
/* Bytes of journal that became durable since the opening. Any thread. */
uint64_t store_local_written_bytes(const struct store *store);
/* The 16 bytes that name the store, the same as long as it exists. Any thread. */
void store_local_uuid(const struct store *store, uint8_t uuid[16]);
/* How many journal files were made since the opening. Each is used only after the next checkpoint step, which tells the
 * table of it. Any thread. */
uint64_t store_local_files_made(const struct store *store);
/* `wake` is called (lock held, must not block) by the staging thread when something is staged while the commit side had
 * nothing, and by the checkpoint thread when it has freed a segment or made one usable while something is staged: the
 * owner wakes its commit thread. */
void store_local_on_staged(struct store *store, void (*wake)(void *user), void *user);

/* Offline tools, on a store that nobody has open. They print to `out` (text lines). */
bool store_local_check(const struct disk *disk, struct table *table, struct buf *out, struct error *error);
bool store_local_dump(const struct disk *disk, struct table *table, struct buf *out, struct error *error);
/* Cuts damaged frames out and reports every record that is gone, as far as it can be read. */
bool store_local_repair(const struct disk *disk, struct table *table, struct buf *out, struct error *error);
/* Those that make room; they fold the journal, as a start does. Sessions are listed by the size of their queue. */
bool store_local_list(const struct disk *disk, struct table *table, struct buf *out, struct error *error);
bool store_local_end_session(const struct disk *disk, struct table *table, struct span client_id, struct buf *out,
                             struct error *error);
/* Clears the retained messages whose topics match. */
bool store_local_clear_retained(const struct disk *disk, struct table *table,
                                bool (*matches)(void *user, struct span topic), void *user, struct buf *out,
                                struct error *error);
