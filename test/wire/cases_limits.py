"""Limits: refused before anything is accepted, and nothing that was accepted is dropped (cases with their own broker)."""

import contextlib
import os
import time

import broker as brokers
from case import Late, Peer, case, check, closes, codec, equal

SMALL = ('max_queued_messages 20', 'refuse_timeout 2', 'max_queued_policy refuse')
ENDING = ('max_queued_messages 20', 'stall_timeout 1')


@case(5, conf=SMALL)
def full_queue_refuses_5(t):
    """0x97 before it is accepted; what was accepted arrives; when there is room again it goes on."""
    s = t.durable()
    s.subscribe((t.topic('x'), 2))
    s.disconnect()
    p = t.client('p')
    taken = []
    for i in range(60):
        if p.publish(t.topic('x'), b'%d' % i, 1 + i % 2, packet_id=i + 1) < 0x80:
            taken.append(i)
    check(20 <= len(taken) < 60, f'{len(taken)} taken')
    s = t.durable()
    for i in taken:
        s.message(payload=b'%d' % i)
    s.quiet()
    equal(p.publish(t.topic('x'), b'room', 2, packet_id=100), 0)
    s.message(payload=b'room')


@case(5, conf=SMALL)
def full_queue_refused_id_is_new(t):
    """[MQTT-4.3.3-9]: after PUBREC 0x97 the same id is a new message."""
    s = t.durable()
    s.subscribe((t.topic('x'), 2))
    s.disconnect()
    p = t.client('p')
    for i in range(40):
        if p.publish(t.topic('x'), b'%d' % i, 2, packet_id=7) >= 0x80:
            break
    s = t.durable()
    while i:
        s.message()
        i -= 1
    s.quiet()
    equal(p.publish(t.topic('x'), b'anew', 2, packet_id=7), 0)
    s.message(payload=b'anew')


@case(4, conf=SMALL)
def full_queue_waits_311(t):
    """3.1.1 cannot be refused: it is not read from, then closed; accepted ones arrive, the rest can come later."""
    s = t.durable()
    s.subscribe((t.topic('x'), 2))
    s.disconnect()
    p = t.durable('p')
    p.limit = 0.7
    taken = 0
    try:
        while taken < 60:
            p.publish(t.topic('x'), b'%d' % taken, 2, packet_id=taken + 1)
            taken += 1
    except Late:
        pass
    check(20 <= taken < 60, f'{taken} taken')
    began = time.monotonic()
    p.limit = 6
    check(p.next() is None, 'answered instead of closed')
    check(time.monotonic() - began < 5, 'not closed in time')
    s = t.durable()
    for i in range(taken):
        s.message(payload=b'%d' % i)
    p = t.durable('p')
    p.send(codec.publish(t.topic('x'), b'%d' % taken, 2, taken + 1, 4, dup=True))
    p.expect(codec.PUBREC)
    p.send(codec.ack(codec.PUBREL, taken + 1))
    p.expect(codec.PUBCOMP)
    s.message(payload=b'%d' % taken)
    s.quiet()


@case(4, conf=SMALL)
def full_queue_room_in_time_311(t):
    """When the queue gets room before the time is over, the publisher that waited just goes on."""
    s = t.durable()
    s.subscribe((t.topic('x'), 1))
    s.disconnect()
    p = t.client('p')
    p.send(*(codec.publish(t.topic('x'), b'%d' % i, 1, i + 1, 4) for i in range(60)))
    s = t.durable()
    for i in range(60):
        s.message(payload=b'%d' % i)
    for i in range(60):
        p.expect(codec.PUBACK, packet_id=i + 1)


@case(conf=ENDING)
def full_queue_ends_its_session(t):
    """By default the full queue of an absent client is nobody else's problem: its session ends, and it is told."""
    s = t.durable()
    s.subscribe((t.topic('x'), 2))
    s.disconnect()
    other = t.durable('o')
    other.subscribe((t.topic('x'), 2))
    p = t.client('p')
    for i in range(60):
        check(p.publish(t.topic('x'), b'%d' % i, 1 + i % 2, packet_id=i + 1) < 0x80, f'message {i} is refused')
        other.message(payload=b'%d' % i)
    s = t.durable()
    equal(s.connack.session_present, False)
    if t.level >= 5:
        check('queue was full' in s.connack.props.get('reason', ''), f'{s.connack.props}')
    s.quiet()


@case(5, conf=(*ENDING, 'max_inflight_messages 2'))
def full_queue_of_who_takes_nothing(t):
    """A client that is connected and acknowledges nothing makes publishers wait for a while, and is disconnected."""
    s = t.durable()
    s.subscribe((t.topic('x'), 2))
    p = t.client('p')
    p.limit = 5
    began = time.monotonic()
    for i in range(40):
        check(p.publish(t.topic('x'), b'%d' % i, 1, packet_id=i + 1) < 0x80, f'message {i} is refused')
    check(0.5 < time.monotonic() - began < 5, 'it waits for stall_timeout')
    s.next()
    s.next()
    closes(s, 0x97)
    equal(t.durable().connack.session_present, False)


