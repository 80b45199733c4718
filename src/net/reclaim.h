/* Frees what lock-free readers may still see once every shard has finished the turn in which it may have seen it
 * (liburcu, QSBR). Each reading thread enters, goes online at the beginning of a turn and offline at its end. */
#pragma once

/* A thread that reads, or that hands memory over, begins online and ends. */
void reclaim_enter(void);
void reclaim_leave(void);
/* Around waiting: an offline thread holds nothing. */
void reclaim_online(void);
void reclaim_offline(void);
/* A topic_reclaim: frees later, on a thread of its own. The caller is online. `user` is not used. */
void reclaim_later(void *user, void *memory, void (*free_function)(void *memory));
/* Waits until all that was handed over is freed. No other thread may be online for ever. */
void reclaim_finish(void);
