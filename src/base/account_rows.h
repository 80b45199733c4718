/* What is bounded, by rows: quota/ holds the accounts, and for each row the simulator leaves its reservation out, or
 * has it given back twice, to see that it is noticed (session/barrier.h). To bound one thing more takes one line here,
 * and a call where it is taken and where it is given back. */
#pragma once

/*      x, name, what it counts; x is handed on */
#define ACCOUNT_ROWS(ROW, x)                                                                                           \
    ROW(x, CONNECTIONS, "connections")                                                                                 \
    ROW(x, SESSIONS, "sessions")                                                                                       \
    ROW(x, SUBSCRIPTIONS, "subscriptions")                                                                             \
    ROW(x, KEPT_BYTES, "bytes of memory for sessions and subscriptions")                                               \
    ROW(x, RETAINED, "retained messages")                                                                              \
    ROW(x, RETAINED_BYTES, "bytes of memory for retained messages")                                                    \
    ROW(x, QUEUED, "messages that wait in queues")                                                                     \
    ROW(x, QUEUED_BYTES, "bytes that wait in queues in memory")                                                        \
    ROW(x, DISK, "bytes on the disk for queues and retained messages")                                                 \
    ROW(x, INFLIGHT_BYTES, "bytes in flight")                                                                          \
    ROW(x, INPUT_BYTES, "bytes that were received and wait")                                                           \
    ROW(x, OUTPUT_BYTES, "bytes that wait to be sent")
