/* Listening sockets: each shard has its own, a taken port is said clearly, and nothing stays open after a failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/listener.h"

static char loopback[] = "127.0.0.1";

/* A checked configuration with one listener. */
static struct config one_listener(uint16_t port) {
    struct config config = {.listener_count = 1};
    config.listeners[0] = (struct config_listener){.port = port, .address = loopback};
    return config;
}

static uint16_t port_of(int fd) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    return ntohs(address.sin_port);
}

static int open_descriptors(void) {
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    int count = 0;
    while (readdir(directory) != NULL) {
        count++;
    }
    assert_int_equal(closedir(directory), 0);
    return count;
}

static void every_shard_listens_on_the_same_port(void **state) {
    (void)state;
    struct config config = one_listener(0);
    struct log log = {0};
    struct listeners l;
    struct error error;
    assert_true(listeners_open(&l, &config, 3, &log, &error));
    assert_int_equal(l.socket_count, 1);
    uint16_t port = port_of(l.sockets[0].fds[0]);
    assert_int_not_equal(port, 0);
    assert_int_equal(port_of(l.sockets[0].fds[1]), port);
    assert_int_equal(port_of(l.sockets[0].fds[2]), port);
    char name[32];
    (void)snprintf(name, sizeof name, "127.0.0.1:%u", port);
    assert_string_equal(l.sockets[0].name, name);
    listeners_close(&l);
}

/* SO_REUSEPORT must not let a second broker share the port of the first. */
static void a_taken_port_is_refused(unsigned first, unsigned second) {
    struct config config = one_listener(0);
    struct log log = {0};
    struct listeners holder;
    struct listeners l;
    struct error error;
    assert_true(listeners_open(&holder, &config, first, &log, &error));
    assert_true(listeners_listen(&holder, &error));
    config.listeners[0].port = port_of(holder.sockets[0].fds[0]);
    int before = open_descriptors();
    assert_false(listeners_open(&l, &config, second, &log, &error));
    assert_int_equal(open_descriptors(), before);
    char text[160];
    (void)snprintf(
        text, sizeof text,
        "cannot listen on 127.0.0.1:%u: Address already in use (another broker, perhaps mosquitto's service, "
        "is listening there)",
        config.listeners[0].port);
    assert_string_equal(error.text, text);
    listeners_close(&holder);
}

static void a_taken_port_is_refused_by_any_number_of_shards(void **state) {
    (void)state;
    a_taken_port_is_refused(1, 1);
    a_taken_port_is_refused(1, 4);
    a_taken_port_is_refused(4, 1);
    a_taken_port_is_refused(4, 4);
}

static bool connects(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    assert_int_equal(close(fd), 0);
    return connected;
}

/* A start that still reads its store takes no connection that it could not serve. */
static void nobody_connects_before_listeners_listen(void **state) {
    (void)state;
    for (unsigned shards = 1; shards <= 3; shards += 2) {
        struct config config = one_listener(0);
        struct log log = {0};
        struct listeners l;
        struct error error;
        assert_true(listeners_open(&l, &config, shards, &log, &error));
        uint16_t port = port_of(l.sockets[0].fds[0]);
        assert_false(connects(port));
        assert_true(listeners_listen(&l, &error));
        assert_true(connects(port));
        listeners_close(&l);
    }
}

/* Two brokers that start at once may both bind; only one of them listens. */
static void of_two_that_start_at_once_one_listens(void **state) {
    (void)state;
    for (unsigned shards = 1; shards <= 3; shards += 2) {
        struct config config = one_listener(0);
        struct log log = {0};
        struct listeners first;
        struct listeners second;
        struct error error;
        assert_true(listeners_open(&first, &config, shards, &log, &error));
        config.listeners[0].port = port_of(first.sockets[0].fds[0]);
        if (listeners_open(&second, &config, shards, &log, &error)) {
            assert_true(listeners_listen(&second, &error));
            assert_false(listeners_listen(&first, &error));
            listeners_close(&second);
        } else {
            assert_true(listeners_listen(&first, &error));
        }
        assert_non_null(strstr(error.text, "Address already in use"));
        listeners_close(&first);
    }
}

/* DHCP or a VPN brings it later; the others serve meanwhile. */
static void an_address_that_is_not_there_is_tried_again(void **state) {
    (void)state;
    static char elsewhere[] = "192.0.2.1";
    struct config config = one_listener(0);
    config.listeners[1] = (struct config_listener){.port = 23299, .address = elsewhere};
    config.listener_count = 2;
    struct log log = {0};
    struct listeners l;
    struct error error;
    int before = open_descriptors();
    assert_true(listeners_open(&l, &config, 2, &log, &error));
    assert_int_equal(open_descriptors(), before + 2);
    assert_true(listeners_missing(&l));
    assert_true(listeners_listen(&l, &error));
    assert_true(l.sockets[0].listens);
    listeners_retry(&l, &log);
    assert_true(listeners_missing(&l));
    assert_false(l.sockets[1].listens);
    assert_int_equal(open_descriptors(), before + 2);
    struct sockaddr_in *address = (struct sockaddr_in *)(void *)&l.sockets[1].address;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* as if it had come */
    listeners_retry(&l, &log);
    assert_false(listeners_missing(&l));
    assert_true(l.sockets[1].listens);
    assert_true(connects(23299));
    listeners_close(&l);
    assert_int_equal(open_descriptors(), before);
}

