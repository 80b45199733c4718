/* Feeds the client engine with a broker and an application that do whatever they like.
 *
 * The first byte chooses protocol and options; then each byte is a deed, some with operands: bytes of the broker, cuts,
 * publications, messages taken and done, time. What must hold whatever comes: no more is kept than the bounds allow, a
 * position is given once and rises, what is open ends once. */
#include "base/must.h"
#include "client/client.h"
#include "fuzz.h"
#include "store/store_memory.h"

enum { FUZZ_INBOX_BYTES = 2048, FUZZ_TAKEN_MAX = 16 };

struct fuzz {
    struct reader in;
    struct client *client;
    mono_ms_t now;
    uint64_t highest;
    uint64_t taken[FUZZ_TAKEN_MAX];
    unsigned taken_count;
};

static struct client *make_client(struct store *store, uint8_t choice) {
    int code;
    struct error error;
    struct quartet_options options = {.client_id = "c",
                                      .protocol = (choice & 1) != 0 ? 4 : 0,
                                      .trace = (choice & 2) != 0,
                                      .clean_start = (choice & 4) != 0,
                                      .session_lost = choice >> 3 & 1 ? QUARTET_LOST_RESEND : QUARTET_LOST_HOLD,
                                      .receive_maximum = (choice & 16) != 0 ? 2 : 0,
                                      .packet_bytes_max = 4096,
                                      .inbox_bytes = FUZZ_INBOX_BYTES,
                                      .retry_min_ms = 1,
                                      .retry_max_ms = 2};
    must(client_options_complete(&options, &code, &error));
    struct client_setup setup = {.options = &options, .store = store, .seed = 1, .ids_max = 5};
    struct client *client = client_create(&setup, &error);
    must(client != NULL);
    return client;
}

static void send_all(struct fuzz *f) {
    struct iovec iov[4];
    for (int count; (count = client_output(f->client, iov, 4)) > 0;) {
        size_t bytes = 0;
        for (int i = 0; i < count; i++) {
            bytes += iov[i].iov_len;
        }
        client_sent(f->client, bytes);
    }
}

static void take(struct fuzz *f) {
    struct client_delivery d;
    if (f->taken_count < FUZZ_TAKEN_MAX && client_take(f->client, &d)) {
        must(d.sequence == 0 || d.sequence > f->highest);
        if (d.sequence != 0) {
            f->highest = d.sequence;
            f->taken[f->taken_count++] = d.sequence;
        }
        message_unref(d.message);
    }
}

static void done(struct fuzz *f) {
    if (f->taken_count > 0) {
        unsigned which = reader_u8(&f->in) % f->taken_count;
        must(client_done(f->client, f->taken[which]));
        must(!client_done(f->client, f->taken[which]));
        f->taken[which] = f->taken[--f->taken_count];
    }
}

static void transport(struct fuzz *f) {
    uint32_t server;
    switch (client_wish(f->client, &server)) {
    case CLIENT_CONNECT:
        client_opened(f->client);
        break;
    case CLIENT_CLOSE:
        client_closed(f->client, QUARTET_OK, NULL);
        break;
    case CLIENT_NOTHING:
        break;
    }
}

static void publish(struct fuzz *f) {
    uint64_t id;
    struct error error;
    struct quartet_publication p = {.topic = "t", .payload = "x", .payload_bytes = 1, .qos = reader_u8(&f->in) % 3};
    must(client_publish(f->client, &p, &id, &error) == QUARTET_OK);
}

static void subscribe(struct fuzz *f) {
    static const char *const filters[] = {"t", "t/#", "$share/g/t"};
    struct error error;
    uint8_t choice = reader_u8(&f->in);
    struct quartet_subscription s = {.filter = filters[choice % 3], .qos = choice / 3 % 3};
    if (choice < 128) {
        must(client_subscribe(f->client, &s, 1, &error) == QUARTET_OK);
    } else {
        must(client_unsubscribe(f->client, s.filter, &error) == QUARTET_OK);
    }
}

static void deed(struct fuzz *f) {
    uint8_t what = reader_u8(&f->in);
    switch (what % 10) {
    case 0:
        client_closed(f->client, QUARTET_NETWORK, "cut");
        break;
    case 1:
        publish(f);
        break;
    case 2:
        subscribe(f);
        break;
    case 3:
        take(f);
        break;
    case 4:
        done(f);
        break;
    case 5:
        f->now += (mono_ms_t)1 << what / 10;
        client_time(f->client, f->now, 1700000000000 + f->now);
        break;
    case 6:
        transport(f);
        break;
    case 7:
        send_all(f);
        break;
    case 8:
        (void)client_session_lost(f->client, (enum quartet_lost_policy)(what / 10 % 3));
        break;
    default:
        client_received(f->client, reader_bytes(&f->in, reader_left(&f->in) < what / 10U ? 0 : what / 10U));
        break;
    }
}

static void check(struct fuzz *f) {
    struct quartet_event event;
    struct quartet_status status;
    while (client_event(f->client, &event)) {
        must(event.text != NULL && event.server != NULL && event.client_id != NULL);
    }
    client_status(f->client, &status);
    must(status.inbox_bytes <= 3 * FUZZ_INBOX_BYTES + 2 * 4096);
    must(status.in_flight <= 5 && status.outbox_messages >= status.in_flight);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    struct store *store = store_memory_create();
    struct fuzz f = {.in = reader_of(span_of(data + 1, size - 1)), .now = 1};
    f.client = make_client(store, data[0]);
    client_time(f.client, f.now, 1700000000000);
    while (reader_left(&f.in) > 0) {
        deed(&f);
        check(&f);
    }
    client_destroy(f.client);
    store_memory_destroy(store);
    return 0;
}
