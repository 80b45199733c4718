/* The real client library between an application and a server, with its disk under our hand.
 *
 *     application ───> library: src/client on src/store on the simulated disk ───> server
 *
 * Library and application share a machine. The application has a database of its own, which is beyond doubt: it notes
 * there which of its messages are stored, or keeps what its work on a message has changed. The server is the session
 * code of the broker and never fails. A run is a short list of moves: the application calls, a packet arrives, the disk
 * catches up, the power of the client's machine goes. Any barrier of the library can be left out, and one of the
 * application's. */
#pragma once

#include "explain/search.h"
#include "session/barrier.h"

#define LIBRARY_MESSAGES_MAX 4

/* Which small world. */
struct library_plan {
    enum mutant mutant;
    unsigned messages;
    bool publishes; /* the application publishes them, each repeated until it is called stored; else it receives them */
    bool apart;     /* it keeps its work alone, and says done later; else the work and the message's position are one */
    unsigned powers;
};

/* The kinds of its moves. */
enum library_move {
    LIBRARY_PUBLISH = 1, /* the application hands over its next message */
    LIBRARY_TOLD,        /* the call returns: the message is stored */
    LIBRARY_TAKE,        /* the application takes the next message */
    LIBRARY_WORK,        /* its work on it is done, and in its database */
    LIBRARY_DONE,        /* it says so to the library */
    LIBRARY_ARRIVE,      /* a packet arrives at the server and is answered */
    LIBRARY_READ,        /* a packet arrives at the library and is answered */
    LIBRARY_POWER,       /* the power of the client's machine fails; it starts again */
    LIBRARY_COMMIT,      /* its disk catches up */
};

/* `what` is a struct library_plan. */
extern const struct search_world library_world;
