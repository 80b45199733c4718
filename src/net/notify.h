/* What a service manager is told (sd_notify(3)): a datagram to the socket that $NOTIFY_SOCKET names, a path or, after
 * @, an abstract name. Without one nothing happens; a manager that does not listen is not waited for. Any thread. */
#pragma once

/* `state`: lines such as READY=1, parted by newlines. */
void notify_send(const char *state);
