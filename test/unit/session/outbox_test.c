/* The outbox against a plain vector of bytes, each with the lsn that it waits for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/prng.h"
#include "session/outbox.h"

enum { VECTOR_MAX = 1 << 20, IOV_MAX_HERE = 512 };

/* Everything that was ever appended; `sent` bytes of it have left. */
struct vector {
    uint8_t bytes[VECTOR_MAX];
    lsn_t after[VECTOR_MAX];
    size_t len;
    size_t sent;
    lsn_t gate; /* of what is appended now: the highest so far */
};

static struct vector vector;

static void vector_append(const uint8_t *bytes, size_t count) {
    assert_true(vector.len + count <= VECTOR_MAX);
    for (size_t i = 0; i < count; i++) {
        vector.bytes[vector.len] = bytes[i];
        vector.after[vector.len] = vector.gate;
        vector.len++;
    }
}

/* Bytes that may leave when `durable` is durable. */
static size_t vector_open(lsn_t durable) {
    size_t open = vector.sent;
    while (open < vector.len && vector.after[open] <= durable) {
        open++;
    }
    return open - vector.sent;
}

static void append(struct outbox *o, const void *bytes, size_t count) {
    buf_bytes(outbox_buf(o), span_of(bytes, count));
    outbox_appended(o);
    vector_append(bytes, count);
}

static void gate(struct outbox *o, lsn_t after) {
    outbox_gate(o, after);
    vector.gate = after > vector.gate ? after : vector.gate;
}

static struct message *message_of(uint8_t fill, size_t payload_bytes) {
    uint8_t *payload = mem_alloc(payload_bytes);
    for (size_t i = 0; i < payload_bytes; i++) {
        payload[i] = (uint8_t)(fill + i);
    }
    struct message *m = message_create(&(struct message_parts){
        .topic = SPAN("topic"), .properties = SPAN("properties"), .payload = span_of(payload, payload_bytes)});
    mem_free(payload);
    return m;
}

/* Appends a message's payload; the outbox alone keeps the message afterwards, if it wants to. */
static void append_body(struct outbox *o, uint8_t fill, size_t payload_bytes) {
    struct message *m = message_of(fill, payload_bytes);
    outbox_body(o, m);
    vector_append(message_payload(m).ptr, payload_bytes);
    message_unref(m);
}

/* Checks what may leave against the vector; returns how many bytes that are. With enough iovecs it must be all. */
static size_t assert_ready(const struct outbox *o, lsn_t durable, int max) {
    struct iovec iov[IOV_MAX_HERE];
    int count = outbox_ready(o, durable, iov, max);
    assert_in_range(count, 0, max);
    size_t open = vector_open(durable);
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        assert_true(iov[i].iov_len > 0);
        assert_true(total + iov[i].iov_len <= open);
        assert_memory_equal(iov[i].iov_base, vector.bytes + vector.sent + total, iov[i].iov_len);
        total += iov[i].iov_len;
    }
    if (count < max) {
        assert_int_equal(total, open);
    }
    return total;
}

static void sent(struct outbox *o, size_t bytes) {
    outbox_sent(o, bytes);
    vector.sent += bytes;
    assert_int_equal(outbox_bytes(o), vector.len - vector.sent);
}

static void assert_owns_nothing(const struct outbox *o) {
    assert_null(o->bytes.ptr);
    assert_null(o->gates);
    assert_null(o->bodies);
}

static void begin_vector(void) {
    vector.len = vector.sent = 0;
    vector.gate = 0;
}

/* ---- random ---- */

static void random_append(struct outbox *o, struct prng *prng, lsn_t durable) {
    uint8_t chunk[300];
    memset(chunk, (int)prng_below(prng, 256), sizeof chunk);
    switch (prng_below(prng, 8)) {
    case 0:
        gate(o, prng_below(prng, durable + 6));
        return;
    case 1:
        gate(o, durable + 1 + prng_below(prng, 5));
        return;
    case 2:
        append_body(o, (uint8_t)prng_next(prng), prng_below(prng, 64));
        return;
    case 3:
        append_body(o, (uint8_t)prng_next(prng),
                    prng_chance(prng, 1, 2) ? prng_below(prng, 12000) : 4090 + prng_below(prng, 12));
        return;
    default:
        append(o, chunk, prng_chance(prng, 1, 10) ? 0 : prng_below(prng, prng_chance(prng, 1, 2) ? 8 : sizeof chunk));
    }
}

