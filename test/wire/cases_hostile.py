"""Hostile bytes: malformed packets, garbage, slowness, floods. The broker must answer as the standard says, live, and
hold no more memory than the bounds allow."""

import random
import time

import table
from case import Late, case, check, closes, codec, equal

RETURN_CODES = {0x84: 1, 0x85: 2, 0x88: 3, 0x86: 4, 0x87: 5}


def judge_row(t, row):
    """What is wrong with the answer to this row; None when it is right."""
    level = 5 if row.protocol == '5' else 4
    p = t.open(level, limit=3)
    try:
        if row.when == 'LATER':
            p.connect(t.id('c-' + row.name), props={'topic_alias_maximum': 5} if level == 5 else None)
        p.send(row.bytes)
        if row.when == 'FIRST' and row.protocol in ('311', '5'):
            answer = p.next()
            if answer is None:
                return 'closed without CONNACK' if level == 5 else None
            code = row.reason if level == 5 else RETURN_CODES.get(row.reason)
            if answer.type != codec.CONNACK or answer.reason != code:
                return f'got {answer}, expected CONNACK {code}'
            return None if p.next() is None else 'not closed after CONNACK'
        closes(p, row.reason if row.when == 'LATER' and level == 5 else None)
    except (AssertionError, Late, codec.WireError) as e:
        return str(e)
    finally:
        p.close()
    return None


@case(5)
def malformed_table(t):
    """Every row of test/data/malformed.inc that a client can send, but for too many filters: the codec can refuse them, the
    broker answers each with a code (more_filters_than_allowed)."""
    wrong = []
    for row in table.malformed():
        if row.sender == 'CLIENT' and row.name != 'subscribe.filters.too-many':
            problem = judge_row(t, row)
            if problem:
                wrong.append(f'{row.name} ({row.protocol}, {row.statement}): {problem}')
    check(not wrong, f'{len(wrong)} rows:\n      ' + '\n      '.join(wrong[:40]))
    t.client('after').quiet()


@case()
def malformed_table_byte_by_byte(t):
    """The same bytes in the smallest pieces: a sample."""
    wrong = []
    rows = [r for r in table.malformed() if r.sender == 'CLIENT' and r.when == 'LATER' and len(r.bytes) < 60
            and r.protocol == ('5' if t.level == 5 else '311')]
    for row in random.Random(1).sample(rows, min(25, len(rows))):
        p = t.client('c')
        for b in row.bytes:
            p.send(bytes([b]))
        try:
            closes(p, row.reason if t.level >= 5 else None)
        except (AssertionError, Late) as e:
            wrong.append(f'{row.name}: {e}')
    check(not wrong, '; '.join(wrong))


@case()
def garbage(t):
    """Random bytes, before and after CONNECT; random changes in good packets."""
    rng = random.Random(t.level)
    for i in range(300):
        p = t.open()
        if i % 3:
            p.connect(t.id(f'g{i}'))
        data = rng.randbytes(rng.choice((1, 2, 5, 30, 1000)))
        if i % 3 == 2:
            good = bytearray(codec.publish(t.topic('x'), b'payload', 2, 9, t.level)
                             + codec.subscribe(2, [(t.topic('#'), 1)], t.level))
            good[rng.randrange(len(good))] = rng.randrange(256)
            data = bytes(good)
        p.send(data)
        p.close(reset=bool(i % 2))
    t.client('after').quiet()


