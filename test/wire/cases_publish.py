"""PUBLISH and the flows of QoS 1 and 2, in both directions."""

import itertools
import time

from case import Late, Skip, case, check, closes, codec, equal, only


@case()
def qos_matrix(t):
    """[MQTT-3.8.4-8]: the lower of both."""
    subs = [t.subscriber(t.topic('#'), q, f's{q}') for q in range(3)]
    for q in range(3):
        t.publish(t.topic('m'), b'%d' % q, q)
        for granted, s in enumerate(subs):
            s.message(payload=b'%d' % q, qos=min(q, granted), dup=False, retain=False, topic=t.topic('m'))
    for s in subs:
        s.quiet()


@case()
def payloads(t):
    s = t.subscriber(t.topic('x'), 1)
    for size in (0, 1, 126, 127, 128, 16383, 16384, 300000):
        body = bytes(i * 7 & 255 for i in range(min(size, 256))) * (size // 256 + 1)
        t.publish(t.topic('x'), body[:size], 1)
        s.message(payload=body[:size])


@case()
def dup_is_not_handed_on(t):
    """[MQTT-3.3.1-3], R1: the flag says nothing, a first PUBLISH with DUP is a message."""
    s = t.subscriber(t.topic('x'), 2)
    p = t.client('p')
    for q in (1, 2):
        p.publish(t.topic('x'), b'%d' % q, q, packet_id=5, dup=True)
        s.message(payload=b'%d' % q, dup=False)


@case()
def publish_repeated(t):
    """[MQTT-4.3.3-10], R6: repeats before PUBREL are answered each time and delivered once."""
    s, p = t.subscriber(t.topic('x'), 2), t.client('p')
    for dup in (False, True, False, True, True):
        p.send(codec.publish(t.topic('x'), b'once', 2, 3, t.level, dup=dup))
        p.expect(codec.PUBREC, packet_id=3, reason=0)
    for _ in range(3):
        p.send(codec.ack(codec.PUBREL, 3))
        p.expect(codec.PUBCOMP, packet_id=3)
    p.publish(t.topic('x'), b'again', 2, packet_id=3)
    only(s, b'once', b'again')


@case()
def publish_repeated_after_reconnect(t):
    """B2, B4: the id outlives the connection; the repeat is no new message."""
    s = t.subscriber(t.topic('x'), 2)
    for _ in range(3):
        p = t.durable('p')
        p.send(codec.publish(t.topic('x'), b'once', 2, 3, t.level, dup=True))
        p.expect(codec.PUBREC, packet_id=3)
        p.close(reset=True)
    p = t.durable('p')
    p.send(codec.ack(codec.PUBREL, 3))
    p.expect(codec.PUBCOMP, packet_id=3, reason=0)
    p.publish(t.topic('x'), b'again', 2, packet_id=3)
    only(s, b'once', b'again')


@case()
def ids_end_with_the_session(t):
    """R2, R3: after a clean start the same id names a new message."""
    s = t.subscriber(t.topic('x'), 2)
    p = t.durable('p')
    p.send(codec.publish(t.topic('x'), b'1', 2, 3, t.level))
    p.expect(codec.PUBREC, packet_id=3)
    p.close(reset=True)
    p = t.client('p', expiry=1000, clean=True)
    p.send(codec.publish(t.topic('x'), b'2', 2, 3, t.level, dup=True))
    p.expect(codec.PUBREC, packet_id=3)
    only(s, b'1', b'2')


@case()
def unknown_pubrel(t):
    """Section 3.7.2.1: 0x92 is not an error; 3.1.1: answered plainly."""
    p = t.client()
    for packet_id in (1, 7, 65535):
        p.send(codec.ack(codec.PUBREL, packet_id))
        p.expect(codec.PUBCOMP, packet_id=packet_id, reason=0x92 if t.level >= 5 else 0)
    p.quiet()


@case()
def unknown_acknowledgements(t):
    """PUBACK, PUBCOMP and PUBREC of ids that nobody knows: the connection lives."""
    p = t.client()
    p.send(codec.ack(codec.PUBACK, 9), codec.ack(codec.PUBCOMP, 9))
    p.quiet()
    p.send(codec.ack(codec.PUBREC, 9), codec.PING)
    k = p.next()
    if k.type == codec.PUBREL:
        check(k.packet_id == 9 and k.reason == (0x92 if t.level >= 5 else 0), k)
        k = p.next()
    equal(k.type, codec.PINGRESP)


@case()
def acknowledgements_in_order(t):
    """[MQTT-4.6.0-2..4], R8"""
    p = t.client()
    ids = [5, 3, 9, 1, 40, 2]
    p.send(*(codec.publish(t.topic('x'), b'', 2, i, t.level) for i in ids))
    equal([p.expect(codec.PUBREC).packet_id for _ in ids], ids)
    p.send(*(codec.ack(codec.PUBREL, i) for i in ids))
    equal([p.expect(codec.PUBCOMP).packet_id for _ in ids], ids)
    p.send(*(codec.publish(t.topic('x'), b'', 1, i, t.level) for i in ids))
    equal([p.expect(codec.PUBACK).packet_id for _ in ids], ids)


@case()
def both_directions_have_their_own_ids(t):
    """Section 2.2.1 (5.0) / 2.3.1: ids of client and server are independent."""
    p = t.subscriber(t.topic('x'), 2)
    p.send(codec.publish(t.topic('x'), b'mine', 2, 1, t.level))
    kinds = {k.type: k for k in (p.next(), p.next())}
    equal(set(kinds), {codec.PUBREC, codec.PUBLISH})
    theirs = kinds[codec.PUBLISH].packet_id
    p.send(codec.ack(codec.PUBREC, theirs), codec.ack(codec.PUBREL, 1))
    kinds = {k.type: k.packet_id for k in (p.next(), p.next())}
    equal(kinds, {codec.PUBREL: theirs, codec.PUBCOMP: 1})
    p.send(codec.ack(codec.PUBCOMP, theirs))
    p.quiet()


@case()
def order_of_messages(t):
    """[MQTT-4.6.0-5], [MQTT-4.6.0-6]"""
    s, p = t.subscriber(t.topic('x'), 2), t.client('p')
    for start in range(0, 200, 20):
        p.send(*(codec.publish(t.topic('x'), b'%d' % (start + i), 1, i + 1, t.level) for i in range(20)))
        for i in range(20):
            p.expect(codec.PUBACK, packet_id=i + 1)
    for i in range(200):
        s.message(payload=b'%d' % i)


@case()
def resumed_publish(t):
    """[MQTT-4.4.0-1], [MQTT-3.3.1-1]: unacknowledged ones come again, in order, DUP set, the same ids."""
    for qos in (1, 2):
        topic, name = t.topic(f'q{qos}'), f'd{qos}'
        s = t.durable(name)
        s.subscribe((topic, qos))
        for i in range(3):
            t.publish(topic, b'%d' % i, qos)
        first = [s.expect(codec.PUBLISH, payload=b'%d' % i, dup=False) for i in range(3)]
        s.close(reset=True)
        s = t.durable(name)
        again = [s.expect(codec.PUBLISH, payload=b'%d' % i, dup=True) for i in range(3)]
        equal([m.packet_id for m in again], [m.packet_id for m in first], 'ids')
        for m in again:
            s.send(codec.ack(codec.PUBACK if qos == 1 else codec.PUBREC, m.packet_id))
        if qos == 2:
            for m in again:
                s.expect(codec.PUBREL, packet_id=m.packet_id)
        s.quiet()


@case()
def resumed_pubrel(t):
    """[MQTT-4.4.0-1], [MQTT-4.3.3-6]: after PUBREC only PUBREL comes again, never PUBLISH."""
    s = t.durable()
    s.subscribe((t.topic('x'), 2))
    t.publish(t.topic('x'), b'1', 2)
    m = s.expect(codec.PUBLISH)
    s.send(codec.ack(codec.PUBREC, m.packet_id))
    s.expect(codec.PUBREL, packet_id=m.packet_id)
    for _ in range(2):
        s.close(reset=True)
        s = t.durable()
        s.expect(codec.PUBREL, packet_id=m.packet_id)
        s.quiet()
    s.send(codec.ack(codec.PUBCOMP, m.packet_id))
    s.quiet()
    s.close(reset=True)
    t.durable().quiet()


@case()
def repeated_pubrec(t):
    """R6: a repeat of PUBREC is answered with PUBREL again."""
    s = t.subscriber(t.topic('x'), 2)
    t.publish(t.topic('x'), b'1', 2)
    m = s.expect(codec.PUBLISH)
    for _ in range(3):
        s.send(codec.ack(codec.PUBREC, m.packet_id))
        s.expect(codec.PUBREL, packet_id=m.packet_id)
    for _ in range(2):
        s.send(codec.ack(codec.PUBCOMP, m.packet_id))
    s.quiet()


@case()
def nothing_is_resent_on_a_live_connection(t):
    """[MQTT-4.4.0-1], R7"""
    s = t.subscriber(t.topic('x'), 2)
    t.publish(t.topic('x'), b'1', 2)
    m = s.expect(codec.PUBLISH)
    time.sleep(2.5)
    s.quiet()
    s.send(codec.ack(codec.PUBREC, m.packet_id))
    s.expect(codec.PUBREL)
    time.sleep(1.5)
    s.quiet()


@case(5)
def refused_by_the_subscriber(t):
    """[MQTT-4.4.0-2], R5: PUBREC and PUBACK of 0x80 and above end the flow, and give the quota back."""
    s = t.durable(props={'receive_maximum': 1})
    s.subscribe((t.topic('x'), 2))
    for i, (qos, kind) in enumerate(((2, codec.PUBREC), (1, codec.PUBACK)) * 3):
        t.publish(t.topic('x'), b'%d' % i, qos)
        m = s.expect(codec.PUBLISH, payload=b'%d' % i, qos=qos)
        s.send(codec.ack(kind, m.packet_id, 0x97))
    s.quiet()
    s.close(reset=True)
    t.durable().quiet()


@case(5)
def receive_maximum_of_the_client(t):
    """[MQTT-3.3.4-9], [MQTT-4.9.0-2..3]: no more in flight; other packets are not delayed; QoS 0 passes."""
    s = t.durable(props={'receive_maximum': 2})
    s.subscribe((t.topic('x'), 2), (t.topic('zero'), 0))
    for i in range(5):
        t.publish(t.topic('x'), b'%d' % i, 1 + i % 2)
    a, b = s.expect(codec.PUBLISH, payload=b'0'), s.expect(codec.PUBLISH, payload=b'1')
    t.publish(t.topic('zero'), b'z', 0)
    s.expect(codec.PUBLISH, payload=b'z')
    s.quiet()
    s.send(codec.ack(codec.PUBREC, b.packet_id))
    s.expect(codec.PUBREL, packet_id=b.packet_id)
    s.quiet()
    s.send(codec.ack(codec.PUBCOMP, b.packet_id))
    c = s.expect(codec.PUBLISH, payload=b'2')
    s.quiet()
    s.send(codec.ack(codec.PUBACK, a.packet_id), codec.ack(codec.PUBACK, c.packet_id))
    s.message(payload=b'3')
    s.message(payload=b'4')
    s.quiet()


@case(5)
def receive_maximum_belongs_to_the_connection(t):
    """[MQTT-4.9.0-1]: another one after the reconnect, and it begins full."""
    s = t.durable(props={'receive_maximum': 5})
    s.subscribe((t.topic('x'), 1))
    for i in range(8):
        t.publish(t.topic('x'), b'%d' % i, 1)
    for i in range(5):
        s.expect(codec.PUBLISH, payload=b'%d' % i)
    s.quiet()
    s.close(reset=True)
    s = t.durable(props={'receive_maximum': 2})
    for i in range(0, 8, 2):
        pair = [s.expect(codec.PUBLISH, payload=b'%d' % j, dup=j < 5) for j in (i, i + 1)]
        s.quiet()
        s.send(*(codec.ack(codec.PUBACK, m.packet_id) for m in pair))


@case(5)
def receive_maximum_of_the_server(t):
    """[MQTT-3.3.4-7], section 4.9: one too many is 0x93."""
    s, p = t.subscriber(t.topic('x'), 0), t.client('p')
    limit = p.connack.props.get('receive_maximum', 65535)
    if limit > 5000:
        raise Skip(f'the receive maximum is {limit}')
    for i in range(1, limit + 1):
        p.send(codec.publish(t.topic('x'), b'', 2, i, 5))
        p.expect(codec.PUBREC, packet_id=i)
        s.message()
    p.send(codec.publish(t.topic('x'), b'over', 2, limit + 1, 5))
    closes(p, 0x93)
    s.quiet()


@case(4)
def many_in_flight_311(t):
    """3.1.1 knows no Receive Maximum: a client may have them all in flight."""
    p = t.client()
    for i in range(1, 2001):
        p.send(codec.publish(t.topic('x'), b'', 2, i, 4))
    for i in range(1, 2001):
        p.expect(codec.PUBREC, packet_id=i)


@case(5)
def message_expiry_forwarded(t):
    """[MQTT-3.3.2-6]: what is forwarded is what is left."""
    s = t.durable()
    s.subscribe((t.topic('x'), 1))
    t.publish(t.topic('x'), b'live', 1, props={'message_expiry': 100})
    check(99 <= s.message(payload=b'live').props['message_expiry'] <= 100)
    s.disconnect()
    t.publish(t.topic('x'), b'late', 1, props={'message_expiry': 100})
    time.sleep(2.1)
    left = t.durable().message(payload=b'late').props['message_expiry']
    check(96 <= left <= 98, f'{left} left of 100 after 2.1 s')


@case(5)
def message_expiry_drops(t):
    """[MQTT-3.3.2-5]: not delivered any more, live, queued or retained."""
    s = t.durable()
    s.subscribe((t.topic('x'), 2))
    s.disconnect()
    t.publish(t.topic('x'), b'expires', 2, props={'message_expiry': 1})
    t.publish(t.topic('x'), b'stays', 2)
    t.publish(t.topic('r/expires'), b'r', 1, retain=True, props={'message_expiry': 1})
    t.publish(t.topic('r/stays'), b'r', 1, retain=True, props={'message_expiry': 50})
    time.sleep(2.6)
    only(t.durable(), b'stays')
    r = t.subscriber(t.topic('r/#'), 1, 'r')
    m = r.message(topic=t.topic('r/stays'))
    check(46 <= m.props['message_expiry'] <= 48, m)
    r.quiet()


@case(5)
def message_expiry_does_not_break_flows(t):
    """[MQTT-4.3.3-7], [MQTT-4.3.3-13], R10: what has begun is finished."""
    s = t.durable()
    s.subscribe((t.topic('x'), 2))
    t.publish(t.topic('x'), b'begun', 2, props={'message_expiry': 1})
    m = s.expect(codec.PUBLISH)
    s.close(reset=True)
    time.sleep(2.2)
    s = t.durable()
    again = s.expect(codec.PUBLISH, payload=b'begun', packet_id=m.packet_id, dup=True)
    s.send(codec.ack(codec.PUBREC, again.packet_id))
    s.expect(codec.PUBREL)
    s.send(codec.ack(codec.PUBCOMP, again.packet_id))
    s.quiet()


@case(5)
def topic_alias_to_the_server(t):
    """Section 3.3.2.3.4: set, used, changed; gone with the connection."""
    s, p = t.subscriber(t.topic('#'), 0), t.client('p')
    top = p.connack.props.get('topic_alias_maximum', 0)
    if not top:
        raise Skip('no topic aliases')
    for alias in (1, top):
        p.send(codec.publish(t.topic('a'), b'1', props={'topic_alias': alias}))
        p.send(codec.publish('', b'2', props={'topic_alias': alias}))
        p.send(codec.publish(t.topic('b'), b'3', props={'topic_alias': alias}))
        p.send(codec.publish('', b'4', 1, 1, props={'topic_alias': alias}))
        for topic, payload in (('a', b'1'), ('a', b'2'), ('b', b'3'), ('b', b'4')):
            m = s.message(topic=t.topic(topic), payload=payload)
            check('topic_alias' not in m.props, m)
    for bad, reason in ((0, 0x94), (top + 1, 0x94)):
        if bad > 65535:
            continue
        q = t.client('q')
        q.send(codec.publish(t.topic('a'), b'', props={'topic_alias': bad}))
        closes(q, reason)
    q = t.client('p')
    q.send(codec.publish('', b'', props={'topic_alias': 1}))
    closes(q, {0x82, 0x94})


@case(5)
def topic_alias_to_the_client(t):
    """[MQTT-3.1.2-26], [MQTT-3.1.2-27]: none by default; within the client's limit otherwise."""
    s = t.subscriber(t.topic('#'), 1, props=None)
    u = t.client('u', props={'topic_alias_maximum': 3})
    u.subscribe((t.topic('#'), 1))
    names = {}
    for i in range(20):
        t.publish(t.topic(f'{i % 5}'), b'%d' % i, i % 2)
        m = s.message(payload=b'%d' % i, topic=t.topic(f'{i % 5}'))
        check('topic_alias' not in m.props, m)
        m = u.message(payload=b'%d' % i)
        alias = m.props.get('topic_alias')
        check(alias is None or 1 <= alias <= 3, m)
        if alias and m.topic:
            names[alias] = m.topic
        equal(m.topic or names[alias], t.topic(f'{i % 5}'))


@case(5)
def properties_are_forwarded(t):
    """[MQTT-3.3.2-4], [MQTT-3.3.2-15..20], [MQTT-3.3.2-17]: unchanged, user properties in their order."""
    sent = [('payload_format', 1), ('content_type', 'text/plain'), ('response_topic', 'answer/me'),
            ('correlation_data', b'\0\1\2'), ('user', ('b', '1')), ('user', ('a', '2')), ('user', ('b', '1'))]
    s = t.subscriber(t.topic('x'), 2)
    for qos in range(3):
        t.publish(t.topic('x'), b'text', qos, props=sent)
        props = s.message().props
        equal(props, {'payload_format': 1, 'content_type': 'text/plain', 'response_topic': 'answer/me',
                      'correlation_data': b'\0\1\2', 'user': [('b', '1'), ('a', '2'), ('b', '1')]})


@case(5)
def properties_between_protocols(t):
    """A 3.1.1 subscriber gets the message without them."""
    s = t.subscriber(t.topic('x'), 2, level=4)
    t.publish(t.topic('x'), b'text', 2, props={'content_type': 'a', 'message_expiry': 10})
    only(s, b'text')
    u = t.subscriber(t.topic('y'), 2, 'u')
    with t.open(4) as p:
        p.connect(t.id('old')).publish(t.topic('y'), b'old', 2)
    equal(u.message(payload=b'old').props, {})


@case(5)
def properties_survive_the_queue(t):
    s = t.durable()
    known = s.connack.props.get('subscription_id_available', 1)
    s.subscribe((t.topic('x'), 2), props={'subscription_id': 268435455} if known else None)
    s.disconnect()
    t.publish(t.topic('x'), b'text', 2, props=[('content_type', 'c'), ('user', ('k', 'v'))])
    props = t.durable().message().props
    equal(props.pop('subscription_id', None), [268435455] if known else None)
    equal(props, {'content_type': 'c', 'user': [('k', 'v')]})


BAD = {
    'QoS 3': (lambda t: codec.raw(0x36, codec.text('a') + b'\0\1' + b'\0' * (t.level >= 5)), {0x81}),
    'DUP with QoS 0': (lambda t: codec.raw(0x38, codec.text('a') + b'\0' * (t.level >= 5)), {0x81, 0x82}),
    'packet id 0': (lambda t: codec.publish('a', b'', 1, 0, t.level), {0x81, 0x82}),
    'wildcard #': (lambda t: codec.publish('a/#', b'', 0, 0, t.level), {0x90, 0x81, 0x82}),
    'wildcard +': (lambda t: codec.publish('+/a', b'', 0, 0, t.level), {0x90, 0x81, 0x82}),
    'empty topic': (lambda t: codec.publish('', b'', 0, 0, t.level), {0x82, 0x81, 0x90}),
    'U+0000': (lambda t: codec.publish('a\0b', b'', 0, 0, t.level), {0x81, 0x90}),
    'surrogate': (lambda t: codec.publish(b'a\xed\xa0\x80', b'', 0, 0, t.level), {0x81, 0x90}),
    'overlong': (lambda t: codec.publish(b'a\xc0\xaf', b'', 0, 0, t.level), {0x81, 0x90}),
    'topic beyond the packet': (lambda t: codec.raw(0x30, b'\x00\x10abc'), {0x81}),
    'no packet id': (lambda t: codec.raw(0x32, codec.text('a')), {0x81}),
}
BAD_5 = {
    'subscription id': (lambda t: codec.publish('a', b'', props={'subscription_id': 1}), {0x82, 0x81}),
    'response topic with wildcard': (lambda t: codec.publish('a', b'', props={'response_topic': 'a/+'}), {0x82, 0x81, 0x90}),
    'alias twice': (lambda t: codec.publish('a', b'', props=[('topic_alias', 1)] * 2), {0x82, 0x81}),
    'format 2': (lambda t: codec.publish('a', b'', props={'payload_format': 2}), {0x81, 0x82}),
    'property of CONNECT': (lambda t: codec.publish('a', b'', props=b'\x11\0\0\0\1'), {0x81, 0x82}),
    'unknown property': (lambda t: codec.publish('a', b'', props=b'\x7f\0'), {0x81, 0x82}),
    'property cut off': (lambda t: codec.publish('a', b'', props=b'\x02\0\0'), {0x81}),
}


@case()
def malformed_publish(t):
    """The connection ends, with the reason code that the standard gives."""
    for name, (make, reasons) in itertools.chain(BAD.items(), BAD_5.items() if t.level >= 5 else ()):
        p = t.client()
        p.send(make(t))
        try:
            closes(p, reasons)
        except (AssertionError, Late) as e:
            raise AssertionError(f'{name}: {e}') from e


@case(5)
def packet_too_large_for_the_server(t):
    """Section 3.2.2.3.6, [MQTT-3.2.2-15]: 0x95, without reading all of it."""
    p = t.client()
    top = p.connack.props.get('maximum_packet_size')
    if not top:
        raise Skip('no maximum packet size')
    s = t.subscriber(t.topic('x'), 0)
    body = codec.publish(t.topic('x'), b'')
    size = top - len(body) - (3 if top > 2097151 else 2 if top > 16383 else 0)
    p.publish(t.topic('x'), b'x' * size)
    equal(len(s.message(limit=20).payload), size)
    p.send(codec.publish(t.topic('x'), b'x' * (size + 10)))
    closes(p, 0x95)


@case(5)
def packet_too_large_for_the_client(t):
    """[MQTT-3.1.2-24], [MQTT-3.1.2-25]: not sent; the session goes on as if it had been."""
    s = t.durable(props={'maximum_packet_size': 200})
    s.subscribe((t.topic('x'), 2))
    for i, size in enumerate((10, 300, 50, 5000, 60)):
        t.publish(t.topic('x'), bytes([i]) * size, i % 3)
    for i, size in ((0, 10), (2, 50), (4, 60)):
        s.message(payload=bytes([i]) * size)
    s.quiet()
    s.disconnect()
    t.publish(t.topic('x'), b'big' * 200, 2)
    t.publish(t.topic('x'), b'small', 2)
    only(t.durable(props={'maximum_packet_size': 200}), b'small')


@case()
def qos_0_only_to_the_connected(t):
    """Section 4.3.1 and the statement in the manual: QoS 0 is not kept for absent clients."""
    s = t.durable()
    s.subscribe((t.topic('x'), 2))
    s.disconnect()
    t.publish(t.topic('x'), b'zero', 0)
    t.publish(t.topic('x'), b'one', 1)
    m = t.durable().message()
    if m.payload == b'zero':
        raise Skip('QoS 0 messages are kept')
    equal(m.payload, b'one')


@case()
def ids_skip_those_in_flight(t):
    """R4: after 65,535 the numbers come round and miss the one that is still open."""
    s, p = t.subscriber(t.topic('x'), 1), t.client('p')
    p.publish(t.topic('x'), b'open', 1)
    held = s.expect(codec.PUBLISH, payload=b'open').packet_id
    seen = 0
    while seen < 66500:
        p.send(*(codec.publish(t.topic('x'), b'', 1, i + 1, t.level) for i in range(200)))
        for _ in range(200):
            p.expect(codec.PUBACK, 20)
        acks = []
        for _ in range(200):
            m = s.expect(codec.PUBLISH, 20)
            check(m.packet_id != held, f'id {held} used again while it is in flight')
            acks.append(codec.ack(codec.PUBACK, m.packet_id))
        s.send(*acks)
        seen += 200
    s.send(codec.ack(codec.PUBACK, held))
    s.quiet()
