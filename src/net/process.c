#include "net/process.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/must.h"

#define DATA_DEFAULT "quartet-data"
#define DESCRIPTORS_OF_PROCESS 32 /* the store without its journal, the log, standard streams */
#define DESCRIPTORS_OF_LOOP 5     /* its own, and a connection that is accepted only to be refused */

/* Programs that were written for other brokers send them: save now, print the subscriptions, open the log again. */
void signals_ignore(void) {
    static const int numbers[] = {SIGPIPE, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        (void)signal(numbers[i], SIG_IGN);
    }
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
        (void)signal(number, SIG_IGN);
    }
}

void random_bytes(void *out, size_t bytes) {
    for (size_t got = 0; got < bytes;) {
        ssize_t n = getrandom((uint8_t *)out + got, bytes - got, 0);
        must(n > 0 || errno == EINTR);
        got += n > 0 ? (size_t)n : 0;
    }
}

static unsigned cores_available(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 1;
    }
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : count > 64 ? 64 : (unsigned)count;
}

unsigned shards_wanted(const struct config *config) {
    return config->shards != 0 ? (unsigned)config->shards : cores_available();
}

const char *data_directory(const struct config *config) {
    return config->persistence_location != NULL ? config->persistence_location : DATA_DEFAULT;
}

uint64_t raise_files_limit(void) {
    struct rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    }
    return limit.rlim_cur > 10000000 ? 10000000 : limit.rlim_cur;
}

/* The store ends the process when it cannot open its next journal file. Of a limit that is too low for both, each gets
 * half. */
bool connections_allowed(const struct config *config, uint64_t files, unsigned shards, size_t sockets,
                         uint64_t *allowed, struct error *error) {
    uint64_t others = DESCRIPTORS_OF_PROCESS + DESCRIPTORS_OF_LOOP * (shards + 1ULL) + (uint64_t)sockets * shards;
    if (files < others + 2) {
        return error_set(error, ERROR_INVALID, 0,
                         "the limit of open files is %llu, and %u shards need %llu; raise it (ulimit -n)",
                         (unsigned long long)files, shards, (unsigned long long)others + 2);
    }
    uint64_t rest = files - others;
    uint64_t journal = config->persistence ? config->max_segments : 0;
    *allowed = rest - (journal < rest / 2 ? journal : rest / 2);
    return true;
}

bool become_user(const char *name, struct error *error) {
    if (name == NULL || geteuid() != 0) {
        return true;
    }
    errno = 0;
    const struct passwd *user = getpwnam(name);
    if (user == NULL) {
        return error_set(error, ERROR_INVALID, errno, "there is no user %s", name);
    }
    if (initgroups(name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0) {
        return error_set(error, ERROR_INVALID, errno, "cannot become user %s", name);
    }
    return true;
}
