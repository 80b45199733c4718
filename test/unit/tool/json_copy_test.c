/* JSON in, the same JSON out, or nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tool/json.h"

static bool copy(const char *text, bool pretty, struct buf *out) {
    struct tool_json_writer *w = mem_alloc(sizeof *w);
    tool_json_begin(w, out, pretty);
    bool good = tool_json_copy(w, span_str(text));
    assert_int_equal(w->depth, 0);
    mem_free(w);
    return good;
}

static void check(const char *text, const char *wanted, bool pretty) {
    struct buf out = {0};
    assert_true(copy(text, pretty, &out));
    buf_u8(&out, 0);
    assert_string_equal((const char *)out.ptr, wanted);
    buf_deinit(&out);
}

static void test_copies_values(void **state) {
    (void)state;
    check(" 12 ", "12", false);
    check("-0", "-0", false);
    check("1e3", "1000", false);
    check("0.1", "0.1", false);
    check("123456789012345678", "1.2345678901234568e+17", false);
    check("1e400", "null", false);
    check("\"a\\u0041\\ud83d\\ude00\\/\"", "\"aA\xF0\x9F\x98\x80/\"", false);
    check("\"\\b\\f\\n\\r\\t\\\"\\\\\\u0001\\u001f\"", "\"\\b\\f\\n\\r\\t\\\"\\\\\\u0001\\u001f\"", false);
    check("[ true , false,null,[],{ }]", "[true,false,null,[],{}]", false);
    check("{\"a\" : {\"b\":[1 ,2]} , \"c\":\"\"}", "{\"a\":{\"b\":[1,2]},\"c\":\"\"}", false);
    check("\xEF\xBB\xBF[1]", "[1]", false);
}

static void test_writes_lines(void **state) {
    (void)state;
    check("{\"a\":[{\"b\":1},2],\"c\":{}}", "{\n\t\"a\":\t[{\n\t\t\t\"b\":\t1\n\t\t}, 2],\n\t\"c\":\t{\n\t}\n}", true);
}

static void test_refuses_what_is_no_json(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",          " ",   "a",       "+1",        "-",           "1.2.3",       "1 2",
        "12 abc",    "tru", "[",       "[1",        "[1,]",        "[,1]",        "[1,,2]",
        "[1}",       "{",   "{a:1}",   "{\"a\"}",   "{\"a\":}",    "{\"a\":1,}",  "{,}",
        "{\"a\":1]", "\"",  "\"\\x\"", "\"\\u00\"", "\"\\ud83d\"", "\"\\udc00\"", "\"\\ud800\\u0041\"",
        ".5",        "nul", "\"a\\",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct buf out = {0};
        buf_u8(&out, 'x');
        assert_false(copy(wrong[i], false, &out));
        assert_int_equal(out.len, 1);
        buf_deinit(&out);
    }
}

static bool copy_nested(unsigned depth) {
    struct buf text = {0}, out = {0};
    for (unsigned i = 0; i < depth; i++) {
        buf_u8(&text, '[');
    }
    for (unsigned i = 0; i < depth; i++) {
        buf_u8(&text, ']');
    }
    buf_u8(&text, 0);
    bool good = copy((const char *)text.ptr, false, &out);
    buf_deinit(&text);
    buf_deinit(&out);
    return good;
}

static void test_bounds_the_depth(void **state) {
    (void)state;
    assert_true(copy_nested(JSON_DEPTH_MAX));
    assert_false(copy_nested(JSON_DEPTH_MAX + 1));
    assert_false(copy_nested(100000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies_values),
        cmocka_unit_test(test_writes_lines),
        cmocka_unit_test(test_refuses_what_is_no_json),
        cmocka_unit_test(test_bounds_the_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
