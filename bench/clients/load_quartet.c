#include "load.h"

#include <quartet/quartet.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct quartet *client;

static void check(int code) {
    if (code != QUARTET_OK) {
        (void)fprintf(stderr, "%s\n", quartet_last_error());
        exit(1);
    }
}

static void on_message(struct quartet *q, struct quartet_message *message, void *user) {
    (void)q;
    (void)message;
    struct load *load = user;
    atomic_fetch_add(&load->received, 1);
}

static void on_event(struct quartet *q, const struct quartet_event *event, void *user) {
    (void)q;
    struct load *load = user;
    if (event->kind == QUARTET_EVENT_SUBSCRIBED) {
        atomic_store(&load->ready, true);
    } else if (event->kind == QUARTET_EVENT_PUBLISHED) {
        atomic_fetch_add(&load->acknowledged, 1);
    }
}

void load_open(struct load *load) {
    char url[64];
    (void)snprintf(url, sizeof url, "mqtt://%s:%d", load->host, load->port);
    struct quartet_options options = {.servers = url,
                                      .client_id = "load",
                                      .protocol = load->protocol,
                                      .store = load->store,
                                      .clean_start = true,
                                      .end_session = load->store == NULL,
                                      .send_window = (uint16_t)load->window,
                                      .receive_maximum = (uint16_t)load->window,
                                      .on_message = on_message,
                                      .on_event = on_event,
                                      .user = load};
    struct quartet_subscription subscription = {.filter = LOAD_TOPIC, .qos = load->qos};
    check(quartet_open(&client, &options));
    check(quartet_subscribe(client, &subscription, 1));
    check(quartet_start(client));
}

void load_publish(struct load *load, const void *payload) {
    struct quartet_publication p = {.topic = LOAD_TOPIC,
                                    .payload = payload,
                                    .payload_bytes = load->payload_bytes,
                                    .qos = load->qos,
                                    .no_wait = true};
    int code = quartet_publish(client, &p, NULL);
    while (code == QUARTET_FULL || code == QUARTET_STORE_FULL) {
        (void)nanosleep(&(struct timespec){0, 1000000}, NULL);
        code = quartet_publish(client, &p, NULL);
    }
    check(code);
    if (load->qos == 0) {
        atomic_fetch_add(&load->acknowledged, 1);
    }
}

void load_close(struct load *load) {
    (void)load;
    quartet_close(client);
}
