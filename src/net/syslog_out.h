/* Lines for syslog, apart from log.c because syslog.h has names of ours. */
#pragma once

void syslog_out_open(void);
void syslog_out_close(void);
/* `severity` is 3 (error) to 7 (debug), as RFC 5424 numbers them; `line` has so many bytes. */
void syslog_out_line(int severity, const char *line, int bytes);
