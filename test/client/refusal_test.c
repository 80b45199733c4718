/* What quartet_open() and the store refuse: each has its name and a sentence that names the culprit. */
#include "harness.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void refused(const struct quartet_options *options, int code, const char *word) {
    struct quartet *client = (void *)1;
    int got = quartet_open(&client, options);
    if (got != code || strstr(quartet_last_error(), word) == NULL) {
        fail_msg("%s, wanted %s with \"%s\": %s", quartet_error_name(got), quartet_error_name(code), word,
                 quartet_last_error());
    }
    assert_null(client);
}

static void options_that_make_no_sense_are_named(void **state) {
    (void)state;
    refused(&(struct quartet_options){.servers = "http://x"}, QUARTET_INVALID, "http://x");
    refused(&(struct quartet_options){.servers = "  "}, QUARTET_INVALID, "server");
    refused(&(struct quartet_options){.protocol = 3}, QUARTET_INVALID, "protocol");
    refused(&(struct quartet_options){.client_id = "\xff"}, QUARTET_INVALID, "client_id");
    refused(&(struct quartet_options){.will = {.topic = "a/#"}}, QUARTET_INVALID, "will");
    refused(&(struct quartet_options){.will = {.topic = "a", .qos = 3}}, QUARTET_INVALID, "will");
    refused(&(struct quartet_options){.retry_min_ms = 10, .retry_max_ms = 5}, QUARTET_INVALID, "retry");
    refused(NULL, QUARTET_INVALID, "options");
}

static void exactly_once_refuses_what_cannot_be(void **state) {
    (void)state;
    struct quartet_options good = {.client_id = "x", .store = "/nowhere/x", .guarantee = QUARTET_EXACTLY_ONCE};
    struct quartet_options o = good;
    o.store = NULL;
    refused(&o, QUARTET_UNSAFE, "store");
    o = good;
    o.clean_start = true;
    refused(&o, QUARTET_UNSAFE, "clean_start");
    o = good;
    o.end_session = true;
    refused(&o, QUARTET_UNSAFE, "end_session");
    o = good;
    o.client_id = NULL;
    refused(&o, QUARTET_UNSAFE, "client id");
    refused(&good, QUARTET_SYSTEM, "/nowhere/x");
}

static struct quartet_options in(const char *folder, const char *store) {
    return (struct quartet_options){
        .client_id = "x", .store = folder_file(folder, store), .servers = "mqtt://127.0.0.1:1"};
}

static void a_store_serves_one_client_at_a_time(void **state) {
    (void)state;
    char *folder = folder_make();
    struct quartet_options options = in(folder, "store");
    struct quartet *client;
    assert_ok(quartet_open(&client, &options));
    refused(&options, QUARTET_STORE_LOCKED, options.store);
    quartet_close(client);
    assert_ok(quartet_open(&client, &options));
    quartet_close(client);
    folder_drop(folder);
}

/* Puts bytes into a file of the store, at an offset. */
static void scribble(const char *folder, const char *name, off_t offset, const char *bytes) {
    int fd = open(folder_file(folder, name), O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, strlen(bytes), offset), strlen(bytes));
    (void)close(fd);
}

static void a_damaged_store_is_not_used(void **state) {
    (void)state;
    char *folder = folder_make();
    struct quartet_options options = in(folder, "store");
    struct quartet *client;
    assert_ok(quartet_open(&client, &options));
    for (unsigned i = 0; i < 3; i++) {
        assert_ok(publish_number(client, "n", 2, i, NULL));
    }
    quartet_close(client);
    assert_int_equal(truncate(folder_file(folder, "store/table.mdb"), 4096), 0);
    options.store = folder_file(folder, "store");
    refused(&options, QUARTET_STORE_DAMAGED, "table.mdb");
    folder_drop(folder);
}

static void a_directory_of_others_is_not_used(void **state) {
    (void)state;
    char *folder = folder_make();
    struct quartet_options options = in(folder, "store");
    assert_int_equal(mkdir(options.store, 0777), 0);
    assert_int_equal(chmod(options.store, 0777), 0);
    refused(&options, QUARTET_INVALID, "writable by others");
    scribble(folder, "file", 0, "no directory");
    options = in(folder, "file");
    refused(&options, QUARTET_SYSTEM, "file");
    folder_drop(folder);
}

static void a_store_keeps_its_format_from_others(void **state) {
    (void)state;
    char *folder = folder_make();
    struct quartet_options options = in(folder, "store");
    assert_int_equal(mkdir(options.store, 0700), 0);
    for (off_t at = 0; at < 40960; at += 20) {
        scribble(folder, "store/table.mdb", at, "this is not a table\n");
    }
    options.store = folder_file(folder, "store");
    refused(&options, QUARTET_STORE_FORMAT, "table.mdb");
    folder_drop(folder);
}

