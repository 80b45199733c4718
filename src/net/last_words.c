#include "net/last_words.h"

#include <signal.h>
#include <unistd.h>

#include "base/must.h"

static const struct {
    int number;
    const char *line;
} fatal[] = {
    {SIGSEGV,
     "the broker ends at once: signal SIGSEGV, a defect or damaged memory; nothing that was acknowledged is lost"},
    {SIGBUS, "the broker ends at once: signal SIGBUS, a file of the store cannot be read or was cut while it ran"},
    {SIGFPE, "the broker ends at once: signal SIGFPE, a defect; nothing that was acknowledged is lost"},
    {SIGILL, "the broker ends at once: signal SIGILL, a defect; nothing that was acknowledged is lost"},
    {SIGABRT, "the broker ends at once: it was aborted; nothing that was acknowledged is lost"},
};

#define FATALS (sizeof fatal / sizeof *fatal)

static struct log *armed;
static struct sigaction before[FATALS]; /* a sanitizer's, perhaps */
static _Atomic bool said;

static void say(const char *line) {
    if (!atomic_exchange(&said, true)) {
        log_last_words(armed, line);
    }
}

/* Says it, and lets happen what would have happened: the instruction is tried again without us. */
static void on_fatal(int number, siginfo_t *info, void *context) {
    (void)context;
    for (size_t i = 0; i < FATALS; i++) {
        if (fatal[i].number == number) {
            say(fatal[i].line);
            (void)sigaction(number, &before[i], NULL);
        }
    }
    if (info->si_code <= 0) {
        (void)raise(number); /* somebody has sent it: it would not come again */
    }
}

static void on_hangup(int number) {
    (void)number;
    log_reopen(armed);
}

void last_words_arm(struct log *log) {
    struct sigaction action = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_NODEFER};
    (void)sigemptyset(&action.sa_mask);
    armed = log;
    atomic_store(&said, false);
    for (size_t i = 0; i < FATALS; i++) {
        (void)sigaction(fatal[i].number, &action, &before[i]);
    }
    struct sigaction hangup = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
    (void)sigemptyset(&hangup.sa_mask);
    (void)sigaction(SIGHUP, &hangup, NULL);
    must_tell(say);
}

void last_words_disarm(void) {
    must_tell(NULL);
    (void)signal(SIGHUP, SIG_IGN);
    for (size_t i = 0; i < FATALS; i++) {
        (void)sigaction(fatal[i].number, &before[i], NULL);
    }
}
