/* The table of properties against the table of the standard, and all that is driven by it. */
#include "packet_support.h"

/* Table 2-4 of 5.0: where each property may stand. Will properties are "WILL". */
static const struct {
    uint8_t id;
    const char *bytes; /* the property with an allowed value; Authentication Data brings the method that it needs */
    const char *packets;
} standard[] = {
    {0x01, "01 01", "PUBLISH WILL"},
    {0x02, "02 00000001", "PUBLISH WILL"},
    {0x03, "03 {'t'}", "PUBLISH WILL"},
    {0x08, "08 {'r'}", "PUBLISH WILL"},
    {0x09, "09 {00}", "PUBLISH WILL"},
    {0x0B, "0B 01", "PUBLISH SUBSCRIBE"},
    {0x11, "11 00000001", "CONNECT CONNACK DISCONNECT"},
    {0x12, "12 {'c'}", "CONNACK"},
    {0x13, "13 0001", "CONNACK"},
    {0x15, "15 {'X'}", "CONNECT CONNACK AUTH"},
    {0x16, "16 {01} 15 {'X'}", "CONNECT CONNACK AUTH"},
    {0x17, "17 00", "CONNECT"},
    {0x18, "18 00000001", "WILL"},
    {0x19, "19 00", "CONNECT"},
    {0x1A, "1A {'i'}", "CONNACK"},
    {0x1C, "1C {'s'}", "CONNACK DISCONNECT"},
    {0x1F, "1F {'r'}", "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH"},
    {0x21, "21 0001", "CONNECT CONNACK"},
    {0x22, "22 0001", "CONNECT CONNACK"},
    {0x23, "23 0001", "PUBLISH"},
    {0x24, "24 01", "CONNACK"},
    {0x25, "25 01", "CONNACK"},
    {0x26, "26 {'n'} {'v'}",
     "CONNECT CONNACK PUBLISH WILL PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK DISCONNECT AUTH"},
    {0x27, "27 00000001", "CONNECT CONNACK"},
    {0x28, "28 00", "CONNACK"},
    {0x29, "29 00", "CONNACK"},
    {0x2A, "2A 00", "CONNACK"},
};
#define STANDARD (sizeof(standard) / sizeof(standard[0]))

/* A packet of each kind with a place for properties. */
static const struct {
    const char *name;
    enum test_when when;
    const char *before, *after;
} places[] = {
    {"CONNECT", FIRST, "10 ({'MQTT'} 05 02 0000 (", ") {'c'})"},
    {"WILL", FIRST, "10 ({'MQTT'} 05 06 0000 () {'c'} (", ") {'w'} {'m'})"},
    {"CONNACK", FIRST, "20 (00 00 (", "))"},
    {"PUBLISH", LATER, "32 ({'t'} 0001 (", ") 'x')"},
    {"PUBACK", LATER, "40 (0001 00 (", "))"},
    {"PUBREC", LATER, "50 (0001 00 (", "))"},
    {"PUBREL", LATER, "62 (0001 00 (", "))"},
    {"PUBCOMP", LATER, "70 (0001 00 (", "))"},
    {"SUBSCRIBE", LATER, "82 (0001 (", ") {'a'} 00)"},
    {"SUBACK", LATER, "90 (0001 (", ") 00)"},
    {"UNSUBSCRIBE", LATER, "A2 (0001 (", ") {'a'})"},
    {"UNSUBACK", LATER, "B0 (0001 (", ") 00)"},
    {"DISCONNECT", LATER, "E0 (00 (", "))"},
    {"AUTH", LATER, "F0 (18 (", "))"},
};
#define PLACES (sizeof(places) / sizeof(places[0]))

