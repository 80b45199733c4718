/* The words between `quartet ctl` and the broker: what is read, what is refused, and how the answers of several shards
 * become one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "net/ctl_text.h"

static void any_bytes_come_back_as_they_were(void **state) {
    (void)state;
    uint8_t all[256];
    for (size_t i = 0; i < sizeof all; i++) {
        all[i] = (uint8_t)i;
    }
    struct buf written = {NULL, 0, 0};
    struct buf read = {NULL, 0, 0};
    ctl_word_put(&written, span_of(all, sizeof all));
    assert_null(memchr(written.ptr, '\n', written.len));
    assert_null(memchr(written.ptr, '\t', written.len));
    struct span line = buf_span(&written);
    assert_true(ctl_word_take(&line, &read));
    assert_int_equal(line.len, 0);
    assert_int_equal(read.len, sizeof all);
    assert_memory_equal(read.ptr, all, sizeof all);
    buf_deinit(&written);
    buf_deinit(&read);
}

/* U+009B begins a command to a terminal, as ESC [ does; who names a client may write it. */
static void no_control_reaches_a_terminal(void **state) {
    (void)state;
    static const struct {
        const char *word, *written;
    } cases[] = {
        {"a\033[2Jb", "a\\x1b[2Jb"},
        {"\302\2332J", "\\xc2\\x9b2J"},
        {"\302\200\302\237", "\\xc2\\x80\\xc2\\x9f"},
        {"\2332J", "\\x9b2J"},
        {"\302\240", "\302\240"},
        {"caf\303\251 \342\202\254", "caf\303\251 \342\202\254"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf written = {NULL, 0, 0};
        ctl_word_put(&written, span_str(cases[i].word));
        buf_u8(&written, 0);
        assert_string_equal((const char *)written.ptr, cases[i].written);
        buf_deinit(&written);
    }
}

static const struct {
    const char *line;
    const char *wrong; /* NULL: right */
    enum request_kind kind;
    const char *text; /* client id, owner or filter */
    uint32_t rows;
} rows[] = {
    {"counters", NULL, REQUEST_COUNTERS, "", 0},
    {"sessions", NULL, REQUEST_SESSIONS, "", 20},
    {"sessions\t\t1000", NULL, REQUEST_SESSIONS, "", 1000},
    {"sessions\t192.0.2.1\t1", NULL, REQUEST_SESSIONS, "192.0.2.1", 1},
    {"sessions\t\t0", "sessions takes", 0, "", 0},
    {"sessions\t\t1001", "sessions takes", 0, "", 0},
    {"sessions\t\t99999999999999999999", "sessions takes", 0, "", 0},
    {"sessions\t\t-1", "sessions takes", 0, "", 0},
    {"sessions\t\t1x", "sessions takes", 0, "", 0},
    {"sessions\ta\t1\tb", "sessions takes", 0, "", 0},
    {"accounts", NULL, REQUEST_ACCOUNTS, "", 20},
    {"accounts\t7", NULL, REQUEST_ACCOUNTS, "", 7},
    {"accounts\t0", "accounts takes", 0, "", 0},
    {"accounts\t1\t1", "accounts takes", 0, "", 0},
    {"end\tc\\x09\\x0a\\x5c", NULL, REQUEST_END, "c\t\n\\", 0},
    {"end", "end takes", 0, "", 0},
    {"end\t", "end takes", 0, "", 0},
    {"end\ta\tb", "end takes", 0, "", 0},
    {"end-owner\tunix", NULL, REQUEST_END, "unix", 0},
    {"end-owner", "end-owner takes", 0, "", 0},
    {"clear\ta/+/#", NULL, REQUEST_CLEAR, "a/+/#", 0},
    {"clear\t#\tall", NULL, REQUEST_CLEAR, "#", 0},
    {"clear\t#\tx", "clear takes", 0, "", 0},
    {"clear\t#\tall\tx", "clear takes", 0, "", 0},
    {"clear\ta/#/b", "clear takes", 0, "", 0},
    {"clear\t", "clear takes", 0, "", 0},
    {"clear\ta\\x00b", "clear takes", 0, "", 0},
    {"counters\tx", "counters takes", 0, "", 0},
    {"", "there is no such verb", 0, "", 0},
    {"COUNTERS", "there is no such verb", 0, "", 0},
    {"end\t\\", "not well written", 0, "", 0},
    {"end\t\\x4", "not well written", 0, "", 0},
    {"end\t\\xzz", "not well written", 0, "", 0},
    {"end\t\\n", "not well written", 0, "", 0},
    {"a\tb\tc\td\te", "not well written", 0, "", 0},
};

static void questions_are_read_or_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ctl_question q;
        const char *wrong;
        bool right = ctl_question_read(&q, span_str(rows[i].line), &wrong);
        if (right != (rows[i].wrong == NULL) || (!right && strstr(wrong, rows[i].wrong) == NULL)) {
            fail_msg("\"%s\": %s", rows[i].line, right ? "taken" : wrong);
        }
        if (right) {
            struct span text = q.ask.client_id.len > 0 ? q.ask.client_id
                               : q.ask.owner.len > 0   ? q.ask.owner
                                                       : q.ask.filter;
            assert_int_equal(q.ask.kind, rows[i].kind);
            assert_int_equal(q.ask.rows_max, rows[i].rows);
            assert_true(span_equal(text, span_str(rows[i].text)));
        }
        ctl_question_deinit(&q);
    }
}