static void cut(struct outbox *o, lsn_t durable) {
    outbox_cut(o, durable);
    vector.len = vector.sent + vector_open(durable);
    vector.gate = vector.gate < durable ? vector.gate : durable;
    assert_int_equal(outbox_bytes(o), vector.len - vector.sent);
}

static size_t random_part(struct prng *prng, size_t whole) {
    return prng_chance(prng, 1, 2) ? whole : prng_below(prng, whole + 1);
}

/* The rest goes out once everything is durable, and the memory with it. The last byte is for a gate that waits for one.
 */
static void drain(struct outbox *o, struct prng *prng) {
    append(o, "!", 1);
    while (outbox_bytes(o) > 0) {
        size_t ready = assert_ready(o, vector.gate, 1 + (int)prng_below(prng, 4));
        assert_true(ready > 0);
        sent(o, random_part(prng, ready));
    }
    assert_int_equal(vector.sent, vector.len);
    outbox_shrink(o);
    assert_owns_nothing(o);
}

static void bytes_leave_in_order_and_never_early(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct prng prng = prng_of(seed);
        struct outbox o = {0};
        lsn_t durable = 0;
        uint64_t sends_of_ten = 2 + seed % 6;
        begin_vector();
        for (int step = 0; step < 600 && vector.len < VECTOR_MAX - 20000; step++) {
            if (prng_chance(&prng, sends_of_ten, 10)) {
                durable += prng_below(&prng, 3);
                size_t ready =
                    assert_ready(&o, durable, (int)prng_below(&prng, prng_chance(&prng, 1, 3) ? 4 : IOV_MAX_HERE));
                sent(&o, random_part(&prng, ready));
            } else {
                random_append(&o, &prng, durable);
            }
            if (prng_chance(&prng, 1, 50)) {
                outbox_shrink(&o);
            }
            if (seed % 4 == 0 && prng_chance(&prng, 1, 30)) {
                cut(&o, durable);
            }
            (void)assert_ready(&o, durable, IOV_MAX_HERE);
            (void)assert_ready(&o, vector.gate, IOV_MAX_HERE);
        }
        if (seed % 3 == 0) {
            outbox_deinit(&o);
            assert_owns_nothing(&o);
        } else {
            drain(&o, &prng);
        }
    }
}

/* ---- cases ---- */

/* The picture of the header: a packet that waits holds back what comes behind it, also when that needs no lsn. */
static void a_packet_that_waits_holds_back_the_next(void **state) {
    (void)state;
    struct outbox o = {0};
    begin_vector();
    gate(&o, 41);
    append(&o, "PUBREC.", 7);
    gate(&o, 0);
    append(&o, "PI", 2);
    gate(&o, 45);
    append(&o, "REL", 3);
    assert_int_equal(assert_ready(&o, 0, 8), 0);
    assert_int_equal(assert_ready(&o, 40, 8), 0);
    assert_int_equal(assert_ready(&o, 41, 8), 9);
    assert_int_equal(assert_ready(&o, 44, 8), 9);
    assert_int_equal(assert_ready(&o, 45, 8), 12);
    sent(&o, 9);
    assert_int_equal(assert_ready(&o, 44, 8), 0);
    sent(&o, 0);
    assert_int_equal(assert_ready(&o, 45, 8), 3);
    sent(&o, 3);
    assert_int_equal(assert_ready(&o, 45, 8), 0);
    outbox_deinit(&o);
}

/* What was waited for once is waited for by everything after it, also after the outbox was empty. */
static void gates_never_decrease(void **state) {
    (void)state;
    struct outbox o = {0};
    begin_vector();
    gate(&o, 10);
    append(&o, "a", 1);
    sent(&o, assert_ready(&o, 10, 1));
    outbox_shrink(&o);
    gate(&o, 9);
    append(&o, "b", 1);
    assert_int_equal(assert_ready(&o, 10, 1), 1);
    gate(&o, 12);
    append(&o, "c", 1);
    gate(&o, 11);
    append(&o, "d", 1);
    assert_int_equal(assert_ready(&o, 11, 4), 1);
    assert_int_equal(assert_ready(&o, 12, 4), 3);
    outbox_deinit(&o);
}

