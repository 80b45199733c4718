"""Attacks by connections, half packets and sessions."""

import os

from attack import FOR_EVER, Attack, attack, codec, many, socket, time


@attack
class connection_flood(Attack):
    """One address opens 19,000 connections, is let in, and says no more."""
    connections = 19000

    def build(self, ground):
        self.packets = [codec.connect(name, 4) for name in many('flood', self.connections)]

    def run(self, ground):
        for packet in self.packets:
            if not ground.on():
                break
            if ground.say(ground.open(limit=1), packet):
                ground.count('connections')
        ground.rest()


@attack
class connection_churn(Attack):
    """Connects and breaks off again as fast as it can, half of it in the middle of CONNECT."""

    def run(self, ground):
        whole = codec.connect('churn', 5)
        while ground.on():
            sock = ground.open(limit=1, keep=False)
            if ground.say(sock, whole[:len(whole) // 2] if ground.notes.get('connections', 0) % 2 else whole):
                ground.count('connections')
            if sock:
                sock.close()


@attack
class half_connects(Attack):
    """3,000 connections send CONNECT a byte a second, and come back when they are closed."""
    connections = 3000

    def run(self, ground):
        packet = codec.connect('slow-loris', 4) + b'\0' * 64
        socks = [ground.open(limit=1) for _ in range(self.connections) if ground.on()]
        at = 0
        while ground.on():
            for i, sock in enumerate(socks):
                if not ground.say(sock, packet[at % 12:at % 12 + 1]):
                    ground.count('closed')
                    socks[i] = ground.open(limit=1)
            at += 1
            time.sleep(min(1.0, ground.left()))


@attack
class half_publishes(Attack):
    """800 connections send all but the last byte of a PUBLISH of 1 MiB and keep still."""
    connections = 800

    def build(self, ground):
        self.packet = codec.publish('half', bytes((1 << 20) - 100), level=4)[:-1]

    def run(self, ground):
        for name in many('half', self.connections):
            if not ground.on():
                break
            if ground.say(ground.enter(name), self.packet, patience=1):
                ground.count('halves')
        ground.rest()


@attack
class session_flood(Attack):
    """Durable sessions of clients without a name, from 200 addresses, that subscribe and never come back."""

    def run(self, ground):
        hello = codec.connect('', 5, clean=True, props={'session_expiry': FOR_EVER})
        rest = codec.subscribe(1, [('flood/a', 1), ('flood/b/+', 1)], 5)
        while ground.on():
            sock = ground.open(f'127.0.1.{1 + ground.notes.get("sessions", 0) % 200}', limit=1, keep=False)
            if not ground.say(sock, hello, rest):
                continue
            answer = ground.hear(sock)
            if answer and answer[1][1] == 0 and ground.hear(sock):
                ground.count('sessions')
            else:
                ground.count('not_let_in')
            sock.close()


@attack
class client_id_flood(Attack):
    """Durable sessions with client ids of 15,000 bytes, each another one."""

    def build(self, ground):
        self.packets = [codec.connect(f'{i:06d}' + 'x' * 15000, 4, clean=False) for i in range(6000)]

    def run(self, ground):
        for packet in self.packets:
            if not ground.on():
                break
            sock = ground.open(limit=1, keep=False)
            if ground.say(sock, packet) and ground.hear(sock):
                ground.count('sessions')
            if sock:
                sock.close()


@attack
class takeover_storm(Attack):
    """Connections with the same three client ids, durable and with a will each, take the session from each other."""
    names = many('contested', 3)

    def build(self, ground):
        will = {'topic': 'storm/will', 'payload': b'gone', 'qos': 1}
        self.packets = [codec.connect(n, 4, clean=False, will=will) + codec.subscribe(1, [('storm/#', 1)], 4)
                        for n in self.names]

    def run(self, ground):
        held = []
        while ground.on():
            sock = ground.open(limit=1, keep=False)
            if sock is None:
                continue
            ground.say(sock, self.packets[ground.notes.get('connections', 0) % 3])
            ground.count('connections')
            held.append(sock)
            if len(held) > 60:
                held.pop(0).close()
        for sock in held:
            sock.close()


@attack
class wills_flood(Attack):
    """Clients with retained wills of 12 KB at QoS 1 that die without a word, ever on other topics."""
    topics = many('wills/', 3000)

    def run(self, ground):
        while ground.on():
            n = ground.notes.get('wills', 0)
            will = {'topic': self.topics[n % len(self.topics)], 'payload': bytes(12000), 'qos': 1, 'retain': True}
            sock = ground.open(limit=1, keep=False)
            if ground.say(sock, codec.connect(f'dying{n}', 5, clean=True, will=will)) and ground.hear(sock):
                ground.count('wills')
            if sock:
                sock.close()


@attack
class delayed_wills(Attack):
    """Durable sessions die with a large will that is due in a year."""
    names = many('heir', 8000)

    def run(self, ground):
        for i, name in enumerate(self.names):
            if not ground.on():
                break
            sock = ground.open(limit=1, keep=False)
            will = {'topic': f'heirs/{i}', 'payload': bytes(14000), 'qos': 1, 'props': {'will_delay': 31536000}}
            if ground.say(sock, codec.connect(name, 5, clean=False, will=will,
                                              props={'session_expiry': FOR_EVER})) and ground.hear(sock):
                ground.count('wills')
            if sock:
                sock.close()


@attack
class log_flood(Attack):
    """Thousands of malformed packets, each worth a line in a log that nobody reads."""
    deaf_log = True

    def run(self, ground):
        hello = codec.connect('loud', 4)
        while ground.on():
            sock = ground.open(limit=1, keep=False)
            n = ground.notes.get('malformed', 0)
            if ground.say(sock, b'\x00\x00' if n % 2 else hello + b'\x36\x05wrong'):
                ground.count('malformed')
            if sock:
                sock.close()


@attack
class giant_connects(Attack):
    """CONNECT packets as large as they may be, with user properties, over and over on one connection each."""

    def build(self, ground):
        self.packet = codec.connect('p' * 20, 5, props=[('user', ('k' * 200, 'v' * 200))] * 38)
        self.refused = codec.connect('p' * 20, 5, props=[('user', ('k', 'v'))] * 1500)

    def run(self, ground):
        while ground.on():
            sock = ground.open(limit=1, keep=False)
            n = ground.notes.get('connects', 0)
            if ground.say(sock, self.packet if n % 2 else self.refused):
                ground.hear(sock)
                ground.count('connects')
            if sock:
                sock.close()


@attack
class small_clients(Attack):
    """Clients that take packets of 12 bytes at most, so that neither CONNACK nor SUBACK nor what comes fits."""

    def run(self, ground):
        hello = codec.connect('', 5, clean=True, props={'maximum_packet_size': 12})
        named = codec.connect('small', 5, clean=True, props={'maximum_packet_size': 12})
        rest = codec.subscribe(1, [(f'small/{i}', 1) for i in range(200)], 5)
        while ground.on():
            sock = ground.open(limit=1, keep=False)
            n = ground.notes.get('connects', 0)
            if ground.say(sock, named if n % 2 else hello, rest, codec.publish('small/0', bytes(100), 1, 1, 5)):
                ground.hear(sock, .2)
                ground.count('connects')
            if sock:
                sock.close()


@attack
class garbage(Attack):
    """Random bytes, before and after CONNECT, on forty connections at once."""

    def run(self, ground):
        hello = codec.connect('', 5)
        while ground.on():
            socks = [ground.open(limit=1, keep=False) for _ in range(40)]
            for i, sock in enumerate(socks):
                ground.say(sock, hello if i % 2 else b'', os.urandom(4000), patience=.3)
                ground.count('connections')
            for sock in socks:
                if sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes(8))
                    sock.close()
