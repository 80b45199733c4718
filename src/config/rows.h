/* Every option of quartetd.conf, one row each: the parser, the defaults, the check of bounds, the suggestions and the
 * test that the manual is complete all come from these rows. A new option is a new row.
 *
 * The language is mosquitto.conf's; where an option of mosquitto has the same meaning here it has the same name. */
#pragma once

#define CONFIG_KIB 1024ULL
#define CONFIG_MIB (1024ULL * 1024)
#define CONFIG_GIB (1024ULL * 1024 * 1024)
#define CONFIG_HOUR_S 3600ULL
#define CONFIG_YEAR_S (365ULL * 24 * CONFIG_HOUR_S)

/* Numbers.  name, unit, min, max, default, text. Units: COUNT (digits), BYTES (K, M and G are powers of 1,024),
 * TIME (kept in milliseconds; written in seconds, or with ms, s, m or h), LIFE (kept in seconds; s, h, d, w, m, y). */
#define CONFIG_NUMBER_ROWS(ROW)                                                                                        \
    ROW(shards, COUNT, 0, 64, 0, "threads that serve connections; 0: one for each core that the process may use")      \
    ROW(global_max_connections, COUNT, 0, 10000000, 0, "connections at once; 0: what the limit of open files allows")  \
    ROW(max_connections_per_address, COUNT, 0, 10000000, 0, "connections at once from one address; 0: half of all")    \
    ROW(max_connection_rate, COUNT, 0, 1000000, 2000, "connections a second from one address; 0: no limit")            \
    ROW(max_takeover_rate, COUNT, 0, 1000000, 10,                                                                      \
        "take-overs a second of one client id by new connections; 0: no limit")                                        \
    ROW(connect_timeout, TIME, 100, 3600000, 5000, "from the opening of a connection to its whole CONNECT")            \
    ROW(packet_timeout, TIME, 1000, 86400000, 120000, "from the first byte of any later packet to its last")           \
    ROW(connect_packet_size, BYTES, 64, CONFIG_MIB, 16 * CONFIG_KIB, "largest CONNECT packet")                         \
    ROW(max_packet_size, BYTES, 20, 268435460, CONFIG_MIB, "largest packet that is received")                          \
    ROW(max_topic_size, BYTES, 1, 65535, 4096, "longest topic name or filter")                                         \
    ROW(max_topic_levels, COUNT, 1, 65535, 128, "most levels of a topic name or filter")                               \
    ROW(max_user_properties, COUNT, 0, 65535, 64, "most user properties in one packet")                                \
    ROW(max_subscribe_filters, COUNT, 1, 65535, 1000,                                                                  \
        "filters of one SUBSCRIBE that are looked at; others are refused")                                             \
    ROW(max_subscriptions, COUNT, 1, 10000000, 10000, "most subscriptions of one session")                             \
    ROW(max_matches, COUNT, 0, 10000000, 16384,                                                                        \
        "subscriptions at QoS 1 and 2 that one QoS 1 or 2 message may reach; 0: no limit")                             \
    ROW(memory_limit, BYTES, 0, 1048576 * CONFIG_GIB, 0,                                                               \
        "bytes of memory for everything together; 0: half of what there is")                                           \
    ROW(max_owner_share, COUNT, 1, 100, 50, "percent of that which the clients of one address may have")               \
    ROW(receive_maximum, COUNT, 1, 65535, 256, "QoS 1 and 2 messages in flight from one client")                       \
    ROW(max_inflight_messages, COUNT, 0, 65535, 1024, "QoS 1 and 2 messages in flight to one client; 0: 65,535")       \
    ROW(max_inflight_bytes, BYTES, 0, 65536 * CONFIG_GIB, 16 * CONFIG_MIB,                                             \
        "bytes of QoS 1 and 2 messages in flight to one client; 0: no limit")                                          \
    ROW(max_queued_messages, COUNT, 0, 1000000000000, 1000000, "messages that wait in one session; 0: no limit")       \
    ROW(max_queued_messages_all, COUNT, 0, 1000000000000, 0,                                                           \
        "messages that wait in all sessions together; 0: one for each 64 bytes of store_limit")                        \
    ROW(max_queued_bytes, BYTES, 0, 1048576 * CONFIG_GIB, CONFIG_GIB,                                                  \
        "bytes of messages that wait on the disk in one durable session; 0: no limit")                                 \
    ROW(max_queued_memory, BYTES, 0, 1048576 * CONFIG_GIB, 64 * CONFIG_MIB,                                            \
        "bytes of messages that wait in memory in one session that is not durable; 0: no limit")                       \
    ROW(stall_timeout, TIME, 100, 3600000, 15000,                                                                      \
        "how long publishers wait for a connected client with a full queue before it is closed")                       \
    ROW(queue_window, COUNT, 16, 1000000, 1024, "messages of one session's queue that are kept in memory")             \
    ROW(outbox_size, BYTES, 4 * CONFIG_KIB, CONFIG_GIB, CONFIG_MIB, "bytes that wait to be sent on one connection")    \
    ROW(refuse_timeout, TIME, 100, 3600000, 30000,                                                                     \
        "how long a publisher waits for room in a queue before its message is refused (3.1.1: it is closed)")          \
    ROW(max_keepalive, COUNT, 0, 65535, 65535, "longest keep alive in seconds; 0: what the client asks for")           \
    ROW(persistent_client_expiration, LIFE, 1, 130 * CONFIG_YEAR_S, 60 * 24 * CONFIG_HOUR_S,                           \
        "longest life of a session without connection")                                                                \
    ROW(segment_size, BYTES, CONFIG_MIB, CONFIG_GIB, 32 * CONFIG_MIB, "one file of the journal; a multiple of 4,096")  \
    ROW(max_segments, COUNT, 3, 65536, 16, "files of the journal at most")                                             \
    ROW(frame_size, BYTES, 64 * CONFIG_KIB, CONFIG_GIB, 4 * CONFIG_MIB, "most that one write to the journal takes")    \
    ROW(staged_size, BYTES, 64 * CONFIG_KIB, 16 * CONFIG_GIB, 4 * CONFIG_MIB,                                          \
        "bytes that may wait for the disk before publishers are read more slowly")                                     \
    ROW(table_size, BYTES, 16 * CONFIG_MIB, 65536 * CONFIG_GIB, 64 * CONFIG_GIB, "largest size of the table")          \
    ROW(store_limit, BYTES, 0, 65536 * CONFIG_GIB, 0,                                                                  \
        "what the store may take on the disk; 0: half of what is free or its own, and 1G at least")

