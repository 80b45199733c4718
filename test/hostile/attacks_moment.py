"""Attacks by many at one moment, by what is due in one second, and by what is read and given back in small pieces."""

import random
import struct

from attack import FOR_EVER, Attack, attack, codec, many, socket, time
from attacks_subscribe import ONE_TOPIC, overlapping, retain_many


def reset(sock):
    if sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        sock.close()


def absent(ground, name, filters, source='127.0.0.1', expiry=FOR_EVER):
    sock = ground.enter(name, 5, source, clean=False, props={'session_expiry': expiry})
    if ground.say(sock, codec.subscribe(1, filters, 5)):
        ground.hear(sock)
    if sock:
        sock.close()
    return sock


@attack
class giants_at_once(Attack):
    """Rounds of sixteen new connections that each send PUBLISHes of 1 MiB at the same moment to an absent session."""
    seconds = 8.0

    def build(self, ground):
        body = bytes((1 << 20) - 200)
        self.part = [codec.publish('giants/x', body, 1, i + 1, 4) for i in range(6)]

    def run(self, ground):
        absent(ground, 'giants', [('giants/#', 1)])
        while ground.on():
            socks = [ground.enter(f'giant{i}', 4) for i in range(16)]
            ground.lines.clear()
            for s in socks:
                if s:
                    s.setblocking(False)
            left = {i: b''.join(self.part) for i in range(16) if socks[i]}
            end = time.monotonic() + 1.5
            while left and time.monotonic() < end and ground.on():
                for i in list(left):
                    try:
                        n = socks[i].send(left[i][:1 << 18])
                        left[i] = left[i][n:]
                        ground.count('bytes', n)
                    except BlockingIOError:
                        pass
                    except OSError:
                        left.pop(i)
                        continue
                    if not left[i]:
                        left.pop(i)
            for s in socks:
                if s:
                    s.close()
            ground.count('rounds')


@attack
class flips_of_all(Attack):
    """SUBSCRIBE and UNSUBSCRIBE of `#` over 300,000 retained messages, pipelined, by eight, four of them durable."""
    retained = many('flip/', 300000)
    seconds = 25.0
    short = 20.0

    def run(self, ground):
        if not retain_many(ground, self.retained, b'x'):
            return
        ground.note(set_s=round(ground.total - ground.left(), 1))
        socks = [ground.enter(f'flip{i}', 5, clean=i % 2 == 0, props={'session_expiry': 3600 * (i % 2)}) for i in range(8)]
        ground.drain(*socks)
        pair = codec.subscribe(1, [('#', 1)], 5) + codec.unsubscribe(2, ['#'], 5)
        while ground.on():
            for sock in socks:
                if ground.say(sock, pair * 100, patience=.2):
                    ground.count('pairs', 100)
            time.sleep(.01)


@attack
class wills_at_once(Attack):
    """4,000 connections with a will of 12 KB each at QoS 1, delayed by a second, all cut in one moment; an absent session
    gets them."""
    seconds = 12.0
    short = 12.0

    def run(self, ground):
        absent(ground, 'mourner', [('gone/#', 1)], '127.0.1.9')
        socks = []
        for i in range(4000):
            if ground.left() < 5:
                break
            will = {'topic': f'gone/{i}', 'payload': bytes(12000), 'qos': 1, 'props': {'will_delay': i % 2}}
            sock = ground.open(f'127.0.1.{1 + i % 50}', limit=1, keep=False)
            if ground.say(sock, codec.connect(f'gone{i}', 5, clean=False, will=will, props={'session_expiry': 3})):
                socks.append(sock)
        ground.note(wills=len(socks))
        for s in socks:
            s.settimeout(.5)
            try:
                s.recv(100)
            except OSError:
                pass
        for s in socks:
            reset(s)
        ground.rest()


