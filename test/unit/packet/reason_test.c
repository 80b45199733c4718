/* Reason codes against the tables of the standard. */
#include "packet_support.h"

/* Tables 3-1, 3-4 to 3-11: what each side may put into each packet. */
static const struct {
    enum packet_type type;
    enum packet_sender sender;
    const char *codes;
} tables[] = {
    {PACKET_CONNACK, PACKET_FROM_SERVER, "00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F"},
    {PACKET_PUBACK, PACKET_FROM_SERVER, "00 10 80 83 87 90 91 97 99"},
    {PACKET_PUBACK, PACKET_FROM_CLIENT, "00 80 83 87 90 91 97 99"},
    {PACKET_PUBREC, PACKET_FROM_SERVER, "00 10 80 83 87 90 91 97 99"},
    {PACKET_PUBREC, PACKET_FROM_CLIENT, "00 80 83 87 90 91 97 99"},
    {PACKET_PUBREL, PACKET_FROM_SERVER, "00 92"},
    {PACKET_PUBREL, PACKET_FROM_CLIENT, "00 92"},
    {PACKET_PUBCOMP, PACKET_FROM_SERVER, "00 92"},
    {PACKET_PUBCOMP, PACKET_FROM_CLIENT, "00 92"},
    {PACKET_SUBACK, PACKET_FROM_SERVER, "00 01 02 80 83 87 8F 91 97 9E A1 A2"},
    {PACKET_UNSUBACK, PACKET_FROM_SERVER, "00 11 80 83 87 8F 91"},
    {PACKET_DISCONNECT, PACKET_FROM_CLIENT, "00 04 80 81 82 83 8C 90 93 94 95 96 97 98 99"},
    {PACKET_DISCONNECT, PACKET_FROM_SERVER,
     "00 80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2"},
    {PACKET_AUTH, PACKET_FROM_CLIENT, "18 19"},
    {PACKET_AUTH, PACKET_FROM_SERVER, "00 18"},
};

static const char *codes_of(enum packet_type type, enum packet_sender sender) {
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        if (tables[i].type == type && tables[i].sender == sender) {
            return tables[i].codes;
        }
    }
    return "";
}

static void each_packet_has_its_codes(void **state) {
    (void)state;
    for (unsigned type = 0; type < PACKET_TYPES; type++) {
        for (unsigned sender = PACKET_FROM_CLIENT; sender <= PACKET_FROM_SERVER; sender++) {
            for (unsigned code = 0; code < 256; code++) {
                char text[4];
                snprintf(text, sizeof(text), "%02X", code);
                bool wanted = strstr(codes_of((enum packet_type)type, (enum packet_sender)sender), text) != NULL;
                bool allowed = packet_reason_allowed((enum packet_type)type, (enum packet_sender)sender, (uint8_t)code);
                if (allowed != wanted) {
                    fail_msg("0x%02x in %s", code, packet_type_name((enum packet_type)type));
                }
            }
        }
    }
}

static void each_code_has_a_name(void **state) {
    (void)state;
    unsigned named = 0;
    for (unsigned code = 0; code < 256; code++) {
        named += strcmp(reason_text((uint8_t)code), "Unknown reason") != 0;
    }
    assert_int_equal(named, 43);
    assert_string_equal(reason_text(REASON_QUOTA_EXCEEDED), "Quota exceeded");
    assert_string_equal(reason_text(0x03), "Unknown reason");
}

static void each_packet_type_has_a_name(void **state) {
    (void)state;
    assert_string_equal(packet_type_name(PACKET_CONNECT), "CONNECT");
    assert_string_equal(packet_type_name(PACKET_UNSUBACK), "UNSUBACK");
    assert_string_equal(packet_type_name(PACKET_AUTH), "AUTH");
    assert_string_equal(packet_type_name(PACKET_NONE), "?");
    assert_string_equal(packet_type_name((enum packet_type)16), "?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_packet_has_its_codes),
        cmocka_unit_test(each_code_has_a_name),
        cmocka_unit_test(each_packet_type_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
