/* The scenario language with real clients: what passes, and that each kind of expectation can fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/scenario.h"

struct outcome {
    struct scenario_counts counts;
    char *said;      /* why it failed */
    char *rewritten; /* with what was seen */
};

static struct outcome run(const char *text, enum mutant client) {
    struct outcome o = {{0, 0}, NULL, NULL};
    size_t said_bytes, rewritten_bytes;
    FILE *said = open_memstream(&o.said, &said_bytes);
    FILE *rewritten = open_memstream(&o.rewritten, &rewritten_bytes);
    assert_true(said != NULL && rewritten != NULL);
    scenario_run("text", text, (struct plan_variant){.client = client}, said, rewritten, &o.counts);
    assert_int_equal(fclose(said), 0);
    assert_int_equal(fclose(rewritten), 0);
    return o;
}

static void done(struct outcome *o) {
    free(o->said);
    free(o->rewritten);
}

static void passes(const char *text) {
    struct outcome o = run(text, MUTANT_NONE);
    assert_string_equal(o.said, "");
    assert_int_equal(o.counts.failed, 0);
    assert_true(o.counts.passed > 0);
    done(&o);
}

/* It fails, and says this. */
static void fails(const char *text, const char *why) {
    struct outcome o = run(text, MUTANT_NONE);
    assert_int_equal(o.counts.failed, 1);
    if (strstr(o.said, why) == NULL) {
        fail_msg("said: %s\nbut not: %s", o.said, why);
    }
    done(&o);
}

#define CONNECTS                                                                                                       \
    "== a title\n"                                                                                                     \
    "sub client 3.1.1 commits | sub > CONNECT 3.1.1 resume; sub < CONNACK new\n"                                       \
    "sub subscribes t qos 2   | sub > SUBSCRIBE 65535 t qos 2; sub < SUBACK 65535 0x02\n"                              \
    "pub client 3.1.1         | pub > CONNECT 3.1.1 resume; pub < CONNACK new\n"

/* A PUBREC is lost, then the power goes at the subscriber, whose application had nothing yet. */
static const char lost[] =
    CONNECTS "break sub > PUBREC lost: sub power cut |\n"
             "pub publishes t qos 2 \"m\" number 4 | pub stored \"m\"; pub > PUBLISH 1 t qos 2 \"m\"\n"
             "    | sub < PUBLISH 1 t qos 2 \"m\"; pub < PUBREC 1; sub > PUBREC 1 lost\n"
             "    | pub > PUBREL 1; pub < PUBCOMP 1\n"
             "pub disk? | pub disk: number 4\n"
             "sub disk? | sub disk: 1 is held, inbox \"m\"\n"
             "sub started | sub has \"m\" again; sub > CONNECT 3.1.1 resume; sub < CONNACK resumed\n"
             "    | sub < PUBLISH 1 t qos 2 dup \"m\"; sub > PUBREC 1; sub < PUBREL 1\n"
             "    | sub > PUBCOMP 1\n"
             "sub has? | sub has \"m\"\n"
             "drained |\n";

static void real_clients_take_part(void **state) {
    (void)state;
    passes(lost);
}

/* Each kind of thing that is seen: another one in its place, and it is noticed. */
static void each_expectation_can_fail(void **state) {
    (void)state;
    static const struct {
        const char *is, *other;
    } changes[] = {
        {"pub stored \"m\"; ", ""},
        {"pub stored \"m\"", "pub stored \"n\""},
        {"CONNACK resumed", "CONNACK new"},
        {"sub > PUBREC 1 lost", "sub > PUBREC 1"},
        {"dup \"m\"", "\"m\""},
        {"dup \"m\"; sub > PUBREC 1; ", "dup \"m\"; "},
        {"PUBLISH 1 t qos 2 dup", "PUBLISH 2 t qos 2 dup"},
        {"sub > PUBCOMP 1", "sub > PUBCOMP 1; sub has \"m\""},
        {"pub > PUBREL 1; pub < PUBCOMP 1", "pub < PUBCOMP 1; pub > PUBREL 1"},
        {"sub has \"m\" again", "sub has \"m\""},
        {"disk: number 4", "disk: 1 is \"m\", number 4"},
        {"1 is held, inbox", "inbox"},
        {"inbox \"m\"", "inbox \"m\" \"m\""},
        {"| sub has \"m\"\n", "| sub has \"m\", \"m\"\n"},
        {"| sub has \"m\"\n", "| sub has nothing\n"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        char text[sizeof lost + 64];
        const char *at = strstr(lost, changes[i].is);
        assert_non_null(at);
        (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - lost), lost, changes[i].other,
                       at + strlen(changes[i].is));
        fails(text, "expected: ");
    }
}

