#include "load.h"

#include <mosquitto.h>
#include <stdio.h>
#include <stdlib.h>

static struct mosquitto *client;

static void check(int code) {
    if (code != MOSQ_ERR_SUCCESS) {
        (void)fprintf(stderr, "%s\n", mosquitto_strerror(code));
        exit(1);
    }
}

static void on_connect(struct mosquitto *m, void *user, int reason) {
    struct load *load = user;
    check(reason);
    check(mosquitto_subscribe(m, NULL, LOAD_TOPIC, load->qos));
}

static void on_subscribe(struct mosquitto *m, void *user, int id, int count, const int *granted) {
    (void)m;
    (void)id;
    (void)count;
    (void)granted;
    atomic_store(&((struct load *)user)->ready, true);
}

static void on_publish(struct mosquitto *m, void *user, int id) {
    (void)m;
    (void)id;
    atomic_fetch_add(&((struct load *)user)->acknowledged, 1);
}

static void on_message(struct mosquitto *m, void *user, const struct mosquitto_message *message) {
    (void)m;
    (void)message;
    atomic_fetch_add(&((struct load *)user)->received, 1);
}

void load_open(struct load *load) {
    mosquitto_lib_init();
    client = mosquitto_new("load", true, load);
    check(mosquitto_int_option(client, MOSQ_OPT_PROTOCOL_VERSION, load->protocol));
    check(mosquitto_int_option(client, MOSQ_OPT_SEND_MAXIMUM, (int)load->window));
    check(mosquitto_int_option(client, MOSQ_OPT_RECEIVE_MAXIMUM, (int)load->window));
    check(mosquitto_int_option(client, MOSQ_OPT_TCP_NODELAY, 1));
    mosquitto_connect_callback_set(client, on_connect);
    mosquitto_subscribe_callback_set(client, on_subscribe);
    mosquitto_publish_callback_set(client, on_publish);
    mosquitto_message_callback_set(client, on_message);
    check(mosquitto_connect(client, load->host, load->port, 60));
    check(mosquitto_loop_start(client));
}

void load_publish(struct load *load, const void *payload) {
    check(mosquitto_publish(client, NULL, LOAD_TOPIC, (int)load->payload_bytes, payload, load->qos, false));
}

void load_close(struct load *load) {
    (void)load;
    (void)mosquitto_disconnect(client);
    (void)mosquitto_loop_stop(client, false);
    mosquitto_destroy(client);
}
