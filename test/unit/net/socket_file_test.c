/* The file of a UNIX socket: a dead broker's is replaced, a living one's is not, nor is anything else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/socket_file.h"

/* A directory of the test's own, and the paths in it. */
struct place {
    char directory[32];
    char path[48];
    char lock[64];
};

static void place_make(struct place *p) {
    strcpy(p->directory, "/tmp/quartet-socket-XXXXXX");
    assert_non_null(mkdtemp(p->directory));
    (void)snprintf(p->path, sizeof p->path, "%s/q", p->directory);
    (void)snprintf(p->lock, sizeof p->lock, "%s.lock", p->path);
}

/* Nothing was left behind. */
static void place_drop(const struct place *p) {
    assert_int_equal(rmdir(p->directory), 0);
}

static bool there(const char *path) {
    struct stat status;
    return lstat(path, &status) == 0;
}

static struct sockaddr_un address_of(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return address;
}

static bool answers(const char *path) {
    struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool connected = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    assert_int_equal(close(fd), 0);
    return connected;
}

static int open_and_listen(struct socket_file *f, const char *path, struct error *error) {
    int fd = socket_file_open(f, path, SOCKET_FOR_GROUP, error);
    return fd >= 0 && listen(fd, 16) != 0 ? -1 : fd;
}

/* A socket of another program, which knows no lock. */
static int foreign_socket(const char *path, int type) {
    struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    if (type == SOCK_STREAM) {
        assert_int_equal(listen(fd, 0), 0);
    }
    return fd;
}

/* It cannot be opened, this is said, and it changes nothing. */
static void refused(const char *path, const char *why) {
    struct socket_file f;
    struct error error;
    assert_int_equal(open_and_listen(&f, path, &error), -1);
    char text[300];
    (void)snprintf(text, sizeof text, "cannot listen on %s: %s", path, why);
    assert_string_equal(error.text, text);
    socket_file_close(&f);
}

static void owner_and_group_may_connect(void **state) {
    (void)state;
    struct place p;
    struct socket_file f;
    struct error error;
    struct stat status;
    place_make(&p);
    mode_t before = umask(0077);
    int fd = open_and_listen(&f, p.path, &error);
    assert_true(fd >= 0);
    assert_false(f.replaced);
    assert_int_equal(umask(before), 0077);
    assert_int_equal(lstat(p.path, &status), 0);
    assert_int_equal(status.st_mode, S_IFSOCK | 0770);
    assert_true(answers(p.path));
    socket_file_close(&f);
    assert_false(there(p.path) || there(p.lock));
    socket_file_close(&f);
    assert_int_equal(close(fd), 0);
    place_drop(&p);
}

static void a_living_brokers_is_left_alone(void **state) {
    (void)state;
    struct place p;
    struct socket_file f;
    struct error error;
    place_make(&p);
    int fd = open_and_listen(&f, p.path, &error);
    char why[100];
    (void)snprintf(why, sizeof why, "another broker holds %s", p.lock);
    refused(p.path, why);
    assert_true(answers(p.path));
    socket_file_close(&f);
    assert_int_equal(close(fd), 0);
    place_drop(&p);
}

/* A process that is killed leaves its files behind, and nobody answers. */
static void leave_dead_socket(const struct place *p) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct socket_file f;
        struct error error;
        (void)open_and_listen(&f, p->path, &error);
        (void)raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_true(there(p->path) && there(p->lock) && !answers(p->path));
}

static void a_dead_brokers_is_replaced(void **state) {
    (void)state;
    struct place p;
    struct socket_file f;
    struct error error;
    place_make(&p);
    leave_dead_socket(&p);
    int fd = open_and_listen(&f, p.path, &error);
    assert_true(fd >= 0);
    assert_true(f.replaced);
    assert_true(answers(p.path));
    socket_file_close(&f);
    assert_int_equal(close(fd), 0);
    place_drop(&p);
}

static void another_programs_is_left_alone_while_it_listens(void **state) {
    (void)state;
    static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
    struct place p;
    place_make(&p);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        int fd = foreign_socket(p.path, types[i]);
        refused(p.path, "another program, perhaps mosquitto, is listening there");
        assert_true(there(p.path));
        assert_false(there(p.lock));
        assert_int_equal(close(fd), 0);
        assert_int_equal(unlink(p.path), 0);
    }
    place_drop(&p);
}