/* Switches.  name, default, text. */
#define CONFIG_FLAG_ROWS(ROW)                                                                                          \
    ROW(persistence, true, "keep durable sessions and messages on the disk")                                           \
    ROW(allow_anonymous, true, "let clients in without a password; must be true when a listener is named")             \
    ROW(allow_zero_length_clientid, true, "give a client id to clients that have none")                                \
    ROW(log_timestamp, true, "begin each log line with the time")

/* Texts.  name, text. Absent is NULL. */
#define CONFIG_TEXT_ROWS(ROW)                                                                                          \
    ROW(persistence_location, "directory of the store")                                                                \
    ROW(ctl_socket, "UNIX socket of `quartet ctl`; none: there is none")                                               \
    ROW(pid_file, "file that gets the process id")                                                                     \
    ROW(user, "user to become when started as root")

/* Options with a meaning of their own.  name, shape of the value, text. */
#define CONFIG_WORD_ROWS(ROW)                                                                                          \
    ROW(listener, "PORT [ADDRESS] | 0 PATH", "listen on this port, on one address or on all, or on a UNIX socket")     \
    ROW(port, "PORT", "port of the default listener")                                                                  \
    ROW(bind_address, "ADDRESS", "address of the default listener")                                                    \
    ROW(socket_domain, "ipv4|ipv6|unix", "the only protocol family of the listener above")                             \
    ROW(protocol, "mqtt", "protocol of the listener above")                                                            \
    ROW(max_connections, "COUNT", "connections at once to the listener above; -1: no limit of its own")                \
    ROW(log_dest, "stderr|stdout|syslog|file PATH|none", "where log lines go; may be given more than once")            \
    ROW(log_type, "error|warning|notice|information|debug|all|none", "which log lines are written; may be repeated")   \
    ROW(max_queued_policy, "end-session|refuse", "what ends when the queue of an absent client is full")               \
    ROW(data, "DIRECTORY", "the same as persistence_location")                                                         \
    ROW(include_dir, "DIRECTORY", "read every file there that ends in .conf")

/* Options of mosquitto that have no effect here and whose absence nobody misses: a warning.  name, why. */
#define CONFIG_HARMLESS_ROWS(ROW)                                                                                      \
    ROW(autosave_interval, "every record is on the disk before it is acknowledged")                                    \
    ROW(autosave_on_changes, "every record is on the disk before it is acknowledged")                                  \
    ROW(persistence_file, "the store is a directory; see persistence_location")                                        \
    ROW(set_tcp_nodelay, "it is always on")                                                                            \
    ROW(connection_messages, "see log_type")                                                                           \
    ROW(log_timestamp_format, "times are ISO 8601 in UTC")                                                             \
    ROW(log_facility, "syslog lines go to the facility daemon")                                                        \
    ROW(sys_interval, "there are no $SYS topics yet")                                                                  \
    ROW(allow_duplicate_messages, "overlapping subscriptions are separate deliveries")                                 \
    ROW(websockets_log_level, "there is no WebSocket listener yet")                                                    \
    ROW(websockets_headers_size, "there is no WebSocket listener yet")                                                 \
    ROW(auto_id_prefix, "client ids that the broker gives are random")                                                 \
    ROW(retained_persistence, "retained messages are durable as all others")