static bool named_in(const char *name, const char *list) {
    size_t len = strlen(name);
    for (const char *at = list; (at = strstr(at, name)) != NULL; at += len) {
        if ((at == list || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0')) {
            return true;
        }
    }
    return false;
}

/* Decodes a packet with these properties as `sender` would have sent it. */
static bool accepted(size_t place, const char *properties, enum packet_sender sender, struct verdict *verdict) {
    char text[512];
    struct packet_limits limits = test_limits();
    struct packet_frame frame;
    struct packet packet;
    snprintf(text, sizeof(text), "%s %s %s", places[place].before, properties, places[place].after);
    struct span bytes = test_bytes(places[place].name, text);
    enum protocol protocol = test_frame_protocol(places[place].when, PROTOCOL_5);
    bool good = packet_frame(bytes, sender, protocol, &limits, &frame, verdict) == PACKET_WHOLE &&
                packet_decode(&frame, PROTOCOL_5, &limits, &packet, verdict);
    test_release(bytes);
    return good;
}

/* True when one of the two sides may send it; which of them is the matter of other tests. */
static bool accepted_from_one(size_t place, const char *properties, struct verdict *verdict) {
    struct verdict other;
    bool client = accepted(place, properties, PACKET_FROM_CLIENT, verdict);
    bool server = accepted(place, properties, PACKET_FROM_SERVER, &other);
    bool at_home = strcmp(places[place].name, "CONNACK") == 0 || strcmp(places[place].name, "SUBACK") == 0 ||
                   strcmp(places[place].name, "UNSUBACK") == 0 || (!client && !server && verdict->reason == 0x82);
    if (!client && at_home) {
        *verdict = other;
    }
    return client || server;
}

static void rows_are_those_of_the_standard(void **state) {
    (void)state;
    assert_int_equal(PROPERTY_COUNT, 27);
    assert_int_equal(STANDARD, PROPERTY_COUNT);
    for (unsigned i = 0; i < PROPERTY_COUNT; i++) {
        assert_int_equal(property_rows[i].id, standard[i].id);
        assert_ptr_equal(property_row_of(standard[i].id), &property_rows[i]);
    }
    for (uint32_t id = 0; id < 512; id++) {
        const struct property_row *row = property_row_of(id);
        assert_true(row == NULL || row->id == id);
    }
}

static void each_stands_only_where_it_may(void **state) {
    (void)state;
    for (size_t i = 0; i < STANDARD; i++) {
        for (size_t k = 0; k < PLACES; k++) {
            bool may = named_in(places[k].name, standard[i].packets);
            bool auth = strcmp(places[k].name, "AUTH") == 0 && standard[i].id != 0x15 && standard[i].id != 0x16;
            char properties[128];
            struct verdict verdict;
            snprintf(properties, sizeof(properties), "%s %s", standard[i].bytes, auth ? "15 {'X'}" : "");
            bool good = accepted_from_one(k, properties, &verdict);
            if (good != may) {
                fail_msg("property 0x%02x in %s: %s", standard[i].id, places[k].name, good ? "accepted" : verdict.text);
            }
            assert_true(good || verdict.reason == REASON_MALFORMED_PACKET);
        }
    }
}

static void each_stands_but_once(void **state) {
    (void)state;
    for (size_t i = 0; i < STANDARD; i++) {
        for (size_t k = 0; k < PLACES; k++) {
            if (!named_in(places[k].name, standard[i].packets)) {
                continue;
            }
            bool may = standard[i].id == 0x26 || (standard[i].id == 0x0B && strcmp(places[k].name, "PUBLISH") == 0);
            bool auth = strcmp(places[k].name, "AUTH") == 0 && standard[i].id != 0x15 && standard[i].id != 0x16;
            char properties[128];
            struct verdict verdict;
            snprintf(properties, sizeof(properties), "%s %s %s", standard[i].bytes, standard[i].bytes,
                     auth ? "15 {'X'}" : "");
            bool good = accepted_from_one(k, properties, &verdict);
            if (good != may) {
                fail_msg("property 0x%02x twice in %s: %s", standard[i].id, places[k].name,
                         good ? "accepted" : verdict.text);
            }
            assert_true(good || verdict.reason == REASON_PROTOCOL_ERROR);
        }
    }
}

/* ---- values ---- */

static size_t place_of(const char *name) {
    for (size_t k = 0; k < PLACES; k++) {
        if (strcmp(places[k].name, name) == 0) {
            return k;
        }
    }
    fail_msg("no place %s", name);
    return 0;
}

static void numbers_keep_to_their_bounds(void **state) {
    (void)state;
    static const struct {
        const char *place, *properties;
        uint8_t reason; /* 0: accepted */
    } cases[] = {
        {"PUBLISH", "01 00", 0},          {"PUBLISH", "01 01", 0},         {"PUBLISH", "01 02", 0x82},
        {"PUBLISH", "01 FF", 0x82},       {"PUBLISH", "02 00000000", 0},   {"PUBLISH", "02 FFFFFFFF", 0},
        {"SUBSCRIBE", "0B 00", 0x82},     {"SUBSCRIBE", "0B 01", 0},       {"SUBSCRIBE", "0B FF FF FF 7F", 0},
        {"CONNECT", "11 00000000", 0},    {"CONNECT", "11 FFFFFFFF", 0},   {"CONNACK", "13 0000", 0},
        {"CONNACK", "13 FFFF", 0},        {"CONNECT", "17 01", 0},         {"CONNECT", "17 02", 0x82},
        {"WILL", "18 FFFFFFFF", 0},       {"CONNECT", "19 01", 0},         {"CONNECT", "19 02", 0x82},
        {"CONNECT", "21 0000", 0x82},     {"CONNECT", "21 0001", 0},       {"CONNECT", "21 FFFF", 0},
        {"CONNECT", "22 0000", 0},        {"CONNECT", "22 FFFF", 0},       {"PUBLISH", "23 0000", 0x94},
        {"PUBLISH", "23 0001", 0},        {"PUBLISH", "23 FFFF", 0},       {"CONNACK", "24 00", 0},
        {"CONNACK", "24 02", 0x82},       {"CONNACK", "25 02", 0x82},      {"CONNECT", "27 00000000", 0x82},
        {"CONNECT", "27 00000001", 0},    {"CONNECT", "27 FFFFFFFF", 0},   {"CONNACK", "28 02", 0x82},
        {"CONNACK", "29 02", 0x82},       {"CONNACK", "2A 02", 0x82},      {"CONNACK", "2A 01", 0},
        {"CONNECT", "21 00", 0x81},       {"CONNECT", "11 000000", 0x81},  {"CONNECT", "17", 0x81},
        {"SUBSCRIBE", "0B 80", 0x81},     {"SUBSCRIBE", "0B 80 00", 0x81}, {"CONNECT", "15 00", 0x81},
        {"CONNECT", "15 0002 'X'", 0x81},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct verdict verdict = {0, "", ""};
        bool good = accepted_from_one(place_of(cases[i].place), cases[i].properties, &verdict);
        if (good != (cases[i].reason == 0) || (!good && verdict.reason != cases[i].reason)) {
            fail_msg("%s with %s: 0x%02x %s", cases[i].place, cases[i].properties, verdict.reason, verdict.text);
        }
    }
}

/* Every property that is text: what is not UTF-8 is refused wherever it may stand. */
static void text_must_be_utf8(void **state) {
    (void)state;
    static const uint8_t ids[] = {0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F};
    static const char *const bad[] = {"00", "'a' 00 'b'", "80", "C0 80", "ED A0 80", "F4 90 80 80", "'abcdefgh' FF"};
    for (size_t i = 0; i < sizeof(ids); i++) {
        for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
            char properties[64];
            struct verdict verdict;
            const struct property_row *row = property_row_of(ids[i]);
            bool will = (row->packets & PACKET_BIT_WILL) != 0;
            snprintf(properties, sizeof(properties), "%02x {%s}", ids[i], bad[k]);
            assert_false(accepted_from_one(place_of(will ? "WILL" : "CONNACK"), properties, &verdict));
            assert_int_equal(verdict.reason, REASON_MALFORMED_PACKET);
            assert_int_equal(strncmp(verdict.statement, "MQTT-1.5.4-", 11), 0);
        }
    }
}

