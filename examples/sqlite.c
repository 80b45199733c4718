/* Exactly once up to the database: each message's effect (a row) and its position are committed in one transaction, and
 * at the start the library goes on after the position that the database knows. Killed at any instruction, no message is
 * counted twice and none is missed.
 *
 * sqlite DATABASE STORE [TOPIC-FILTER [SERVER]] */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <quartet/quartet.h>
#include <sqlite3.h>

/* What is committed must stay: a message that the library was told is done does not come again. synchronous = FULL
 * keeps that promise with a WAL alone; without one it syncs the file but not the folder, and after a power cut the
 * deleted rollback journal may be back, and undo the last commit. EXTRA keeps it in every journal mode. */
static const char schema[] = "PRAGMA journal_mode = WAL;"
                             "PRAGMA synchronous = EXTRA;"
                             "CREATE TABLE IF NOT EXISTS effect(topic TEXT, payload BLOB);"
                             "CREATE TABLE IF NOT EXISTS position(one INTEGER PRIMARY KEY CHECK (one = 1),"
                             "                                    epoch BLOB, sequence INTEGER);";

static volatile sig_atomic_t stopped;

static void stop(int number) {
    (void)number;
    stopped = 1;
}

/* A database that fails ends the program: nothing was committed, so the message comes again. */
static void check(sqlite3 *db, int code) {
    if (code != SQLITE_OK && code != SQLITE_DONE && code != SQLITE_ROW) {
        fprintf(stderr, "database: %s\n", sqlite3_errmsg(db));
        exit(1);
    }
}

static void run(sqlite3 *db, const char *sql) {
    check(db, sqlite3_exec(db, sql, NULL, NULL, NULL));
}

/* Goes on after the last message whose effect the database has. */
static int resume(sqlite3 *db, struct quartet *client) {
    struct quartet_position position = {.sequence = 0};
    sqlite3_stmt *query;
    check(db, sqlite3_prepare_v2(db, "SELECT epoch, sequence FROM position", -1, &query, NULL));
    if (sqlite3_step(query) == SQLITE_ROW && sqlite3_column_bytes(query, 0) == sizeof position.epoch) {
        memcpy(position.epoch, sqlite3_column_blob(query, 0), sizeof position.epoch);
        position.sequence = (uint64_t)sqlite3_column_int64(query, 1);
    }
    sqlite3_finalize(query);
    return quartet_resume(client, &position);
}

static void insert_effect(sqlite3 *db, const struct quartet_message *m) {
    sqlite3_stmt *insert;
    check(db, sqlite3_prepare_v2(db, "INSERT INTO effect VALUES (?, ?)", -1, &insert, NULL));
    check(db, sqlite3_bind_text(insert, 1, m->topic, (int)m->topic_bytes, SQLITE_STATIC));
    check(db, sqlite3_bind_blob(insert, 2, m->payload, (int)m->payload_bytes, SQLITE_STATIC));
    check(db, sqlite3_step(insert));
    sqlite3_finalize(insert);
}

static void insert_position(sqlite3 *db, const struct quartet_message *m) {
    sqlite3_stmt *insert;
    check(db, sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO position VALUES (1, ?, ?)", -1, &insert, NULL));
    check(db, sqlite3_bind_blob(insert, 1, m->position.epoch, sizeof m->position.epoch, SQLITE_STATIC));
    check(db, sqlite3_bind_int64(insert, 2, (sqlite3_int64)m->position.sequence));
    check(db, sqlite3_step(insert));
    sqlite3_finalize(insert);
}

/* Effect and position, together or neither. Only then the library may forget the message. What came at QoS 0 has no
 * position, and must not take the place of one. */
static int take(sqlite3 *db, struct quartet *client, struct quartet_message *m) {
    run(db, "BEGIN IMMEDIATE");
    insert_effect(db, m);
    if (m->position.sequence != 0) {
        insert_position(db, m);
    }
    run(db, "COMMIT");
    int code = quartet_done(client, m);
    quartet_message_free(m);
    return code;
}

static int serve(sqlite3 *db, struct quartet *client, const char *filter) {
    struct quartet_subscription subscription = {.filter = filter, .qos = 2};
    int code = resume(db, client);
    if (code == QUARTET_OK) {
        code = quartet_subscribe(client, &subscription, 1);
    }
    if (code == QUARTET_OK) {
        code = quartet_start(client);
    }
    while (code == QUARTET_OK && !stopped) {
        struct quartet_message *m;
        code = quartet_next(client, &m, 100);
        code = code == QUARTET_OK ? take(db, client, m) : code == QUARTET_EMPTY ? QUARTET_OK : code;
    }
    return code;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: sqlite DATABASE STORE [TOPIC-FILTER [SERVER]]\n");
        return 2;
    }
    struct quartet_options options = {
        .client_id = "sqlite-example",
        .store = argv[2],
        .servers = argc > 4 ? argv[4] : NULL,
        .guarantee = QUARTET_EXACTLY_ONCE,
    };
    sqlite3 *db;
    struct quartet *client;
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    if (sqlite3_open(argv[1], &db) != SQLITE_OK) {
        fprintf(stderr, "database: %s cannot be opened\n", argv[1]);
        return 1;
    }
    sqlite3_busy_timeout(db, 10000);
    run(db, schema);
    int code = quartet_open(&client, &options);
    if (code == QUARTET_OK) {
        code = serve(db, client, argc > 3 ? argv[3] : "#");
    }
    if (code != QUARTET_OK) {
        fprintf(stderr, "%s; %s\n", quartet_last_error(), quartet_error_advice(code));
    }
    quartet_close(client);
    sqlite3_close(db);
    return code != QUARTET_OK;
}
