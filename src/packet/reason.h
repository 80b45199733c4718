/* Reason codes of MQTT 5.0 (section 2.4) and their names. One row each: number, name, text. */
#pragma once

#include <stdint.h>

#define REASON_ROWS(ROW)                                                                                               \
    ROW(0x00, SUCCESS, "Success")                                                                                      \
    ROW(0x01, GRANTED_QOS_1, "Granted QoS 1")                                                                          \
    ROW(0x02, GRANTED_QOS_2, "Granted QoS 2")                                                                          \
    ROW(0x04, DISCONNECT_WITH_WILL, "Disconnect with Will Message")                                                    \
    ROW(0x10, NO_MATCHING_SUBSCRIBERS, "No matching subscribers")                                                      \
    ROW(0x11, NO_SUBSCRIPTION_EXISTED, "No subscription existed")                                                      \
    ROW(0x18, CONTINUE_AUTHENTICATION, "Continue authentication")                                                      \
    ROW(0x19, RE_AUTHENTICATE, "Re-authenticate")                                                                      \
    ROW(0x80, UNSPECIFIED_ERROR, "Unspecified error")                                                                  \
    ROW(0x81, MALFORMED_PACKET, "Malformed Packet")                                                                    \
    ROW(0x82, PROTOCOL_ERROR, "Protocol Error")                                                                        \
    ROW(0x83, IMPLEMENTATION_SPECIFIC_ERROR, "Implementation specific error")                                          \
    ROW(0x84, UNSUPPORTED_PROTOCOL_VERSION, "Unsupported Protocol Version")                                            \
    ROW(0x85, CLIENT_IDENTIFIER_NOT_VALID, "Client Identifier not valid")                                              \
    ROW(0x86, BAD_USER_NAME_OR_PASSWORD, "Bad User Name or Password")                                                  \
    ROW(0x87, NOT_AUTHORIZED, "Not authorized")                                                                        \
    ROW(0x88, SERVER_UNAVAILABLE, "Server unavailable")                                                                \
    ROW(0x89, SERVER_BUSY, "Server busy")                                                                              \
    ROW(0x8A, BANNED, "Banned")                                                                                        \
    ROW(0x8B, SERVER_SHUTTING_DOWN, "Server shutting down")                                                            \
    ROW(0x8C, BAD_AUTHENTICATION_METHOD, "Bad authentication method")                                                  \
    ROW(0x8D, KEEP_ALIVE_TIMEOUT, "Keep Alive timeout")                                                                \
    ROW(0x8E, SESSION_TAKEN_OVER, "Session taken over")                                                                \
    ROW(0x8F, TOPIC_FILTER_INVALID, "Topic Filter invalid")                                                            \
    ROW(0x90, TOPIC_NAME_INVALID, "Topic Name invalid")                                                                \
    ROW(0x91, PACKET_IDENTIFIER_IN_USE, "Packet Identifier in use")                                                    \
    ROW(0x92, PACKET_IDENTIFIER_NOT_FOUND, "Packet Identifier not found")                                              \
    ROW(0x93, RECEIVE_MAXIMUM_EXCEEDED, "Receive Maximum exceeded")                                                    \
    ROW(0x94, TOPIC_ALIAS_INVALID, "Topic Alias invalid")                                                              \
    ROW(0x95, PACKET_TOO_LARGE, "Packet too large")                                                                    \
    ROW(0x96, MESSAGE_RATE_TOO_HIGH, "Message rate too high")                                                          \
    ROW(0x97, QUOTA_EXCEEDED, "Quota exceeded")                                                                        \
    ROW(0x98, ADMINISTRATIVE_ACTION, "Administrative action")                                                          \
    ROW(0x99, PAYLOAD_FORMAT_INVALID, "Payload format invalid")                                                        \
    ROW(0x9A, RETAIN_NOT_SUPPORTED, "Retain not supported")                                                            \
    ROW(0x9B, QOS_NOT_SUPPORTED, "QoS not supported")                                                                  \
    ROW(0x9C, USE_ANOTHER_SERVER, "Use another server")                                                                \
    ROW(0x9D, SERVER_MOVED, "Server moved")                                                                            \
    ROW(0x9E, SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, "Shared Subscriptions not supported")                                \
    ROW(0x9F, CONNECTION_RATE_EXCEEDED, "Connection rate exceeded")                                                    \
    ROW(0xA0, MAXIMUM_CONNECT_TIME, "Maximum connect time")                                                            \
    ROW(0xA1, SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, "Subscription Identifiers not supported")                        \
    ROW(0xA2, WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED, "Wildcard Subscriptions not supported")

enum reason {
#define REASON_ENUM(number, name, text) REASON_##name = (number),
    REASON_ROWS(REASON_ENUM)
#undef REASON_ENUM
};

/* The standard's name of a reason code; "Unknown reason" for a number that it does not list. */
const char *reason_text(uint8_t reason);
