/* Addresses of servers: what is understood, and that each mistake is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/address.h"

struct good {
    const char *text;
    bool local;
    const char *host; /* or path */
    const char *port;
};

static const struct good goods[] = {
    {"mqtt://localhost", false, "localhost", "1883"},
    {"mqtt://localhost:1", false, "localhost", "1"},
    {"mqtt://10.0.0.1:65535", false, "10.0.0.1", "65535"},
    {"mqtt://[::1]", false, "::1", "1883"},
    {"mqtt://[fe80::1]:1884", false, "fe80::1", "1884"},
    {"unix:///run/quartet.sock", true, "/run/quartet.sock", NULL},
};

static const char *const bads[] = {
    "",
    "localhost",
    "localhost:1883",
    "mqtts://localhost",
    "mqtt://",
    "mqtt://:1883",
    "mqtt://host:",
    "mqtt://host:0",
    "mqtt://host:65536",
    "mqtt://host:123456",
    "mqtt://host:18x3",
    "mqtt://host/path",
    "mqtt://user@host",
    "mqtt://[::1",
    "mqtt://[]",
    "mqtt://[::1]1883",
    "mqtt://[::1]:",
    "unix://",
    "unix://relative",
};

static void addresses_are_understood(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof goods / sizeof *goods; i++) {
        struct server_address a;
        struct error error = {0};
        assert_true(address_parse(span_str(goods[i].text), &a, &error));
        assert_int_equal(a.local, goods[i].local);
        assert_string_equal(a.local ? a.path : a.host, goods[i].host);
        if (!a.local) {
            assert_string_equal(a.port, goods[i].port);
        }
    }
}

static void mistakes_are_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        struct server_address a;
        struct error error = {0};
        if (address_parse(span_str(bads[i]), &a, &error)) {
            fail_msg("\"%s\" was taken for an address", bads[i]);
        }
        assert_int_equal(error.kind, ERROR_INVALID);
        assert_non_null(strstr(error.text, bads[i]));
    }
}

static void a_host_name_has_at_most_255_bytes(void **state) {
    (void)state;
    char text[300] = "mqtt://";
    struct server_address a;
    struct error error;
    memset(text + 7, 'h', 255);
    assert_true(address_parse(span_str(text), &a, &error));
    assert_int_equal(strlen(a.host), 255);
    text[7 + 255] = 'h';
    assert_false(address_parse(span_str(text), &a, &error));
}

static void a_path_has_at_most_107_bytes(void **state) {
    (void)state;
    char text[200] = "unix:///";
    struct server_address a;
    struct error error;
    memset(text + 8, 'p', 106);
    assert_true(address_parse(span_str(text), &a, &error));
    assert_int_equal(strlen(a.path), 107);
    text[8 + 106] = 'p';
    assert_false(address_parse(span_str(text), &a, &error));
}

static void several_are_checked_each(void **state) {
    (void)state;
    struct error error = {0};
    assert_true(address_check_all("mqtt://one  mqtt://two:1 unix:///three", &error));
    assert_true(address_check_all(" mqtt://one ", &error));
    assert_false(address_check_all("mqtt://one mqtt://two:x", &error));
    assert_non_null(strstr(error.text, "two:x"));
    assert_false(address_check_all("", &error));
    assert_false(address_check_all("  ", &error));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_understood),          cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(a_host_name_has_at_most_255_bytes), cmocka_unit_test(a_path_has_at_most_107_bytes),
        cmocka_unit_test(several_are_checked_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