static void binary_may_be_anything(void **state) {
    (void)state;
    struct verdict verdict;
    assert_true(accepted_from_one(place_of("PUBLISH"), "09 {00 FF C0 80}", &verdict));
    assert_true(accepted_from_one(place_of("CONNACK"), "15 {'X'} 16 {00 FF C0 80}", &verdict));
}

/* ---- what travels on ---- */

static void forward_equals(const char *properties, const char *expected) {
    char text[512];
    struct test_packet row = {"forward", PACKET_FROM_SERVER, PROTOCOL_5, LATER, false, text};
    struct packet packet;
    struct buf out = {NULL, 0, 0};
    snprintf(text, sizeof(text), "30 ({'t'} (%s) 'x')", properties);
    struct span bytes = test_bytes("forward", text), wanted = test_bytes("expected", expected);
    test_decode(&row, bytes, &packet);
    packet_properties_forward(&out, &packet.publish.properties);
    assert_true(span_equal(buf_span(&out), wanted));
    buf_deinit(&out);
    test_release(wanted);
    test_release(bytes);
}

static void what_belongs_to_the_message_travels_in_order(void **state) {
    (void)state;
    forward_equals("", "");
    forward_equals("02 00000001", "");
    forward_equals("26 {'b'} {'1'} 03 {'t'} 26 {'a'} {'2'} 01 01", "26 {'b'} {'1'} 03 {'t'} 26 {'a'} {'2'} 01 01");
    forward_equals("0B 01 26 {'b'} {'1'} 23 0001 09 {00} 02 00000005 08 {'r'} 0B FF 7F 26 {'b'} {'1'}",
                   "26 {'b'} {'1'} 09 {00} 08 {'r'} 26 {'b'} {'1'}");
}