static void what_is_left_is_not_drained(void **state) {
    (void)state;
    fails(CONNECTS "break sub > PUBREC arrived\n"
                   "pub publishes t qos 2 \"m\" | pub stored \"m\"; pub > PUBLISH 1 t qos 2 \"m\"\n"
                   "| sub < PUBLISH 1 t qos 2 \"m\"; pub < PUBREC 1; sub > PUBREC 1; sub has \"m\"; pub > PUBREL 1\n"
                   "| pub < PUBCOMP 1\n"
                   "drained",
          "something is left");
    fails("== a message that the broker does not hear of\n"
          "no broker\n"
          "pub client 3.1.1            | pub > CONNECT 3.1.1 resume\n"
          "pub < CONNACK new           |\n"
          "pub publishes t qos 1 \"m\" | pub stored \"m\"; pub > PUBLISH 1 t qos 1 \"m\"\n"
          "drained",
          "1 in the outbox");
    fails("== an id that is held\n"
          "no broker\n"
          "sub client 3.1.1 commits       | sub > CONNECT 3.1.1 resume\n"
          "sub < CONNACK new              |\n"
          "sub < PUBLISH 1 t qos 2 \"m\" | sub > PUBREC 1; sub has \"m\"\n"
          "drained",
          "1 entries in the table");
    fails("== a client that is down\nbroker stopped\npub client 3.1.1\nbroker started\npub killed\ndrained\n",
          "a client is down");
}

/* What was written and not synced outlives a process, and not a machine. */
static void a_kill_is_not_a_power_cut(void **state) {
    (void)state;
    static const char text[] = CONNECTS "pub disk writes |\n"
                                        "pub publishes t qos 1 \"m\" number 1 |\n"
                                        "pub %s |\n"
                                        "broker stopped |\n"
                                        "pub started |\n"
                                        "pub publishes t qos 1 \"m\" number 1 | %s\n";
    char killed[sizeof text + 64], cut[sizeof text + 64];
    (void)snprintf(killed, sizeof killed, text, "killed", "pub has 1 already");
    (void)snprintf(cut, sizeof cut, text, "power cut", "pub stored \"m\"");
    passes(killed);
    passes(cut);
}

static void what_was_committed_does_not_come_again(void **state) {
    (void)state;
    static const char text[] = "== by hand\n"
                               "no broker\n"
                               "sub client 3.1.1               | sub > CONNECT 3.1.1 resume\n"
                               "sub < CONNACK new              |\n"
                               "sub < PUBLISH 1 t qos 1 \"m\" | sub > PUBACK 1\n"
                               "sub takes                      | sub takes 1 \"m\"\n"
                               "sub %s                         |\n"
                               "sub killed                     |\n"
                               "sub started                    | sub > CONNECT 3.1.1 resume\n"
                               "sub takes                      | sub takes %s\n"
                               "sub has?                       | sub has \"m\"\n";
    char committed[sizeof text + 64], done_alone[sizeof text + 64];
    (void)snprintf(committed, sizeof committed, text, "commits", "nothing");
    (void)snprintf(done_alone, sizeof done_alone, text, "does", "1 \"m\" again");
    passes(committed);
    passes(done_alone);
}

static void a_break_must_come(void **state) {
    (void)state;
    fails(CONNECTS "break pub > PUBREL lost |\n", "has not come");
    fails(CONNECTS
          "break pub > PUBLISH 2 lost\n"
          "pub publishes t qos 0 \"m\" | pub > PUBLISH t qos 0 \"m\"; sub < PUBLISH t qos 0 \"m\"; sub has \"m\"\n",
          "has not come");
}

