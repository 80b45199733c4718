"""Bounds that a peer may reach: each is answered as the standard says, and nobody else notices."""

import contextlib
import os
import signal
import sys
import threading
import time

import broker as brokers
from case import Gone, Peer, case, check, closes, codec, equal, only
from cases_limits import wrapped

sys.path.insert(0, os.path.join(brokers.ROOT, 'test', 'hostile'))
import guess  # noqa: E402


# ---- acknowledgements of the wrong kind ----

def in_flight(t, qos, name):
    """A session and the id of a message in flight to it; the other client that published it."""
    s = t.subscriber(t.topic(name), qos, name)
    t.publish(t.topic(name), b'm', qos)
    return s, s.expect(codec.PUBLISH, qos=qos).packet_id


@case()
def wrong_acknowledgement(t):
    """An acknowledgement of another kind than what is in flight waits for is a protocol error, not silence."""
    rows = ((1, None, codec.PUBREC), (1, None, codec.PUBCOMP), (2, None, codec.PUBACK), (2, None, codec.PUBCOMP),
            (2, codec.PUBREC, codec.PUBACK))
    for i, (qos, before, wrong) in enumerate(rows):
        s, packet_id = in_flight(t, qos, f's{i}')
        if before:
            s.send(codec.ack(before, packet_id))
            s.expect(codec.PUBREL, packet_id=packet_id)
        s.send(codec.ack(wrong, packet_id))
        closes(s, 0x82)


@case()
def wrong_acknowledgement_keeps_the_message(t):
    """The message of the flight is there when the client comes back."""
    s = t.durable()
    s.subscribe((t.topic('x'), 2))
    t.publish(t.topic('x'), b'kept', 2)
    packet_id = s.expect(codec.PUBLISH, qos=2).packet_id
    s.send(codec.ack(codec.PUBACK, packet_id))
    closes(s, 0x82)
    s = t.durable()
    s.message(payload=b'kept', dup=True, packet_id=packet_id)
    s.quiet()


@case()
def acknowledgement_of_nothing(t):
    """Ids that are not in flight are no reason to close: an answer may have crossed a cut."""
    s = t.client()
    s.send(codec.ack(codec.PUBACK, 7), codec.ack(codec.PUBCOMP, 9))
    s.quiet()
    s.send(codec.ack(codec.PUBREL, 11))
    s.expect(codec.PUBCOMP, packet_id=11)
    s.quiet()


# ---- Maximum Packet Size of the client ----

def whole_size(t, name, filters, most):
    """What comes back after SUBSCRIBE and UNSUBSCRIBE of so many filters, in bytes, by a client that takes `most`."""
    p = t.client(name, props={'maximum_packet_size': most})
    names = [t.topic(f'{i}') for i in range(filters)]
    p.wire.clear()
    p.send(codec.subscribe(1, [(n, 0) for n in names], 5))
    first = p.next()
    if first is not None and first.type == codec.SUBACK:
        p.send(codec.unsubscribe(2, names, 5))
        p.next()
    return max((len(data) for way, data in p.wire if way == '<'), default=0)


@case(5)
def answers_fit_the_client(t):
    """[MQTT-3.1.2-24]: no packet is larger than the client's Maximum Packet Size, whatever it answers."""
    for filters in (1, 6, 20, 200):
        size = whole_size(t, f'a{filters}', filters, 40)
        check(size <= 40, f'{size} bytes for {filters} filters')
    for most in (2, 3, 5, 12):
        p = t.open()
        p.send(codec.connect(t.id(f'b{most}'), 5, props={'maximum_packet_size': most}))
        p.next()
        sizes = [len(data) for way, data in p.wire if way == '<']
        check(all(n <= most for n in sizes), f'{sizes} bytes for a client that takes {most}')


@case(5)
def acknowledgements_fit_the_client(t):
    """A reason string or a reason code that does not fit is left out."""
    p = t.client(props={'maximum_packet_size': 40})
    for packet_id, qos in ((1, 1), (2, 2), (3, 1)):
        p.wire.clear()
        p.send(codec.publish(t.topic('nobody'), b'x', qos, packet_id))
        check(p.next() is not None, 'closed')
        check(all(len(data) <= 40 for way, data in p.wire if way == '<'))