static struct request_session session(char *id, uint64_t bytes) {
    static char owner[] = "192.0.2.1";
    return (struct request_session){.client_id = id,
                                    .client_id_bytes = strlen(id),
                                    .owner = owner,
                                    .queued_messages = bytes / 10,
                                    .queued_bytes = bytes,
                                    .connected = bytes == 0,
                                    .expiry_s = 7};
}

/* The largest of all, whichever shard has them, and no more than were asked for. */
static void the_rows_of_shards_are_merged(void **state) {
    (void)state;
    char ids[][4] = {"a", "b", "c\t", "d", "e"};
    struct request_session first[] = {session(ids[0], 50), session(ids[1], 10)};
    struct request_session third[] = {session(ids[2], 60), session(ids[3], 10), session(ids[4], 0)};
    struct request_answer parts[] = {{.rows = first, .row_count = 2}, {.rows = NULL}, {.rows = third, .row_count = 3}};
    const struct request_answer *of_all[] = {&parts[0], &parts[1], &parts[2]};
    static const char *const lines[] = {"c\\x09\t192.0.2.1\t0\t6\t60\t0\t0\t7\n", "a\t192.0.2.1\t0\t5\t50\t0\t0\t7\n",
                                        "b\t192.0.2.1\t0\t1\t10\t0\t0\t7\n", "d\t192.0.2.1\t0\t1\t10\t0\t0\t7\n",
                                        "e\t192.0.2.1\t1\t0\t0\t0\t0\t7\n"};
    for (uint32_t most = 1; most <= 6; most++) {
        struct request_ask ask = {.kind = REQUEST_SESSIONS, .rows_max = most};
        struct buf out = {NULL, 0, 0};
        struct buf wanted = {NULL, 0, 0};
        buf_bytes(&wanted, SPAN("ok\nclient_id\towner\t#connected\t#queued_messages\t#queued_bytes\t#inflight\t"
                                "#subscriptions\t#expiry_s\n"));
        for (uint32_t i = 0; i < most && i < 5; i++) {
            buf_bytes(&wanted, span_str(lines[i]));
        }
        buf_bytes(&wanted, SPAN("end\n"));
        ctl_answer(&out, &ask, of_all, 3, NULL, 0);
        assert_true(span_equal(buf_span(&out), buf_span(&wanted)));
        buf_deinit(&out);
        buf_deinit(&wanted);
    }
}

static void numbers_of_shards_are_added(void **state) {
    (void)state;
    struct request_answer parts[] = {{.matched = 3, .left = 2, .counters.sessions = 5},
                                     {.matched = 4, .counters.sessions = 6}};
    const struct request_answer *of_all[] = {&parts[0], &parts[1]};
    struct buf out = {NULL, 0, 0};
    ctl_answer(&out, &(struct request_ask){.kind = REQUEST_CLEAR}, of_all, 2, NULL, 0);
    assert_true(span_equal(buf_span(&out), SPAN("ok\n#cleared\t#left\n7\t2\nend\n")));
    out.len = 0;
    ctl_answer(&out, &(struct request_ask){.kind = REQUEST_COUNTERS}, of_all, 2, NULL, 0);
    buf_u8(&out, '\0');
    assert_non_null(strstr((const char *)out.ptr, "\nsessions\t11\n"));
    out.len = 0;
    ctl_answer_error(&out, "no\tway");
    assert_true(span_equal(buf_span(&out), SPAN("error\tno\\x09way\nend\n")));
    buf_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_bytes_come_back_as_they_were), cmocka_unit_test(no_control_reaches_a_terminal),
        cmocka_unit_test(questions_are_read_or_refused),    cmocka_unit_test(the_rows_of_shards_are_merged),
        cmocka_unit_test(numbers_of_shards_are_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
