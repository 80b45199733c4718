#include "load.h"

#include <MQTTAsync.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static MQTTAsync client;

static void check(int code) {
    if (code != MQTTASYNC_SUCCESS) {
        (void)fprintf(stderr, "%s\n", MQTTAsync_strerror(code));
        exit(1);
    }
}

static void on_acknowledged(void *user, MQTTAsync_successData *data) {
    (void)data;
    atomic_fetch_add(&((struct load *)user)->acknowledged, 1);
}

static void on_subscribed(void *user, MQTTAsync_successData *data) {
    (void)data;
    atomic_store(&((struct load *)user)->ready, true);
}

static void on_failure(void *user, MQTTAsync_failureData *data) {
    (void)user;
    check(data != NULL ? data->code : MQTTASYNC_FAILURE);
}

static void on_connected(void *user, MQTTAsync_successData *data) {
    (void)data;
    struct load *load = user;
    MQTTAsync_responseOptions answer = MQTTAsync_responseOptions_initializer;
    answer.onSuccess = on_subscribed;
    answer.onFailure = on_failure;
    answer.context = load;
    check(MQTTAsync_subscribe(client, LOAD_TOPIC, load->qos, &answer));
}

static int on_message(void *user, char *topic, int topic_bytes, MQTTAsync_message *message) {
    (void)topic_bytes;
    atomic_fetch_add(&((struct load *)user)->received, 1);
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1;
}

void load_open(struct load *load) {
    char url[64];
    (void)snprintf(url, sizeof url, "tcp://%s:%d", load->host, load->port);
    MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer;
    create.maxBufferedMessages = (int)load->messages;
    MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;
    options.MQTTVersion = MQTTVERSION_3_1_1;
    options.cleansession = 1;
    options.maxInflight = (int)load->window;
    options.onSuccess = on_connected;
    options.onFailure = on_failure;
    options.context = load;
    check(MQTTAsync_createWithOptions(&client, url, "load", MQTTCLIENT_PERSISTENCE_NONE, NULL, &create));
    check(MQTTAsync_setCallbacks(client, load, NULL, on_message, NULL));
    check(MQTTAsync_connect(client, &options));
}

void load_publish(struct load *load, const void *payload) {
    MQTTAsync_responseOptions answer = MQTTAsync_responseOptions_initializer;
    answer.onSuccess = on_acknowledged;
    answer.onFailure = on_failure;
    answer.context = load;
    int code = MQTTAsync_send(client, LOAD_TOPIC, (int)load->payload_bytes, payload, load->qos, 0, &answer);
    while (code == MQTTASYNC_MAX_BUFFERED_MESSAGES || code == MQTTASYNC_NO_MORE_MSGIDS) {
        (void)nanosleep(&(struct timespec){0, 1000000}, NULL);
        code = MQTTAsync_send(client, LOAD_TOPIC, (int)load->payload_bytes, payload, load->qos, 0, &answer);
    }
    check(code);
}

void load_close(struct load *load) {
    (void)load;
    MQTTAsync_disconnectOptions options = MQTTAsync_disconnectOptions_initializer;
    (void)MQTTAsync_disconnect(client, &options);
    MQTTAsync_destroy(&client);
}
