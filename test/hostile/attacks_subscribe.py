"""Attacks by subscriptions: their number, their products, and subscribers who do not do their part."""

import itertools

from attack import FOR_EVER, Attack, attack, codec, many, time

LEVELS = 13
ONE_TOPIC = '/'.join('a' * LEVELS)


def overlapping(count):
    """So many filters that all match ONE_TOPIC, in parts of 1,000."""
    filters = ['/'.join(f) for f in itertools.product('a+', repeat=LEVELS)]
    filters += ['/'.join(f) + '/#' for f in itertools.product('a+', repeat=LEVELS - 1)]
    return [filters[i:min(i + 1000, count)] for i in range(0, count, 1000)]


def retain_many(ground, topics, payload):
    """Sets retained messages, in pieces that are answered; false when time is over first."""
    sock = ground.enter('retainer')
    for i in range(0, len(topics), 1000):
        if not ground.on():
            return False
        ground.say(sock, *(codec.publish(t, payload, level=4, retain=True) for t in topics[i:i + 1000]), codec.PING)
        if ground.hear(sock) is None:
            return False
    return True


@attack
class never_reading(Attack):
    """60 MB of retained messages; 300 connections subscribe to all of them and never read a byte."""
    retained = many('unread/', 6000)
    seconds = 8.0

    def run(self, ground):
        retain_many(ground, self.retained, bytes(10000))
        for name in many('unread', 300):
            if not ground.on():
                break
            sock = ground.open(buffer=4096)
            if ground.say(sock, codec.connect(name, 4), codec.subscribe(1, [('unread/#', 0)], 4)):
                ground.count('connections')
        ground.rest()


@attack
class never_acknowledging(Attack):
    """Durable subscribers take 200 MB at QoS 1 and acknowledge nothing, then go away and leave it all in flight."""
    sessions = many('silent', 4)
    seconds = 8.0

    def run(self, ground):
        socks = [ground.enter(name, clean=False) for name in self.sessions]
        for sock in socks:
            ground.say(sock, codec.subscribe(1, [('silent/t', 1)], 4))
        ground.drain(*socks)
        source = ground.enter('silent-source')
        body = bytes(500000)
        for i in range(100000):
            if ground.left() < 2 or not ground.say(source, codec.publish('silent/t', body, 1, i % 60000 + 1, 4)):
                break
            if ground.hear(source) is None:
                break
            ground.count('messages')
        for sock in socks:
            if sock:
                sock.shutdown(2)
        ground.rest()


@attack
class filters_times_retained(Attack):
    """SUBSCRIBE packets with 1,000 filters, each of which matches 20,000 retained messages."""
    retained = many('product/', 20000)
    seconds = 8.0

    def build(self, ground):
        filters = ['#', '+/+', 'product/#', 'product/+', '+/#'] * 200
        self.packets = [codec.subscribe(i + 1, [(f, 0) for f in filters], 4) for i in range(20)]

    def run(self, ground):
        if not retain_many(ground, self.retained, b'x'):
            return
        sock = ground.enter('product')
        ground.drain(sock)
        for packet in self.packets:
            if ground.on() and ground.say(sock, packet):
                ground.count('subscribes')
        ground.rest()


@attack
class all_retained(Attack):
    """Subscribes to `#` over 50,000 retained messages, again and again, at QoS 1 and durable."""
    retained = many('much/', 50000)
    seconds = 8.0

    def run(self, ground):
        if not retain_many(ground, self.retained, b'y' * 20):
            return
        sock = ground.enter('much', clean=False)
        ground.drain(sock)
        while ground.on() and ground.say(sock, codec.subscribe(7, [('#', 1)], 4)):
            ground.count('subscribes')
            time.sleep(.05)
        ground.rest()


