"""Wills: when they come, when they do not, and what they carry."""

import fcntl
import socket
import struct
import termios
import time

from case import case, check, closes, codec, equal, only


def will(t, name='w', **more):
    return {'topic': t.topic(name), 'payload': f'will of {name}'.encode(), **more}


@case()
def will_on_break(t):
    """[MQTT-3.1.2-8]"""
    for qos in range(3):
        s = t.subscriber(t.topic(f'{qos}'), 2, f's{qos}')
        for how in (False, True):
            t.client(f'c{qos}', will=will(t, f'{qos}', qos=qos)).close(reset=how)
            s.message(qos=qos, retain=False, payload=f'will of {qos}'.encode())
        s.quiet()


@case()
def no_will_on_disconnect(t):
    """[MQTT-3.14.4-3], [MQTT-3.1.2-10]"""
    s = t.subscriber(t.topic('w'), 2)
    t.client('c', will=will(t, qos=2)).disconnect()
    t.publish(t.topic('w'), b'end', 2)
    only(s, b'end')


def unsent(peer):
    """Bytes that the other side's system does not have yet."""
    return struct.unpack('i', fcntl.ioctl(peer.sock, termios.TIOCOUTQ, bytes(4)))[0]


@case(ways=('tcp',))
def no_will_when_a_reset_follows_disconnect(t):
    """The same, when the client closes before it has read all: the reset overtakes nothing of what it has sent, though
    that is more work than one turn does."""
    s = t.subscriber(t.topic('w'), 2)
    for _ in range(5):
        c = t.client('c', will=will(t, qos=2))
        c.subscribe((t.topic('much'), 0))
        much = codec.publish(t.topic('much'), b'x', level=c.level, retain=True)
        c.send(much * (250000 // len(much)), codec.disconnect())
        while unsent(c) > 0:
            pass  # until the other side's system has it all
        c.close()
        t.client('c').disconnect()  # is answered when the old connection is over, and its will is out
    t.publish(t.topic('w'), b'end', 2)
    only(s, b'end')


@case(conf=('outbox_size 4K', 'shards 1'), ways=('tcp',))
def no_will_when_a_client_that_does_not_read_says_goodbye(t):
    """Who does not read its answers is not read from; when its socket is reset it never will, and what it has sent
    counts. Another one, that goes later and without a word, tells when it is over."""
    s = t.subscriber(t.topic('w/+'), 2)
    p = t.client('p')
    clients = [t.open(), t.open()]
    for c, name in zip(clients, ('goodbye', 'cut')):
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.connect(t.id(name), will=will(t, f'w/{name}', qos=2))
        c.subscribe((t.topic('much'), 0))
    for _ in range(100):
        p.publish(t.topic('much'), b'x' * 100_000)
        p.quiet()
    for c in clients:
        c.send(codec.PING)
    p.quiet()
    clients[0].send(codec.disconnect())
    for c in clients:
        while unsent(c) > 0:
            pass
        c.close(reset=True)
    only(s, b'will of w/cut')


@case(5)
def will_on_disconnect_04(t):
    s = t.subscriber(t.topic('w'), 2)
    t.client('c', will=will(t, qos=2)).disconnect(0x04)
    only(s, b'will of w')


@case(5)
def will_on_other_disconnect_reasons(t):
    """Section 3.14.4: only 0x00 deletes the will."""
    s = t.subscriber(t.topic('w'), 2)
    for reason in (0x80, 0x81, 0x93, 0x99):
        t.client('c', will=will(t, qos=1)).disconnect(reason)
        s.message(payload=b'will of w')


@case()
def will_on_keep_alive(t):
    s = t.subscriber(t.topic('w'), 1)
    t.client('c', keep_alive=1, will=will(t, qos=1))
    s.message(limit=4, payload=b'will of w')


@case()
def will_on_protocol_error(t):
    s = t.subscriber(t.topic('w'), 1)
    c = t.client('c', will=will(t, qos=1))
    c.send(codec.raw(0x36, codec.text('a') + b'\0\1\0'))
    closes(c, 0x81)
    s.message(payload=b'will of w')


@case()
def will_on_takeover(t):
    """Section 3.1.4: the connection that is closed was not closed by its client's DISCONNECT."""
    s = t.subscriber(t.topic('w'), 1)
    c = t.client('c', will=will(t, qos=1), expiry=100, clean=True)
    t.client('c', expiry=100, clean=True)
    closes(c, 0x8E)
    s.message(payload=b'will of w')


@case()
def retained_will(t):
    """[MQTT-3.1.2-14..17]"""
    s = t.subscriber(t.topic('+'), 2)
    for name, keep in (('kept', True), ('gone', False)):
        t.client(name, will=will(t, name, qos=2, retain=keep)).close(reset=True)
        s.message(topic=t.topic(name), retain=False)
    only(t.subscriber(t.topic('+'), 2, 'later'), b'will of kept', retain=True)


@case()
def empty_will(t):
    """A will without payload is allowed, and as a retained one it deletes."""
    t.publish(t.topic('w'), b'kept', 1, retain=True)
    s = t.subscriber(t.topic('w'), 1)
    s.message(payload=b'kept')
    t.client('c', will={'topic': t.topic('w'), 'payload': b'', 'qos': 1, 'retain': True}).close(reset=True)
    s.message(payload=b'')
    t.subscriber(t.topic('w'), 1, 'later').quiet()


@case(5)
def will_properties(t):
    """[MQTT-3.1.3-10] and section 3.1.3.2; the delay is not forwarded."""
    s = t.subscriber(t.topic('w'), 2)
    props = [('will_delay', 0), ('payload_format', 1), ('message_expiry', 60), ('content_type', 'text'),
             ('response_topic', 'r'), ('correlation_data', b'\1'), ('user', ('a', 'b')), ('user', ('a', 'c'))]
    t.client('c', will=will(t, qos=2, props=props)).close(reset=True)
    got = s.message().props
    check(59 <= got.pop('message_expiry') <= 60)
    equal(got, {'payload_format': 1, 'content_type': 'text', 'response_topic': 'r', 'correlation_data': b'\1',
                'user': [('a', 'b'), ('a', 'c')]})


@case(5)
def will_delay(t):
    """[MQTT-3.1.3-9]: after the delay, or when the session ends, whichever is first; a resume cancels it."""
    s = t.subscriber(t.topic('+'), 1)
    began = time.monotonic()
    for name, delay, expiry in (('delayed', 1, 100), ('session', 100, 1), ('cancelled', 1, 100), ('cleaned', 100, 100)):
        c = t.client(name, clean=False, props={'session_expiry': expiry},
                     will=will(t, name, qos=1, props={'will_delay': delay}))
        c.close(reset=True)
    t.client('cancelled', clean=False, props={'session_expiry': 100})
    t.client('cleaned', clean=True)
    s.message(topic=t.topic('cleaned'))
    check(time.monotonic() - began < 0.9, 'the will of a discarded session comes at once')
    names = sorted(s.message(limit=5).topic for _ in range(2))
    equal(names, [t.topic('delayed'), t.topic('session')])
    check(0.9 < time.monotonic() - began < 4, f'after {time.monotonic() - began:.1f} s')
    t.publish(t.topic('end'), b'end', 1)
    only(s, b'end')


@case()
def will_to_the_absent(t):
    """A will is a message like any other: it is queued for a durable subscriber that is away."""
    s = t.durable()
    s.subscribe((t.topic('w'), 2))
    s.disconnect()
    watch = t.subscriber(t.topic('w'), 2, 'watch')
    t.client('c', will=will(t, qos=2)).close(reset=True)
    watch.message()
    only(t.durable(), b'will of w')
