"""Attacks by messages and acknowledgements."""

import os
import subprocess

import guess
from attack import FOR_EVER, Attack, attack, codec, many, time
from broker import ROOT


@attack
class retained_flood(Attack):
    """Retained messages of 100 KB, each on another topic, as fast as the broker takes them."""
    topics = many('heap/', 12000)

    def build(self, ground):
        self.body = bytes(100000)

    def run(self, ground):
        sock = ground.enter('heap', 5)
        ground.drain(sock)
        for i, topic in enumerate(self.topics):
            if not ground.on() or not ground.say(sock, codec.publish(topic, self.body, 1, i % 200 + 1, 5, retain=True)):
                break
            ground.count('messages')
        ground.rest()


@attack
class topic_flood(Attack):
    """Retained messages of one byte, each on another topic, from a hundred clients."""
    topics = many('tiny/', 400000)

    def build(self, ground):
        self.parts = [b''.join(codec.publish(t, b'x', level=4, retain=True) for t in self.topics[i:i + 1000])
                      for i in range(0, len(self.topics), 1000)]

    def run(self, ground):
        socks = [ground.enter(name) for name in many('tiny', 100)]
        ground.drain(*socks)
        for i, part in enumerate(self.parts):
            if not ground.on():
                break
            if ground.say(socks[i % 100], part):
                ground.count('messages', 1000)
        ground.rest()


@attack
class deep_topics(Attack):
    """Retained messages on topics of 128 levels, none like another."""
    topics = [f'{i}' + '/a' * 127 for i in range(60000)]

    def build(self, ground):
        self.parts = [b''.join(codec.publish(t, b'x', level=4, retain=True) for t in self.topics[i:i + 200])
                      for i in range(0, len(self.topics), 200)]

    def run(self, ground):
        sock = ground.enter('deep')
        for part in self.parts:
            if not ground.on() or not ground.say(sock, part, codec.PING) or ground.hear(sock) is None:
                break
            ground.count('messages', 200)
        ground.rest()


@attack
class publish_flood(Attack):
    """Forty clients publish at QoS 0 as fast as the broker reads."""

    def run(self, ground):
        socks = [ground.enter(name) for name in many('gush', 40)]
        part = b''.join(codec.publish(f'gush/{i}', b'0123456789' * 3, level=4) for i in range(400))
        while ground.on():
            for sock in socks:
                if ground.say(sock, part, patience=.1):
                    ground.count('messages', 400)


@attack
class durable_flood(Attack):
    """Twenty clients publish 50 KB messages at QoS 1 without waiting, to a durable subscriber of their own who reads."""
    def run(self, ground):
        sub = ground.enter('torrent', clean=False)
        ground.say(sub, codec.subscribe(1, [('torrent/#', 0)], 4))
        socks = [ground.enter(name, 5) for name in many('torrent-', 20)]
        ground.drain(sub, *socks)
        body, i = bytes(50000), 0
        while ground.on():
            i += 1
            for sock in socks:
                if ground.say(sock, codec.publish('torrent/x', body, 1, i % 200 + 1, 5), patience=.1):
                    ground.count('messages')


@attack
class held_ids(Attack):
    """Durable sessions send 256 messages of 200 KB at QoS 2 each and never PUBREL."""
    sessions = many('holder', 40)

    def build(self, ground):
        self.body = bytes(200000)

    def run(self, ground):
        for name in self.sessions:
            sock = ground.enter(name, 5, clean=False, props={'session_expiry': FOR_EVER})
            ground.drain(sock)
            for i in range(256):
                if not ground.on() or not ground.say(sock, codec.publish('held/x', self.body, 2, i + 1, 5)):
                    break
                ground.count('messages')
        ground.rest()


