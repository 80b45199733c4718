/* libquartet without sockets, threads and clocks: bytes, time and disk operations in and out, as the application says.
 *
 *     quartet_open()
 *     loop:  quartet_core_time()                     what time it is
 *            quartet_core_wish()                     connect to this server, close, or nothing
 *            quartet_core_opened/_received/_closed() what the transport did
 *            quartet_core_store()                    one disk operation, while it says that there are more
 *            quartet_core_output/_sent()             bytes that may leave: what they rest on is on disk
 *            quartet_core_deliver()                  callbacks run here and nowhere else
 *            wait for the transport or quartet_core_deadline_ms()
 *
 * quartet_close() writes and sends nothing then: quartet_core_store() until it returns 0 comes before it.
 *
 * A client is driven either with these functions, by one thread at a time, or with those of quartet.h; publishing and
 * the rest of quartet.h work in both cases, but nothing waits: calls that would return QUARTET_IN_CALLBACK, and
 * publications are stored by the next quartet_core_store(). */
#ifndef QUARTET_CORE_H
#define QUARTET_CORE_H

#include <quartet/quartet.h>

#ifdef __cplusplus
extern "C" {
#endif

struct quartet_core_bytes {
    const void *bytes;
    size_t len;
};

enum quartet_core_wish {
    QUARTET_CORE_NOTHING = 0,
    QUARTET_CORE_CONNECT, /* open a transport to *server, then call quartet_core_opened() or _closed() */
    QUARTET_CORE_CLOSE,   /* send what quartet_core_output() gives, close the transport, call quartet_core_closed() */
};

/* From the first call on the client is driven by hand. Milliseconds of a clock that never jumps, and since 1970. */
QUARTET_PUBLIC int quartet_core_time(struct quartet *client, int64_t monotonic_ms, int64_t wall_ms);
/* Asked again, it gives the same answer until something has changed. *server is one of options.servers. */
QUARTET_PUBLIC enum quartet_core_wish quartet_core_wish(struct quartet *client, const char **server);
QUARTET_PUBLIC void quartet_core_opened(struct quartet *client);
QUARTET_PUBLIC void quartet_core_received(struct quartet *client, const void *bytes, size_t len);
/* error: QUARTET_NETWORK or so; text: for events, may be NULL. */
QUARTET_PUBLIC void quartet_core_closed(struct quartet *client, int error, const char *text);
/* Fills up to `max` pieces; returns how many. They are valid until the next call about this client. */
QUARTET_PUBLIC size_t quartet_core_output(struct quartet *client, struct quartet_core_bytes *pieces, size_t max);
/* The first `len` bytes of them have left. */
QUARTET_PUBLIC void quartet_core_sent(struct quartet *client, size_t len);
/* Does one disk operation (a write, a sync): 1 when there are more, 0 when there are none, or an error. */
QUARTET_PUBLIC int quartet_core_store(struct quartet *client);
/* Runs the callbacks that are due; true when any ran. */
QUARTET_PUBLIC bool quartet_core_deliver(struct quartet *client);
/* When quartet_core_time() must be called next, on the monotonic clock; -1: no need. */
QUARTET_PUBLIC int64_t quartet_core_deadline_ms(struct quartet *client);

#ifdef __cplusplus
}
#endif
#endif