@case(5, conf=('receive_maximum 10', 'max_packet_size 2000', 'max_keepalive 60', 'max_subscriptions 5'))
def limits_are_told(t):
    """CONNACK says the limits that are configured, and they hold."""
    p = t.client(keep_alive=0)
    props = p.connack.props
    equal(props.get('receive_maximum'), 10)
    equal(props.get('maximum_packet_size'), 2000)
    equal(props.get('server_keep_alive'), 60)
    codes = p.subscribe(*((t.topic(f'{i}'), 0) for i in range(8)))
    equal(codes, (0,) * 5 + (0x97,) * 3)
    p.send(*(codec.publish(t.topic('q'), b'', 2, i + 1) for i in range(11)))
    for i in range(10):
        p.expect(codec.PUBREC, packet_id=i + 1)
    closes(p, 0x93)


@case(conf=('allow_zero_length_clientid false',))
def no_empty_client_ids(t):
    """[MQTT-3.1.3-8]: 0x85, 3.1.1: 0x02."""
    p = t.open()
    p.send(codec.connect('', t.level))
    equal(p.expect(codec.CONNACK).reason, 0x85 if t.level >= 5 else 2)
    check(p.next() is None)


@case(conf=('connect_timeout 300ms',))
def short_connect_deadline(t):
    began = time.monotonic()
    p = t.open()
    check(p.next() is None)
    check(0.2 < time.monotonic() - began < 2.5)


@case(conf=('max_keepalive 1000',), alone=True)
def clean_stop(t):
    """SIGTERM: 5.0 clients get 0x8B, everything that was accepted and every durable session is there afterwards."""
    s, p = t.durable(), t.client('p')
    s.subscribe((t.topic('x'), 2))
    s.disconnect()
    for i in range(20):
        p.publish(t.topic('x'), b'%d' % i, 1 + i % 2, packet_id=i + 1)
    began = time.monotonic()
    equal(t.broker.stop(), 0, 'exit status')
    check(time.monotonic() - began < 5, f'the stop took {time.monotonic() - began:.1f} s')
    closes(p, 0x8B)
    t.broker.start()
    check(t.broker.wait_ready(), 'does not start again')
    s = t.durable()
    check(s.connack.session_present, 'session forgotten')
    for i in range(20):
        s.message(payload=b'%d' % i)
    s.quiet()


@contextlib.contextmanager
def wrapped(*wrapper, conf=()):
    """A broker that these words start; not ready yet."""
    broker = brokers.Broker('quartetd', conf=[*brokers.SMALL_STORE, *conf])
    try:
        yield broker.start(wrapper=wrapper)
    finally:
        broker.cleanup()


def with_files(limit, *conf):
    """A broker that may have so many open files."""
    return wrapped('prlimit', f'--nofile={limit}:{limit}', conf=conf)


@case(5, ways=('tcp',))
def closed_standard_descriptors_stay_free(t):
    """What the broker prints must not go into a socket or a journal that got the number."""
    with wrapped('sh', '-c', 'exec "$@" <&- >&- 2>&-', 'sh', conf=('log_type all',)) as broker:
        check(broker.wait_ready(), 'it does not start')
        Peer(broker.port, 5).connect('p').close()
        for fd in range(3):
            equal(os.readlink(f'/proc/{broker.process.pid}/fd/{fd}'), '/dev/null')
        equal(broker.stop(), 0)


@case(5, ways=('tcp',))
def connections_leave_files_for_the_journal(t):
    """However many connect, the store opens its next files, and what it acknowledges goes on."""
    with with_files(200, 'shards 16') as broker:
        check(broker.wait_ready(), broker.log())
        with Peer(broker.port, 5) as s:
            s.connect('s', clean=False, props={'session_expiry': 1000})
            equal(s.subscribe(('x', 1)), (1,))
        p = Peer(broker.port, 5, 30).connect('p')
        idle = [Peer(broker.port, 5) for _ in range(220)]
        for i in range(200):
            equal(p.publish('x', bytes(60000), 1, packet_id=i + 1), 0)
        for q in (*idle, p):
            q.close()
        check(broker.alive(), broker.log())
        equal(broker.stop(), 0)


@case(5, ways=('tcp',))
def too_few_files_are_said(t):
    with with_files(100, 'shards 32') as broker:
        equal(broker.wait_exit(), 1)
        check('the limit of open files is 100, and 32 shards need ' in broker.log() or 'Too many open files' in broker.log(),
              broker.log())


@case(5, ways=('tcp',))
def a_start_that_fails_leaves_no_pid_file(t):
    with with_files(1000, 'pid_file {data}.pid') as first:
        check(first.wait_ready(), first.log())
        second = brokers.Broker('quartetd', data=first.data, conf=['pid_file {data}.other'])
        try:
            equal(second.start().wait_exit(), 1)
            check('is in use by another process' in second.log(), second.log())
            check(not os.path.exists(first.data + '.other'))
            check(os.path.exists(first.data + '.pid'))
        finally:
            second.cleanup()
        equal(first.stop(), 0)
        check(not os.path.exists(first.data + '.pid'))