@attack
class wrong_acks(Attack):
    """Acknowledgements of the wrong kind, for ids that nobody has, without end, to a session with messages in flight."""
    sessions = many('liar', 10)

    def build(self, ground):
        kinds = (codec.PUBACK, codec.PUBREC, codec.PUBREL, codec.PUBCOMP)
        self.noise = b''.join(codec.ack(kinds[i % 4], 1000 + i) for i in range(5000))
        self.wrong = b''.join(codec.ack(codec.PUBCOMP, i + 1) for i in range(50))

    def run(self, ground):
        source = ground.enter('liar-source', 5)
        ground.drain(source)
        while ground.on():
            for name in self.sessions:
                sock = ground.enter(name, 4, clean=False)
                if sock is None:
                    continue
                ground.drain(sock)
                ground.say(sock, codec.subscribe(1, [('liar/#', 2)], 4))
                ground.say(source, codec.publish('liar/x', b'm', 1, 1, 5))
                if ground.say(sock, self.wrong, self.noise, patience=.3):
                    ground.count('acks', 5050)


@attack
class largest_publishes(Attack):
    """PUBLISH packets as large as they may be, 3.1.1, to 5.0 subscribers who take less, and with a property more cannot."""

    def build(self, ground):
        room = (1 << 20) - 1 - len('large/x') - 4
        self.packet = codec.publish('large/x', bytes(room), level=4)

    def run(self, ground):
        socks = [ground.enter(name, 5, props={'maximum_packet_size': limit})
                 for name, limit in (('takes-100', 100), ('takes-much', 1 << 20), ('takes-all', 1 << 28))]
        for sock in socks:
            ground.say(sock, codec.subscribe(1, [('large/#', 2)], 5, props={'subscription_id': 268435455}))
        source = ground.enter('large-source')
        ground.drain(source, *socks)
        while ground.on() and ground.say(source, self.packet):
            ground.count('messages')
        ground.rest()


@attack
class full_store(Attack):
    """Absent sessions of sixteen addresses are sent 60 KB messages, each its own, until the store takes no more."""
    seconds = 15.0
    short = 8.0

    def run(self, ground):
        names = many('hoard', 160)
        for i, name in enumerate(names):
            sock = ground.enter(name, 5, f'127.0.3.{1 + i % 16}', clean=False, props={'session_expiry': FOR_EVER})
            ground.say(sock, codec.subscribe(1, [(f'hoard/{name}', 1)], 5))
            if ground.hear(sock):
                sock.close()
        sources = [ground.enter(f'hoarder{i}', 4, f'127.0.3.{1 + i}') for i in range(16)]
        ground.drain(*sources)
        body, i = bytes(60000), 0
        while ground.on():
            packet = codec.publish(f'hoard/{names[i % len(names)]}', body, 1, 1 + i % 60000, 4)
            if ground.say(sources[i % 16], packet, patience=.05):
                ground.count('messages')
            i += 1


@attack
class user_properties(Attack):
    """PUBLISH packets with as many and as large user properties as fit, retained, and to a subscriber of their own."""
    topics = many('props/', 2000)

    def build(self, ground):
        self.large = [('user', ('k' * 8000, 'v' * 8000))] * 62
        self.many = [('user', ('', ''))] * 200000
        self.packets = [codec.publish(t, b'', 0, level=5, retain=True, props=self.large) for t in self.topics[:20]]
        self.too_many = codec.publish('props/many', b'', 0, level=5, props=self.many)

    def run(self, ground):
        sub = ground.enter('props-sub', 5)
        ground.say(sub, codec.subscribe(1, [('props/#', 0)], 5))
        ground.drain(sub)
        while ground.on():
            sock = ground.enter('props', 5)
            for packet in self.packets:
                if ground.say(sock, packet, patience=.5):
                    ground.count('messages')
            ground.say(sock, self.too_many, patience=.5)
            if sock:
                sock.close()