@attack
class wills_to_many(Attack):
    """600 clients die in one moment, each with a will at QoS 1 that 16,000 subscriptions match."""
    seconds = 10.0
    short = 8.0

    def build(self, ground):
        self.subscribes = [codec.subscribe(i + 1, [(f, 1) for f in part], 4) for i, part in enumerate(overlapping(2000))]
        will = {'topic': ONE_TOPIC, 'payload': b'gone', 'qos': 1}
        self.packets = [codec.connect(name, 4, will=will) for name in many('dies', 600)]

    def run(self, ground):
        for name in many('mourns', 8):
            sock = ground.enter(name)
            for packet in self.subscribes:
                if ground.say(sock, packet) and ground.hear(sock):
                    ground.count('subscriptions', 1000)
            ground.drain(sock)
        dying = [ground.open(limit=1, keep=False) for _ in self.packets]
        for sock, packet in zip(dying, self.packets):
            ground.count('wills', ground.say(sock, packet))
        for sock in dying:
            ground.hear(sock)
        for sock in dying:
            reset(sock)
        ground.rest()


@attack
class retained_due_at_once(Attack):
    """Hundreds of thousands of retained messages that are all over in the same second."""
    seconds = 20.0
    short = 20.0

    def build(self, ground):
        self.topics = many('due/', 400000)

    def run(self, ground):
        sock = ground.enter('due', 5)
        begin = time.monotonic()
        until = ground.total - 7
        for i in range(0, len(self.topics), 500):
            left = max(1, round(until - (time.monotonic() - begin)))
            if left <= 1:
                break
            part = [codec.publish(t, b'x', level=5, retain=True, props={'message_expiry': left})
                    for t in self.topics[i:i + 500]]
            if not ground.say(sock, *part, codec.PING) or ground.hear(sock) is None:
                break
            ground.count('messages', 500)
        ground.rest()


@attack
class sessions_due_at_once(Attack):
    """Thousands of durable sessions, with subscriptions, a queue and a will, that expire in the same second."""
    seconds = 20.0
    short = 20.0

    def run(self, ground):
        begin = time.monotonic()
        until = ground.total - 6
        subs = [(f'exp/{k}', 1) for k in range(50)]
        publisher = ground.enter('exp-source', 4, '127.0.1.60')
        ground.drain(publisher)
        i = 0
        while True:
            left = round(until - (time.monotonic() - begin))
            if left <= 2:
                break
            sock = ground.open(f'127.0.1.{1 + i % 50}', limit=1, keep=False)
            will = {'topic': f'expw/{i}', 'payload': b'over', 'qos': 1, 'props': {'will_delay': 3600}}
            ground.say(sock, codec.connect(f'exp{i}', 5, clean=False, will=will, props={'session_expiry': left}),
                       codec.subscribe(1, subs, 5))
            if ground.hear(sock) and ground.hear(sock):
                ground.count('sessions')
            if sock:
                sock.close()
            i += 1
            if i % 100 == 0:
                ground.say(publisher, *(codec.publish(f'exp/{k}', bytes(100), 1, k + 1, 4) for k in range(20)), patience=.2)
        ground.rest()


def swallowed(sock):
    """How many PUBACKs of success have come: four bytes each."""
    try:
        sock.setblocking(False)
        return len(sock.recv(1 << 20)) // 4
    except OSError:
        return 0


@attack
class queues_that_expire(Attack):
    """Messages that are over after a second fill the queues of forty absent sessions."""
    seconds = 12.0
    short = 8.0

    def run(self, ground):
        for i in range(40):
            absent(ground, f'brief{i}', [('brief/#', 1)], f'127.0.1.{1 + i}')
        socks = [s for s in (ground.enter(f'brief-source{i}', 5, f'127.0.1.{1 + i}') for i in range(4)) if s]
        owed = [0] * len(socks)
        k = 0
        while ground.on():
            said = False
            for i, sock in enumerate(socks):
                owed[i] -= swallowed(sock)
                if owed[i] > 100:  # twice as many are less than Receive Maximum
                    continue
                part = [codec.publish('brief/x', bytes(300), 1, 1 + (k + j) % 200, 5, props={'message_expiry': 1})
                        for j in range(100)]
                if ground.say(sock, *part):
                    said = True
                    owed[i] += 100
                    ground.count('messages', 100)
            k += 100 * said
            time.sleep(0 if said else .001)


