"""SUBSCRIBE, UNSUBSCRIBE, filters, subscription options, shared subscriptions, retained messages."""

from case import Late, Skip, case, check, closes, codec, equal, only

MATCHES = (  # filter, names that match, names that do not: section 4.7
    ('sport/tennis/player1/#', ('sport/tennis/player1', 'sport/tennis/player1/ranking', 'sport/tennis/player1/a/b'),
     ('sport/tennis', 'sport/tennis/player10')),
    ('sport/#', ('sport', 'sport/', 'sport/x'), ('sports',)),
    ('sport/tennis/+', ('sport/tennis/player1', 'sport/tennis/'), ('sport/tennis', 'sport/tennis/player1/ranking')),
    ('sport/+', ('sport/', 'sport/x'), ('sport',)),
    ('+/finance', ('/finance', 'a/finance'), ('finance', 'a/b/finance')),
    ('/+', ('/finance', '/'), ('finance', '/a/b')),
    ('+/+', ('/finance', 'a/b', '/'), ('a', 'a/b/c')),
    ('+/tennis/#', ('a/tennis', 'a/tennis/b', '/tennis'), ('tennis', 'a/b/tennis')),
    ('a//b', ('a//b',), ('a/b', 'a/x/b')),
    ('a b', ('a b',), ('a', 'ab')),
    ('Accounts', ('Accounts',), ('ACCOUNTS', 'accounts')),
    ('+/+/+/#', ('a/b/c', 'a/b/c/d/e'), ('a/b',)),
)


@case()
def filters_match(t):
    """Section 4.7: the examples of the standard, and their edges."""
    p = t.client('p')
    for n, (name, yes, no) in enumerate(MATCHES):
        base = t.topic(f'{n}')
        s = t.subscriber(f'{base}/{name}', 0, f's{n}')
        for topic in (*no, *yes):
            p.publish(f'{base}/{topic}', topic.encode(), 1)
        p.publish(f'{base}/{yes[0]}', b'end', 1)
        try:
            for topic in yes:
                s.message(payload=topic.encode())
            s.message(payload=b'end')
        except (AssertionError, Late) as e:
            raise AssertionError(f'filter {name!r}: {e}') from e


@case()
def dollar_topics(t):
    """[MQTT-4.7.2-1]: wildcards at the beginning do not match $ topics."""
    every, plus = t.subscriber('#', 0, 'all'), t.subscriber('+/' + t.topic('x'), 0, 'plus')
    named = t.subscriber('$own/#', 0, 'named')
    t.publish('$own/' + t.topic('x'), b'hidden', 1)
    t.publish(t.topic('end'), b'end', 1)
    while True:
        m = named.next()
        if m.payload == b'hidden':
            break
    while True:
        m = every.next()
        check(not m.topic.startswith('$'), m)
        if m.topic == t.topic('end'):
            break
    t.publish('own/' + t.topic('x'), b'shown', 1)
    only(plus, b'shown')


@case()
def suback_codes(t):
    """[MQTT-3.8.4-5], [MQTT-3.8.4-6]: one for each, in their order."""
    s = t.client()
    codes = s.subscribe(*((t.topic(f'{i}'), i % 3) for i in range(100)), packet_id=65535)
    equal(codes, tuple(i % 3 for i in range(100)))


@case()
def bad_filters(t):
    """[MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1], [MQTT-4.7.3-2]: refused in SUBACK or by closing, never taken."""
    for name in ('a/#/b', 'a#', '#a', '##', 'a+', '+a', 'a/+b/c', '', 'a\0b', b'a\xff', b'\xed\xa0\x80'):
        s = t.client()
        s.send(codec.subscribe(2, [(name, 1)], t.level))
        p = s.next()
        if p is not None and p.type == codec.SUBACK:
            check(p.reasons in ((0x8F,), (0x80,)), f'{name!r}: {p}')
        elif p is not None:
            check(p.type == codec.DISCONNECT and p.reason in (0x81, 0x82, 0x8F), f'{name!r}: {p}')


