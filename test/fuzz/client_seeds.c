/* Writes what the fuzzer of the client begins with:
 *
 *     client_seeds dictionary FILE      packets of a broker, each with the deed that feeds it
 *     client_seeds corpus FOLDER        whole sessions */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packet/packet.h"

enum { DEED_CUT = 0, DEED_PUBLISH, DEED_SUBSCRIBE, DEED_TAKE, DEED_DONE, DEED_TIME, DEED_TRANSPORT, DEED_SEND };

/* Deed 9 feeds as many bytes as its number has tens. */
static void add_feed(struct buf *out, struct span packet) {
    buf_u8(out, (uint8_t)(packet.len * 10 + 9));
    buf_bytes(out, packet);
}

/* What a broker may say, by number; false when there are no more. */
static bool broker_packet(unsigned number, struct buf *out) {
    struct buf packet = {NULL, 0, 0};
    struct packet_connack connack = {.session_present = number == 1};
    struct packet_publish publish = {.topic = SPAN("t"), .payload = SPAN("x"), .packet_id = 1};
    struct packet_ack ack = {.packet_id = 1};
    struct packet_suback suback = {.packet_id = 5, .reasons = SPAN("\1")};
    static const enum packet_type acks[] = {PACKET_PUBACK, PACKET_PUBREC, PACKET_PUBREL, PACKET_PUBCOMP};
    if (number < 2) {
        packet_encode_connack(&packet, PROTOCOL_5, &connack);
    } else if (number < 5) {
        publish.qos = (uint8_t)(number - 2);
        publish.packet_id = publish.qos > 0 ? 1 : 0;
        packet_encode_publish(&packet, PROTOCOL_5, &publish);
    } else if (number < 9) {
        packet_encode_ack(&packet, PROTOCOL_5, acks[number - 5], &ack);
    } else if (number == 9) {
        packet_encode_suback(&packet, PROTOCOL_5, &suback);
    } else if (number == 10) {
        packet_encode_unsuback(&packet, PROTOCOL_5, &suback);
    } else if (number == 11) {
        packet_encode_pingresp(&packet);
    } else {
        return false;
    }
    add_feed(out, buf_span(&packet));
    buf_deinit(&packet);
    return true;
}

static bool write_dictionary(FILE *file) {
    struct buf word = {NULL, 0, 0};
    for (unsigned i = 0; broker_packet(i, &word); i++) {
        fprintf(file, "packet_%u=\"", i);
        for (size_t at = 0; at < word.len; at++) {
            fprintf(file, "\\x%02x", word.ptr[at]);
        }
        fprintf(file, "\"\n");
        word.len = 0;
    }
    buf_deinit(&word);
    return fclose(file) == 0;
}

/* Options, a connection, deeds, packets: a session that goes well, cut after `steps` steps and resumed. */
static void session(struct buf *out, uint8_t options, unsigned steps) {
    static const uint8_t deeds[] = {DEED_PUBLISH, 1, DEED_PUBLISH, 2, DEED_SUBSCRIBE, 0, DEED_SEND};
    static const unsigned packets[] = {9, 2, 3, 4, 5, 6, 8, 7};
    buf_u8(out, options);
    for (unsigned part = 0; part < 2; part++) {
        buf_u8(out, DEED_TRANSPORT);
        buf_u8(out, DEED_SEND);
        (void)broker_packet(part, out);
        buf_bytes(out, span_of(deeds, sizeof deeds));
        for (unsigned i = 0; i < steps; i++) {
            (void)broker_packet(packets[i], out);
            buf_u8(out, DEED_SEND);
            buf_u8(out, DEED_TAKE);
        }
        buf_bytes(out, span_of("\4\0\0\15\245", 5)); /* done, cut, time */
    }
}

static bool write_corpus(const char *folder) {
    bool good = true;
    for (unsigned i = 0; i <= 8; i++) {
        char path[4096];
        struct buf out = {NULL, 0, 0};
        session(&out, (uint8_t)(i * 3), i);
        (void)snprintf(path, sizeof path, "%s/session_%u", folder, i);
        FILE *file = fopen(path, "wb");
        good = file != NULL && fwrite(out.ptr, 1, out.len, file) == out.len && fclose(file) == 0 && good;
        buf_deinit(&out);
    }
    return good;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "dictionary") == 0) {
        FILE *file = fopen(argv[2], "w");
        return file != NULL && write_dictionary(file) ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (argc == 3 && strcmp(argv[1], "corpus") == 0) {
        return write_corpus(argv[2]) ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    fprintf(stderr, "usage: %s dictionary FILE | corpus FOLDER\n", argv[0]);
    return EXIT_FAILURE;
}
