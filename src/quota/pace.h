/* How fast somebody does something: so much a second, and not more than a second's worth at once.
 *
 *     until  the moment up to which what was taken is paid for; it moves on by amount / rate
 *            now ──────────── until ─────┬────>
 *                                        now + 1 s: nothing more may be taken past it
 *
 * Thread: any; two at one time may both take the last piece. Does not know the time: its caller does. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Zero is one who has taken nothing. */
struct pace {
    _Atomic int64_t until_us;
};

/* Whether anything may be taken now; of any size, so that nobody waits for ever. */
bool pace_allows(const struct pace *pace, int64_t now_ms);
/* How much of a second's worth at `rate` is taken and not yet paid for; more than `rate`: somebody took more. */
uint64_t pace_taken(const struct pace *pace, int64_t now_ms, uint64_t rate);
/* Takes `amount` of what is `rate` a second. */
void pace_take(struct pace *pace, int64_t now_ms, uint64_t amount, uint64_t rate);