@attack
class a_byte_a_second(Attack):
    """300 connections of as many addresses with Receive Maximum 1 that read a byte a second of what is sent to them."""
    seconds = 12.0
    short = 8.0

    def run(self, ground):
        socks = []
        for i in range(300):
            sock = ground.open(f'127.0.{1 + i // 200}.{1 + i % 200}', buffer=2304)
            if ground.say(sock, codec.connect(f'sip{i}', 5, clean=i % 2 == 0,
                                              props={'receive_maximum': 1, 'session_expiry': 60 * (i % 2)}),
                          codec.subscribe(1, [('sip/#', i % 3)], 5)):
                socks.append(sock)
        ground.note(connections=len(socks))
        source = ground.enter('sip-source', 5, '127.0.4.1')
        ground.drain(source)
        k, last = 0, time.monotonic()
        while ground.on():
            k += 1
            if ground.say(source, codec.publish('sip/x', bytes(20000), k % 3, 1 + k % 200, 5), patience=.1):
                ground.count('messages')
            if time.monotonic() - last > 1:
                last = time.monotonic()
                for s in socks:
                    try:
                        s.recv(1, socket.MSG_DONTWAIT)
                    except OSError:
                        pass


@attack
class unanswered_releases(Attack):
    """Floods of PUBREL, PUBREC and the same QoS 2 PUBLISH with DUP: each is answered, and nobody reads the answers."""

    def build(self, ground):
        one = codec.publish('again/x', b'y' * 20, 2, 9, 4, dup=True)
        self.blobs = [one * 4000, b''.join(codec.ack(codec.PUBREL, 1 + i % 65535) for i in range(20000)),
                      b''.join(codec.ack(codec.PUBREC, 1 + i % 65535) for i in range(20000))]

    def run(self, ground):
        socks = [ground.enter(f'again{i}', 4 + i % 2, clean=False, buffer=4096) for i in range(30)]
        ground.drain(*socks[:6])
        while ground.on():
            for i, sock in enumerate(socks):
                if i % 2 and i % 3 == 0:
                    continue
                if ground.say(sock, self.blobs[i % 3], patience=.03):
                    ground.count('blobs')


@attack
class properties_everywhere(Attack):
    """User properties of 60 KB on SUBSCRIBE, UNSUBSCRIBE, PUBREL, and on PUBLISHes for absent sessions."""

    def run(self, ground):
        for i in range(20):
            absent(ground, f'decked{i}', [('decked/#', 1)], f'127.0.1.{1 + i}')
        big = [('user', ('k' * 30000, 'v' * 30000))]
        socks = [ground.enter(f'decks{i}', 5) for i in range(10)]
        ground.drain(*socks)
        part = (codec.subscribe(1, [('decks/#', 1)], 5, big) + codec.unsubscribe(2, ['decks/#'], 5, big)
                + codec.ack(codec.PUBREL, 3, 0, big) + codec.publish('decked/x', b'', 1, 4, 5, props=big * 8))
        while ground.on():
            for i, sock in enumerate(socks):
                if ground.say(sock, part, patience=.05):
                    ground.count('parts')


