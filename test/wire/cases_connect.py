"""CONNECT, CONNACK, keep alive, takeover, session state."""

import contextlib
import socket
import threading
import time

from case import Late, case, check, closes, codec, equal, only, refused


@case()
def first_packet_is_connect(t):
    """[MQTT-3.1.0-1]"""
    for packet in (codec.PING, codec.publish('a', b'x', level=t.level), codec.subscribe(1, [('a', 0)], t.level),
                   codec.disconnect()):
        p = t.open(limit=4)
        p.send(packet)
        check(p.next() is None, 'answered before CONNECT')


@case()
def connect_twice(t):
    """[MQTT-3.1.0-2]"""
    p = t.client()
    p.send(codec.connect(t.id('c'), t.level))
    closes(p, 0x82)


@case(4)
def unknown_protocol_level(t):
    """[MQTT-3.1.2-2] in both standards: CONNACK 0x01 (or 0x84) and close."""
    for level in (0, 6, 255):
        p = t.open()
        p.send(codec.raw(0x10, codec.text('MQTT') + bytes([level, 2, 0, 0]) + codec.text('c')))
        data = b''
        while (more := p.sock.recv(100)):
            data += more
        check(data in (b'', b'\x20\x02\x00\x01') or data[:1] == b'\x20' and data[3:4] == b'\x84', data.hex())


@case()
def wrong_protocol_name(t):
    """[MQTT-3.1.2-1]"""
    for name in ('MQTTX', 'mqtt', ''):
        p = t.open()
        p.send(codec.connect(t.id('c'), t.level, name=name))
        refused(p, (1,), (0x84, 0x82, 0x81))


@case()
def connect_flags(t):
    """Reserved bit, will bits without a will, will QoS 3: [MQTT-3.1.2-3], [MQTT-3.1.2-11..15]."""
    for flags in (0x03, 0x0A, 0x12, 0x22, 0x1E):
        p = t.open()
        will = {'topic': 'w', 'payload': b''} if flags & 4 else None
        p.send(codec.connect(t.id('c'), t.level, flags=flags, will=will))
        refused(p, (), (0x81, 0x82))


@case(4)
def password_without_user_name(t):
    """[MQTT-3.1.2-22]"""
    p = t.open()
    p.send(codec.connect(t.id('c'), 4, password='secret'))
    refused(p, (), ())


@case(4)
def empty_client_id_311(t):
    """[MQTT-3.1.3-7], [MQTT-3.1.3-8]"""
    p = t.open().connect('', clean=True)
    p.quiet()
    p = t.open()
    p.send(codec.connect('', 4, clean=False))
    refused(p, 2, ())


@case(5)
def empty_client_id_5(t):
    """[MQTT-3.1.3-6], [MQTT-3.2.2-16]: each gets an id of its own, which it can come back with."""
    a = t.open().connect('', clean=False, props={'session_expiry': 100})
    b = t.open().connect('', clean=True)
    name = a.connack.props.get('assigned_client_id')
    check(name and name != b.connack.props.get('assigned_client_id'), 'assigned ids')
    a.disconnect()
    a = t.open().connect(name, clean=False, props={'session_expiry': 1})
    check(a.connack.session_present and 'assigned_client_id' not in a.connack.props)


@case()
def client_ids(t):
    """[MQTT-3.1.3-5]: 1 to 23 letters and digits; longer ones and other characters are allowed to be allowed."""
    for name in ('a', '0123456789abcdefghijklm', 'x' * 200, 'grüße/№+#$', ' '):
        t.open().connect(t.id('') + name).quiet()


@case()
def session_present(t):
    """[MQTT-3.2.2-2], [MQTT-3.2.2-3], [MQTT-3.1.2-4..6]"""
    for clean, wanted in ((False, False), (False, True), (False, True), (True, False), (True, False)):
        p = t.client('s', expiry=100, clean=clean)
        equal(p.connack.session_present, wanted, f'clean {clean}: session present')
        p.disconnect()


