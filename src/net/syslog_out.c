#include "net/syslog_out.h"

#include <syslog.h>

void syslog_out_open(void) {
    openlog("quartetd", LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

void syslog_out_close(void) {
    closelog();
}

void syslog_out_line(int severity, const char *line, int bytes) {
    syslog(severity, "%.*s", bytes, line);
}