@case()
def malformed_subscribe(t):
    """[MQTT-3.8.1-1], [MQTT-3.8.3-2..5], [MQTT-3.10.1-1], [MQTT-3.10.3-2]"""
    five = b'\0' if t.level >= 5 else b''
    one = codec.text('a')
    for name, packet in (('no filter', codec.raw(0x82, b'\0\1' + five)),
                         ('flags', codec.raw(0x80, b'\0\1' + five + one + b'\0')),
                         ('id 0', codec.raw(0x82, b'\0\0' + five + one + b'\0')),
                         ('QoS 3', codec.raw(0x82, b'\0\1' + five + one + b'\3')),
                         ('reserved bits', codec.raw(0x82, b'\0\1' + five + one + b'\xC0')),
                         ('no options', codec.raw(0x82, b'\0\1' + five + one)),
                         ('retain handling 3', codec.raw(0x82, b'\0\1' + five + one + b'\x30')),
                         ('unsubscribe nothing', codec.raw(0xA2, b'\0\1' + five)),
                         ('unsubscribe flags', codec.raw(0xA0, b'\0\1' + five + one)),
                         ('unsubscribe id 0', codec.raw(0xA2, b'\0\0' + five + one)),
                         ('unsubscribe cut', codec.raw(0xA2, b'\0\1' + five + b'\0\5a'))):
        s = t.client()
        s.send(packet)
        try:
            closes(s, {0x81, 0x82})
        except (AssertionError, Late) as e:
            raise AssertionError(f'{name}: {e}') from e


@case(5)
def malformed_subscribe_5(t):
    """Sections 3.8.2.1.2, 3.8.3.1: subscription identifier 0, twice; No Local with a shared subscription."""
    for name, packet in (('identifier 0', codec.subscribe(1, [('a', 0)], props=b'\x0b\0')),
                         ('identifier twice', codec.subscribe(1, [('a', 0)], props=b'\x0b\1\x0b\2')),
                         ('no local and $share', codec.subscribe(1, [('$share/g/a', 4)])),
                         ('property of PUBLISH', codec.subscribe(1, [('a', 0)], props=b'\1\1'))):
        s = t.client()
        s.send(packet)
        try:
            closes(s, {0x81, 0x82})
        except (AssertionError, Late) as e:
            raise AssertionError(f'{name}: {e}') from e


@case()
def subscribe_again_replaces(t):
    """[MQTT-3.8.4-3]: one subscription, the new QoS, no copy more."""
    s = t.subscriber(t.topic('x'), 2)
    s.subscribe((t.topic('x'), 1), packet_id=2)
    s.subscribe((t.topic('x'), 1), packet_id=2)
    t.publish(t.topic('x'), b'1', 2)
    only(s, b'1', qos=1)


@case()
def overlapping_subscriptions(t):
    """[MQTT-3.3.4-2] / [MQTT-3.3.5-1]: the highest QoS at least once, and at most a copy for each subscription."""
    s = t.client()
    s.subscribe((t.topic('#'), 0), (t.topic('+'), 2), (t.topic('x'), 1))
    t.publish(t.topic('x'), b'1', 2)
    s.send(codec.PING)
    seen = []
    while (m := s.next()).type != codec.PINGRESP:
        if m.type == codec.PUBLISH:
            seen.append(m.qos)
            if m.qos:
                s.send(codec.ack(codec.PUBREC if m.qos == 2 else codec.PUBACK, m.packet_id))
    check(2 in seen and len(seen) <= 3 and len(set(seen)) == len(seen), f'QoS {seen}')