@case()
def clean_session_discards(t):
    """[MQTT-3.1.2-4], B8: subscriptions and queued messages are gone, for the next connection too."""
    topic = t.topic('x')
    t.durable().subscribe((topic, 2))
    t.peers[-1].disconnect()
    t.publish(topic, b'old', 2)
    t.client('d', expiry=1000, clean=True).disconnect()
    p = t.durable()
    t.publish(topic, b'new', 2)
    p.quiet()


@case(4)
def clean_session_ends_with_connection(t):
    """3.1.1, [MQTT-3.1.2-6]"""
    t.client('c', clean=True).subscribe((t.topic('x'), 1))
    t.peers[-1].disconnect()
    check(not t.durable('c').connack.session_present)


@case(5)
def session_expiry(t):
    """[MQTT-3.1.2-23], section 3.1.2.11.2, [MQTT-4.1.0-2]"""
    for name, connect, at_disconnect, alive in (('zero', 0, None, False), ('one', 1, None, False),
                                                ('long', 100, None, True), ('shortened', 100, 1, False),
                                                ('zeroed', 100, 0, False), ('lengthened', 1, 100, True)):
        p = t.client(name, props={'session_expiry': connect}, clean=False)
        props = None if at_disconnect is None else {'session_expiry': at_disconnect}
        p.disconnect(0 if props else None, props)
    time.sleep(3.2)
    for name, alive in (('zero', False), ('one', False), ('long', True), ('shortened', False), ('zeroed', False),
                        ('lengthened', True)):
        p = t.client(name, clean=False)
        equal(p.connack.session_present, alive, f'{name}: session present')


@case(5)
def session_expiry_after_break(t):
    """The time runs from the break of the connection; none while it is connected, [MQTT-4.1.0-1]."""
    p = t.client('break', props={'session_expiry': 1}, clean=False)
    q = t.client('stays', props={'session_expiry': 1}, clean=False)
    p.close(reset=True)
    time.sleep(3.2)
    check(not t.client('break', clean=False).connack.session_present)
    q.disconnect(0, {'session_expiry': 100})
    check(t.client('stays', clean=False).connack.session_present)


@case(5)
def session_expiry_from_zero(t):
    """[MQTT-3.14.2-1] and section 3.14.2.2.2: 0 at CONNECT must not become more at DISCONNECT."""
    p = t.client()
    p.send(codec.disconnect(0, {'session_expiry': 5}))
    closes(p, 0x82)


@case(5)
def receive_maximum_zero(t):
    """Sections 3.1.2.11.3, 3.1.2.11.4"""
    for props in ({'receive_maximum': 0}, {'maximum_packet_size': 0}, [('receive_maximum', 1)] * 2,
                  {'request_problem': 2}, {'request_response': 2}, {'auth_data': b'x'}):
        p = t.open()
        p.send(codec.connect(t.id('c'), 5, props=props))
        refused(p, (), (0x82, 0x81))


@case(5)
def authentication_method_refused(t):
    """[MQTT-4.12.0-1]"""
    p = t.open()
    p.send(codec.connect(t.id('c'), 5, props={'auth_method': 'GUESS', 'auth_data': b'42'}))
    refused(p, (), (0x8C, 0x87))


@case(5)
def auth_out_of_place(t):
    """AUTH without an authentication method in CONNECT is a protocol error, section 4.12."""
    p = t.client()
    p.send(b'\xf0\x00')
    closes(p, {0x82, 0x8C})


@case(5)
def connack_is_allowed(t):
    """[MQTT-3.2.2-9..22]: the properties have sense; the codec has checked that each may be there."""
    props = t.client(props={'request_response': 1}).connack.props
    check(props.get('receive_maximum', 1) > 0 and props.get('maximum_packet_size', 1) > 0, props)
    check(props.get('maximum_qos', 0) in (0, 1) and props.get('retain_available', 1) in (0, 1), props)


@case()
def keep_alive(t):
    """[MQTT-3.1.2-22] in 5.0, [MQTT-3.1.2-24] in 3.1.1: closed after one and a half times, not earlier."""
    silent, busy = t.client('silent', keep_alive=2), t.client('busy', keep_alive=1)
    began = time.monotonic()
    while not silent.readable(0.4) and time.monotonic() - began < 8:
        busy.quiet()
    closes(silent, 0x8D)
    seconds = time.monotonic() - began
    check(2.9 < seconds < 5.5, f'closed after {seconds:.1f} s')
    busy.quiet()


