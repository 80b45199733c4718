/* A system that is slow, full or refuses: the calls that the library makes are answered here. What waits for the disk
 * has a limit, nothing is told as stored that is not, and nothing ends the process. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic bool disk_is_full;
static _Atomic int epoll_refusals;       /* so many more times it has no memory */
static _Atomic int random_interruptions; /* so many more times a signal comes first */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool held;
} disk = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};

static void disk_hold(bool held) {
    (void)pthread_mutex_lock(&disk.mutex);
    disk.held = held;
    (void)pthread_cond_broadcast(&disk.changed);
    (void)pthread_mutex_unlock(&disk.mutex);
}

static struct quartet *client; /* of the test that runs */

static void client_close(void) {
    quartet_close(client);
    client = NULL;
}

/* After a test that has failed, too: the next one finds the system as ever, and no client of another. */
static int system_recovers(void **state) {
    (void)state;
    disk_hold(false);
    disk_is_full = false;
    epoll_refusals = 0;
    random_interruptions = 0;
    client_close();
    return 0;
}

int fdatasync(int fd) {
    (void)pthread_mutex_lock(&disk.mutex);
    while (disk.held) {
        (void)pthread_cond_wait(&disk.changed, &disk.mutex);
    }
    (void)pthread_mutex_unlock(&disk.mutex);
    return (int)syscall(SYS_fdatasync, fd);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset) {
    if (disk_is_full) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, bytes, len, offset);
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event) {
    if (epoll_refusals > 0 && operation == EPOLL_CTL_ADD) {
        epoll_refusals--;
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}

ssize_t getrandom(void *to, size_t len, unsigned flags) {
    if (random_interruptions > 0) {
        random_interruptions--;
        errno = EINTR;
        return -1;
    }
    return syscall(SYS_getrandom, to, len, flags);
}

/* A client with a store, and nobody to talk to. */
static struct quartet_options lonely(const char *folder, struct collected *c) {
    return (struct quartet_options){.servers = "mqtt://127.0.0.1:1",
                                    .client_id = "lonely",
                                    .store = folder_file(folder, "store"),
                                    .on_event = c != NULL ? collect_event : NULL,
                                    .user = c};
}

static void publishing_on_a_full_disk_has_a_limit(void **state) {
    (void)state;
    char *folder = folder_make();
    struct quartet_options options = lonely(folder, NULL);
    options.store_timeout_ms = 1000;
    uint64_t id = 0;
    assert_ok(quartet_open(&client, &options));
    assert_ok(publish_number(client, "n", 2, 0, NULL));
    disk_is_full = true;
    assert_int_equal(publish_number(client, "n", 2, 1, &id), QUARTET_TIMEOUT);
    assert_true(id != 0); /* it is taken: not to be published again, but waited for */
    assert_int_equal(quartet_wait_stored(client, id, 0), QUARTET_TIMEOUT);
    disk_is_full = false;
    assert_ok(quartet_wait_stored(client, id, 20000));
    struct quartet_status status;
    quartet_status(client, &status);
    assert_int_equal(status.outbox_messages, 2);
    client_close();
    folder_drop(folder);
}

static void closing_on_a_full_disk_has_a_limit(void **state) {
    (void)state;
    char *folder = folder_make();
    struct quartet_options options = lonely(folder, NULL);
    options.store_timeout_ms = 1000;
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_start(client));
    assert_ok(publish_number(client, "n", 2, 0, NULL));
    disk_is_full = true;
    assert_int_equal(publish_number(client, "n", 2, 1, NULL), QUARTET_TIMEOUT);
    int64_t begin = now_ms();
    client_close();
    int64_t took = now_ms() - begin;
    disk_is_full = false;
    assert_true(took < 8000);
    options.store = folder_file(folder, "store");
    assert_ok(quartet_open(&client, &options)); /* what was told as stored is there */
    struct quartet_status status;
    quartet_status(client, &status);
    assert_true(status.outbox_messages >= 1);
    client_close();
    folder_drop(folder);
}

/* The second call for sequence 5 gives the id of the first, which is older than what was published last. */
static void stored_is_told_of_the_last_message_too(void **state) {
    (void)state;
    static struct collected c; /* for its client, which is closed after a test that fails */
    char *folder = folder_make();
    collected_init(&c);
    struct quartet_options options = lonely(folder, &c);
    struct quartet_publication p = {.topic = "n", .payload = "x", .payload_bytes = 1, .qos = 2, .no_wait = true};
    uint64_t first;
    uint64_t last;
    uint64_t again;
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_start(client));
    disk_hold(true);
    p.sequence = 5;
    assert_ok(quartet_publish(client, &p, &first));
    p.sequence = 0;
    assert_ok(quartet_publish(client, &p, &last));
    p.sequence = 5;
    assert_ok(quartet_publish(client, &p, &again));
    assert_int_equal(again, first);
    assert_int_equal(quartet_wait_stored(client, first, 0), QUARTET_TIMEOUT);
    assert_int_equal(collected_events(&c, QUARTET_EVENT_STORED), 0);
    disk_hold(false);
    collected_wait_id(&c, QUARTET_EVENT_STORED, last);
    client_close();
    collected_deinit(&c);
    folder_drop(folder);
}