@case(5, conf=('max_packet_size 256M', 'segment_size 1G', 'persistence false'))
def announced_packet_size_is_one_that_clients_take(t):
    """Libraries refuse a CONNACK whose Maximum Packet Size is more than 268,435,455."""
    most = t.client().connack.props.get('maximum_packet_size')
    check(most is None or most <= 268435455, f'{most}')


@case(5, conf=('persistence false', 'max_packet_size 268435460', 'outbox_size 1G'), alone=True, ways=('tcp',))
def largest_publish_is_not_for_all(t):
    """The largest 3.1.1 PUBLISH has no room for the property length of 5.0: not for that client, and nobody dies."""
    old, new = t.subscriber(t.topic('x'), 0, 'old', level=4), t.subscriber(t.topic('x'), 0, 'new')
    p = t.client('p', level=4)
    topic = codec.text(t.topic('x'))
    p.limit = old.limit = 60
    p.send(b'\x30' + codec.varint(268435455) + topic, bytes(268435455 - len(topic)))
    p.quiet()
    t.publish(t.topic('x'), b'after')
    new.message(payload=b'after')
    equal(len(old.message(limit=60).payload), 268435455 - len(topic))


# ---- filters, topics, keep alive ----

@case()
def more_filters_than_allowed(t):
    """Each gets a code: a client that were closed would come back with the same packet for ever."""
    p = t.client()
    for count in (1000, 1001, 1500):
        codes = p.subscribe(*((t.topic(f'{i}'), 1) for i in range(count)), packet_id=count)
        equal(len(codes), count)
        check(set(codes[1000:]) <= {0x80, 0x97}, f'{set(codes[1000:])}')
        check(set(codes[:1000]) == {1}, f'{set(codes[:1000])}')
    p.send(codec.unsubscribe(7, [t.topic(f'{i}') for i in range(1001)], t.level))
    p.expect(codec.UNSUBACK, packet_id=7)
    p.quiet()


@case()
def clients_do_not_publish_to_sys(t):
    """`$SYS` is the broker's own: what a client sends there reaches nobody."""
    s = t.subscriber('$SYS/#', 1)
    p = t.client('p')
    for topic in ('$SYS/broker/uptime', '$SYS', '$SYS/' + t.name):
        p.send(codec.publish(topic, b'false', 1, 5, t.level, retain=True))
        answer = p.next()
        if answer is None or answer.type == codec.DISCONNECT:
            p = t.client('p')
        else:
            check(t.level < 5 or answer.reason == 0x87, f'{answer}')
    s.quiet()
    t.subscriber('$SYS/' + t.name, 1, 'later').quiet()


@case(conf=('max_keepalive 1',))
def keep_alive_is_bounded(t):
    """[MQTT-3.1.2-22], and an option that means something for 3.1.1, too: closed after 1.5 times the option."""
    for keep_alive in (0, 600):
        p = t.open(limit=5)
        p.send(codec.connect(t.id(f'k{keep_alive}'), t.level, keep_alive=keep_alive))
        answer = p.next()
        if answer is None or answer.reason:
            continue
        began = time.monotonic()
        closes(p, 0x8D)
        check(1 < time.monotonic() - began < 4, f'{time.monotonic() - began:.1f} s')


@case()
def keep_alive_counts_packets(t):
    """[MQTT-3.1.2-22] speaks of packets: a PUBLISH drawn out byte by byte is none before it is whole."""
    p = t.client(keep_alive=1)
    packet = codec.publish(t.topic('x'), bytes(2000), level=t.level)
    began, ended = time.monotonic(), False
    for i in range(60):
        p.send(packet[i:i + 1])
        if p.readable(.1):
            ended = True
            break
    check(ended, 'still connected after 6 s without a packet')
    closes(p, 0x8D)
    check(time.monotonic() - began > 1.3, f'{time.monotonic() - began:.1f} s')


# ---- what has expired, what is full ----

def fill_with_expiring(t, *expiries):
    """A queue of a client that is away, full of messages that expire so soon (None: not at all), by a 5.0 client."""
    s = t.client('s', level=5, props={'session_expiry': 1000})
    s.subscribe((t.topic('x'), 1))
    s.disconnect()
    old = t.client('old', level=5)
    for i, expiry in enumerate(expiries):
        props = {'message_expiry': expiry} if expiry else None
        check(old.publish(t.topic('x'), b'%d' % i, 1, packet_id=i + 1, props=props) < 0x80)


