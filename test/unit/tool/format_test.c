/* -F: each sequence, widths, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tool/format.h"

static const uint32_t identifiers[] = {7, 8};
static const struct quartet_user_property user[] = {{"k", "v"}, {"k2", "v2"}};

static struct quartet_message rich(void) {
    return (struct quartet_message){
        .topic = "a/b",
        .topic_bytes = 3,
        .payload = "hello",
        .payload_bytes = 5,
        .qos = 2,
        .retain = true,
        .packet_id = 12,
        .properties = {.payload_is_text = true,
                       .has_expiry = true,
                       .expiry_s = 100,
                       .content_type = "text/x",
                       .response_topic = "re/sp",
                       .correlation_data = "co",
                       .correlation_bytes = 2,
                       .user = user,
                       .user_count = 2,
                       .subscription_identifiers = identifiers,
                       .subscription_identifier_count = 2},
    };
}

static struct quartet_message poor(void) {
    return (struct quartet_message){.topic = "t", .topic_bytes = 1, .payload = "", .payload_bytes = 0};
}

static void check(const struct quartet_message *m, const char *format, const char *wanted) {
    const struct timespec when = {1000000000, 12345};
    struct error error;
    struct buf out = {0};
    assert_true(tool_format_check(format, &error));
    assert_true(tool_format_print(&out, format, m, &when, false));
    buf_u8(&out, 0);
    assert_string_equal((const char *)out.ptr, wanted);
    buf_deinit(&out);
}

static void test_prints_each_letter(void **state) {
    (void)state;
    struct quartet_message m = rich();
    check(&m, "%t|%p|%q|%r|%m|%l|%x|%X|%%", "a/b|hello|2|1|12|5|68656c6c6f|68656C6C6F|%");
    check(&m, "%C|%D|%E|%F|%P|%R|%S|%A", "text/x|co|100|1|k:v k2:v2|re/sp|7|");
    m = poor();
    check(&m, "%t|%p|%q|%r|%m|%l|%x", "t||0|0|0|0|");
    check(&m, "%C|%D|%E|%F|%P|%R|%S|%A", "|||||||");
}

static void test_pads_and_cuts(void **state) {
    (void)state;
    struct quartet_message m = rich();
    check(&m, "%6t|%-6t|%06t|%2t|%.2t|%6.2t|%-6.2t|%.0t", "   a/b|a/b   |   a/b|a/b|a/|    a/|a/    |");
    check(&m, "%4l|%04l|%-4l|%-04l|%.9l", "   5|0005|5   |5   |5");
    check(&m, "%7p|%07p|%2p", "  hello|00hello|hello");
    check(&m, "%12x|%012X|%-12x|", "  68656c6c6f|0068656C6C6F|68656c6c6f  |");
    check(&m, "%9q|%9r|%9D|%9P", "2|1|co|k:v k2:v2");
    m = poor();
    check(&m, "%3E|%03E|%-3C|%3R|", "   |000|   ||");
}

static void test_groups_hexadecimal_bytes(void **state) {
    (void)state;
    struct quartet_message m = rich();
    check(&m, "%:x|%.2:x|%.0:x|%.9:X", "68:65:6c:6c:6f|6865:6c6c:6f|68656c6c6f|68656C6C6F");
}

static void test_reads_binary_numbers(void **state) {
    (void)state;
    struct quartet_message m = poor();
    const double number = -1.5;
    const float small = 0.25F;
    m.payload = &number;
    m.payload_bytes = sizeof number;
    check(&m, "%d|%.1d|%9.2d|%f", "-1.500000|-1.5|    -1.50|");
    m.payload = &small;
    m.payload_bytes = sizeof small;
    check(&m, "%f|%.2f|%d", "0.250000|0.25|");
}

static void test_prints_time_and_escapes(void **state) {
    (void)state;
    struct quartet_message m = poor();
    check(&m, "%I|%U|@Y-@m-@d @H:@M:@S.@N|@@|%.4I",
          "2001-09-09T01:46:40+0000|1000000000.000012345|2001-09-09 01:46:40.000012345|@|2001");
    check(&m, "\\\\|\\a|\\e|\\n|\\r|\\t|\\v", "\\|\a|\033|\n|\r|\t|\v");
    const struct timespec when = {0, 0};
    struct buf out = {0};
    assert_true(tool_format_print(&out, "a\\0b", &m, &when, false));
    assert_true(span_equal(buf_span(&out), SPAN("a\0b")));
    buf_deinit(&out);
}

static void test_prints_json(void **state) {
    (void)state;
    struct quartet_message m = rich();
    check(&m, "%j",
          "{\"tst\":\"2001-09-09T01:46:40.000012Z+0000\",\"topic\":\"a/b\",\"qos\":2,\"retain\":1,\"payloadlen\":5,"
          "\"mid\":12,\"properties\":{\"subscription-identifier\":7,\"subscription-identifier\":8,"
          "\"message-expiry-interval\":100,\"content-type\":\"text/x\",\"response-topic\":\"re/sp\","
          "\"correlation-data\":\"co\",\"payload-format-indicator\":1,\"user-properties\":{\"k\":\"v\",\"k2\":\"v2\"}},"
          "\"payload\":\"hello\"}");
    m = poor();
    check(&m, "%J",
          "{\"tst\":\"2001-09-09T01:46:40.000012Z+0000\",\"topic\":\"t\",\"qos\":0,\"retain\":0,\"payloadlen\":0,"
          "\"payload\":null}");
}

static void test_leaves_out_what_is_no_json(void **state) {
    (void)state;
    struct quartet_message m = rich();
    const struct timespec when = {0, 0};
    struct buf out = {0};
    assert_false(tool_format_print(&out, "<%J>", &m, &when, false));
    assert_true(span_equal(buf_span(&out), SPAN("<>")));
    buf_deinit(&out);
}

static void test_refuses_what_is_no_format(void **state) {
    (void)state;
    static const char *const wrong[] = {"%",   "%y",  "a%10",    "%+t",      "%0-8t", "%8-t", "%.2-t", "@",
                                        "a\\", "\\q", "%99999t", "%.99999t", "%:t",   "%-",   "%5.",   "\\x41"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct error error = {0};
        assert_false(tool_format_check(wrong[i], &error));
        assert_int_not_equal(error.text[0], 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prints_each_letter),         cmocka_unit_test(test_pads_and_cuts),
        cmocka_unit_test(test_groups_hexadecimal_bytes),   cmocka_unit_test(test_reads_binary_numbers),
        cmocka_unit_test(test_prints_time_and_escapes),    cmocka_unit_test(test_prints_json),
        cmocka_unit_test(test_leaves_out_what_is_no_json), cmocka_unit_test(test_refuses_what_is_no_format),
    };
    (void)setenv("TZ", "UTC", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