@attack
class versions_in_turn(Attack):
    """One durable session with messages in flight, taken by 3.1.1 and 5.0 in turn with other bounds each time."""

    def run(self, ground):
        source = ground.enter('turns-source', 5, '127.0.1.3')
        ground.drain(source)
        props = [('user', ('k' * 200, 'v' * 200)), ('response_topic', 'turns/r'), ('content_type', 'c'),
                 ('message_expiry', 2)]
        part = [codec.publish('turns/x', bytes(50), 1 + k % 2, 1 + k, 5, props=props) for k in range(20)]
        n = 0
        while ground.on():
            for name in ('turns-a', 'turns-b', 'turns-c'):
                sock = ground.open(limit=1, keep=False)
                if n % 2:
                    ground.say(sock, codec.connect(name, 4, clean=False), codec.subscribe(1, [('turns/#', 2)], 4))
                else:
                    ground.say(sock, codec.connect(name, 5, clean=False, props={
                        'session_expiry': 3600, 'receive_maximum': 1 + n % 7, 'maximum_packet_size': 60 + 100 * (n % 9),
                        'topic_alias_maximum': n % 5}), codec.subscribe(1, [('turns/#', 2)], 5, {'subscription_id': 5}))
                ground.say(source, *part, patience=.1)
                for _ in range(8):
                    got = ground.hear(sock, .05)
                    if not got:
                        break
                    if got[0] >> 4 == codec.PUBLISH and got[0] & 6:
                        p = codec.decode(*got, 4 if n % 2 else 5)
                        ground.say(sock, codec.ack(codec.PUBACK if p.qos == 1 else codec.PUBREC, p.packet_id))
                    ground.count('packets')
                if sock:
                    (reset if n % 3 else socket.socket.close)(sock)
            n += 1


@attack
class queue_readers(Attack):
    """Durable subscribers with a long queue in the table, who connect, take a window of it, and are gone again."""
    seconds = 14.0
    short = 12.0

    def run(self, ground):
        names = [f'reader{i}' for i in range(20)]
        for i, name in enumerate(names):
            absent(ground, name, [('reader/#', 1)], f'127.0.1.{1 + i}')
        source = ground.enter('reader-source', 4)
        ground.drain(source)
        k = 0
        while ground.left() > ground.total / 2:
            part = [codec.publish('reader/x', bytes(100), 1, 1 + (k + j) % 60000, 4) for j in range(200)]
            k += 200
            if ground.say(source, *part, patience=.2):
                ground.count('messages', 200)
        while ground.on():
            for i, name in enumerate(names):
                sock = ground.open(f'127.0.1.{1 + i}', limit=1, keep=False)
                ground.say(sock, codec.connect(name, 5, clean=False, props={'session_expiry': FOR_EVER}))
                if sock:
                    sock.settimeout(.02)
                    try:
                        for _ in range(5):
                            ground.count('bytes', len(sock.recv(1 << 16)))
                    except OSError:
                        pass
                    sock.close()
                ground.count('connects')


@attack
class clears_flood(Attack):
    """Retained messages set and cleared, and cleared where there are none, pipelined by twenty clients at QoS 0 and 1."""

    def build(self, ground):
        self.blobs = []
        for i in range(20):
            out = b''
            for k in range(2000):
                t = f'clear/{i % 5}/{k}'
                out += codec.publish(t, b'x' * 30, 1, 1 + k % 200, 4, retain=True)
                out += codec.publish(t, b'', k % 2, 201 + k % 200, 4, retain=True)
                out += codec.publish(f'clear/never/{i}/{k}', b'', 1, 401 + k % 200, 4, retain=True)
            self.blobs.append(out)

    def run(self, ground):
        socks = [ground.enter(f'clear{i}', 4, f'127.0.1.{1 + i}') for i in range(20)]
        ground.drain(*socks)
        while ground.on():
            for sock, blob in zip(socks, self.blobs):
                if ground.say(sock, blob, patience=.2):
                    ground.count('messages', 6000)


@attack
class resets(Attack):
    """Connections with a will that subscribe to `#`, publish and are reset at once; some sessions stay for two seconds."""

    def run(self, ground):
        n = 0
        while ground.on():
            sock = ground.open(f'127.0.1.{1 + n % 200}', limit=1, keep=False)
            ground.say(sock, codec.connect(f'reset{n % 500}', 5, clean=n % 3 > 0, props={'session_expiry': 2 * (n % 2)},
                                           will={'topic': 'reset/w', 'payload': b'w', 'qos': n % 3}),
                       codec.subscribe(1, [('reset/#', 2), ('#', 1)], 5), codec.publish('reset/x', bytes(500), n % 3, 2, 5))
            reset(sock)
            ground.count('connections')
            n += 1


