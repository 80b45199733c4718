/* The command as a whole: what it says about memory is what is allocated; a page is text or JSON. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "explain/explain.h"

/* What the allocator knows of the pages of held ids, and of the pointers to them. */
static size_t allocated(const struct qos_in *in) {
    size_t bytes = in->pages != NULL ? malloc_usable_size(in->pages) : 0;
    for (size_t i = 0; bytes > 0 && i < malloc_usable_size(in->pages) / sizeof *in->pages && i < 64; i++) {
        bytes += in->pages[i] != NULL ? malloc_usable_size(in->pages[i]) : 0;
    }
    return bytes;
}

static void held_ids_take_what_is_said(void **state) {
    (void)state;
    static const unsigned counts[] = {1, 1024, 1025, UINT16_MAX};
    struct qos_in in = {NULL, 0};
    assert_int_equal(explain_held_bytes(&in), 0);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        for (unsigned id = 1; id <= counts[i]; id++) {
            (void)qos_in_hold(&in, (packet_id_t)id);
        }
        const size_t said = explain_held_bytes(&in);
        assert_in_range(allocated(&in), said, said + said / 8);
    }
    qos_in_deinit(&in);
    assert_int_equal(explain_held_bytes(&in), 0);
}

static char *printed(const struct explain_options *options, bool json) {
    char *text = NULL;
    size_t bytes = 0;
    struct page page = {.out = open_memstream(&text, &bytes), .json = json, .ascii = true};
    assert_true(explain_run(&page, options));
    assert_int_equal(fclose(page.out), 0);
    return text;
}

static void a_cut_is_told_over_one_hop_and_over_two(void **state) {
    (void)state;
    for (unsigned cut = 1; cut <= 4; cut++) {
        for (unsigned hops = 1; hops <= 2; hops++) {
            const struct explain_options options = {.cut = cut, .hops = hops};
            char *text = printed(&options, false);
            assert_non_null(strstr(text, "A was passed on once; ids kept at the end: 0."));
            assert_null(strstr(text, "NOT ONCE"));
            assert_int_equal(strstr(text, "Second hop:") != NULL, hops == 2);
            free(text);
        }
    }
}

static void a_table_keeps_its_lines_in_json(void **state) {
    (void)state;
    const struct explain_options options = {.protocol = protocol_named("two-database"), .hops = 1};
    char *text = printed(&options, true);
    assert_memory_equal(text, "[\n{\"title\": \"Protocol two-database\"", 35);
    assert_non_null(strstr(text, "\"outcome\": \"leftover\""));
    assert_non_null(strstr(text, "8,704 bytes, measured in this program\\n"));
    assert_string_equal(text + strlen(text) - 3, "\n]\n");
    free(text);
}

static void what_an_application_calls_is_no_packet(void **state) {
    (void)state;
    const struct explain_options options = {.barrier = "B0", .hops = 1};
    char *text = printed(&options, true);
    assert_non_null(
        strstr(text, "{\"kind\": \"call\", \"from\": \"application\", \"to\": \"library\", \"what\": \"publish A\""));
    assert_non_null(strstr(text, "\"outcome\": \"lost\""));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_ids_take_what_is_said),
        cmocka_unit_test(a_cut_is_told_over_one_hop_and_over_two),
        cmocka_unit_test(a_table_keeps_its_lines_in_json),
        cmocka_unit_test(what_an_application_calls_is_no_packet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
