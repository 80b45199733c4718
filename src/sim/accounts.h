/* The judge of the broker's accounts: they equal what is there, by the books of the clients, when all is at rest; and
 * they are zero when everything has been taken back. */
#pragma once

struct world;

/* The faults are over, nothing has come to rest. */
void accounts_judge_begin(struct world *w);
/* All is at rest. */
void accounts_judge(struct world *w);
/* Every client ends its session and every topic is cleared: nothing is left, in memory or in the table. */
void accounts_drain(struct world *w);
