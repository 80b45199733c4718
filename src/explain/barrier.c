#include "explain/barrier.h"

#include <string.h>

#define MUTANT_TEXT(name, side, text) static const char text_of_##name[] __attribute__((unused)) = text;
MUTANT_ROWS(MUTANT_TEXT)
#undef MUTANT_TEXT

const struct barrier_row barriers[] = {
#define BARRIER_VALUE(name, left_out, durable, before, ...)                                                            \
    {name, durable, before, text_of_##left_out, {.mutant = MUTANT_##left_out, __VA_ARGS__}},
    BARRIER_ROWS(BARRIER_VALUE)
#undef BARRIER_VALUE
};
const unsigned barrier_count = sizeof barriers / sizeof barriers[0];

bool barrier_each(const char *name, void (*show)(void *user, const struct barrier_row *row), void *user) {
    const size_t len = strlen(name);
    bool any = false;
    for (unsigned i = 0; i < barrier_count; i++) {
        const char *rest = barriers[i].name + len;
        if (strncmp(barriers[i].name, name, len) == 0 && (*rest == '\0' || *rest == '-')) {
            show(user, &barriers[i]);
            any = true;
        }
    }
    return any;
}

static void add_harm(struct buf *text, const struct stage_plan *world, struct finding f) {
    const char letter = (char)('A' + f.message);
    if (f.outcome == OUTCOME_LEFTOVER) {
        page_add(text,
                 "The flow never ends on the disk: the server starts with it for ever, keeps its message and sends "
                 "PUBREL once more.");
    } else if (f.outcome == OUTCOME_RIGHT) {
        page_add(text, "Nothing goes wrong.");
    } else if (f.message == STAGE_SESSION) {
        page_add(text, "The server has forgotten a session that its CONNACK had promised.");
    } else if (f.message == STAGE_GHOST) {
        page_add(text, "A session that was ended is back, with its old packet ids and queue.");
    } else if (f.outcome == OUTCOME_DUPLICATE) {
        page_add(text, "The subscriber gets %c twice.", letter);
    } else if (f.message == world->messages) {
        page_add(text, "The will is lost: the connection ends, and nobody hears of it.");
    } else {
        page_add(text, "%c is lost.", letter);
    }
}

static void add_beginning(struct buf *text, const struct barrier_row *row) {
    page_add(text, "The rule: %s must be durable before %s. Here %s.", row->durable, row->before, row->left_out);
    if (row->world.queued) {
        page_add(text, " At the beginning the server has accepted A, and its publisher is gone.");
    } else if (row->world.prior > 0) {
        page_add(text, " At the beginning A has been handed over already, under id 1 on both hops.");
    } else if (row->world.qos == 0) {
        page_add(text, " The subscription has QoS 0.");
    }
}

bool barrier_explain(struct page *page, const struct barrier_row *row) {
    struct stage_plan whole = row->world;
    struct search_result without;
    struct search_result with;
    struct story story = {0};
    struct buf title = {NULL, 0, 0};
    struct buf before = {NULL, 0, 0};
    struct buf after = {NULL, 0, 0};
    whole.mutant = MUTANT_NONE;
    search_run(&stage_world, &row->world, &without);
    search_run(&stage_world, &whole, &with);
    if (without.worst.outcome != OUTCOME_RIGHT) {
        search_tell(&stage_world, &row->world, &without, &story);
    }
    page_add(&title, "%s left out", row->name);
    add_beginning(&before, row);
    add_harm(&after, &row->world, without.worst);
    page_add(&after, " No shorter run goes wrong: %u moves, then all goes on without a fault.", without.path_len);
    page_add(&after,
             with.worst.outcome == OUTCOME_RIGHT
                 ? " With the barrier, in none of all %s states of this world does anything go wrong."
                 : " EVEN WITH THE BARRIER SOMETHING GOES WRONG, after %s states.",
             page_number(with.states).text);
    page_section(page, &(struct section){.title = page_text(&title),
                                         .before = page_text(&before),
                                         .story = story.count > 0 ? &story : NULL,
                                         .after = page_text(&after),
                                         .outcome = outcome_name(without.worst.outcome)});
    buf_deinit(&title);
    buf_deinit(&before);
    buf_deinit(&after);
    story_deinit(&story);
    return without.worst.outcome != OUTCOME_RIGHT && with.worst.outcome == OUTCOME_RIGHT;
}

void barrier_list(struct page *page) {
    struct buf text = {NULL, 0, 0};
    for (unsigned i = 0; i < barrier_count; i++) {
        page_add(&text, "%-13s %-47s before %s\n", barriers[i].name, barriers[i].durable, barriers[i].before);
    }
    page_add(&text, "\nB0 (the message in the client's outbox before publish says stored) and B6 (the delivered mark "
                    "together with the application's effect) are the client library's.");
    page_section(page,
                 &(struct section){.title = "Barriers: what must be durable before what", .after = page_text(&text)});
    buf_deinit(&text);
}