static void all_is_closed_when_the_last_listener_fails(void **state) {
    (void)state;
    struct config config = one_listener(0);
    struct log log = {0};
    struct listeners holder;
    struct listeners l;
    struct error error;
    assert_true(listeners_open(&holder, &config, 1, &log, &error));
    assert_true(listeners_listen(&holder, &error));
    config.listeners[1] = (struct config_listener){.port = port_of(holder.sockets[0].fds[0]), .address = loopback};
    config.listener_count = 2;
    int before = open_descriptors();
    assert_false(listeners_open(&l, &config, 2, &log, &error));
    assert_int_equal(open_descriptors(), before);
    listeners_close(&holder);
}

static void local_only_stays_on_the_loopback(void **state) {
    (void)state;
    struct config config = {.listener_count = 1, .local_only = true};
    config.listeners[0].port = 0;
    struct log log = {0};
    struct listeners l;
    struct error error;
    assert_true(listeners_open(&l, &config, 1, &log, &error));
    assert_true(l.socket_count >= 1);
    for (size_t i = 0; i < l.socket_count; i++) {
        assert_int_equal(port_of(l.sockets[i].fds[0]), port_of(l.sockets[0].fds[0]));
        assert_true(strncmp(l.sockets[i].name, "127.0.0.1:", 10) == 0 || strncmp(l.sockets[i].name, "[::1]:", 6) == 0);
    }
    listeners_close(&l);
}

static void an_unknown_host_is_said(void **state) {
    (void)state;
    static char nowhere[] = "no-such-host.invalid";
    struct config config = one_listener(0);
    config.listeners[0].address = nowhere;
    struct log log = {0};
    struct listeners l;
    struct error error;
    assert_false(listeners_open(&l, &config, 1, &log, &error));
    assert_non_null(strstr(error.text, "cannot listen on no-such-host.invalid: "));
}

/* ---- UNIX sockets ---- */

static char one_path[] = "/tmp/quartet-listener-test-1";
static char other_path[] = "/tmp/quartet-listener-test-2";

static bool there(const char *path) {
    struct stat status;
    return lstat(path, &status) == 0;
}

/* A port between two UNIX sockets. */
static struct config port_and_paths(void) {
    struct config config = {.listener_count = 3};
    config.listeners[0] = (struct config_listener){.path = one_path, .max_connections = 7};
    config.listeners[1] = (struct config_listener){.address = loopback};
    config.listeners[2] = (struct config_listener){.path = other_path};
    return config;
}

static int acceptors(const struct listening *l, unsigned shards, unsigned *last) {
    int count = 0;
    for (unsigned i = 0; i < shards; i++) {
        count += l->fds[i] >= 0 ? 1 : 0;
        *last = l->fds[i] >= 0 ? i : *last;
    }
    return count;
}

static void one_shard_accepts_from_a_unix_socket(void **state) {
    (void)state;
    struct config config = port_and_paths();
    struct log log = {0};
    struct listeners l;
    struct error error;
    unsigned shard = 0;
    unsigned first = 0;
    int before = open_descriptors();
    assert_true(listeners_open(&l, &config, 2, &log, &error));
    assert_int_equal(l.socket_count, 1);
    assert_false(there(one_path));
    assert_true(listeners_open_files(&l, &config, &log, &error));
    assert_int_equal(l.socket_count, 3);
    assert_int_equal(acceptors(&l.sockets[0], 2, &shard), 2);
    assert_string_equal(l.sockets[1].name, one_path);
    assert_int_equal(l.sockets[1].listener, 0);
    assert_int_equal(l.items[0].max_connections, 7);
    assert_int_equal(acceptors(&l.sockets[1], 2, &first), 1);
    assert_string_equal(l.sockets[2].name, other_path);
    assert_int_equal(l.sockets[2].listener, 2);
    assert_int_equal(acceptors(&l.sockets[2], 2, &shard), 1);
    listening_close(&l.sockets[1], 1 - first);
    assert_true(there(one_path));
    listening_close(&l.sockets[1], first);
    assert_false(there(one_path));
    assert_true(there(other_path));
    listeners_close(&l);
    assert_false(there(other_path));
    assert_int_equal(open_descriptors(), before);
}

static void all_is_closed_when_the_last_path_fails(void **state) {
    (void)state;
    static char nowhere[] = "/nonexistent/q";
    struct config config = port_and_paths();
    config.listeners[2].path = nowhere;
    struct log log = {0};
    struct listeners l;
    struct error error;
    int before = open_descriptors();
    assert_true(listeners_open(&l, &config, 2, &log, &error));
    assert_false(listeners_open_files(&l, &config, &log, &error));
    assert_string_equal(error.text, "cannot listen on /nonexistent/q: No such file or directory");
    assert_false(there(one_path));
    assert_int_equal(open_descriptors(), before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shard_listens_on_the_same_port),
        cmocka_unit_test(a_taken_port_is_refused_by_any_number_of_shards),
        cmocka_unit_test(nobody_connects_before_listeners_listen),
        cmocka_unit_test(of_two_that_start_at_once_one_listens),
        cmocka_unit_test(an_address_that_is_not_there_is_tried_again),
        cmocka_unit_test(all_is_closed_when_the_last_listener_fails),
        cmocka_unit_test(local_only_stays_on_the_loopback),
        cmocka_unit_test(an_unknown_host_is_said),
        cmocka_unit_test(one_shard_accepts_from_a_unix_socket),
        cmocka_unit_test(all_is_closed_when_the_last_path_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
