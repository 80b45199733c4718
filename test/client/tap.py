"""A tap on the hop between a client and the broker: it passes packets on whole, records them, knows which flows are
open, and tells at once when a chosen packet passes.

One thread, one selector for all hops and whatever else the test listens to. A connection that the broker does not take
waits until it does. A packet that has come is passed on even when its sender is gone: so does a network.
"""

import collections
import os
import selectors
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "crash"))
import broker as brokers  # noqa: E402
import codec  # noqa: E402

FLOW = (codec.PUBLISH, codec.PUBACK, codec.PUBREC, codec.PUBREL, codec.PUBCOMP)
KEPT = 40000  # packets of a hop that are remembered
RETRY_S = 0.004
STALLED_S = 2  # who does not read for so long is cut off


class Loop:
    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.hops = []

    def listen(self, what, call):
        self.selector.register(what, selectors.EVENT_READ, call)

    def forget(self, what):
        try:
            self.selector.unregister(what)
        except (KeyError, ValueError):
            pass

    def step(self, limit=0.005):
        for key, _ in self.selector.select(max(0.0, limit)):
            key.data()
        for hop in self.hops:
            hop.try_waiting()

    def run(self, done, limit):
        """Until done() or `limit` seconds are over; what done() says."""
        end = time.monotonic() + limit
        while not done() and time.monotonic() < end:
            self.step()
        return done()

    def idle(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.step(min(0.005, left))


class Pair:
    """One connection: the client's socket and, as soon as the broker takes it, ours to the broker."""

    def __init__(self, hop, client):
        self.hop, self.client, self.broker = hop, client, None
        self.buffers = {True: bytearray(), False: bytearray()}  # to the broker, to the client

    def connect(self):
        """False while the broker does not take it."""
        try:
            self.broker = socket.create_connection(("127.0.0.1", self.hop.upstream), 1)
        except OSError:
            return False
        for s, up in ((self.client, True), (self.broker, False)):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.settimeout(STALLED_S)
            self.hop.loop.listen(s, lambda up=up: self.readable(up))
        return True

    def readable(self, up):
        if self.broker is None:
            return  # closed by what happened before in the same step
        source, target = (self.client, self.broker) if up else (self.broker, self.client)
        try:
            data = source.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        buffer = self.buffers[up]
        buffer += data
        while self.broker is not None and (whole := codec.split(buffer)):
            first, body, used = whole
            packet = bytes(buffer[:used])
            del buffer[:used]
            self.hop.passes(up, first, body, True)
            try:
                target.sendall(packet)
            except OSError:
                self.close()
            self.hop.passes(up, first, body, False)

    def close(self):
        for s in filter(None, (self.client, self.broker)):
            self.hop.loop.forget(s)
            s.close()
        self.broker = None
        self.hop.gone(self)


class Hop:
    """`sender`: True when the client publishes here, False when the broker does."""

    def __init__(self, loop, name, upstream, sender):
        self.loop, self.name, self.upstream, self.sender = loop, name, upstream, sender
        self.port = brokers.free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=16)
        self.waiting, self.tried, self.pairs = [], 0.0, []
        self.log = collections.deque(maxlen=KEPT)
        self.open = {}  # packet id -> number: flows that have begun and not ended
        self.sent = collections.Counter()  # number -> PUBLISH packets
        self.connects = 0  # CONNACKs with success
        self.forgotten = 0  # of them without a session, after the first
        self.subscribed = False
        self.packets = 0  # of flows
        self.answered = 0  # PUBACK and PUBREC packets
        self.trigger = None  # (packet type, how many until then, before it is passed on, what is called)
        loop.hops.append(self)
        loop.listen(self.listener, self.accept)

    def accept(self):
        client, _ = self.listener.accept()
        self.waiting.append(Pair(self, client))

    def try_waiting(self):
        now = time.monotonic()
        if not self.waiting or now - self.tried < RETRY_S:
            return
        self.tried = now
        pair = self.waiting[0]
        if self.abandoned(pair.client):
            self.waiting.pop(0)
            pair.client.close()
        elif pair.connect():
            self.waiting.pop(0)
            self.pairs.append(pair)
            self.note("--", "connection")

    @staticmethod
    def abandoned(s):
        try:
            return s.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def gone(self, pair):
        if pair in self.pairs:
            self.pairs.remove(pair)
            self.note("--", "closed")

    def up(self):
        return bool(self.pairs)

    def note(self, way, what):
        self.log.append((time.monotonic(), way, what))

    def passes(self, up, first, body, before):
        kind = first >> 4
        if before:
            self.observe(up, first, body)
        if self.trigger and self.trigger[0] == kind and self.trigger[2] == before:
            _, left, _, call = self.trigger
            self.trigger = (kind, left - 1, before, call)
            if left <= 1:
                self.trigger = None
                self.note("--", f"chosen moment, {'before' if before else 'after'} {codec.NAMES[kind]} is passed on")
                call()

    def observe(self, up, first, body):
        kind = first >> 4
        if kind not in FLOW + (codec.CONNACK, codec.SUBACK):
            self.note(">" if up else "<", (first, body[:40]))
            return
        p = codec.decode(first, body, 5)
        self.note(">" if up else "<", p)
        if kind in FLOW:
            self.packets += 1
            self.flow(up, p)
        elif kind == codec.SUBACK:
            self.subscribed = True
        elif not p.reason:
            self.connects += 1
            self.forgotten += not p.session_present and self.connects > 1

    def flow(self, up, p):
        if p.type == codec.PUBLISH and up == self.sender:
            number = int(p.payload)
            self.sent[number] += 1
            self.open[p.packet_id] = number
        self.answered += p.type in (codec.PUBACK, codec.PUBREC)
        if p.type in (codec.PUBACK, codec.PUBCOMP) or p.type == codec.PUBREC and p.reason >= 0x80:
            if up != self.sender:
                self.open.pop(p.packet_id, None)

    def close(self):
        for pair in [*self.pairs, *self.waiting]:
            pair.close()
        self.loop.forget(self.listener)
        self.listener.close()

    def print(self, path, began):
        with open(path, "w", encoding="utf-8") as f:
            for at, way, what in self.log:
                if isinstance(what, codec.Packet):
                    number = int(what.payload) if what.payload else ""
                    what = f"{codec.NAMES[what.type]} {'dup ' if what.dup else ''}{what.packet_id or ''} {number}" + (
                        f" 0x{what.reason:02X}" if what.reason else "") + (
                        f" present {int(what.session_present)}" if what.type == codec.CONNACK else "")
                elif isinstance(what, tuple):
                    what = f"{codec.NAMES[what[0] >> 4]} {what[1]!r}"
                f.write(f"{at - began:10.4f} {way} {what}\n")
