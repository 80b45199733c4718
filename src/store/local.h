/* The inside of the local engine: what its parts share. Nobody outside store/ includes this.
 *
 *   local.c             open, close, stage, pressure             any thread
 *   local_recover.c     the journal at the start                 before there are threads
 *   local_reserve.c     segments made ahead                      commit thread
 *   local_commit.c      frames to the disk, the reserve          commit thread
 *   local_checkpoint.c  segments into the table                  checkpoint thread
 *   local_load.c        reading the table                        any thread
 *   local_tools.c       check, dump, repair                      offline
 *
 * What is guarded by `lock` says so; the rest belongs to one thread or never changes. */
#pragma once

#include "base/lock.h"
#include "store/fold.h"
#include "store/staging.h"
#include "store/store_local.h"
#include "store/trim.h"

/* A journal file and what it is used for. Files are never deleted while the store is open: they go round.
 *
 *      ABSENT --> MAKING --> MADE --> SPARE --> ACTIVE --> FULL
 *        ^                            ^  |                    |
 *        +------- CUTTING <-----------|--+                    |
 *                                     +------- folded --------+
 *
 * At rest the space of files that are not needed soon is given back: they are cut to their first block.
 *
 * A file is used only when the table durably says that it exists: so one that is missing at a start is known to be. */
enum segment_state {
    SEGMENT_ABSENT = 0, /* no file, or no more than its first block */
    SEGMENT_CUTTING,    /* its space is being given back */
    SEGMENT_MAKING,     /* being filled with zeros */
    SEGMENT_MADE,       /* filled; waits until the table says that it exists */
    SEGMENT_SPARE,      /* all its space is its own; what it holds is void */
    SEGMENT_ACTIVE,     /* frames are added */
    SEGMENT_FULL,       /* no more frames; waits to be folded */
};

struct segment {
    enum segment_state state; /* guarded by lock */
    struct disk_file *file;   /* belongs to the thread whose step uses it: commit up to ACTIVE, checkpoint when FULL */
    uint64_t bytes;           /* how long the file is, or will be when it is made; guarded by lock */
    uint64_t made;            /* bytes filled with zeros so far */
    uint64_t synced;          /* and synced */
    uint64_t number;          /* where it stands in the log; guarded by lock */
    uint64_t end;             /* durable frames end here; guarded by lock */
    uint64_t folded;          /* frames up to here are in the table; guarded by lock */
    lsn_t last_lsn;           /* of its durable frames; guarded by lock */
};

enum { SEGMENTS_SPARE_MIN = 2 };

enum commit_phase {
    COMMIT_READY,   /* no frame on its way */
    COMMIT_WRITTEN, /* a frame is written and not synced */
};

/* Commit thread only. */
struct commit {
    enum commit_phase phase;
    struct staged_frame *frame; /* taken from the staging, not yet durable; NULL: none */
    struct frame_header header; /* of `frame`, once it is written */
    struct chain chain;         /* what the next frame says */
    struct segment *segment;    /* the active one; NULL: none yet */
    uint64_t segment_number;    /* given last */
    struct segment *making;     /* NULL: none */
    uint64_t make_bytes;        /* how long the next file is made */
    uint64_t segment_frames;    /* in the active segment */
    bool growing;               /* a spare file is made longer for the frame that waits */
    bool make_next;             /* the reserve is low: its turn comes before the next frame */
    bool waited;                /* the last step has returned STORE_STEP_WAIT */
    bool sealed;                /* the last frame has no records, or there is none */
    uint8_t *zeros;             /* for the reserve; NULL while none is being made */
};

/* Checkpoint thread only. */
struct checkpoint {
    struct segment *segment; /* under way; NULL: none */
    uint8_t *image;          /* some of its frames, as read back; kept while there is one segment after the other */
    uint64_t image_capacity;
    uint64_t from; /* offset in the file where the image begins, */
    uint64_t end;  /* and that where the last frame ends */
    uint64_t want; /* bytes that the image is to have */
    uint64_t read; /* and those that it has */
    uint64_t most; /* that are folded in one commit, or one frame that is longer; 0: all. Less while space is short */
    lsn_t last_lsn;
    struct trim trim;     /* to be done before the image can be folded */
    bool turned;          /* a commit has found no space, and then there was an empty one */
    bool whole;           /* the segment is FULL: it is free afterwards */
    struct row_meta meta; /* as in the table */
};

/* A session that ends in a record that the table does not have yet. */
struct session_end {
    lsn_t lsn;
    session_id_t session_id;
};
enum { ENDS_MAX = 4096 }; /* of them that are known; those beyond are found in their frames */

struct local {
    struct store base;
    const struct disk *disk;
    struct table *table;
    struct store_local_options options;
    uint8_t uuid[UUID_BYTES];

    struct lock lock;
    struct staging staging;   /* guarded by lock */
    struct segment *segments; /* segment_count of them; see the fields */
    uint32_t segment_count;
    struct buf ends;          /* of struct session_end, in order; guarded by lock */
    uint32_t files;           /* the table says that files 0 to files - 1 exist; guarded by lock */
    void (*wake)(void *user); /* guarded by lock */
    void *wake_user;

    struct commit commit;
    struct checkpoint checkpoint;

