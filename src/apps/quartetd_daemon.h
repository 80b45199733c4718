/* Going to the background. The first process waits until the second one serves, or has failed, and ends with the same
 * exit code: who starts a daemon learns whether it runs. */
#pragma once

#include <stdbool.h>

/* Splits the process; returns in the background process only. Before any thread or store is open. */
void daemon_begin(void);
/* The background process serves: the first one ends with 0, and the terminal is let go. Nothing happens without
 * daemon_begin(). */
void daemon_ready(void);