static void what_is_not_understood_fails(void **state) {
    (void)state;
    static const char *const lines[] = {
        "pub",
        "pub jumps",
        "pub client 3.1.1", /* it is up */
        "pub started",
        "new client 3.1",
        "new client receive-maximum 65536",
        "new client receive-maximum",
        "other publishes t qos 2 \"m\"", /* scripted, or not there */
        "pub publishes t qos 3 \"m\"",
        "pub publishes t qos 2",
        "pub publishes t qos 2 \"m\" more",
        "pub subscribes t",
        "pub unsubscribes t", /* it has not subscribed */
        "pub commits",        /* nothing was taken */
        "pub done",
        "pub done 7",
        "pub resends",                   /* no session was lost */
        "pub > PUBLISH 1 t qos 2 \"m\"", /* real */
        "pub < PUBREC 1",                /* there is a broker */
        "break pub > PUBLISH",
        "break pub PUBLISH lost",
        "break other > PUBLISH lost",
        "break pub > PUBLISHED lost",
        "break pub > PUBLISH lost twice",
        "broker started", /* it is up */
        "ids 4",          /* too late */
        "no broker",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char text[sizeof CONNECTS + 128];
        (void)snprintf(text, sizeof text, "%s%s |\n", CONNECTS, lines[i]);
        fails(text, "this line is not understood");
    }
    fails(CONNECTS "break pub > PUBLISH lost |\nbreak pub > PUBREL lost |\n", "this line is not understood");
    fails(CONNECTS "break pub > PUBLISH lost: pub jumps |\n"
                   "pub publishes t qos 0 \"m\" | pub > PUBLISH t qos 0 \"m\" lost\n",
          "this event is not understood");
}

static void the_text_can_be_the_broker(void **state) {
    (void)state;
    passes("== 5.0\n"
           "no broker\n"
           "ids 3\n"
           "c client 5.0 session-expiry 9 receive-maximum 5 does | c > CONNECT 5.0 resume session-expiry 9 "
           "receive-maximum 5\n"
           "c < CONNACK new receive-maximum 1 |\n"
           "c subscribes a qos 1              | c > SUBSCRIBE 3 a qos 1\n"
           "c < SUBACK 3 1                    |\n"
           "c publishes t qos 1 \"m\"         | c stored \"m\"; c > PUBLISH 1 t qos 1 \"m\"\n"
           "c publishes t qos 1 \"n\"         | c stored \"n\"\n"
           "c < PUBACK 1 0x10                 | c > PUBLISH 2 t qos 1 \"n\"\n"
           "c < PUBACK 2 0x97                 | c told: not published: 0x97\n"
           "c < PUBLISH 7 a qos 1 retain \"r\" | c > PUBACK 7; c has \"r\"\n"
           "c unsubscribes a                  | c > UNSUBSCRIBE 3 a qos 0\n"
           "c < UNSUBACK 3 0                  |\n"
           "c < DISCONNECT 0x8E               | c told: the broker disconnects: Session taken over\n"
           "drained\n"
           "== 3.1.1\n"
           "no broker\n"
           "c client 3.1.1                    | c > CONNECT 3.1.1 resume\n"
           "c < CONNACK refused 5             | c told: the broker refuses the connection: return code of 3.1.1\n"
           "wait 1                            | c > CONNECT 3.1.1 resume\n"
           "c < CONNACK resumed               |\n"
           "drained\n");
}

/* Rewriting fills in what was seen, in lines of at most 120 columns, and then nothing is left to change. */
static void rewriting_is_stable(void **state) {
    (void)state;
    struct outcome first =
        run("# a comment\n" CONNECTS "\npub publishes t qos 2 \"m\"\n# another\ndrained\n", MUTANT_NONE);
    assert_int_equal(first.counts.failed, 1);
    struct outcome second = run(first.rewritten, MUTANT_NONE);
    assert_string_equal(second.said, "");
    assert_string_equal(second.rewritten, first.rewritten);
    size_t longest = 0;
    for (const char *at = second.rewritten; *at != '\0';) {
        const size_t len = strcspn(at, "\n");
        longest = len > longest ? len : longest;
        at += len + (at[len] == '\n');
    }
    assert_in_range(longest, 60, 120);
    done(&first);
    done(&second);
}

/* A text notices a client without a barrier by what the wire, the application or the disk shows. */
static void mutants_of_clients_are_noticed(void **state) {
    (void)state;
    static const enum mutant mutants[] = {MUTANT_B1, MUTANT_B2_ACK, MUTANT_B2_ATOMIC, MUTANT_DUP_FORWARD};
    for (size_t i = 0; i < sizeof mutants / sizeof mutants[0]; i++) {
        struct outcome o = run(lost, mutants[i]);
        assert_int_equal(o.counts.failed, 1);
        done(&o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_clients_take_part),
        cmocka_unit_test(each_expectation_can_fail),
        cmocka_unit_test(what_is_left_is_not_drained),
        cmocka_unit_test(a_kill_is_not_a_power_cut),
        cmocka_unit_test(what_was_committed_does_not_come_again),
        cmocka_unit_test(a_break_must_come),
        cmocka_unit_test(what_is_not_understood_fails),
        cmocka_unit_test(the_text_can_be_the_broker),
        cmocka_unit_test(rewriting_is_stable),
        cmocka_unit_test(mutants_of_clients_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
