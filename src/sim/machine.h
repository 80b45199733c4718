/* One simulated machine: a disk, a table and, while its process is up, the store on them.
 *
 * The owner (the broker's node, a client's peer) drives the store's duties step by step, each step an event of its own,
 * and can end the process or the power between any two of them and at any call of the disk. The table commits
 * atomically; the power can go before or after a commit. Knows nothing of what runs on the store. */
#pragma once

#include "sim/disk.h"
#include "store/store_local.h"
#include "store/table.h"

struct machine {
    struct sim_disk disk;
    struct disk disk_calls;      /* what the store uses of it */
    struct table_memory *tables; /* outlives the store */
    struct table *table;         /* NULL: the process is down */
    struct store *store;         /* NULL: down */
    bool committing;             /* the last step of a commit did not say that there is nothing to do */
    bool frame_done; /* since the last frame became durable nothing was staged: what commits do now is housework */
    bool in_frame;   /* a frame was taken or written, but is not durable */
    bool checkpointing;
    bool resting;                   /* the next step of a checkpoint gives space back */
    bool rested;                    /* nothing was folded since all of it was */
    bool sealed;                    /* nothing was staged since the last seal */
    uint64_t files_told;            /* journal files made that the table knows of */
    uint64_t journal_at_checkpoint; /* journal bytes when a checkpoint last had nothing to do */
};

/* What has become of the machine in a step that used its disk. */
enum machine_state {
    MACHINE_WELL = 0,
    MACHINE_DARK,   /* the power is gone: the owner ends the process and settles the disk */
    MACHINE_FAILED, /* the store has stopped for good: the owner ends the process */
};

/* An empty machine. Borrows `choices`. */
void machine_init(struct machine *m, struct choices *choices);
void machine_deinit(struct machine *m);
/* The machine is on (again) and its process opens the store; false with an error, and the process is down. */
bool machine_open(struct machine *m, const struct store_local_options *options, struct error *error);
/* The process is gone: its memory with it, what is staged too. */
void machine_close(struct machine *m);
enum machine_state machine_state(const struct machine *m);

bool machine_wants_commit(const struct machine *m);
/* True when what it wants to commit is no record, but the store's own preparation: its time is no choice. */
bool machine_is_housework(const struct machine *m);
bool machine_wants_checkpoint(const struct machine *m);
/* True when a journal file waits for a checkpoint step before it can be used: housework, too. */
bool machine_has_new_file(const struct machine *m);
/* One disk operation; true when there was something to do. The owner looks at machine_state() then. Between the
 * segments that a checkpoint folds, and after the last, the store comes to rest. */
bool machine_commit(struct machine *m);
bool machine_checkpoint(struct machine *m, bool all);
bool machine_seal(struct machine *m);

/* How many entries a tree of the table has; the process is up. */
size_t machine_table_count(const struct machine *m, enum table_tree tree);
/* Makes `to` (not initialised) what a crash would leave of the machine: after SIM_POWER_KEEP (a killed process) or
 * SIM_POWER_DROP (a power cut without luck). `to` is down. */
void machine_fork(struct machine *to, const struct machine *from, struct choices *choices, enum sim_power how);
/* Equal for equal disks, tables and steps under way. */
uint64_t machine_digest(const struct machine *m);