@attack
class fan_out(Attack):
    """10,000 own clients subscribe to one topic, to which a PUBLISH of 30 bytes goes over and over."""
    seconds = 10.0
    clients = 10000

    def build(self, ground):
        subscribe = codec.subscribe(1, [('fan/out', 0)], 4)
        self.packets = [codec.connect(n, 4) + subscribe for n in many('fan', self.clients)]

    def run(self, ground):
        for packet in self.packets:
            if ground.left() < ground.total / 3:
                break
            sock = ground.open(limit=1)
            if ground.say(sock, packet):
                ground.count('subscribers')
            ground.drain(sock)
        source = ground.enter('fan-source')
        one = codec.publish('fan/out', b'0123456789', 0, level=4)
        while ground.on() and ground.say(source, one * 20):
            ground.count('messages', 20)
        ground.rest()


@attack
class fan_out_absent(Attack):
    """4,000 durable sessions without a connection, each with a subscription to one topic at QoS 1; messages of 10 KB."""
    sessions = many('away', 4000)
    seconds = 10.0

    def build(self, ground):
        subscribe = codec.subscribe(1, [('fan/away', 1)], 4)
        self.packets = [codec.connect(n, 4, clean=False) + subscribe + codec.disconnect() for n in self.sessions]

    def run(self, ground):
        for packet in self.packets:
            if ground.left() < ground.total / 3:
                break
            sock = ground.open(limit=1, keep=False)
            if ground.say(sock, packet):
                ground.count('subscribers')
            if sock:
                while ground.hear(sock):
                    pass
                sock.close()
        source = ground.enter('fan-source')
        packet = codec.publish('fan/away', bytes(10000), 1, 1, 4)
        while ground.on() and ground.say(source, packet) and ground.hear(source):
            ground.count('messages')


@attack
class one_publish_many_matches(Attack):
    """20 sessions with 10,000 filters each that all match one topic, to which a burst of small PUBLISH packets goes."""
    seconds = 8.0
    names = many('match', 20)

    def build(self, ground):
        self.subscribes = [codec.subscribe(i + 1, [(f, 0) for f in part], 4)
                           for i, part in enumerate(overlapping(10000))]
        self.burst = codec.publish(ONE_TOPIC, b'x', level=4) * 2000

    def run(self, ground):
        for name in self.names:
            sock = ground.enter(name)
            for packet in self.subscribes:
                if ground.left() > ground.total / 3 and ground.say(sock, packet) and ground.hear(sock):
                    ground.count('subscriptions', 1000)
            ground.drain(sock)
        ground.say(ground.enter('match-source'), self.burst, patience=1)
        ground.rest()


@attack
class giant_record(Attack):
    """30 absent durable sessions with 10,000 filters each that match one topic; then a PUBLISH of 30 bytes at QoS 1."""
    seconds = 8.0
    sessions = many('giant', 30)

    def build(self, ground):
        self.subscribes = [codec.subscribe(i + 1, [(f, 1) for f in part], 4)
                           for i, part in enumerate(overlapping(10000))]

    def run(self, ground):
        for name in self.sessions:
            sock = ground.enter(name, clean=False)
            for packet in self.subscribes:
                if ground.left() > ground.total / 3 and ground.say(sock, packet) and ground.hear(sock):
                    ground.count('subscriptions', 1000)
            if sock:
                sock.close()
        source = ground.enter('giant-source', 5)
        for i in range(1, 200):
            if not ground.on() or not ground.say(source, codec.publish(ONE_TOPIC, b'x', 1, i, 5)):
                break
            if ground.hear(source):
                ground.count('answers')
        ground.rest()


@attack
class late_mail(Attack):
    """One session with 10,000 filters that match one topic; 261 KB of PUBLISH packets for it, sent at once, by four."""
    seconds = 8.0

    def build(self, ground):
        self.subscribes = [codec.subscribe(i + 1, [(f, 0) for f in part], 4)
                           for i, part in enumerate(overlapping(10000))]
        self.burst = codec.publish(ONE_TOPIC, b'x', level=4) * 8700

    def run(self, ground):
        sock = ground.enter('mailbox')
        for packet in self.subscribes:
            if ground.say(sock, packet) and ground.hear(sock):
                ground.count('subscriptions', 1000)
        ground.drain(sock)
        # By several, so that one at least is served by another shard.
        for name in many('mail', 4):
            ground.say(ground.enter(name), self.burst, patience=1)
        ground.rest()


