#include "torture/victim.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"

/* linux/fs.h has them in newer kernels only. */
#define SHUTDOWN_REQUEST _IOR('X', 125, uint32_t)
#define SHUTDOWN_NO_LOG_FLUSH 2U
#define IMAGE_BYTES (512LL << 20)
#define PORT_FIRST 15000U
#define PORTS 17000U
#define LOG_BYTES 1000

/* ---- commands ---- */

/* Runs a program and waits for it. */
static bool run(struct error *error, const char *program, const char *const *arguments) {
    pid_t pid = fork();
    if (pid == 0) {
        int quiet = open("/dev/null", O_RDWR | O_CLOEXEC);
        (void)dup2(quiet, STDOUT_FILENO);
        (void)dup2(quiet, STDERR_FILENO);
        (void)execvp(program, (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        return error_set(error, ERROR_IO, errno, "%s failed with status %d: it needs root, and room on its disk",
                         program, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
    return true;
}

static bool mount_image(struct victim *b, struct error *error) {
    const char *const arguments[] = {"mount", "-o", "loop", b->image, b->mount, NULL};
    b->mounted = run(error, "mount", arguments);
    return b->mounted;
}

static bool unmount(struct victim *b, struct error *error) {
    const char *const arguments[] = {"umount", b->mount, NULL};
    b->mounted = !run(error, "umount", arguments);
    return !b->mounted;
}

/* Mounts of ours are seen by us and our children alone, and end with us. */
static bool image_init(struct victim *b, struct error *error) {
    const char *const arguments[] = {"mkfs.ext4", "-q", "-F", "-m", "0", b->image, NULL};
    int fd = open(b->image, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, IMAGE_BYTES) != 0) {
        int reason = errno;
        if (fd >= 0) {
            close(fd);
        }
        return error_set(error, ERROR_IO, reason, "cannot make %s: %s", b->image, strerror(reason));
    }
    close(fd);
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return error_set(error, ERROR_IO, errno, "cannot have mounts of our own: %s; --data-image needs root",
                         strerror(errno));
    }
    return run(error, "mkfs.ext4", arguments) && mount_image(b, error);
}

bool victim_power_off(struct victim *b, struct error *error) {
    uint32_t how = SHUTDOWN_NO_LOG_FLUSH;
    int fd = open(b->mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && ioctl(fd, SHUTDOWN_REQUEST, &how) == 0;
    int reason = errno;
    if (fd >= 0) {
        close(fd);
    }
    return good || error_set(error, ERROR_IO, reason, "cannot cut the power of %s: %s", b->mount, strerror(reason));
}

bool victim_power_on(struct victim *b, struct error *error) {
    return unmount(b, error) && mount_image(b, error);
}

/* ---- the process ---- */

uint16_t victim_free_port(uint64_t draw) {
    for (uint64_t i = 0; i < PORTS; i++) {
        const int on = 1;
        uint16_t port = (uint16_t)(PORT_FIRST + (draw + i) % PORTS);
        struct sockaddr_in address = {
            .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        bool free_port = bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
        close(fd);
        if (free_port) {
            return port;
        }
    }
    return 0;
}

bool victim_init(struct victim *b, const char *command, uint16_t port, const char *data, const char *image,
                 struct error *error) {
    *b = (struct victim){.command = command, .port = port, .image = image};
    if (command == NULL) {
        return true;
    }
    b->broker = mmap(NULL, sizeof(*b->broker), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b->broker == MAP_FAILED) {
        b->broker = NULL;
        return error_set(error, ERROR_IO, errno, "cannot share memory: %s", strerror(errno));
    }
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(b->scratch, sizeof(b->scratch), "%s/quartet-torture-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(b->scratch) == NULL) {
        return error_set(error, ERROR_IO, errno, "cannot make %s: %s", b->scratch, strerror(errno));
    }
    (void)snprintf(b->log, sizeof(b->log), "%s/broker.log", b->scratch);
    (void)snprintf(b->mount, sizeof(b->mount), "%s/disk", b->scratch);
    (void)snprintf(b->data, sizeof(b->data), "%.220s/data", image != NULL ? b->mount : b->scratch);
    if (data != NULL) {
        (void)snprintf(b->data, sizeof(b->data), "%s", data);
    }
    (void)mkdir(b->mount, 0700);
    if (image != NULL && !image_init(b, error)) {
        return false;
    }
    if (mkdir(b->data, 0700) != 0 && errno != EEXIST) {
        return error_set(error, ERROR_IO, errno, "cannot make %s: %s", b->data, strerror(errno));
    }
    /* Brokers that give up root must still get into their data. */
    (void)chmod(b->scratch, 0755);
    return true;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place) {
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

void victim_deinit(struct victim *b) {
    struct error error;
    victim_kill(b);
    if (b->mounted) {
        (void)unmount(b, &error);
    }
    if (b->scratch[0] != 0) {
        (void)nftw(b->scratch, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    }
    if (b->broker != NULL) {
        (void)munmap((void *)(uintptr_t)b->broker, sizeof(*b->broker));
    }
    *b = (struct victim){0};
}

/* Puts the value in place of each {name}. */
static void substitute(struct buf *out, const char *command, const char *port, const char *data) {
    while (*command != 0) {
        if (strncmp(command, "{port}", 6) == 0 || strncmp(command, "{data}", 6) == 0) {
            buf_bytes(out, span_str(command[1] == 'p' ? port : data));
            command += 6;
        } else {
            buf_u8(out, (uint8_t)*command++);
        }
    }
    buf_u8(out, 0);
}

_Noreturn static void become(const struct victim *b, const char *command, const char *port) {
    int log = open(b->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)dup2(nothing, STDIN_FILENO);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    (void)setenv("PORT", port, 1);
    (void)setenv("DATA", b->data, 1);
    (void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* ---- the guardian ---- */

/* Kills every child that the kernel lists; false when it lists none, or has no such list. */
static bool kill_children(void) {
    char text[4096] = "";
    const char *at = text;
    char *end = NULL;
    bool any = false;
    int list = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    if (list < 0) {
        return false;
    }
    ssize_t bytes = read(list, text, sizeof(text) - 1);
    close(list);
    text[bytes > 0 ? bytes : 0] = 0;
    for (long pid = strtol(at, &end, 10); end != at && *end == ' '; pid = strtol(at, &end, 10)) {
        any = kill((pid_t)pid, SIGKILL) == 0 || any;
        at = end;
    }
    return any;
}

/* What a dead child leaves behind becomes our child in turn. */
static void kill_all(pid_t broker) {
    (void)kill(-broker, SIGKILL);
    while (waitpid(-broker, NULL, 0) > 0) {
    }
    while (kill_children()) {
        (void)waitpid(-1, NULL, 0);
    }
}

/* Nobody is left who would clear up. */
static void remove_scratch(const struct victim *b) {
    if (b->mounted) {
        (void)umount2(b->mount, MNT_DETACH);
    }
    (void)nftw(b->scratch, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* Reaps what has ended. True, with its status, when the broker was among it; its number is free for others only once
 * nobody uses it any more. */
static bool reap(struct victim *b, pid_t broker, int *status) {
    siginfo_t ended = {0};
    while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid != 0) {
        bool main = ended.si_pid == broker;
        if (main) {
            *b->broker = 0;
        }
        (void)waitpid(ended.si_pid, status, 0);
        if (main) {
            return true;
        }
        ended = (siginfo_t){0};
    }
    return false;
}

/* Ends with the status of the command, or at SIGTERM, which also tells that the torture has died. */
_Noreturn static void guard(struct victim *b, const char *command, const char *port, pid_t torture) {
    sigset_t signals;
    sigset_t before;
    int status = 0;
    (void)setpgid(0, 0);
    (void)close_range(3, ~0U, 0); /* connections end when the torture closes them */
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &signals, &before);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    pid_t broker = fork();
    if (broker == 0) {
        (void)sigprocmask(SIG_SETMASK, &before, NULL);
        become(b, command, port);
    }
    (void)setpgid(broker, broker);
    *b->broker = broker;
    for (int number = 0; broker > 0 && getppid() == torture && number != SIGTERM;) {
        if (reap(b, broker, &status)) {
            break;
        }
        number = sigwaitinfo(&signals, NULL);
    }
    *b->broker = 0;
    if (broker > 0) {
        kill_all(broker);
    }
    if (getppid() != torture) {
        remove_scratch(b);
    }
    _exit(broker < 0 ? 127 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

bool victim_start(struct victim *b, struct error *error) {
    char port[8];
    struct buf command = {0};
    pid_t torture = getpid();
    (void)snprintf(port, sizeof(port), "%u", b->port);
    substitute(&command, b->command, port, b->data);
    *b->broker = 0;
    b->pid = fork();
    if (b->pid == 0) {
        guard(b, (const char *)command.ptr, port, torture);
    }
    buf_deinit(&command);
    if (b->pid < 0) {
        b->pid = 0;
        return error_set(error, ERROR_IO, errno, "cannot fork: %s", strerror(errno));
    }
    return true;
}

void victim_kill(struct victim *b) {
    if (b->pid > 0) {
        pid_t broker = *b->broker;
        if (broker > 0) {
            (void)kill(-broker, SIGKILL);
        }
        (void)kill(b->pid, SIGTERM);
        (void)waitpid(b->pid, NULL, 0);
        b->pid = 0;
    }
}

bool victim_alive(struct victim *b, struct error *error) {
    int status = 0;
    if (b->command == NULL || b->pid == 0 || waitpid(b->pid, &status, WNOHANG) == 0) {
        return true;
    }
    b->pid = 0;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return error_set(error, ERROR_IO, 0, "the broker ended by itself with status %d%s", code,
                     code == 0 ? "; its command must stay in the foreground" : "");
}

void victim_log(const struct victim *b, FILE *out) {
    char text[LOG_BYTES];
    int fd = b->command != NULL ? open(b->log, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return;
    }
    off_t bytes = lseek(fd, 0, SEEK_END);
    ssize_t n = pread(fd, text, sizeof(text), bytes > LOG_BYTES ? bytes - LOG_BYTES : 0);
    close(fd);
    if (n > 0) {
        (void)fputs("what the broker printed last:\n", out);
        (void)fwrite(text, 1, (size_t)n, out);
    }
}