@attack
class replays_at_once(Attack):
    """A thousand clients subscribe at QoS 1 to 30,000 retained messages at the same moment, half of them durable."""
    retained = many('all/', 30000)
    seconds = 14.0
    short = 12.0

    def run(self, ground):
        if not retain_many(ground, self.retained, b'x' * 100):
            return
        socks = [ground.enter(f'all{i}', 5, f'127.0.1.{1 + i % 100}', clean=i % 2 == 0,
                              props={'session_expiry': 600 * (i % 2)}) for i in range(1000)]
        for i, s in enumerate(socks):
            if i % 4:
                ground.drain(s)
        for s in socks:
            if ground.say(s, codec.subscribe(1, [('#', 1)], 5), patience=.1):
                ground.count('subscribes')
        ground.rest()


@attack
class exact_matches(Attack):
    """16,000 subscriptions at QoS 1 of absent sessions match one topic, to which messages of 1 byte go, over and over."""
    seconds = 12.0
    short = 10.0

    def build(self, ground):
        self.subscribes = [codec.subscribe(i + 1, [(f, 1) for f in part], 4) for i, part in enumerate(overlapping(8000))]

    def run(self, ground):
        for name in ('exact-a', 'exact-b'):
            sock = ground.enter(name, clean=False)
            for packet in self.subscribes:
                if ground.say(sock, packet) and ground.hear(sock):
                    ground.count('subscriptions', 1000)
            sock.close()
        topic = '/'.join('a' * 13)
        socks = [ground.enter(f'exact{i}', 4, f'127.0.1.{1 + i}') for i in range(4)]
        ground.drain(*socks)
        k = 0
        while ground.on():
            for s in socks:
                k += 1
                if ground.say(s, codec.publish(topic, b'x', 1 + k % 2, 1 + k % 60000, 4), patience=.05):
                    ground.count('messages')


@attack
class fragments(Attack):
    """Retained messages of small sizes by eight addresses, most of them cleared, then of other sizes, over and over."""
    seconds = 50.0
    short = 40.0

    def run(self, ground):
        rng = random.Random(7)
        socks = [ground.enter(f'frag{i}', 4, f'127.0.1.{1 + i}') for i in range(8)]
        size, at, kept = 40, 0, []
        while ground.on():
            # A phase: set until nothing new is taken, then clear all but one of twenty.
            mine, end = [], time.monotonic() + min(9, ground.left())
            while time.monotonic() < end:
                parts = [[] for _ in socks]
                for _ in range(2000):
                    topic = f'f/{at}'
                    at += 1
                    mine.append(topic)
                    parts[at % 8].append(codec.publish(topic, bytes(size), 0, level=4, retain=True))
                for i, s in enumerate(socks):
                    if not ground.say(s, *parts[i], codec.PING, patience=1) or ground.hear(s, 1) is None:
                        socks[i] = ground.enter(f'frag{i}', 4, f'127.0.1.{1 + i}')
                        ground.count('reopened')
            rng.shuffle(mine)
            for j in range(0, len(mine) * 19 // 20, 8000):
                for i, s in enumerate(socks):
                    part = [codec.publish(t, b'', 0, level=4, retain=True) for t in mine[j + i * 1000:j + i * 1000 + 1000]]
                    if not ground.say(s, *part, codec.PING, patience=2) or ground.hear(s, 2) is None:
                        socks[i] = ground.enter(f'frag{i}', 4, f'127.0.1.{1 + i}')
                        ground.count('reopened')
            ground.count('phases')
            ground.count('topics', len(mine))
            size = {40: 200, 200: 600, 600: 900, 900: 120}.get(size, 40)