/* Options of mosquitto that change who may do what, or what happens to messages: an error, for to start without them
 * would be another service than the one that was asked for.  name, why. */
#define CONFIG_LATER_ROWS(ROW)                                                                                         \
    ROW(password_file, "authentication comes later")                                                                   \
    ROW(acl_file, "access control comes later")                                                                        \
    ROW(psk_file, "TLS comes later")                                                                                   \
    ROW(psk_hint, "TLS comes later")                                                                                   \
    ROW(cafile, "TLS comes later")                                                                                     \
    ROW(capath, "TLS comes later")                                                                                     \
    ROW(certfile, "TLS comes later")                                                                                   \
    ROW(keyfile, "TLS comes later")                                                                                    \
    ROW(crlfile, "TLS comes later")                                                                                    \
    ROW(ciphers, "TLS comes later")                                                                                    \
    ROW(ciphers_tls1_3, "TLS comes later")                                                                             \
    ROW(dhparamfile, "TLS comes later")                                                                                \
    ROW(tls_version, "TLS comes later")                                                                                \
    ROW(tls_engine, "TLS comes later")                                                                                 \
    ROW(tls_engine_kpass_sha1, "TLS comes later")                                                                      \
    ROW(tls_keyform, "TLS comes later")                                                                                \
    ROW(require_certificate, "TLS comes later")                                                                        \
    ROW(use_identity_as_username, "TLS comes later")                                                                   \
    ROW(use_subject_as_username, "TLS comes later")                                                                    \
    ROW(use_username_as_clientid, "authentication comes later")                                                        \
    ROW(clientid_prefixes, "access control comes later")                                                               \
    ROW(per_listener_settings, "all listeners have the same settings")                                                 \
    ROW(check_retain_source, "access control comes later")                                                             \
    ROW(auth_plugin, "plugins are not supported")                                                                      \
    ROW(auth_plugin_deny_special_chars, "plugins are not supported")                                                   \
    ROW(plugin, "plugins are not supported")                                                                           \
    ROW(global_plugin, "plugins are not supported")                                                                    \
    ROW(connection, "bridges come later")                                                                              \
    ROW(address, "bridges come later")                                                                                 \
    ROW(addresses, "bridges come later")                                                                               \
    ROW(topic, "bridges come later")                                                                                   \
    ROW(bind_interface, "give the address to listener instead")                                                        \
    ROW(http_dir, "there is no web server")                                                                            \
    ROW(mount_point, "topic prefixes come later")                                                                      \
    ROW(max_qos, "all of QoS 0, 1 and 2 are always offered")                                                           \
    ROW(max_topic_alias, "the number of topic aliases is fixed")                                                       \
    ROW(message_size_limit, "see max_packet_size, which counts the whole packet")                                      \
    ROW(queue_qos0_messages, "QoS 0 messages are not kept for absent clients")                                         \
    ROW(retain_available, "retained messages are always available")                                                    \
    ROW(retain_expiry_interval, "the expiry of messages is their publisher's")                                         \
    ROW(upgrade_outgoing_qos, "it breaks the standard")                                                                \
    ROW(enable_control_api, "remote administration comes later")                                                       \
    ROW(enable_proxy_protocol, "the PROXY protocol comes later")                                                       \
    ROW(websockets_origin, "WebSocket comes later")

/* Those of the above that may be given when the value is mosquitto's default, which is what happens here.  name, value.
 */
#define CONFIG_LATER_DEFAULT_ROWS(ROW)                                                                                 \
    ROW(per_listener_settings, "false")                                                                                \
    ROW(check_retain_source, "true")                                                                                   \
    ROW(auth_plugin_deny_special_chars, "true")                                                                        \
    ROW(require_certificate, "false")                                                                                  \
    ROW(use_identity_as_username, "false")                                                                             \
    ROW(use_subject_as_username, "false")                                                                              \
    ROW(use_username_as_clientid, "false")                                                                             \
    ROW(max_qos, "2")                                                                                                  \
    ROW(max_inflight_bytes, "0")                                                                                       \
    ROW(message_size_limit, "0")                                                                                       \
    ROW(queue_qos0_messages, "false")                                                                                  \
    ROW(retain_available, "true")                                                                                      \
    ROW(retain_expiry_interval, "0")                                                                                   \
    ROW(upgrade_outgoing_qos, "false")                                                                                 \
    ROW(enable_control_api, "false")                                                                                   \
    ROW(enable_proxy_protocol, "false")