/* Turns of the client that began after now have ended: it tries to connect in each, and tells that it could not. */
static void wait_for_turns(struct collected *c) {
    collected_wait_event(c, QUARTET_EVENT_DISCONNECTED, collected_events(c, QUARTET_EVENT_DISCONNECTED) + 6);
}

/* Records that are no messages, and messages that were waited for, become durable while one that nobody waits for does
 * not: nothing is told before that is. */
static void stored_is_told_of_nothing_else(void **state) {
    (void)state;
    static struct collected c;
    char *folder = folder_make();
    collected_init(&c);
    struct quartet_options options = lonely(folder, &c);
    options.retry_min_ms = 1;
    options.retry_max_ms = 5;
    struct quartet_publication p = {.topic = "n", .payload = "x", .payload_bytes = 1, .qos = 2};
    uint64_t ids[3];
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_start(client));
    assert_ok(quartet_publish(client, &p, &ids[0]));
    disk_hold(true);
    p.no_wait = true;
    assert_ok(quartet_publish(client, &p, &ids[1]));
    wait_for_turns(&c);
    assert_int_equal(collected_events(&c, QUARTET_EVENT_STORED), 0);
    disk_hold(false);
    collected_wait_id(&c, QUARTET_EVENT_STORED, ids[1]);
    p.no_wait = false;
    assert_ok(quartet_publish(client, &p, &ids[2]));
    wait_for_turns(&c);
    assert_int_equal(collected_events(&c, QUARTET_EVENT_STORED), 1);
    assert_int_equal(collected_last(&c, QUARTET_EVENT_STORED).id, ids[1]);
    client_close();
    collected_deinit(&c);
    folder_drop(folder);
}

/* What the files of a folder occupy. */
static long folder_kib(const char *folder) {
    long blocks = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        struct stat status;
        if (fstatat(dirfd(d), e->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode)) {
            blocks += status.st_blocks;
        }
    }
    (void)closedir(d);
    return blocks / 2;
}

/* A small gateway has a small disk: what nobody uses is not taken. A large message makes room for itself. */
static void a_store_at_rest_is_small(void **state) {
    (void)state;
    char *folder = folder_make();
    static char large[3 << 20];
    struct quartet_options options = lonely(folder, NULL);
    struct quartet_publication p = {.topic = "n", .payload = large, .payload_bytes = sizeof large, .qos = 2};
    assert_ok(quartet_open(&client, &options));
    assert_ok(publish_number(client, "n", 2, 0, NULL));
    client_close();
    options.store = folder_file(folder, "store");
    long rest = folder_kib(options.store);
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_publish(client, &p, NULL));
    client_close();
    options.store = folder_file(folder, "store");
    assert_true(folder_kib(options.store) > rest + 3072);
    assert_ok(quartet_open(&client, &options));
    struct quartet_status status;
    quartet_status(client, &status);
    assert_int_equal(status.outbox_messages, 2);
    client_close();
    folder_drop(folder);
    if (rest > 5120) {
        fail_msg("a store with one small message takes %ld KiB", rest);
    }
}

static void a_system_without_memory_costs_a_connection(void **state) {
    (void)state;
    static struct collected c;
    static struct false_broker f;
    collected_init(&c);
    false_broker_start(&f, NULL, false_serve, NULL);
    struct quartet_options options = {.servers = f.url,
                                      .client_id = "small",
                                      .retry_min_ms = 1,
                                      .retry_max_ms = 5,
                                      .on_event = collect_event,
                                      .user = &c};
    assert_ok(quartet_open(&client, &options));
    epoll_refusals = 3;
    assert_ok(quartet_start(client));
    collected_wait_event(&c, QUARTET_EVENT_CONNECTED, 1);
    assert_int_equal(collected_events(&c, QUARTET_EVENT_DISCONNECTED), 3);
    assert_int_equal(collected_last(&c, QUARTET_EVENT_DISCONNECTED).error, QUARTET_SYSTEM);
    client_close();
    false_broker_stop(&f);
    collected_deinit(&c);
}

static void a_signal_before_there_is_randomness_does_no_harm(void **state) {
    (void)state;
    char *folder = folder_make();
    struct quartet_options options = lonely(folder, NULL);
    random_interruptions = 5;
    assert_ok(quartet_open(&client, &options));
    client_close();
    options.store = NULL;
    random_interruptions = 5;
    assert_ok(quartet_open(&client, &options));
    client_close();
    folder_drop(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(publishing_on_a_full_disk_has_a_limit, system_recovers),
        cmocka_unit_test_teardown(closing_on_a_full_disk_has_a_limit, system_recovers),
        cmocka_unit_test_teardown(stored_is_told_of_the_last_message_too, system_recovers),
        cmocka_unit_test_teardown(stored_is_told_of_nothing_else, system_recovers),
        cmocka_unit_test_teardown(a_store_at_rest_is_small, system_recovers),
        cmocka_unit_test_teardown(a_system_without_memory_costs_a_connection, system_recovers),
        cmocka_unit_test_teardown(a_signal_before_there_is_randomness_does_no_harm, system_recovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