@case()
def unsubscribe(t):
    """[MQTT-3.10.4-1..6]"""
    s = t.client()
    s.subscribe((t.topic('a'), 1), (t.topic('b'), 1))
    s.send(codec.unsubscribe(9, [t.topic('a'), t.topic('never')], t.level))
    p = s.expect(codec.UNSUBACK, packet_id=9)
    if t.level >= 5:
        equal(p.reasons, (0x00, 0x11))
    t.publish(t.topic('a'), b'a', 1)
    t.publish(t.topic('b'), b'b', 1)
    only(s, b'b')
    s.send(codec.unsubscribe(10, [t.topic('+')], t.level))
    s.expect(codec.UNSUBACK)
    t.publish(t.topic('b'), b'b2', 1)
    only(s, b'b2')


@case()
def unsubscribe_leaves_flows(t):
    """[MQTT-3.10.4-3]: what has begun is finished, also after a reconnect."""
    s = t.durable()
    s.subscribe((t.topic('x'), 2))
    t.publish(t.topic('x'), b'1', 2)
    m = s.expect(codec.PUBLISH)
    s.send(codec.unsubscribe(2, [t.topic('x')], t.level))
    s.expect(codec.UNSUBACK)
    s.close(reset=True)
    s = t.durable()
    s.message(payload=b'1', packet_id=m.packet_id, dup=True)
    t.publish(t.topic('x'), b'2', 2)
    s.quiet()


@case()
def subscriptions_outlive_the_connection(t):
    """[MQTT-3.1.2-5], section 4.1: queued in order, QoS 1 and 2; with all subscriptions."""
    s = t.durable()
    s.subscribe((t.topic('a/+'), 2), (t.topic('b'), 1))
    s.disconnect()
    for i in range(50):
        t.publish(t.topic(('a/x', 'b')[i % 2]), b'%d' % i, 2)
    s = t.durable()
    for i in range(50):
        s.message(payload=b'%d' % i, qos=2 - i % 2)
    s.quiet()


@case()
def many_filters(t):
    s = t.client()
    equal(s.subscribe(*((t.topic(f'{i}/+'), 0) for i in range(1000))), (0,) * 1000)
    t.publish(t.topic('999/x'), b'1', 0)
    only(s, b'1')
    s.send(codec.unsubscribe(3, [t.topic(f'{i}/+') for i in range(1000)], t.level))
    s.expect(codec.UNSUBACK)
    t.publish(t.topic('999/x'), b'1', 0)
    s.quiet()


@case()
def deep_topic(t):
    """A name of many levels is taken or refused, and the broker lives (CVE-2019-11779)."""
    for levels in (100, 1000, 30000):
        for make in (lambda: codec.publish('/' * levels, b'', 0, 0, t.level),
                     lambda: codec.subscribe(1, [('+/' * levels + '#', 0)], t.level)):
            p = t.client()
            p.send(make(), codec.PING)
            while (k := p.next()) is not None and k.type != codec.PINGRESP:
                pass
    t.client('after').quiet()


# ---- options of 5.0 ----

@case(5)
def no_local(t):
    """[MQTT-3.8.3-3]"""
    s = t.client()
    s.subscribe((t.topic('own'), 1 | 4), (t.topic('both'), 1))
    for name in ('own', 'both'):
        s.send(codec.publish(t.topic(name), b'mine', 0))
    s.message(topic=t.topic('both'))
    t.publish(t.topic('own'), b'other', 1)
    only(s, b'other')


@case(5)
def retain_as_published(t):
    """[MQTT-3.3.1-12], [MQTT-3.3.1-13]"""
    s = t.client()
    s.subscribe((t.topic('kept'), 1 | 8))
    u = t.subscriber(t.topic('kept'), 1, 'u')
    t.publish(t.topic('kept'), b'1', 1, retain=True)
    t.publish(t.topic('kept'), b'2', 1)
    s.message(payload=b'1', retain=True)
    s.message(payload=b'2', retain=False)
    u.message(payload=b'1', retain=False)
    u.message(payload=b'2', retain=False)