/* A file system of 24 MiB is full after a while: publishing is refused, and works again when what was sent is gone. */
static void a_full_disk_refuses_and_recovers(void **state) {
    (void)state;
    struct broker b;
    broker_init(&b);
    const char *small = folder_file(b.folder, "small");
    assert_int_equal(mkdir(small, 0700), 0);
    if (mount("none", small, "tmpfs", 0, "size=24m,mode=0700") != 0) {
        print_message("SKIPPED a full disk: this needs the right to mount\n");
        broker_deinit(&b);
        skip();
    }
    char payload[60000];
    memset(payload, 'x', sizeof payload);
    struct quartet_options options = {.client_id = "full",
                                      .store = folder_file(b.folder, "small/store"),
                                      .servers = b.url,
                                      .retry_max_ms = 20,
                                      .retry_min_ms = 5};
    options.packet_bytes_max = 256 << 10;
    struct quartet_publication p = {.topic = "n", .payload = payload, .payload_bytes = sizeof payload, .qos = 1};
    struct quartet *client;
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_start(client));
    int code = QUARTET_OK;
    unsigned taken = 0;
    for (; code == QUARTET_OK && taken < 2000; taken++) {
        code = quartet_publish(client, &p, NULL);
    }
    assert_int_equal(code, QUARTET_STORE_FULL);
    broker_start(&b);
    assert_ok(quartet_wait(client, 0, 30000)); /* all that was taken is sent */
    struct quartet_status status;
    quartet_status(client, &status);
    assert_int_equal(status.published, taken - 1);
    for (int i = 0; i < 1000 && (code = quartet_publish(client, &p, NULL)) == QUARTET_STORE_FULL; i++) {
        (void)nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    assert_int_equal(code, QUARTET_OK);
    assert_ok(quartet_wait(client, 0, 30000));
    quartet_close(client);
    (void)umount2(folder_file(b.folder, "small"), MNT_DETACH);
    broker_deinit(&b);
}

static void the_outbox_has_a_bound(void **state) {
    (void)state;
    struct quartet_options options = {.client_id = "bound", .servers = "mqtt://127.0.0.1:1", .outbox_bytes = 10000};
    struct quartet *client;
    assert_ok(quartet_open(&client, &options));
    for (int qos = 0; qos <= 2; qos++) {
        int code = QUARTET_OK;
        for (unsigned i = 0; code == QUARTET_OK && i < 10000; i++) {
            code = publish_number(client, "n", qos, i, NULL);
        }
        assert_int_equal(code, QUARTET_FULL);
    }
    quartet_close(client);
}

static void publications_that_make_no_sense_are_refused(void **state) {
    (void)state;
    char *folder = folder_make();
    struct quartet_options options = in(folder, "store");
    options.packet_bytes_max = 1000;
    struct quartet *client;
    assert_ok(quartet_open(&client, &options));
    static char large[1000];
    static const struct quartet_user_property nameless[] = {{NULL, "value"}};
    const struct quartet_publication wrong[] = {
        {.topic = NULL},
        {.topic = ""},
        {.topic = "a/+"},
        {.topic = "\xc3("},
        {.topic = "a", .qos = 3},
        {.topic = "a", .qos = -1},
        {.topic = "a", .payload = large, .payload_bytes = 1000},
        {.topic = "a", .properties = {.user_count = 1}},
        {.topic = "a", .properties = {.user = nameless, .user_count = 1}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint64_t id = 5;
        if (quartet_publish(client, &wrong[i], &id) != QUARTET_INVALID || id != 0) {
            fail_msg("publication %zu was taken", i);
        }
    }
    struct quartet_subscription s = {.filter = "a/#/b"};
    assert_int_equal(quartet_subscribe(client, &s, 1), QUARTET_INVALID);
    struct quartet_position foreign = {.epoch = {1}, .sequence = 5};
    assert_int_equal(quartet_resume(client, &foreign), QUARTET_INVALID);
    assert_non_null(strstr(quartet_last_error(), "epoch"));
    quartet_close(client);
    folder_drop(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_that_make_no_sense_are_named),
        cmocka_unit_test(exactly_once_refuses_what_cannot_be),
        cmocka_unit_test(a_store_serves_one_client_at_a_time),
        cmocka_unit_test(a_damaged_store_is_not_used),
        cmocka_unit_test(a_directory_of_others_is_not_used),
        cmocka_unit_test(a_store_keeps_its_format_from_others),
        cmocka_unit_test(a_full_disk_refuses_and_recovers),
        cmocka_unit_test(the_outbox_has_a_bound),
        cmocka_unit_test(publications_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