@attack
class subscribe_flood(Attack):
    """Durable sessions subscribe to 1,000 long filters and unsubscribe from them, as fast as the broker takes it."""
    sessions = many('fickle', 8)

    def build(self, ground):
        filters = [f'fickle/{"z" * 150}/{i}' for i in range(1000)]
        self.packet = codec.subscribe(1, [(f, 1) for f in filters], 4) + codec.unsubscribe(2, filters, 4)

    def run(self, ground):
        socks = [ground.enter(name, clean=False) for name in self.sessions]
        ground.drain(*socks)
        while ground.on():
            for sock in socks:
                if ground.say(sock, self.packet, patience=.2):
                    ground.count('pairs')
                elif ground.on():
                    time.sleep(.01)


@attack
class deep_filters(Attack):
    """Subscriptions with 128 levels each, none like another, 10,000 for each of ten sessions."""

    def build(self, ground):
        tail = '/a' * 127
        self.packets = [[codec.subscribe(k + 1, [(f'{s}.{k}.{i}{tail}', 0) for i in range(250)], 4) for k in range(40)]
                        for s in range(10)]

    def run(self, ground):
        for i, packets in enumerate(self.packets):
            sock = ground.enter(f'deep{i}')
            for packet in packets:
                if ground.on() and ground.say(sock, packet) and ground.hear(sock):
                    ground.count('subscriptions', 250)
        ground.rest()


@attack
class matching_nothing(Attack):
    """10,000 retained messages; filters that look at all of them and match none, 1,000 in each SUBSCRIBE."""
    retained = many('none/', 10000)

    def build(self, ground):
        self.packets = [codec.subscribe(k + 1, [(f'+/+/z{k}.{i}', 0) for i in range(1000)], 4) for k in range(9)]

    def run(self, ground):
        if not retain_many(ground, self.retained, b'x'):
            return
        sock = ground.enter('nothing')
        for packet in itertools.cycle(self.packets):
            if not ground.on() or not ground.say(sock, packet) or not ground.hear(sock):
                break
            ground.count('subscribes')


def fill(ground, body):
    """Publishes at QoS 1 to a topic of its own as fast as it is taken, as 3.1.1 clients may: without a window."""
    source = ground.enter('filler')
    ground.drain(source)
    size = max(1, min(500, 200000 // len(body)))
    starts = range(1, min(60000, 100 * size), size)
    blobs = [b''.join(codec.publish('fill', body, 1, i + k, 4) for k in range(size)) for i in starts]
    for blob in itertools.cycle(blobs):
        if not ground.on() or not ground.say(source, blob):
            break
        ground.count('messages', size)
    ground.rest()


@attack
class absent_subscriber(Attack):
    """One durable session subscribes to `#`, goes away, and its queue is filled by its owner to the brim."""
    seconds = 20.0
    short = 8.0
    body = b'0123456789'

    def run(self, ground):
        sock = ground.enter('absent', 5, clean=False, props={'session_expiry': FOR_EVER})
        ground.say(sock, codec.subscribe(1, [('#', 1)], 5))
        if sock:
            ground.hear(sock)
            sock.close()
        fill(ground, self.body)


@attack
class absent_subscriber_of_much(absent_subscriber):
    """The same with messages of 60 KB."""
    body = bytes(60000)


@attack
class stalled_subscriber(Attack):
    """A subscriber to `#` stays connected, reads and acknowledges nothing, and its owner fills its queue."""
    seconds = 20.0
    short = 8.0

    def run(self, ground):
        sock = ground.enter('stalled', 5, clean=False, props={'session_expiry': FOR_EVER})
        ground.say(sock, codec.subscribe(1, [('#', 1)], 5))
        ground.drain(sock)
        fill(ground, b'0123456789')
