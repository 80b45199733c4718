/* A queue of mails, first in, first out. Private to this folder. It grows as needed, and an empty one has no memory. */
#pragma once

#include "broker/state.h"

/* Adds one at the end; its reference goes with it. */
void mails_push(struct mail_queue *q, const struct mail *mail);
/* Takes the first; there must be one. */
struct mail mails_pop(struct mail_queue *q);
/* The first; there must be one. Valid until the queue changes. */
const struct mail *mails_first(const struct mail_queue *q);
/* Drops all. */
void mails_forget(struct mail_queue *q);
