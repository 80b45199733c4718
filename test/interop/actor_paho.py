#!/usr/bin/python3
"""paho-mqtt behind the few words that run.py speaks: see there. The system's Python, whose package paho is."""

import argparse
import socket
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def say(*words):
    print(*words, flush=True)


class Client(mqtt.Client):
    """paho 1.6 takes one attempt to connect again, when the broker is there. At a second attempt it forgets that it had
    sent a PUBREL, and sends the PUBLISH again, with DUP 0 and against [MQTT-4.3.3-6]: a new message for any broker that
    has released the id (_messages_reconnect_reset_out knows no state "PUBREL is to be sent again")."""

    def reconnect(self):
        while True:
            try:
                socket.create_connection((self._host, self._port), 1).close()
                return super().reconnect()
            except ConnectionRefusedError:
                time.sleep(0.01)


def make(a):
    level = mqtt.MQTTv5 if a.protocol == '5' else mqtt.MQTTv311
    c = Client(a.id, **({} if level == mqtt.MQTTv5 else {'clean_session': not a.durable}), protocol=level)
    c.max_inflight_messages_set(20)
    c.reconnect_delay_set(0.05, 0.2)
    if a.will:
        c.will_set(a.will, a.payload, a.qos)
    return c


def connect(c, a):
    if a.protocol == '5':
        props = Properties(PacketTypes.CONNECT)
        if a.durable:
            props.SessionExpiryInterval = 10000
        c.connect('127.0.0.1', a.port, 30, clean_start=not a.durable, properties=props)
    else:
        c.connect('127.0.0.1', a.port, 30)


def subscribe(c, a):
    left = [a.count]
    done = threading.Event()

    def on_connect(client, *_):
        if a.topic and not a.only_take:
            client.subscribe(a.topic, a.qos)

    def on_subscribe(*_):
        say('SUBSCRIBED')
        if a.only_subscribe:
            done.set()

    def on_message(_client, _user, m):
        say('MSG', m.topic, int(m.retain), m.qos, m.payload.decode())
        left[0] -= 1
        if left[0] == 0:
            done.set()
    c.on_connect, c.on_subscribe, c.on_message = on_connect, on_subscribe, on_message
    connect(c, a)
    c.loop_start()
    done.wait()
    threading.Event().wait(0.2)  # the last acknowledgement leaves
    c.disconnect()
    c.loop_stop()


def publish(c, a):
    acked = [0]

    def on_publish(*_):
        acked[0] += 1
        if acked[0] % 100 == 0:
            say('ACKED', acked[0])
    c.on_publish = on_publish
    connect(c, a)
    c.loop_start()
    infos = [c.publish(a.topic, text.rstrip('\n'), a.qos, a.retain) for text in ([a.payload] if a.payload is not None else sys.stdin)]
    for info in infos:
        info.wait_for_publish()
    c.disconnect()
    c.loop_stop()


def main():
    p = argparse.ArgumentParser()
    p.add_argument('verb', choices=('sub', 'pub'))
    for name in ('port', 'qos', 'count'):
        p.add_argument('--' + name, type=int, default=0)
    for name in ('id', 'topic', 'payload', 'protocol', 'will'):
        p.add_argument('--' + name)
    for name in ('durable', 'retain', 'only-subscribe', 'only-take'):
        p.add_argument('--' + name, action='store_true')
    a = p.parse_args()
    (subscribe if a.verb == 'sub' else publish)(make(a), a)


main()