    _Atomic uint64_t staged_bytes;  /* of payload that is not durable */
    _Atomic uint64_t journal_bytes; /* of frames that are not folded, */
    _Atomic uint64_t written_bytes; /* and of all since the opening */
    _Atomic uint64_t active_bytes;  /* how long the file of the active segment is */
    _Atomic uint32_t spares;        /* segments that are SPARE, */
    _Atomic uint32_t mades;         /* and MADE */
    _Atomic uint64_t files_made;    /* since the opening */
    _Atomic uint32_t fulls;         /* segments that are FULL */
    _Atomic bool reserve_blocked;   /* the disk had no space for another segment */
    _Atomic bool reserve_whole;     /* all segments that are allowed exist, and none waits to be used */
    _Atomic bool fold_blocked;      /* the table had no space */
    _Atomic bool table_short;       /* the table has less space reserved than folding the journal may take; or the store
                                       holds, or soon will, more than it may: */
    _Atomic uint64_t table_room;    /* what it had reserved when that was last looked at, */
    _Atomic bool table_asked;       /* and that is to be looked at again: by the checkpoint thread */
    _Atomic uint64_t bytes_max;     /* 0: any */
    _Atomic bool tight;             /* it leaves the table less than that, and folding helps */
    _Atomic bool fat;               /* the disk has more than it, and giving back what is free helps */
};

static inline struct local *local_of(struct store *store) {
    return container_of(store, struct local, base);
}

/* Room that the table needs for folding so much journal, and what may come before the next look: twice what the active
 * segment holds, for rows have keys and pages are not always full, and as much as one that may begin. */
static inline uint64_t local_table_keeps(uint64_t journal_bytes, uint64_t active_bytes) {
    return 2 * journal_bytes + 3 * active_bytes;
}

/* What is sure to be needed of that: what the journal holds, and what is kept when it holds nothing. */
static inline uint64_t local_table_needs(const struct local *l) {
    return atomic_load_explicit(&l->journal_bytes, memory_order_relaxed) +
           local_table_keeps(0, atomic_load_explicit(&l->active_bytes, memory_order_relaxed));
}

/* What the table does not have yet is in memory, too, and that is all that it may take there. */
static inline bool local_journal_heavy(const struct local *l) {
    return l->options.journal_bytes_busy != 0 &&
           atomic_load_explicit(&l->journal_bytes, memory_order_relaxed) > l->options.journal_bytes_busy;
}

/* Segments that are or soon will be spare. */
static inline uint32_t local_reserve_count(const struct local *l) {
    return atomic_load_explicit(&l->spares, memory_order_relaxed) +
           atomic_load_explicit(&l->mades, memory_order_relaxed);
}

/* The store stops for good; the first reason stays. Returns STORE_STEP_FAILED. Takes the lock. */
enum store_step local_fail(struct local *l, const struct error *error);
/* Makes the reserve larger by one disk operation. MORE; IDLE when all segments that are allowed exist; WAIT when the
 * disk has no space; FAILED with the error. */
enum store_step local_make_step(struct local *l, struct error *error);
/* The file that is being made is given up, and its space is given back. False with an error. */
bool local_make_leave(struct local *l, struct error *error);
/* A file is cut to its first block and closed: it is ABSENT, but not missing, for that would be damage. */
bool local_segment_cut(struct local *l, struct segment *s, struct error *error);
/* Reserves room in the table for folding what the journal holds and will hold soon, as far as the limit leaves it;
 * false (and table_short) when the disk or the limit has none, false when that fails otherwise, and then the store with
 * it. Checkpoint thread, and the start; without the lock. */
bool local_table_reserve(struct local *l);
/* Commit thread: the journal has grown, or a segment has begun. To reserve takes as long as the disk likes, so it is
 * the checkpoint thread who does, and no commit waits for it: there is room for a segment beyond what is needed. */
void local_table_ask(struct local *l);
/* What the limit leaves besides the table's rows and the files of the journal. Takes the lock. */
uint64_t local_limit_room(struct local *l);
/* Bytes of the journal's next file, which is made without asking when its time has come; 0: all that may be exist.
 * Takes the lock. */
uint64_t local_next_file(struct local *l);
/* A segment has all its zeros: SPARE when the table knows of its file, else MADE. The lock is held. */
void local_segment_made(struct local *l, struct segment *s);
/* Moves a segment to a state in which others see it. The lock is held. */
void local_segment_set(struct local *l, struct segment *s, enum segment_state state);

/* Opens all journal files, verifies what the table does not hold, folds it, begins a new generation. */
bool local_recover(struct local *l, struct error *error);

/* Tells the table of the files that are MADE, which then are SPARE. Checkpoint thread, and the start. */
bool local_files_commit(struct local *l, struct error *error);
/* Puts META into a write transaction. */
bool local_meta_put(struct table *table, struct table_txn *txn, const struct row_meta *meta, struct error *error);
/* A commit that changes nothing: pages that a commit has freed can be used only after the next one. */
bool local_table_turn(struct table *table, struct error *error);
/* The generation that follows `old`, at the end `chain` of its journal. `random` need not differ from one generation to
 * the next. */
struct row_meta local_generation(const struct row_meta *old, const struct chain *chain, uint64_t segment_last,
                                 uint64_t random);

/* When space is short, a part of some frames is folded with one commit: how many of these bytes, of which whole frames
 * are to be folded, make at most `most` (0: all), or the first frame. */
uint64_t local_fold_part(struct span frames, uint64_t most);

extern const struct store_ops local_ops;
bool local_load(struct store *store, const struct store_sink *sink, struct error *error);
/* The same look at every row, before anything is changed: false with the error that the load would have. `last`: the
 * last lsn of the table. */
bool local_judge(struct table *table, lsn_t last, struct error *error);
struct message *local_message(struct store *store, lsn_t lsn);
size_t local_queue_read(struct store *store, session_id_t session, lsn_t after_lsn, uint32_t after_target,
                        struct store_delivery *out, size_t max);