/* As many wait to be accepted as may: a program that is slow is not dead. */
static void a_busy_programs_is_left_alone(void **state) {
    (void)state;
    struct place p;
    place_make(&p);
    int fd = foreign_socket(p.path, SOCK_STREAM);
    struct sockaddr_un address = address_of(p.path);
    int waiting[16];
    int count = 0;
    do {
        waiting[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    } while (connect(waiting[count++], (struct sockaddr *)&address, sizeof address) == 0 && count < 16);
    assert_in_range(count, 2, 15);
    refused(p.path, "another program, perhaps mosquitto, is listening there");
    while (count > 0) {
        assert_int_equal(close(waiting[--count]), 0);
    }
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(p.path), 0);
    place_drop(&p);
}

static void what_is_not_a_socket_is_left_alone(void **state) {
    (void)state;
    struct place p;
    place_make(&p);
    int fd = open(p.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(close(fd), 0);
    refused(p.path, "it is there and not a socket");
    assert_int_equal(unlink(p.path), 0);
    assert_int_equal(symlink("elsewhere", p.path), 0);
    refused(p.path, "it is there and not a socket");
    assert_int_equal(unlink(p.path), 0);
    place_drop(&p);
}

static void a_missing_directory_is_said(void **state) {
    (void)state;
    refused("/nonexistent/q", "No such file or directory");
}

/* Somebody has taken the name meanwhile: his file stays at our end. */
static void what_took_our_name_is_not_removed(void **state) {
    (void)state;
    struct place p;
    struct socket_file f;
    struct error error;
    place_make(&p);
    int fd = open_and_listen(&f, p.path, &error);
    assert_int_equal(unlink(p.path), 0);
    int other = foreign_socket(p.path, SOCK_STREAM);
    socket_file_close(&f);
    assert_true(answers(p.path));
    assert_int_equal(close(other), 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(p.path), 0);
    place_drop(&p);
}

/* ---- many at once ---- */

enum { BROKERS = 6, ROUNDS = 300 };

/* What the processes share. */
struct race {
    _Atomic int owners; /* who believes that the path is his */
    _Atomic int won;
    _Atomic int shared; /* seen by one that was not alone */
};

/* One broker after the other in one process: starts, listens, stops, and is killed in the end. */
static void start_and_stop(const char *path, struct race *race) {
    struct socket_file f;
    struct error error;
    for (int i = 0; i < ROUNDS; i++) {
        int fd = open_and_listen(&f, path, &error);
        if (fd < 0) {
            continue;
        }
        atomic_fetch_add(&race->won, 1);
        atomic_fetch_add(&race->shared, atomic_fetch_add(&race->owners, 1) != 0 || !answers(path) ? 1 : 0);
        atomic_fetch_sub(&race->owners, 1);
        if (i > ROUNDS / 2 && i % 7 == 0) {
            (void)raise(SIGKILL);
        }
        socket_file_close(&f);
        (void)close(fd);
    }
    (void)raise(SIGKILL);
}

static void a_path_is_never_shared(void **state) {
    (void)state;
    struct place p;
    struct socket_file f;
    struct error error;
    place_make(&p);
    struct race *race = mmap(NULL, sizeof *race, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(race, MAP_FAILED);
    pid_t pids[BROKERS];
    for (int i = 0; i < BROKERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            start_and_stop(p.path, race);
        }
    }
    for (int i = 0; i < BROKERS; i++) {
        assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
    }
    assert_true(race->won > 0);
    assert_int_equal(race->shared, 0);
    assert_int_equal(munmap(race, sizeof *race), 0);
    int fd = open_and_listen(&f, p.path, &error);
    assert_true(fd >= 0);
    socket_file_close(&f);
    assert_int_equal(close(fd), 0);
    place_drop(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owner_and_group_may_connect),
        cmocka_unit_test(a_living_brokers_is_left_alone),
        cmocka_unit_test(a_dead_brokers_is_replaced),
        cmocka_unit_test(another_programs_is_left_alone_while_it_listens),
        cmocka_unit_test(a_busy_programs_is_left_alone),
        cmocka_unit_test(what_is_not_a_socket_is_left_alone),
        cmocka_unit_test(a_missing_directory_is_said),
        cmocka_unit_test(what_took_our_name_is_not_removed),
        cmocka_unit_test(a_path_is_never_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
