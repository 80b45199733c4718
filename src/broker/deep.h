/* What memory keeps of queues only until the table has it. Private to this folder.
 *
 *     a queue grows beyond its window ──> deep_note(): counted. Now and then: a fold is asked for.
 *         │                               Very much: a PUBLISH to many, or to some such queues, waits
 *     the table has more ──> deep_turn(): a round over all such sessions, some in each turn, lets go of it
 *
 * The count is an estimate that is right at the end of each round: what was taken out of queues meanwhile is in it.
 * Thread: the sessions' shard; deep_crowded() looks at the counts of all. */
#pragma once

#include "broker/state.h"

/* Its queue has grown, or what it has in flight may be let go of because its client has gone. */
void deep_note(struct session *s);
void deep_note_away(struct session *s);
/* At the beginning of a turn. */
void deep_turn(struct shard *shard);
/* Memory keeps so much that a message for many sessions waits for the table: else who publishes to sessions that are
 * away, faster than the table takes it, fills the memory of all. */
bool deep_crowded(const struct shard *shard);
/* More waits there than memory keeps at rest: what is added is for the table to take. Any thread. */
bool deep_is(const struct shard *shard, const struct inlet *inlet);