@case(5)
def retain_handling(t):
    """[MQTT-3.3.1-9..11]: 0 always, 1 only for a new subscription, 2 never."""
    t.publish(t.topic('r'), b'kept', 1, retain=True)
    s = t.client()
    for step, (handling, comes) in enumerate(((2, False), (1, False), (0, True), (0, True), (1, False))):
        s.subscribe((t.topic('r'), 1 | handling << 4), packet_id=step + 1)
        only(s, *([b'kept'] if comes else []))
    s.send(codec.unsubscribe(9, [t.topic('r')]))
    s.expect(codec.UNSUBACK)
    s.subscribe((t.topic('r'), 1 | 1 << 4))
    only(s, b'kept', retain=True)


@case(5)
def subscription_identifiers(t):
    """[MQTT-3.3.4-3..5]: those of the matching subscriptions, also with retained messages."""
    t.publish(t.topic('a/b'), b'kept', 1, retain=True)
    s = t.client()
    if s.connack.props.get('subscription_id_available', 1) == 0:
        raise Skip('no subscription identifiers')
    s.subscribe((t.topic('a/b'), 1), props={'subscription_id': 7})
    equal(s.message(payload=b'kept').props.get('subscription_id'), [7])
    s.subscribe((t.topic('c/+'), 1), props={'subscription_id': 268435455}, packet_id=2)
    s.subscribe((t.topic('d'), 1), packet_id=3)
    t.publish(t.topic('a/b'), b'1', 1)
    t.publish(t.topic('c/x'), b'2', 1)
    t.publish(t.topic('d'), b'3', 1)
    equal([s.message().props.get('subscription_id') for _ in range(3)], [[7], [268435455], None])
    s.subscribe((t.topic('a/#'), 1), props={'subscription_id': 8}, packet_id=4)
    s.message(payload=b'kept')
    t.publish(t.topic('a/b'), b'4', 0)
    seen = list(s.message(payload=b'4').props['subscription_id'])
    if len(seen) == 1:
        seen += s.message(payload=b'4').props['subscription_id']
    equal(sorted(seen), [7, 8])


@case(5)
def subscription_identifiers_not_available(t):
    """[MQTT-3.2.2-19..21] and 0x9E, 0xA1: what CONNACK does not offer is refused, not ignored."""
    s = t.client()
    if s.connack.props.get('shared_available', 1) == 0:
        s.send(codec.subscribe(1, [('$share/g/' + t.topic('x'), 1)]))
        p = s.next()
        check(p.reasons == (0x9E,) if p.type == codec.SUBACK else p.reason == 0x9E, p)
    s = t.client()
    if s.connack.props.get('subscription_id_available', 1) == 0:
        s.send(codec.subscribe(1, [(t.topic('x'), 1)], props={'subscription_id': 1}))
        p = s.next()
        check(p.reasons == (0xA1,) if p.type == codec.SUBACK else p.reason == 0xA1, p)


# ---- shared subscriptions ----

def group(t, count, qos=2):
    out = []
    for i in range(count):
        p = t.client(f'g{i}')
        if p.connack.props.get('shared_available', 1) == 0:
            raise Skip('no shared subscriptions')
        equal(p.subscribe(('$share/group/' + t.topic('#'), qos)), (qos,))
        out.append(p)
    return out


@case(5)
def shared_subscription(t):
    """Section 4.8.2: each message to one member; others are not touched; two groups are two."""
    members, alone = group(t, 3), t.subscriber(t.topic('#'), 2)
    other = t.client('h')
    other.subscribe(('$share/other/' + t.topic('#'), 2))
    for i in range(30):
        t.publish(t.topic('x'), b'%d' % i, 2)
    for p in (alone, other):
        for i in range(30):
            p.message(payload=b'%d' % i)
    got = []
    for p in members:
        p.send(codec.PING)
        mine = []
        while (m := p.next()).type != codec.PINGRESP:
            if m.type == codec.PUBLISH:
                mine.append(int(m.payload))
        equal(mine, sorted(mine), 'order within a member')
        got += mine
    equal(sorted(got), list(range(30)))


