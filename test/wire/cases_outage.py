"""What a broker that was killed still owes: wills, retained messages of a subscription, sessions."""

import os
import shutil
import signal
import subprocess
import time

from case import Gone, Late, Skip, case, check, codec, equal
from cases_bounds import retain_many

OWN = ('refuse_timeout 2',)


def will(t, name, **more):
    return {'topic': t.topic(name), 'payload': b'offline', 'retain': True, **more}


def again(t, how=signal.SIGKILL):
    """The broker ends this way and is there again."""
    os.kill(t.broker.process.pid, how)
    t.broker.wait_exit()
    t.broker.start()
    check(t.broker.wait_ready(), t.broker.log()[-500:])


def retained(t, name):
    """Its retained message, or None."""
    with t.open() as p:
        p.connect(t.id('look'))
        p.send(codec.subscribe(1, [(t.topic(name), 0)], t.level))
        p.send(codec.PING)
        seen = None
        while (packet := p.next()).type != codec.PINGRESP:
            seen = packet.payload if packet.type == codec.PUBLISH else seen
        return seen


def traced(process):
    """Whether a tracer looks at all of its threads."""
    tasks = f'/proc/{process}/task'
    for thread in os.listdir(tasks):
        with open(f'{tasks}/{thread}/status', encoding='ascii', errors='replace') as f:
            if 'TracerPid:\t0' in f.read():
                return False
    return True


def becomes(t, name, payload, limit=10):
    end = time.monotonic() + limit
    while (seen := retained(t, name)) != payload and time.monotonic() < end:
        time.sleep(.1)
    equal(seen, payload, name)


@case(conf=OWN, alone=True, ways=('tcp',))
def wills_of_all_sessions_outlive_the_broker(t):
    """[MQTT-3.1.2-8]: broker and devices lose their power together, only the broker comes back: nobody stays "online"."""
    for how in (signal.SIGKILL, signal.SIGTERM):
        for expiry in (None, 1000):
            for qos in range(3):
                name = f'{how}-{expiry}-{qos}'
                p = t.client(name, expiry=expiry, will=will(t, name, qos=qos))
                p.publish(t.topic(name), b'online', 1, retain=True)
        again(t, how)
        for expiry in (None, 1000):
            for qos in range(3):
                name = f'{how}-{expiry}-{qos}'
                # A clean stop may publish wills before it ends; a durable session without delay has ended its connection.
                becomes(t, name, b'offline')


@case(conf=OWN, alone=True, ways=('tcp',))
def no_will_after_goodbye_and_an_outage(t):
    """[MQTT-3.14.4-3]: who has said DISCONNECT is not announced as gone, whatever happens afterwards."""
    for expiry in (None, 1000):
        p = t.client(f'c{expiry}', expiry=expiry, will=will(t, f'{expiry}', qos=1))
        p.publish(t.topic(f'{expiry}'), b'asleep', 1, retain=True)
        p.disconnect()
    t.publish(t.topic('later'), b'durable, so what came before it is', 1, retain=True)
    again(t)
    for expiry in (None, 1000):
        equal(retained(t, f'{expiry}'), b'asleep')


@case(conf=('max_queued_messages 5', 'max_queued_policy refuse', *OWN), alone=True, ways=('tcp',))
def a_full_queue_takes_no_will_from_others(t):
    """One absent subscriber whose queue is full: everybody else gets the will, and the retained one is set."""
    absent = t.durable('absent')
    absent.subscribe((t.topic('w'), 1))
    absent.disconnect()
    s = t.subscriber(t.topic('w'), 1)
    p = t.client('p')
    p.limit = 1
    for i in range(5):
        p.publish(t.topic('w'), b'online', 1, packet_id=i + 1)
        s.message(payload=b'online')
    for qos in (1, 2, 0):
        t.client(f'c{qos}', will=will(t, 'w', qos=qos)).close()
        s.message(limit=10, payload=b'offline')
    becomes(t, 'w', b'offline')