@attack
class expired_retained(Attack):
    """Retained messages of 20 KB that are over after a second, ever on other topics."""
    seconds = 8.0

    def build(self, ground):
        self.body = bytes(20000)

    def run(self, ground):
        sock = ground.enter('brief', 5)
        n = 0
        while ground.on():
            packets = [codec.publish(f'brief/{n + i}', self.body, level=5, retain=True, props={'message_expiry': 1})
                       for i in range(50)]
            n += 50
            if not ground.say(sock, *packets, codec.PING) or ground.hear(sock) is None:
                sock = ground.enter('brief', 5)
            ground.count('messages', 50)


@attack
class ping_flood(Attack):
    """Thirty clients send nothing but PINGREQ and never read."""

    def run(self, ground):
        socks = [ground.enter(name, buffer=4096) for name in many('ping', 30)]
        while ground.on():
            for sock in socks:
                if ground.say(sock, codec.PING * 10000, patience=.05):
                    ground.count('pings', 10000)
            time.sleep(.001)


@attack
class colliding_keys(Attack):
    """Subscriptions and retained messages whose names have one hash, by what two assigned client ids tell of the seed."""
    seconds = 8.0

    def build(self, ground):
        self.known = self.seed(ground)
        ground.note(seed_known=int(self.known is not None))
        # The checkpoint's map of retained messages: a byte 0 before each name; its seed was 8 in all processes.
        self.topics = self.collisions(8, 20000, 14, '00')
        self.filters = self.collisions(self.known or 1, 20000, 14)

    @staticmethod
    def seed(ground):
        ids = []
        for _ in range(12):
            sock = ground.open(keep=False)
            ground.say(sock, codec.connect('', 5), patience=5)
            answer = ground.hear(sock, 5)
            if answer:
                ids.append(codec.decode(*answer, 5).props.get('assigned_client_id', ''))
            sock.close()
        state = guess.predicts(ids)
        return state and guess.seed_of(state)

    @staticmethod
    def collisions(seed, count, bits, prefix=''):
        helper = os.path.join(ROOT, 'build/release/bin/hostile_collide')
        words = [helper, str(seed), str(count), str(bits), *([prefix] if prefix else [])]
        return subprocess.run(words, capture_output=True, check=True, text=True).stdout.split()

    def run(self, ground):
        socks = [ground.enter(name) for name in many('alike', 4)]
        for i in range(0, len(self.filters), 1000):
            sock = socks[i // 5000]
            if ground.say(sock, codec.subscribe(1, [(f, 0) for f in self.filters[i:i + 1000]], 4)) and ground.hear(sock):
                ground.count('subscriptions', 1000)
        source, i = ground.enter('alike-source'), 0
        while ground.on():
            part = self.topics[i % len(self.topics):][:500]
            packets = [codec.publish(t, b'x', level=4, retain=True) for t in part]
            packets += [codec.publish(t, b'x', level=4) for t in self.filters[i % len(self.filters):][:500]]
            if not ground.say(source, *packets, codec.PING) or ground.hear(source) is None:
                break
            ground.count('messages', len(packets))
            i += 500


@attack
class everybody_a_little(Attack):
    """A hundred addresses, each with some retained messages, a queue of an absent session, and half a packet."""
    sessions = many('little', 100)
    seconds = 10.0
    short = 5.0

    def build(self, ground):
        self.body = bytes(150000)
        self.half = codec.publish('little/half', bytes((1 << 20) - 100), level=4)[:-1]

    def run(self, ground):
        for i, name in enumerate(self.sessions):
            source = f'127.0.2.{i + 1}'
            sock = ground.enter(name, 4, source, clean=False)
            ground.say(sock, codec.subscribe(1, [(f'little/{i}/#', 1)], 4))
            if sock:
                sock.close()
            ground.say(ground.enter(f'half{i}', 4, source), self.half, patience=.5)
            sock = ground.enter(f'source{i}', 4, source)
            ground.drain(sock)
            for k in range(40):
                packet = codec.publish(f'little/{i}/{k}', self.body, 1, k + 1, 4, retain=True)
                if not ground.on() or not ground.say(sock, packet, patience=.5):
                    break
                ground.count('messages')
        ground.rest()
