/* From the configuration's rows to what broker and store take. */
#pragma once

#include "broker/limits.h"
#include "config/config.h"
#include "store/store_local.h"

struct broker_options options_broker(const struct config *config);
/* `salt` is random. */
struct store_local_options options_store(const struct config *config, uint64_t salt);
