#include "session/qos_in.h"

#include "base/mem.h"
#include "base/must.h"

enum { PAGES = 64, WORDS_PER_PAGE = 16 };

static unsigned page_of(packet_id_t packet_id) {
    return packet_id >> 10;
}

static unsigned word_of(packet_id_t packet_id) {
    return (packet_id >> 6) % WORDS_PER_PAGE;
}

static uint64_t bit_of(packet_id_t packet_id) {
    return 1ULL << (packet_id & 63U);
}

void qos_in_deinit(struct qos_in *in) {
    if (in->pages != NULL) {
        for (unsigned i = 0; i < PAGES; i++) {
            mem_free(in->pages[i]);
        }
        mem_free(in->pages);
    }
    *in = (struct qos_in){NULL, 0};
}

bool qos_in_holds(const struct qos_in *in, packet_id_t packet_id) {
    if (in->pages == NULL || in->pages[page_of(packet_id)] == NULL) {
        return false;
    }
    return (in->pages[page_of(packet_id)][word_of(packet_id)] & bit_of(packet_id)) != 0;
}

bool qos_in_hold(struct qos_in *in, packet_id_t packet_id) {
    must(packet_id != 0);
    if (qos_in_holds(in, packet_id)) {
        return false;
    }
    if (in->pages == NULL) {
        in->pages = mem_zero(PAGES, sizeof *in->pages);
    }
    uint64_t **page = &in->pages[page_of(packet_id)];
    if (*page == NULL) {
        *page = mem_zero(WORDS_PER_PAGE, sizeof **page);
    }
    (*page)[word_of(packet_id)] |= bit_of(packet_id);
    in->count++;
    return true;
}

/* The page stays, for the next id. */
bool qos_in_free(struct qos_in *in, packet_id_t packet_id) {
    if (!qos_in_holds(in, packet_id)) {
        return false;
    }
    in->pages[page_of(packet_id)][word_of(packet_id)] &= ~bit_of(packet_id);
    in->count--;
    return true;
}

void qos_in_shrink(struct qos_in *in) {
    if (in->count == 0) {
        qos_in_deinit(in);
    }
}

packet_id_t qos_in_next(const struct qos_in *in, uint32_t from) {
    if (in->pages == NULL) {
        return 0;
    }
    for (uint32_t id = from; id <= UINT16_MAX;) {
        const uint64_t *page = in->pages[id >> 10];
        if (page == NULL) {
            id = ((id >> 10) + 1) << 10;
            continue;
        }
        uint64_t rest = page[(id >> 6) % WORDS_PER_PAGE] >> (id & 63U);
        if (rest != 0) {
            return (packet_id_t)(id + (uint32_t)__builtin_ctzll(rest));
        }
        id = ((id >> 6) + 1) << 6;
    }
    return 0;
}
