/* What on this machine would keep a checked configuration from starting: addresses, the user, directories, files,
 * limits. Found without changing anything but the process itself, which becomes the configured user and is good for
 * nothing else afterwards. What a broker that runs would hold (its ports, its store) is a warning: it may be the one
 * that this configuration is for. */
#pragma once

#include "config/config.h"

void preflight(const struct config *config, struct config_report *report);
