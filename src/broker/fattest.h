/* What a single session or connection has the most of: bounds that no account holds, because each is held where it is
 * reached. For `quartet ctl accounts`. Private to this folder.
 *
 * Nothing is kept for it: a shard looks at what it has, in slices, when somebody asks. */
#pragma once

#include "broker/request.h"

/* What one may have at most of each row, and at which level that is held; 0: no bound. */
uint64_t fattest_limit(const struct broker_options *options, enum quota_row row, enum quota_level *level);
/* One slice; true when all was looked at. `*at` is 0 at first. Sessions and connections that come or go meanwhile may
 * be seen or not. */
bool fattest_step(const struct shard *shard, struct request_answer *answer, size_t *at);
/* Frees the texts. */
void fattest_deinit(struct request_answer *answer);