static void a_gate_without_bytes_holds_back_the_next_ones(void **state) {
    (void)state;
    struct outbox o = {0};
    begin_vector();
    append(&o, "now", 3);
    gate(&o, 3);
    gate(&o, 5);
    assert_int_equal(assert_ready(&o, 0, 4), 3);
    sent(&o, 3);
    append(&o, "later", 5);
    assert_int_equal(assert_ready(&o, 4, 4), 0);
    assert_int_equal(assert_ready(&o, 5, 4), 5);
    outbox_deinit(&o);
}

/* A quiet moment between the gate and the bytes that it is for. */
static void shrinking_keeps_the_gate(void **state) {
    (void)state;
    struct outbox o = {0};
    begin_vector();
    gate(&o, 7);
    outbox_shrink(&o);
    gate(&o, 6);
    append(&o, "later", 5);
    assert_int_equal(assert_ready(&o, 5, 4), 0);
    assert_int_equal(assert_ready(&o, 6, 4), 0);
    assert_int_equal(assert_ready(&o, 7, 4), 5);
    outbox_deinit(&o);
}

static void large_bodies_are_not_copied(void **state) {
    (void)state;
    struct outbox o = {0};
    struct message *m = message_of(1, 100000);
    begin_vector();
    append(&o, "head", 4);
    outbox_body(&o, m);
    assert_int_equal(atomic_load(&m->references), 2);
    struct iovec iov[3];
    assert_int_equal(outbox_ready(&o, 0, iov, 3), 2);
    assert_ptr_equal(iov[1].iov_base, message_payload(m).ptr);
    outbox_sent(&o, 4 + 99999);
    assert_int_equal(atomic_load(&m->references), 2);
    assert_int_equal(outbox_ready(&o, 0, iov, 3), 1);
    assert_ptr_equal(iov[0].iov_base, message_payload(m).ptr + 99999);
    assert_int_equal(iov[0].iov_len, 1);
    outbox_sent(&o, 1);
    assert_int_equal(atomic_load(&m->references), 1);
    outbox_body(&o, m);
    outbox_deinit(&o);
    assert_int_equal(atomic_load(&m->references), 1);
    message_unref(m);
}

/* A stream that never runs dry must not keep what has left. */
static void memory_follows_what_waits(void **state) {
    (void)state;
    struct outbox o = {0};
    uint8_t packet[100] = {0};
    struct iovec iov[4];
    for (lsn_t lsn = 1; lsn <= 200000; lsn++) {
        outbox_gate(&o, lsn);
        buf_bytes(outbox_buf(&o), span_of(packet, sizeof packet));
        outbox_appended(&o);
        if (lsn > 10) {
            assert_true(outbox_ready(&o, lsn - 10, iov, 4) > 0);
            outbox_sent(&o, sizeof packet);
        }
        assert_true(o.bytes.capacity <= 1U << 17);
        assert_true(outbox_gate_places(&o) <= 64);
    }
    assert_int_equal(outbox_bytes(&o), 10 * sizeof packet);
    outbox_deinit(&o);
    assert_owns_nothing(&o);
}

static void an_empty_outbox_gives_nothing(void **state) {
    (void)state;
    struct outbox o = {0};
    struct iovec iov[1];
    assert_int_equal(outbox_bytes(&o), 0);
    assert_int_equal(outbox_ready(&o, 0, iov, 1), 0);
    outbox_sent(&o, 0);
    outbox_appended(&o);
    outbox_shrink(&o);
    outbox_deinit(&o);
    outbox_deinit(&o);
    assert_owns_nothing(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_leave_in_order_and_never_early),
        cmocka_unit_test(a_packet_that_waits_holds_back_the_next),
        cmocka_unit_test(gates_never_decrease),
        cmocka_unit_test(a_gate_without_bytes_holds_back_the_next_ones),
        cmocka_unit_test(shrinking_keeps_the_gate),
        cmocka_unit_test(large_bodies_are_not_copied),
        cmocka_unit_test(memory_follows_what_waits),
        cmocka_unit_test(an_empty_outbox_gives_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