@case(5)
def shared_subscription_names(t):
    """[MQTT-4.8.2-1], [MQTT-4.8.2-2]: CVE-2025-68699 and its neighbours."""
    for name in ('$share/', '$share/g', '$share/g/', '$share//a', '$share/g+/a', '$share/#/a', '$share/+/a'):
        s = t.client()
        s.send(codec.subscribe(2, [(name, 1)]))
        p = s.next()
        if p is not None and p.type == codec.SUBACK:
            check(p.reasons[0] >= 0x80, f'{name!r}: {p}')
        elif p is not None:
            check(p.type == codec.DISCONNECT and p.reason in (0x81, 0x82, 0x8F), f'{name!r}: {p}')


@case(5)
def shared_subscription_no_retained(t):
    """Section 3.8.4: retained messages are not sent for a shared subscription."""
    t.publish(t.topic('r'), b'kept', 1, retain=True)
    group(t, 1)[0].quiet()


@case(5)
def shared_subscription_member_leaves(t):
    """A member that goes leaves its share to the others."""
    a, b = group(t, 2)
    a.disconnect()
    for i in range(5):
        t.publish(t.topic('x'), b'%d' % i, 1)
    only(b, *(b'%d' % i for i in range(5)))


# ---- retained messages ----

@case()
def retained(t):
    """[MQTT-3.3.1-5..8]"""
    for i, qos in enumerate((0, 1, 2)):
        t.publish(t.topic('r'), b'%d' % i, qos, retain=True)
        only(t.subscriber(t.topic('r'), 2, f's{i}'), b'%d' % i, retain=True, qos=qos)
    only(t.subscriber(t.topic('+'), 1, 'plus'), b'2', retain=True, qos=1)
    only(t.subscriber(t.topic('r/#'), 0, 'hash'), b'2', retain=True, qos=0)
    s = t.subscriber(t.topic('r'), 2, 'live')
    s.message(payload=b'2')
    t.publish(t.topic('r'), b'', 1, retain=True)
    s.message(payload=b'', retain=False)
    t.subscriber(t.topic('r'), 2, 'none').quiet()
    t.publish(t.topic('r'), b'not kept', 1)
    t.subscriber(t.topic('r'), 2, 'none2').quiet()


@case()
def retained_many(t):
    for i in range(100):
        t.publish(t.topic(f'{i % 10}/{i}'), b'%d' % i, 1, retain=True)
    s = t.client()
    s.subscribe((t.topic('+/+'), 1))
    got = sorted(int(s.message(retain=True).payload) for _ in range(100))
    equal(got, list(range(100)))
    s.quiet()


@case()
def retained_again_on_subscribe(t):
    """[MQTT-3.3.1-9] / 3.1.1 [MQTT-3.8.4-3]: a repeated SUBSCRIBE sends them again."""
    t.publish(t.topic('r'), b'kept', 1, retain=True)
    s = t.client()
    for i in range(3):
        s.subscribe((t.topic('r'), 1), packet_id=i + 1)
        only(s, b'kept', retain=True)


@case()
def retained_not_on_resume(t):
    """A resumed session gets what it missed, not the retained messages once more."""
    t.publish(t.topic('r'), b'kept', 1, retain=True)
    s = t.durable()
    s.subscribe((t.topic('r'), 1))
    s.message(payload=b'kept')
    s.disconnect()
    t.durable().quiet()


@case()
def retained_to_the_absent(t):
    """A retained message that is published while a durable subscriber is away comes once, and not as retained."""
    s = t.durable()
    s.subscribe((t.topic('r'), 2))
    s.disconnect()
    t.publish(t.topic('r'), b'kept', 2, retain=True)
    only(t.durable(), b'kept', retain=False)
