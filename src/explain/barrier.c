#include "explain/barrier.h"

#include <string.h>

#define NOT_WAITED "Here it does not wait."

/*      name, what must be durable, before what, the rule, what is done instead, the small world */
#define AT_SERVER(name, durable, before, rule, here, ...)                                                              \
    {                                                                                                                  \
        name, durable, before, rule, here, &stage_world, .stage = { __VA_ARGS__ }                                      \
    }
#define AT_CLIENT(name, durable, before, rule, here, ...)                                                              \
    {                                                                                                                  \
        name, durable, before, rule, here, &library_world, .library = {.powers = 2, __VA_ARGS__ }                      \
    }

const struct barrier_row barriers[] = {
    AT_CLIENT("B0", "the message in the client's outbox", "publish says stored",
              "quartet_publish() returns when the message is on the disk (record MESSAGE).", NOT_WAITED,
              .mutant = MUTANT_B0, .messages = 1, .publishes = true),
    AT_SERVER("B1", "the packet id of an outbound PUBLISH", "its first byte leaves",
              "A PUBLISH to a subscriber waits until its packet id is on the disk (record SENT).",
              NOT_WAITED " At the beginning A has been handed over already, under id 1 on both hops.",
              .mutant = MUTANT_B1, .qos = 2, .ids = 2, .messages = 2, .prior = 1, .shards = 2, .powers = 1),
    AT_SERVER("B2-ack", "the message, its targets and its packet id", "PUBREC",
              "PUBREC waits until the message, its targets and its packet id are on the disk (record MESSAGE).",
              NOT_WAITED, .mutant = MUTANT_B2_ACK, .ids = 1, .messages = 1, .qos = 2, .powers = 1),
    AT_SERVER("B2-onward", "the message, its targets and its packet id", "the PUBLISH to a subscriber",
              "The PUBLISH to a subscriber waits until it is on the disk that the message was accepted (record "
              "MESSAGE; for a subscription of QoS 0, as here, HELD: its packet id).",
              NOT_WAITED, .mutant = MUTANT_B2_ONWARD, .ids = 1, .messages = 1, .powers = 1),
    AT_SERVER("B2-atomic", "the message and its packet id, in one record", "PUBREC",
              "The message and its packet id are one record (MESSAGE), so that a crash leaves both or neither.",
              "Here the id is a record of its own (HELD), written after the message.", .mutant = MUTANT_B2_ATOMIC,
              .ids = 1, .messages = 1, .qos = 2, .powers = 1),
    AT_SERVER("B3", "that PUBREC has come", "PUBREL",
              "PUBREL waits until it is on the disk that PUBREC has come (record RECEIVED).",
              NOT_WAITED " At the beginning the server has accepted A, and its publisher is gone.", .mutant = MUTANT_B3,
              .ids = 1, .messages = 1, .qos = 2, .queued = true, .powers = 1),
    AT_SERVER("B4", "that the packet id is forgotten", "PUBCOMP",
              "PUBCOMP waits until it is on the disk that the packet id is forgotten (record FREED).", NOT_WAITED,
              .mutant = MUTANT_B4, .ids = 1, .qos = 2, .messages = 2, .powers = 1),
    AT_SERVER("B5", "the end of an outbound flow", "its packet id is used again",
              "The end of an outbound flow (record DONE) is on the disk before its packet id is used again.",
              "Here it is not recorded. At the beginning the server has accepted A, and its publisher is gone.",
              .mutant = MUTANT_B5, .ids = 1, .messages = 1, .qos = 2, .queued = true, .restart = true, .powers = 1),
    AT_CLIENT("B6-done", "the application's work on a message", "the message is done",
              "A message is done (record DROPPED), so that it is not delivered again, when the application says so: "
              "after its work.",
              "Here it is done as soon as the application takes it.", .mutant = MUTANT_B6_DONE, .messages = 1),
    AT_CLIENT("B6-resume", "the message's position, with the work", "the next delivery",
              "The application keeps a message's position in its database together with its work on it; the library "
              "resumes behind that position.",
              "Here it does not heed it.", .mutant = MUTANT_B6_RESUME, .messages = 1),
    AT_CLIENT("B6-apart", "the work and the position: both or neither", "the next delivery",
              "The application keeps a message's position in its database, in one transaction with its work on it.",
              "Here it keeps its work alone, and tells the library in a step of its own that the message is done.",
              .messages = 1, .apart = true),
    AT_SERVER("B7-suback", "the subscription", "SUBACK",
              "SUBACK waits until the subscription is on the disk (record SUBSCRIBED).", NOT_WAITED,
              .mutant = MUTANT_B7_SUBACK, .ids = 1, .messages = 1, .qos = 2, .subscribes = true, .powers = 1),
    AT_SERVER(
        "B7-retained", "the retained messages that a subscription brings", "SUBACK",
        "SUBACK waits until it is on the disk which retained messages the subscription brings (record RETAINED).",
        "Here it waits for the subscription alone. At the beginning A is retained; a turn of the server is short.",
        .mutant = MUTANT_B7_RETAINED, .ids = 1, .messages = 1, .prior = 1, .qos = 2, .retain = true, .subscribes = true,
        .slices = true, .shards = 2, .powers = 1),
    AT_SERVER("B7-bodies", "which retained messages come with it", "one of them is replaced",
              "Which retained messages a subscription brings is written (record RETAINED) before one of them can be "
              "replaced, so that it keeps its body.",
              "Here it is written later. At the beginning A is retained; a turn of the server is short.",
              .mutant = MUTANT_B7_BODIES, .quick = true, .ids = 1, .messages = 2, .prior = 1, .qos = 2, .retain = true,
              .subscribes = true, .slices = true, .shards = 2, .powers = 1),
    AT_SERVER("B7-connack", "the session", "CONNACK",
              "CONNACK waits until the session is on the disk (record SESSION).", NOT_WAITED,
              .mutant = MUTANT_B7_CONNACK, .ids = 1, .qos = 2, .connects = true, .powers = 1),
    AT_SERVER("B8", "that an old session is discarded", "CONNACK",
              "CONNACK waits until it is on the disk that the old session is discarded (record SESSION_END).",
              "Here it is not recorded.", .mutant = MUTANT_B8, .ids = 1, .qos = 2, .connects = true, .cleans = 1,
              .powers = 1),
    AT_SERVER("B9", "(no record) the end of the old connection", "the new one is answered",
              "A client's new connection is answered when its old one has ended; nothing needs to be written.",
              "Here the old one goes on.", .mutant = MUTANT_B9, .ids = 1, .messages = 1, .qos = 2, .late = true,
              .takeovers = 1),
    AT_SERVER("B10-retained", "the retained message", "its PUBREC",
              "PUBREC waits until it is on the disk that the message is retained.", "Here that is not recorded.",
              .mutant = MUTANT_B10_RETAINED, .ids = 1, .messages = 1, .qos = 2, .retain = true, .subscribes = true,
              .powers = 1),
    AT_SERVER("B10-will", "the will", "CONNACK", "CONNACK waits until the will is on the disk (record WILL).",
              "Here it is not recorded.", .mutant = MUTANT_B10_WILL, .ids = 1, .qos = 2, .will = true, .connects = true,
              .powers = 1),
    AT_SERVER("B10-goodbye", "the end of the will", "the close after DISCONNECT",
              "After DISCONNECT the server closes the connection when it is on the disk that there is no will any more "
              "(record WILL_CLEARED).",
              NOT_WAITED " At the beginning the publisher is connected, with the will A.", .mutant = MUTANT_B10_GOODBYE,
              .ids = 1, .qos = 2, .will = true, .goodbye = true, .powers = 1),
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

static bool at_client(const struct barrier_row *row) {
    return row->kind == &library_world;
}

const void *barrier_plan(const struct barrier_row *row) {
    return at_client(row) ? (const void *)&row->library : &row->stage;
}

void barrier_search(const struct barrier_row *row, bool in_place, struct search_result *result) {
    struct barrier_row whole = *row;
    whole.stage.mutant = whole.library.mutant = MUTANT_NONE;
    whole.library.apart = false;
    search_run(row->kind, barrier_plan(in_place ? &whole : row), result);
}

static void add_harm_at_client(struct buf *text, const struct barrier_row *row, struct finding f) {
    const char letter = (char)('A' + f.message);
    if (f.outcome == OUTCOME_DUPLICATE) {
        page_add(text, "The work for %c is done twice.", letter);
    } else if (row->library.publishes) {
        page_add(text, "%c is lost, and the application has noted that it is stored.", letter);
    } else {
        page_add(text, "%c is lost: the work for it is never done.", letter);
    }
}

static void add_harm_at_server(struct buf *text, const struct barrier_row *row, struct finding f) {
    const char letter = (char)('A' + f.message);
    if (f.outcome == OUTCOME_LEFTOVER) {
        page_add(text, "The flow never ends on the disk: at each start the server has it again, keeps its message and "
                       "sends PUBREL once more.");
    } else if (f.message == STAGE_SESSION) {
        page_add(text, "The server has forgotten a session that its CONNACK had promised.");
    } else if (f.message == STAGE_GHOST) {
        page_add(text, "A session that was ended is back, with its old packet ids and queue.");
    } else if (f.message == STAGE_GOODBYE_LOST) {
        page_add(text,
                 "The will is published, though its client has said goodbye and knows that the server has heard it.");
    } else if (f.outcome == OUTCOME_DUPLICATE) {
        page_add(text, "The subscriber gets %c twice.", letter);
    } else if (row->stage.will && f.message == row->stage.messages) {
        page_add(text, "The will is lost: the connection ends, and nobody hears of it.");
    } else {
        page_add(text, "%c is lost.", letter);
    }
}

static void add_harm(struct buf *text, const struct barrier_row *row, const struct search_result *r) {
    if (r->worst.outcome == OUTCOME_RIGHT) {
        page_add(text, "NOTHING GOES WRONG.");
        return;
    }
    if (at_client(row)) {
        add_harm_at_client(text, row, r->worst);
    } else {
        add_harm_at_server(text, row, r->worst);
    }
    page_add(text, " No shorter run goes wrong: %u move%s, then all goes on without a fault%s.", r->path_len,
             r->path_len == 1 ? "" : "s",
             !at_client(row) && row->stage.restart ? ", and in the end the server is started once more" : "");
}

bool barrier_explain(struct page *page, const struct barrier_row *row) {
    struct search_result without;
    struct search_result with;
    struct story story = {0};
    struct buf title = {NULL, 0, 0};
    struct buf before = {NULL, 0, 0};
    struct buf after = {NULL, 0, 0};
    barrier_search(row, false, &without);
    barrier_search(row, true, &with);
    if (without.worst.outcome != OUTCOME_RIGHT) {
        search_tell(row->kind, barrier_plan(row), &without, &story);
    }
    page_add(&title, "%s left out", row->name);
    page_add(&before, "The rule: %s %s", row->rule, row->here);
    add_harm(&after, row, &without);
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
    page_add(&text,
             "\nB0 and B6 are the client library's, the others the server's. What the diagrams write in capitals and "
             "with a packet id or message, such as SENT(1), is a record in the journal.");
    page_section(page,
                 &(struct section){.title = "Barriers: what must be durable before what", .after = page_text(&text)});
    buf_deinit(&text);
}
