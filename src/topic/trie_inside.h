/* What the writer's and the reader's half of the trie share; inside this room only. */
#pragma once

#include "topic/tree.h"

struct topic_trie {
    struct topic_tree tree; /* the value of a node: its struct topic_subscribers */
    _Atomic size_t subscriptions;
    _Atomic uint64_t changes; /* counted behind each one: who has seen the number has seen all of them */
};