@case(5, conf=('max_queued_messages 5', 'max_queued_policy refuse', *OWN), alone=True, ways=('tcp',))
def wills_that_wait_outlive_the_broker(t):
    """A full queue takes many wills, and not all: the others wait, also over kill -9, and come once to everybody."""
    subscribers = {name: t.durable(name) for name in ('absent', 'listens')}
    for s in subscribers.values():
        s.subscribe((t.topic('w/#'), 1))
    subscribers['absent'].disconnect()
    count = 1010
    for i in range(count):
        t.client(f'{i}', will={'topic': t.topic(f'w/{i}'), 'payload': b'off', 'qos': 1}).close()

    seen = {'absent': [], 'listens': []}

    def take(name, until):
        """So many have come to it at last, none twice; a resent one that it had is not counted."""
        s = subscribers[name]
        while len(seen[name]) < until:
            packet = s.next(10)
            check(packet is not None and packet.type == codec.PUBLISH, f'{packet}')
            if not (packet.dup and packet.topic in seen[name]):
                seen[name].append(packet.topic)
            s.send(codec.ack(codec.PUBACK, packet.packet_id))
        s.quiet()
        equal((name, len(set(seen[name])), len(seen[name])), (name, until, until))

    take('listens', 5 + 5 // 4 + 1000)  # the bound, a quarter more for others, and wills
    again(t)
    for name in subscribers:
        subscribers[name] = t.durable(name)
        check(subscribers[name].connack.session_present)
    take('absent', count)
    take('listens', count)


@case(alone=True, ways=('tcp',), conf=('segment_size 1M', 'frame_size 64K', 'max_packet_size 256K'))
def killed_at_suback(t):
    """SUBACK says that the retained messages are this session's: kill -9 the moment it has come, and they come."""
    retain_many(t, 4000, b'%0300d')
    s = t.durable()
    s.limit = 30
    s.send(codec.subscribe(1, [(t.topic('#'), 1)], t.level))
    got = set()
    while (packet := s.next()).type != codec.SUBACK:
        got.add(packet.topic)
    again(t)
    s = t.durable()
    s.limit = 5
    check(s.connack.session_present, 'the session is forgotten')
    try:
        while len(got) < 4000 and (packet := s.next()) is not None:
            if packet.type == codec.PUBLISH:
                got.add(packet.topic)
                s.send(codec.ack(codec.PUBACK, packet.packet_id))
    except (Late, Gone):
        pass
    equal(len(got), 4000)


@case(5, conf=OWN, alone=True, ways=('tcp',))
def session_life_is_for_sessions_of_before(t):
    """`persistent_client_expiration`, put into the configuration later, ends also those that nobody remembers."""
    s = t.durable('forgotten', expiry=codec.NEVER)
    s.subscribe((t.topic('x'), 1))
    s.disconnect()
    with open(t.broker.conf_path, 'a', encoding='ascii') as f:
        f.write('persistent_client_expiration 2s\n')
    again(t, signal.SIGTERM)
    end, present = time.monotonic() + 10, True
    p = t.client('p')
    while time.monotonic() < end:
        if p.publish(t.topic('x'), b'x', 1) == 0x10:
            present = False
            break
        time.sleep(.2)
    check(not present, 'still a subscriber after 10 s')


@case(5, conf=OWN, alone=True, ways=('tcp',))
def the_close_after_disconnect_waits_for_a_slow_disk(t):
    """[MQTT-3.14.4-3]: who sees it relies on it that the will is not published, also when the power goes then."""
    if not shutil.which('strace'):
        raise Skip('strace is missing')
    process = t.broker.process.pid
    p = t.open(limit=20).connect(t.id('c'), will=will(t, 'w'))
    p.quiet()
    tracer = subprocess.Popen(['strace', '-f', '-qq', '-o', '/dev/null', '-p', str(process), '-e', 'trace=fdatasync', '-e',
                               'inject=fdatasync:delay_enter=2500000'])
    try:
        end = time.monotonic() + 10
        while not traced(process):
            check(time.monotonic() < end, 'strace may not look at the broker')
            time.sleep(.01)
        began = time.monotonic()
        p.disconnect()
        check(time.monotonic() - began > 2, f'closed after {time.monotonic() - began:.1f} s')
    finally:
        tracer.terminate()
        tracer.wait()
