/* The library and a real broker that listens on a UNIX socket: each QoS, and brokers that die and leave it behind. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_S = 30 };

/* A broker without a port. */
struct local {
    pid_t pid; /* 0: none */
    char *folder;
    char path[100];
    char url[120];
};

static void local_init(struct local *b) {
    *b = (struct local){.folder = folder_make()};
    (void)snprintf(b->path, sizeof b->path, "%s/socket", b->folder);
    (void)snprintf(b->url, sizeof b->url, "unix://%s", b->path);
    FILE *file = fopen(folder_file(b->folder, "conf"), "w");
    assert_non_null(file);
    assert_true(fprintf(file, "listener 0 %s\nallow_anonymous true\nshards 4\npersistence_location %s/data\n", b->path,
                        b->folder) > 0);
    assert_int_equal(fclose(file), 0);
}

static void become_broker(const struct local *b) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(folder_file(b->folder, "log"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    (void)dup2(fd, STDOUT_FILENO);
    (void)dup2(fd, STDERR_FILENO);
    (void)execl(QUARTETD, QUARTETD, "-c", folder_file(b->folder, "conf"), (char *)NULL);
    _exit(127);
}

static bool answers(const struct local *b) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", b->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool up = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
    (void)close(fd);
    return up;
}

static void local_start(struct local *b) {
    b->pid = fork();
    assert_true(b->pid >= 0);
    if (b->pid == 0) {
        become_broker(b);
    }
    for (int i = 0; i < PATIENCE_S * 200 && !answers(b); i++) {
        assert_int_equal(waitpid(b->pid, NULL, WNOHANG), 0);
        (void)nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    assert_true(answers(b));
}

/* Ends it with a signal; its exit status as waitpid() has it. */
static int local_end(struct local *b, int number) {
    int status = 0;
    assert_int_equal(kill(b->pid, number), 0);
    assert_int_equal(waitpid(b->pid, &status, 0), b->pid);
    b->pid = 0;
    return status;
}

static void local_deinit(struct local *b) {
    if (b->pid > 0) {
        (void)local_end(b, SIGKILL);
    }
    folder_drop(b->folder);
}

static bool left_behind(const struct local *b) {
    struct stat status;
    return lstat(b->path, &status) == 0;
}

static struct quartet_options receiver_of(const struct local *b, struct collected *c) {
    return (struct quartet_options){.servers = b->url,
                                    .client_id = "receiver",
                                    .retry_min_ms = 5,
                                    .retry_max_ms = 20,
                                    .on_message = collect_message,
                                    .on_event = collect_event,
                                    .user = c};
}

static struct quartet *subscribed(const struct quartet_options *options) {
    struct quartet *client;
    struct quartet_subscription s = {.filter = "n", .qos = 2};
    assert_ok(quartet_open(&client, options));
    assert_ok(quartet_subscribe(client, &s, 1));
    assert_ok(quartet_start(client));
    return client;
}

static void messages_of_each_qos_arrive_in_order(void **state) {
    (void)state;
    struct local b;
    struct collected c;
    local_init(&b);
    local_start(&b);
    for (int protocol = 4; protocol <= 5; protocol++) {
        for (int qos = 0; qos <= 2; qos++) {
            collected_init(&c);
            struct quartet_options options = receiver_of(&b, &c);
            options.protocol = protocol;
            options.clean_start = options.end_session = true;
            struct quartet *client = subscribed(&options);
            collected_wait_event(&c, QUARTET_EVENT_SUBSCRIBED, 1);
            for (unsigned i = 0; i < 1000; i++) {
                assert_ok(publish_number(client, "n", qos, i, NULL));
            }
            assert_ok(quartet_wait(client, 0, 20000));
            collected_wait(&c, 1000);
            collected_are(&c, 1000);
            quartet_close(client);
            collected_deinit(&c);
        }
    }
    assert_int_equal(local_end(&b, SIGTERM), 0);
    assert_false(left_behind(&b));
    local_deinit(&b);
}

static struct quartet *sender_of(const struct local *b, const struct quartet_options *like) {
    struct quartet *client;
    struct quartet_options options = *like;
    options.client_id = "sender";
    options.store = folder_file(b->folder, "sender");
    options.on_event = NULL;
    options.on_message = NULL;
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_start(client));
    return client;
}

/* Killed with flows in every state, the broker finds its own dead socket and goes on. */
static void a_broker_that_leaves_its_socket_costs_nothing(void **state) {
    (void)state;
    enum { KILLS = 8, MESSAGES_PER_KILL = 300, MESSAGES = (KILLS + 1) * MESSAGES_PER_KILL };
    struct local b;
    struct collected c;
    collected_init(&c);
    local_init(&b);
    local_start(&b);
    struct quartet_options options = receiver_of(&b, &c);
    options.store = folder_file(b.folder, "receiver");
    options.guarantee = QUARTET_EXACTLY_ONCE;
    struct quartet *receiver = subscribed(&options);
    collected_wait_event(&c, QUARTET_EVENT_SUBSCRIBED, 1);
    struct quartet *sender = sender_of(&b, &options);
    for (unsigned i = 0; i < MESSAGES; i++) {
        assert_ok(publish_number(sender, "n", 2, i, NULL));
        if (i % MESSAGES_PER_KILL == MESSAGES_PER_KILL - 1 && i / MESSAGES_PER_KILL < KILLS) {
            collected_wait(&c, i - MESSAGES_PER_KILL / 2);
            assert_true(WIFSIGNALED(local_end(&b, SIGKILL)));
            assert_true(left_behind(&b) && !answers(&b));
            local_start(&b);
        }
    }
    assert_ok(quartet_wait(sender, 0, PATIENCE_S * 1000));
    collected_wait(&c, MESSAGES);
    quartet_close(sender);
    quartet_close(receiver);
    collected_are(&c, MESSAGES);
    collected_deinit(&c);
    local_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_each_qos_arrive_in_order),
        cmocka_unit_test(a_broker_that_leaves_its_socket_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