def publish_when_there_is_room(t, payload):
    p = t.client('p')
    p.limit = 6
    end, reason = time.monotonic() + 5, 0x97
    while reason >= 0x80 and time.monotonic() < end:
        reason = p.publish(t.topic('x'), payload, 1, packet_id=9)
    equal(reason, 0)


EXPIRING = ('max_queued_messages 5', 'refuse_timeout 2')


@case(conf=(*EXPIRING, 'max_queued_policy refuse'))
def expired_messages_take_no_room(t):
    """[MQTT-3.3.2-5]: a queue of nothing but messages that nobody may get any more refuses no publisher. The first that
    expires makes room for one; when its client comes it gets nothing that has expired meanwhile."""
    fill_with_expiring(t, 1, 1, 1, 1, 1)
    publish_when_there_is_room(t, b'new')
    publish_when_there_is_room(t, b'newer')  # when the second has expired
    end = time.monotonic() + 1.5
    while time.monotonic() < end:  # by the clock that the expiry counts in
        time.sleep(.1)
    s = t.client('s', level=5, clean=False, props={'session_expiry': 1000})
    only(s, b'new', b'newer', qos=1)


@case(conf=(*EXPIRING, 'max_queued_policy refuse'))
def nor_behind_one_that_has_not_expired(t):
    """The same where the first, or one in the middle, does not expire: it stays and comes first."""
    fill_with_expiring(t, None, 1, 100, 1, 1)
    for payload in (b'a', b'b', b'c'):
        publish_when_there_is_room(t, payload)
    s = t.client('s', level=5, clean=False, props={'session_expiry': 1000})
    only(s, b'0', b'2', b'a', b'b', b'c', qos=1)


@case(conf=EXPIRING)
def no_session_ends_for_what_has_expired(t):
    """The default policy ends a session whose queue is full, not one that would be full if nothing expired."""
    fill_with_expiring(t, None, 1, 1, 1, None)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:  # by the clock that the expiry counts in
        time.sleep(.1)
    for payload in (b'a', b'b', b'c'):
        publish_when_there_is_room(t, payload)
    s = t.client('s', level=5, clean=False, props={'session_expiry': 1000})
    check(s.connack.session_present, 'the session has ended')
    only(s, b'0', b'4', b'a', b'b', b'c', qos=1)


@case(5, alone=True, ways=('tcp',), conf=('max_queued_messages 4000', 'max_queued_policy refuse', 'queue_window 16',
                                          'segment_size 1M', 'frame_size 64K', 'max_packet_size 256K'))
