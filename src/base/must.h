/* Assertions that stay on in every build.
 *
 * must() states what our own code guarantees. It is never reached by input from outside: a peer's mistake is a
 * verdict, the environment's failure is an error code. When must() fails we are wrong; the process prints where and
 * stops, and the restart recovers. */
#pragma once

#define must(condition)                                                                                                \
    do {                                                                                                               \
        if (__builtin_expect(!(condition), 0)) {                                                                       \
            must_fail(#condition, __FILE__, __LINE__, __func__);                                                       \
        }                                                                                                              \
    } while (0)

/* Prints what failed to standard error and aborts. */
_Noreturn void must_fail(const char *condition, const char *file, int line, const char *function);

/* Who is told as well, before the process ends: one for the process, set before there are threads; NULL: nobody. A
 * process in the background has no standard error. */
void must_tell(void (*tell)(const char *line));
