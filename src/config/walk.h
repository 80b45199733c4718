/* From the lines of one file to options. Inside config/ only. */
#pragma once

#include "config/problem.h"

/* Reads the files of a directory that an include_dir line names. */
typedef void config_include(struct config *config, const struct place *place, struct span directory,
                            struct config_report *report);

/* Sets what the lines of `text` say; `include` NULL: include_dir is refused. */
void config_walk(struct config *config, const char *file, struct span text, config_include *include,
                 struct config_report *report);