@case()
def connect_deadline(t):
    """Nothing sent, half a CONNECT, one byte a second: closed five seconds after the connection was opened."""
    began = time.monotonic()
    silent, half, slow = t.open(limit=9), t.open(limit=9), t.open(limit=9)
    packet = codec.connect(t.id('slow'), t.level, keep_alive=0) + b'\0' * 20
    half.send(packet[:len(packet) // 2])
    ended = 0
    for b in packet[:18]:
        slow.send(bytes([b]))
        try:
            slow.sock.settimeout(0.5)
            ended = slow.sock.recv(1) == b''
        except TimeoutError:
            continue
        except OSError:
            ended = True
        break
    check(ended and 4 < time.monotonic() - began < 7.5, f'slow: {time.monotonic() - began:.1f} s')
    closes(silent)
    closes(half)
    check(time.monotonic() - began < 8, f'closed after {time.monotonic() - began:.1f} s')


@case()
def huge_remaining_length(t):
    """Refused from the fixed header alone: no wait for 256 MiB, no memory for it."""
    rss = t.broker.rss_kib()
    for _ in range(50):
        p = t.open()
        p.send(b'\x10\xff\xff\xff\x7f')
        check(p.next() is None, 'answered')
        p = t.client()
        p.send(b'\x30\xff\xff\xff\x7f\x00\x01a')
        closes(p, 0x95)
        p = t.client()
        p.send(b'\x30\xff\xff\xff\xff\x01')
        closes(p, 0x81)
    check(t.broker.rss_kib() - rss < 60000, f'{t.broker.rss_kib() - rss} KiB more')


@case(5, alone=True)
def memory_before_connect(t):
    """Five hundred connections that send nearly all of a large CONNECT hold little."""
    rss = t.broker.rss_kib()
    body = codec.connect('x' * 15000, 5)[:15000]
    for _ in range(500):
        t.open().send(body)
    t.client('after').quiet()
    grown = t.broker.rss_kib() - rss
    check(grown < 500 * 24 + 4000, f'{grown} KiB for 500 connections')


@case(5, alone=True)
def memory_of_a_slow_reader(t):
    """A subscriber that does not read: QoS 0 for it is dropped at the bound, others get theirs."""
    slow, quick, p = t.subscriber(t.topic('x'), 0, 'slow'), t.subscriber(t.topic('x'), 0, 'quick'), t.client('p')
    slow.sock.setsockopt(1, 8, 4096)
    rss = t.broker.rss_kib()
    for _ in range(400):
        p.send(codec.publish(t.topic('x'), b'x' * 100000))
        quick.message(limit=10)
    grown = t.broker.rss_kib() - rss
    check(grown < 30000, f'{grown} KiB more after 40 MB for one who does not read')
    p.quiet()


@case(alone=True)
def half_open_connections(t):
    """Many connections that break without a word leave nothing behind."""
    rss = t.broker.rss_kib()
    for i in range(400):
        p = t.open()
        p.send(codec.connect(t.id(f'h{i % 50}'), t.level, clean=True)[:5 + i % 20])
        p.close(reset=i % 2 == 0)
    t.client('after').quiet()
    check(t.broker.rss_kib() - rss < 5000, f'{t.broker.rss_kib() - rss} KiB more')


@case()
def pings_in_a_flood(t):
    """A client that sends without reading is slowed or closed; the others go on."""
    p = t.open()
    p.sock.setsockopt(1, 8, 4096)
    p.connect(t.id('flood'))
    p.limit = 0.5
    try:
        for _ in range(40):
            p.send(codec.PING * 20000)
    except Late:
        pass
    other = t.client('other')
    began = time.monotonic()
    other.quiet()
    check(time.monotonic() - began < 2)


@case(5)
def many_user_properties(t):
    """CVE-2021-41039: too many of them are refused or taken in bounded time."""
    p = t.open(limit=10)
    p.send(codec.connect(t.id('c'), 5, props=[('user', ('k', 'v'))] * 2000))
    answer = p.next()
    check(answer is None or answer.type == codec.CONNACK)
    q = t.client('q')
    q.limit = 10
    packet = codec.publish(t.topic('x'), b'', props=[('user', ('k', 'v'))] * 90000)
    began = time.monotonic()
    q.send(packet, codec.PING)
    answer = q.next()
    check(answer is None or answer.type in (codec.PINGRESP, codec.DISCONNECT))
    check(time.monotonic() - began < 5)


@case()
def many_connections(t):
    """A thousand at once, each answered."""
    peers = [t.open(limit=20) for _ in range(1000)]
    for i, p in enumerate(peers):
        p.send(codec.connect(t.id(f'm{i}'), t.level), codec.PING)
    for p in peers:
        p.expect(codec.CONNACK)
        p.expect(codec.PINGRESP)
    equal(len(peers), 1000)
