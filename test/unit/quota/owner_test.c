/* Owners: whom a peer is held to be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "quota/owner.h"

static void the_owner_in_a_peer(void **state) {
    (void)state;
    static const struct {
        const char *peer, *owner;
    } cases[] = {
        {"192.0.2.7:1883", "192.0.2.7"},
        {"192.0.2.7", "192.0.2.7"},
        {"unix:pid=7,uid=0", "unix"},
        {"unix", "unix"},
        {"unix:pid=1,uid=1000", "unix"},
        {"peer", "peer"},
        {"sim:12", "sim"},
        {"", ""},
        {":", ":"},
        {"host:", "host:"},
        {"[half", "[half"},
        {"10.0.0.1:x1", "10.0.0.1:x1"},
        {"[]:1", ""},
        {"a:b", "a:b"},
        {"1:2:3:4:5:6:7", "1:2:3:4:5:6:7"},
        {"dead", "dead"},
        /* the first half of an IPv6 address, however it is written */
        {"[2001:db8::1]:80", "2001:db8:0:0::"},
        {"2001:db8::1", "2001:db8:0:0::"},
        {"2001:DB8::1:0:0:2", "2001:db8:0:0::"},
        {"2001:db8:0:0:1::", "2001:db8:0:0::"},
        {"2001:db8:0:0:1:2:3:4", "2001:db8:0:0::"},
        {"2001:db8:0:1::1", "2001:db8:0:1::"},
        {"2001::5:a:b:c:d", "2001:0:0:5::"},
        {"[2001:db8:1:2:3:4:5:6]:1883", "2001:db8:1:2::"},
        {"[fe80::1%eth0]:1883", "fe80:0:0:0::"},
        {"::1", "0:0:0:0::"},
        {"::", "0:0:0:0::"},
        {"[::ffff:192.0.2.7]:1883", "192.0.2.7"},
        {"1:2:3:4:5:6:192.0.2.7", "1:2:3:4::"},
        {"64:ff9b::192.0.2.7", "64:ff9b:0:0::"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[QUOTA_OWNER_BYTES];
        struct span owner = quota_owner_of(span_str(cases[i].peer), text);
        if (!span_equal(owner, span_str(cases[i].owner))) {
            fail_msg("%s: %.*s", cases[i].peer, (int)owner.len, (const char *)owner.ptr);
        }
    }
}

/* Whatever it is, it is read within its bounds and fits. */
static void any_text_has_an_owner(void **state) {
    (void)state;
    static const char alphabet[] = "0f:[]%.:u:";
    uint64_t random = 7;
    for (unsigned i = 0; i < 200000; i++) {
        char *peer = malloc(80), text[QUOTA_OWNER_BYTES];
        random = random * 6364136223846793005U + 1442695040888963407U;
        size_t len = (random >> 33) % 80;
        for (size_t k = 0; k < len; k++) {
            random = random * 6364136223846793005U + 1442695040888963407U;
            peer[80 - len + k] = alphabet[(random >> 33) % (sizeof alphabet - 1)];
        }
        assert_true(quota_owner_of(span_of((const uint8_t *)peer + 80 - len, len), text).len <= sizeof text);
        free(peer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_owner_in_a_peer),
        cmocka_unit_test(any_text_has_an_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