@case()
def keep_alive_zero(t):
    """0 turns it off."""
    p = t.client(keep_alive=0)
    time.sleep(2.5)
    p.quiet()


@case()
def keep_alive_any_packet(t):
    """Any control packet counts, an acknowledgement as well as a QoS 0 PUBLISH."""
    p = t.client(keep_alive=1)
    for _ in range(6):
        p.send(codec.publish(t.topic('x'), b'', level=t.level))
        time.sleep(0.5)
    p.quiet()


@case()
def takeover(t):
    """[MQTT-3.1.4-3], [MQTT-3.1.4-2] in 3.1.1"""
    a = t.durable()
    a.subscribe((t.topic('x'), 2))
    b = t.durable()
    check(b.connack.session_present)
    closes(a, 0x8E)
    t.publish(t.topic('x'), b'1', 2)
    only(b, b'1')


@case(5)
def takeover_between_protocols(t):
    """One client id is one session, whatever the protocol."""
    a = t.durable(level=4)
    b = t.durable(level=5)
    check(b.connack.session_present)
    closes(a)
    c = t.durable(level=4)
    check(c.connack.session_present)
    closes(b, 0x8E)


@case()
def takeover_storm(t):
    """Many at once: one lives, and the session with its message survives."""
    first = t.durable()
    first.subscribe((t.topic('x'), 2))
    first.disconnect()
    t.publish(t.topic('x'), b'kept', 2)
    peers = [t.open() for _ in range(30)]
    for p in peers:
        props = {'session_expiry': 1000} if t.level >= 5 else None
        p.send(codec.connect(t.id('d'), t.level, clean=False, props=props))
    ended = 0
    for p in peers:
        p.limit = 1
        try:
            while p.next() is not None:
                pass
            ended += 1
        except Late:
            p.close()
    equal(ended, 29, 'closed connections')
    p = t.durable()
    only(p, b'kept')


@case(conf=('shards 3',))
def back_at_once(t):
    """[MQTT-3.14.4-3]: what was sent before the new CONNECT counts, whichever thread has which connection."""
    s = t.subscriber(t.topic('+'), 1)
    for i in range(150):
        will = {'topic': t.topic('w'), 'payload': b'will', 'qos': 1}
        c = t.client('c', will=will, expiry=1000 if i % 2 else None)
        c.send(*[codec.publish(t.topic('x'), f'{i}.{n}'.encode(), level=t.level) for n in range(20)], codec.disconnect())
        c.close()
    t.client('c')
    only(s, *[f'{i}.{n}'.encode() for i in range(150) for n in range(20)])


@case(conf=('shards 3',))
def back_at_once_after_much(t):
    """More than one read takes, and more than half of it QoS 1 that a disk must take."""
    body = b'x' * 3000
    for i in range(5):
        s = t.subscriber(t.topic(f'+/{i}'), 1, f's{i}')
        c = t.client('c', will={'topic': t.topic(f'w/{i}'), 'payload': b'will'})
        c.send(*[codec.publish(t.topic(f'x/{i}'), body, level=t.level) for _ in range(200)],
               *[codec.publish(t.topic(f'x/{i}'), body, 1, n, t.level) for n in range(1, 200)], codec.disconnect())
        c.sock.shutdown(socket.SHUT_WR)  # to close it with answers unread would throw away what is not sent yet
        t.client('c')
        only(s, *[body] * 399)
        c.close()


@case()
def back_while_the_old_connection_is_reset(t):
    """What waits in an old connection is read slice by slice when its client comes back. A reset between two of them
    ends it, as at any other time."""
    for i in range(10):
        t.subscriber(t.topic('x'), 0, f's{i}')
    much = codec.publish(t.topic('x'), b'x', level=t.level) * 100_000
    for i in range(10):
        old, new = t.client('c'), t.open()
        with contextlib.suppress(BlockingIOError):
            old.sock.setblocking(False)
            old.sock.sendall(much)
        new.send(codec.connect(t.id('c'), t.level))
        time.sleep(i / 2000)
        old.close(reset=True)
        new.expect(codec.CONNACK)
        new.close()


