/* The options that are more than one number, switch or text: listeners and the log. Inside config/ only. */
#pragma once

#include "config/problem.h"

/* Takes the value of the word option `name`. */
void word_set(struct config *config, const struct place *place, const char *name, struct span value,
              struct config_report *report);