def expired_messages_in_the_table_take_no_room(t):
    """A deep queue, most of which only the disk has, every second of it expired; also after kill -9."""
    fill_with_expiring(t)
    old, count = t.client('deep', level=5), 4000
    old.limit = 30
    for k in range(0, count, 100):
        old.send(*(codec.publish(t.topic('x'), b'%d' % (k + i), 1, i + 1, 5, props={'message_expiry': 1 if i % 2 else 1000})
                   for i in range(100)))
        for _ in range(100):
            old.expect(codec.PUBACK)
    os.kill(t.broker.process.pid, signal.SIGKILL)
    t.broker.wait_exit()
    t.broker.start()
    check(t.broker.wait_ready(), t.broker.log()[-500:])
    end = time.monotonic() + 1.5
    while time.monotonic() < end:  # by the clock that the expiry counts in
        time.sleep(.1)
    p = t.client('p')
    p.limit = 30
    for i in range(count // 2):
        equal(p.publish(t.topic('x'), b'new %d' % i, 1, packet_id=i % 60000 + 1), 0, f'number {i}')
    s = t.client('s', level=5, clean=False, props={'session_expiry': 1000, 'receive_maximum': 60000})
    s.limit = 30
    for i in range(count):
        packet = s.next()
        equal(packet.payload, b'%d' % (2 * i) if i < count // 2 else b'new %d' % (i - count // 2))
        s.send(codec.ack(codec.PUBACK, packet.packet_id))
    s.quiet()


def retain_many(t, count, payload=b'%d'):
    """So many retained messages at QoS 2, on topics that are numbers."""
    p = t.client('p')
    p.limit = 30
    for k in range(0, count, 200):
        ids = range(1, 201)
        p.send(*(codec.publish(t.topic(f'{k + i}'), payload % i, 2, i, t.level, retain=True) for i in ids))
        for i in ids:
            p.expect(codec.PUBREC)
        p.send(*(codec.ack(codec.PUBREL, i) for i in ids))
        for i in ids:
            p.expect(codec.PUBCOMP)
    p.disconnect()


@case(conf=('max_queued_messages 1000',))
def retained_set_larger_than_a_window(t):
    """A subscriber that keeps up gets all of them, at each QoS, durable or not, again when it subscribes again."""
    retain_many(t, 3000)
    for qos, expiry in ((0, None), (1, None), (2, 1000)):
        s = t.client(f's{qos}', expiry=expiry)
        s.limit = 20
        s.send(codec.subscribe(1, [(t.topic('#'), qos)], t.level))
        suback, got = False, set()
        while len(got) < 3000 or not suback:
            packet = s.next()
            check(packet is not None, f'closed after {len(got)}')
            if packet.type == codec.SUBACK:
                suback = True
            elif packet.type == codec.PUBLISH:
                check(packet.retain and packet.topic not in got, f'{packet}')
                got.add(packet.topic)
                if qos:
                    s.send(codec.ack(codec.PUBACK if qos == 1 else codec.PUBREC, packet.packet_id))
            elif packet.type == codec.PUBREL:
                s.send(codec.ack(codec.PUBCOMP, packet.packet_id))
        s.disconnect()


@case(alone=True)
def burst_at_qos_0(t):
    """Bursts at QoS 0 come whole to a subscriber that reads as fast as it can."""
    s, p = t.subscriber(t.topic('x'), 0, 's'), t.client('p')
    packet = codec.publish(t.topic('x'), bytes(250), level=t.level)
    seen = [0]

    def read():
        s.sock.settimeout(3)
        with contextlib.suppress(OSError):
            while seen[0] < 40000 * len(packet) and (data := s.sock.recv(1 << 20)):
                seen[0] += len(data)
    reader = threading.Thread(target=read)
    reader.start()
    p.limit = 20
    for _ in range(80):
        p.send(packet * 500)
    p.quiet()
    reader.join()
    equal(seen[0] // len(packet), 40000)


@case(5, conf=('max_queued_messages 3', 'max_queued_policy refuse', 'refuse_timeout 1'), alone=True, ways=('tcp',))
def log_names_whose_queue_is_full(t):
    """Who is refused cannot tell why: the log names the session, for 5.0 publishers and for those of 3.1.1."""
    for level, name in ((5, 'culprit-five'), (4, 'culprit-four')):
        s = t.durable(name)
        s.subscribe((t.topic(name), 1))
        s.disconnect()
        p = t.client('p', level=level)
        p.limit = 4
        try:
            for i in range(6):
                p.publish(t.topic(name), b'x', 1, packet_id=i + 1)
        except Gone:
            pass
        check(t.broker.says(t.id(name)), f'the log does not say that it is {name}')


@case(5, alone=True, ways=('tcp',))
def expired_retained_messages_leave(t):
    """They go when their time is over, not when somebody asks for them [MQTT-3.3.2-5]."""
    p, held = t.client('p'), []
    p.limit = 20
    for n in range(5):
        p.send(*(codec.publish(t.topic(f'{n}/{i}'), bytes(8000), retain=True, props={'message_expiry': 1})
                 for i in range(2500)))
        p.quiet()
        # The next round begins when the last one is over, by the clock that the expiry counts in.
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            p.quiet()
            time.sleep(.25)
        held.append(t.broker.anonymous_kib() >> 10)
    # In the second round there is all that one round needs: the expiry of another, and buffers of the journal.
    check(held[-1] < held[1] + 16, f'MB after each round of 20 MB: {held}')


@case(5, conf=('memory_limit 64M',), alone=True, ways=('tcp',))
def retained_messages_are_bounded(t):
    """One client's retained messages stop at a bound, are refused by name, and others go on."""
    p, reason, count = t.client('p'), 0, 0
    p.limit = 20
    while reason < 0x80 and count < 200:
        reason = p.publish(t.topic(f'{count}'), bytes(1000000), 1, retain=True)
        count += 1
    equal(reason, 0x97)
    check(t.broker.rss_kib() < 160 << 10, f'{t.broker.rss_kib() >> 10} MB')
    other = t.subscriber(t.topic('small'), 2, 'other')
    t.publish(t.topic('small'), b'x', 2)
    other.message(payload=b'x')
    for i in range(count):
        check(p.publish(t.topic(f'{i}'), b'', 1, retain=True) < 0x80, 'clearing is refused')
    equal(p.publish(t.topic('again'), bytes(1000000), 1, retain=True), 0x10)


MATCHES = '/'.join('a' * 12)


@case(5, conf=('segment_size 1M', 'frame_size 512K', 'max_packet_size 512K'), alone=True, ways=('tcp',))
def a_publish_with_very_many_matches(t):
    """What no record can hold is refused before anything has changed, or made to fit; also after a restart."""
    filters = ['/'.join('a+'[i >> k & 1] for k in range(12)) for i in range(4096)]
    for n in range(24):
        s = t.durable(f's{n}')
        s.limit = 30
        for k in range(0, 4096, 1000):
            s.subscribe(*((f, 1) for f in filters[k:k + 1000]))
        s.disconnect()
    for _ in range(2):
        p = t.client('p')
        p.limit = 30
        for qos in (1, 2):
            reason = p.publish(MATCHES, b'x', qos)
            check(reason in (0, 0x97), f'reason 0x{reason:02X}')
        equal(p.publish(t.topic('nobody'), b'x', 1), 0x10)
        check(t.broker.alive(), t.broker.log()[-500:])
        equal(t.broker.stop(60), 0)
        t.broker.start()
        check(t.broker.wait_ready(60), t.broker.log()[-500:])


@case(5, conf=('table_size 16M', 'max_packet_size 512K', 'refuse_timeout 2'), alone=True, ways=('tcp',))
def a_full_store_gets_room(t):
    """A store full of retained messages: clearing them is taken, and then others are, also after a restart."""
    p = t.client('fill')
    p.limit = 30
    body, count, reason = os.urandom(30000), 0, 0
    while reason < 0x80 and count < 3000:
        reason = p.publish(t.topic(f'{count}'), body, 1, packet_id=1, retain=True)
        count += 1
    check(reason >= 0x80, f'{count} messages of 30 KB in a table of 16 MB')
    equal(t.broker.stop(60), 0)
    t.broker.start()
    check(t.broker.wait_ready(60), t.broker.log()[-500:])
    p = t.client('fill')
    p.limit = 30
    for i in range(count):
        reason = p.publish(t.topic(f'{i}'), b'', i % 3, packet_id=1, retain=True)
        check(reason < 0x80, f'clearing the message {i} of {count} is refused: 0x{reason:02X}')
    end, reason = time.monotonic() + 20, 0x97
    while reason >= 0x80 and time.monotonic() < end:
        reason = p.publish(t.topic('new'), body, 1, retain=True)
    equal(reason, 0x10)


# ---- ids that the broker gives ----

@case(5, ways=('tcp',))
def assigned_ids_tell_nothing(t):
    """No assigned client id can be computed from others: what they come from would tell the seeds of maps, too."""
    ids = []
    for _ in range(24):
        p = t.open()
        p.send(codec.connect('', 5))
        ids.append(p.expect(codec.CONNACK).props['assigned_client_id'])
    equal(len(set(ids)), 24)
    check(guess.predicts(ids) is None, 'two of them tell a third one')


@case(5, ways=('tcp',))
def second_copies_are_not_made(t):
    """Deep topics and many filters cost what was sent, not a multiple; all of it is given back."""
    with wrapped(conf=('shards 1',)) as broker:
        check(broker.wait_ready(), broker.log())
        p = Peer(broker.port, 5, 30).connect('p')
        p.quiet()
        rss, sent = broker.rss_kib(), 0
        for k in range(0, 4000, 100):
            packets = [codec.publish(f'{i}' + '/a' * 127, b'x', retain=True) for i in range(k, k + 100)]
            sent += sum(len(packet) for packet in packets)
            p.send(*packets)
            p.quiet()
        grown = (broker.rss_kib() - rss) * 1024
        check(grown < 8 * sent + (8 << 20), f'{grown >> 20} MB for {sent >> 20} MB sent')