@case()
def back_while_the_old_connection_sends_without_end(t):
    """What is read of an old connection is bounded, also when it is more than a turn may do."""
    much = codec.PING * 100_000
    old, new = t.client('c'), t.open(limit=20.0)

    def send():
        with contextlib.suppress(OSError):
            while True:
                old.sock.sendall(much)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    time.sleep(0.2)
    new.send(codec.connect(t.id('c'), t.level))
    new.expect(codec.CONNACK)
    sender.join(20)


@case(5, conf=('shards 3',))
def takeover_is_told_behind_what_waits(t):
    """The reason comes also when something waits for the old connection, partly sent or for the disk."""
    for i in range(40):
        a = t.durable(f'd{i}')
        a.subscribe((t.topic('x'), 2))
        a.send(*[codec.publish(t.topic('x'), b'm' * 2000, 1, n, t.level) for n in range(1, 1 + i % 20)])
        b = t.durable(f'd{i}')
        p = a.next()
        while p.type in (codec.PUBACK, codec.PUBLISH):
            p = a.next()
        check(p.type == codec.DISCONNECT and p.reason == 0x8E, f'{p}')
        check(a.next() is None)
        b.disconnect()


@case()
def connect_byte_by_byte(t):
    """Fragments of one byte."""
    p = t.open()
    for b in codec.connect(t.id('c'), t.level) + codec.PING:
        p.send(bytes([b]))
    p.expect(codec.CONNACK)
    p.expect(codec.PINGRESP)


@case()
def everything_in_one_segment(t):
    """[MQTT-3.1.4-6]: a client need not wait for CONNACK; answers come in order."""
    p = t.open()
    p.send(codec.connect(t.id('c'), t.level), codec.subscribe(7, [(t.topic('x'), 2)], t.level),
           codec.publish(t.topic('x'), b'early', 2, 9, t.level), codec.ack(codec.PUBREL, 9), codec.PING)
    p.expect(codec.CONNACK)
    p.expect(codec.SUBACK, packet_id=7)
    kinds = [p.next().type for _ in range(4)]
    equal(sorted(kinds), [codec.PUBLISH, codec.PUBREC, codec.PUBCOMP, codec.PINGRESP])
    equal([k for k in kinds if k != codec.PUBLISH], [codec.PUBREC, codec.PUBCOMP, codec.PINGRESP])


@case()
def disconnect_closes(t):
    """[MQTT-3.14.4-1..3]: nothing may come after it; the server closes."""
    p = t.client()
    p.send(codec.disconnect(), codec.PING)
    check(p.next() is None, 'answered after DISCONNECT')


@case()
def disconnect_flags(t):
    """[MQTT-3.14.1-1] and the fixed flags of every packet, [MQTT-2.2.2-2] / [MQTT-2.1.3-1]."""
    for first in (0xE1, 0xC1, 0x82 & 0xF0, 0x60, 0xA0, 0x41, 0x51, 0x71, 0x11):
        p = t.client()
        p.send(codec.raw(first, b'\0\1' if first >> 4 in (4, 5, 6, 7) else b''))
        closes(p, {0x81, 0x82})


@case()
def server_packets_from_client(t):
    """What only a server sends is a protocol error: CVE-2021-28166."""
    for packet in (b'\x20\x02\x00\x00', b'\x90\x03\x00\x01\x00', b'\xb0\x02\x00\x01', b'\xd0\x00', b'\x00\x00'):
        p = t.client()
        p.send(packet)
        closes(p, {0x81, 0x82})


@case(4)
def auth_in_311(t):
    p = t.client()
    p.send(b'\xf0\x00')
    closes(p)


@case(5)
def request_problem_information_off(t):
    """[MQTT-3.1.2-29]: no reason string or user property but in PUBLISH, CONNACK and DISCONNECT."""
    p = t.client(props={'request_problem': 0})
    p.send(codec.ack(codec.PUBREL, 77), codec.subscribe(3, [('a//#/b', 0), ('ok', 0)], 5))
    for _ in range(2):
        k = p.next()
        if k is None or k.type == codec.DISCONNECT:
            break
        check('reason' not in k.props and 'user' not in k.props, k)
