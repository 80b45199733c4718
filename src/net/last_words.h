/* What the log gets when the process ends in the middle of anything: an assertion of ours, or a signal that says that
 * memory was not as it should be. A process in the background has no other place to say it. Also SIGHUP while the main
 * thread has no loop yet. One for the process; set before there are other threads than the log's. */
#pragma once

#include "net/log.h"

/* From now on the log hears of it. `log` stays open until last_words_disarm(). */
void last_words_arm(struct log *log);
void last_words_disarm(void);