static void a_will_forwards_all_but_its_delay_and_expiry(void **state) {
    (void)state;
    const struct test_packet row = {
        "will",     PACKET_FROM_CLIENT,
        PROTOCOL_5, FIRST,
        false,      "10 ({'MQTT'} 05 06 0000 () {'c'} (18 00000001 26 {'k'} {'v'} 02 00000009 03 {'t'}) {'w'} {'m'})"};
    struct span bytes = test_bytes(row.name, row.bytes), wanted = test_bytes("expected", "26 {'k'} {'v'} 03 {'t'}");
    struct packet packet;
    struct buf out = {NULL, 0, 0};
    test_decode(&row, bytes, &packet);
    packet_properties_forward(&out, &packet.connect.will.properties);
    assert_true(span_equal(buf_span(&out), wanted));
    buf_deinit(&out);
    test_release(wanted);
    test_release(bytes);
}

/* ---- blocks of our own ---- */

static void blocks_that_we_build_are_read_back(void **state) {
    (void)state;
    struct buf block = {NULL, 0, 0}, out = {NULL, 0, 0};
    struct packet decoded;
    packet_user_property_add(&block, SPAN("name"), SPAN("value"));
    packet_user_property_add(&block, SPAN(""), SPAN(""));
    struct packet_disconnect p = {.reason = REASON_SERVER_MOVED};
    p.properties.present = PROPERTY_SERVER_REFERENCE;
    p.properties.server_reference = SPAN("there");
    p.properties.user_property_count = 2;
    p.properties.raw = buf_span(&block);
    packet_encode_disconnect(&out, PROTOCOL_5, &p);
    struct span wanted = test_bytes("expected", "E0 (9D (1C {'there'} 26 {'name'} {'value'} 26 {} {}))");
    assert_true(span_equal(buf_span(&out), wanted));
    const struct test_packet row = {"own", PACKET_FROM_SERVER, PROTOCOL_5, LATER, true, ""};
    test_decode(&row, buf_span(&out), &decoded);
    p.properties.present |= PROPERTY_USER_PROPERTY;
    test_equal_properties("own", &decoded.disconnect.properties, &p.properties);
    test_release(wanted);
    buf_deinit(&out);
    buf_deinit(&block);
}

static void the_first_subscription_identifier_is_at_hand(void **state) {
    (void)state;
    const struct test_packet row = {
        "identifiers", PACKET_FROM_SERVER, PROTOCOL_5, LATER, false, "30 ({'t'} (0B 05 0B 06 0B 07) 'x')"};
    struct span bytes = test_bytes(row.name, row.bytes);
    struct packet packet;
    test_decode(&row, bytes, &packet);
    assert_int_equal(packet.publish.properties.subscription_identifier, 5);
    assert_int_equal(packet.publish.properties.subscription_identifier_count, 3);
    test_release(bytes);
}

static void user_properties_are_limited(void **state) {
    (void)state;
    struct verdict verdict;
    assert_true(accepted_from_one(place_of("PUBACK"), "<26 {'n'} {'v'}>x64", &verdict));
    assert_false(accepted_from_one(place_of("PUBACK"), "<26 {'n'} {'v'}>x65", &verdict));
    assert_int_equal(verdict.reason, REASON_QUOTA_EXCEEDED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_those_of_the_standard),
        cmocka_unit_test(each_stands_only_where_it_may),
        cmocka_unit_test(each_stands_but_once),
        cmocka_unit_test(numbers_keep_to_their_bounds),
        cmocka_unit_test(text_must_be_utf8),
        cmocka_unit_test(binary_may_be_anything),
        cmocka_unit_test(what_belongs_to_the_message_travels_in_order),
        cmocka_unit_test(a_will_forwards_all_but_its_delay_and_expiry),
        cmocka_unit_test(blocks_that_we_build_are_read_back),
        cmocka_unit_test(the_first_subscription_identifier_is_at_hand),
        cmocka_unit_test(user_properties_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
