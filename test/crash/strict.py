"""Strict MQTT clients and their judge: publishers with a durable outbox, subscribers with a durable inbox.

The clients live through cut connections and killed brokers: their outbox, inbox and packet ids are in the test's
memory, which is this test's stable storage. They follow the standard to the letter and hold the broker to it: every
packet that comes is checked against what the standard allows at that moment, and every delivery against what was
published. What they find is in World.faults and in the Tally.

One thread, one epoll, real sockets. Every byte of every connection is recorded, per direction, and can be printed.
A message's payload names its publisher, stream and number, so the judge needs no memory of payloads. A stream is one
(publisher, topic, QoS), which is the scope in which MQTT promises order.
"""

import collections
import errno
import gc
import heapq
import itertools
import os
import random
import select
import socket
import struct
import time

import codec

HEAD = struct.Struct('>4sHHI')  # magic, publisher, stream, number
MAGIC = b'\x00Qrt'
FILL = bytes(range(256)) * 1024
gc.disable()  # nothing here is cyclic, and the recorded wire makes collections long
DOWN, CONNECTING, WAITING, UP = 'down', 'connecting', 'waiting for CONNACK', 'up'
LINGER_RST = struct.pack('ii', 1, 0)


class Fault:
    """One thing that must not have happened. kind is one of World.KINDS."""

    def __init__(self, kind, who, what, at):
        self.kind, self.who, self.what, self.at = kind, who, what, at

    def __repr__(self):
        return f'{self.at:9.3f}s {self.kind}: {self.who}: {self.what}'


class World:
    KINDS = ('violation', 'forgotten', 'closed')

    def __init__(self, port, seed=0, keep_wire=True):
        self.port, self.random = port, random.Random(seed)
        self.epoll = select.epoll()
        self.by_fd = {}
        self.timers, self.timer_ids = [], itertools.count()
        self.began = self.now = time.monotonic()
        self.faults = []
        self.clients = []
        self.keep_wire = keep_wire
        self.generation = 1    # of the broker process; the harness raises it when it kills
        self.deaths = {}       # generation -> when it ended
        self.cuts = 0          # cuts that really happened
        self.progress = 0      # packets of QoS flows that came; grows as long as something moves
        self.deliveries = 0    # messages that entered an inbox, repeats not counted

    # ---- harness ----

    def died(self):
        """The broker process of this generation has ended (killed by the harness or by a fault)."""
        self.deaths[self.generation] = time.monotonic()
        self.generation += 1

    def fault(self, kind, who, what):
        self.faults.append(Fault(kind, who, what, time.monotonic() - self.began))

    def after(self, seconds, call):
        heapq.heappush(self.timers, (time.monotonic() + seconds, next(self.timer_ids), call))

    def step(self, limit=0.05):
        self.now = time.monotonic()
        while self.timers and self.timers[0][0] <= self.now:
            heapq.heappop(self.timers)[2]()
        if self.timers:
            limit = min(limit, max(0.0, self.timers[0][0] - self.now))
        for fd, events in self.epoll.poll(limit):
            client = self.by_fd.get(fd)
            if client:
                client.on_event(events)

    def run(self, done, limit):
        """Runs until done() or until the time is over; returns whether done() became true."""
        end = time.monotonic() + limit
        while not done():
            if time.monotonic() > end:
                return False
            self.step()
        return True

    def run_moving(self, done, quiet):
        """Runs until done(); gives up when nothing has moved for `quiet` seconds."""
        moved, end = self.progress, time.monotonic() + quiet
        while not done():
            self.step()
            if self.progress != moved:
                moved, end = self.progress, time.monotonic() + quiet
            elif time.monotonic() > end:
                return False
        return True

    def true_faults(self):
        """Without the closed connections that a broker's death explains."""
        def explained(f):
            generation = f.what[1]
            died = self.deaths.get(generation)
            return died is not None and f.at + self.began > died - 2.0
        return [f for f in self.faults if f.kind != 'closed' or not explained(f)]

    def close(self):
        for client in self.clients:
            client.drop()
        self.epoll.close()


class Client:
    """What publisher and subscriber share: the connection, the session's CONNECT, the record of the wire, cuts."""

    def __init__(self, world, client_id, level=4, receive_maximum=None, expiry=codec.NEVER):
        self.world, self.client_id, self.level = world, client_id, level
        self.receive_maximum, self.expiry = receive_maximum, expiry
        self.state, self.sock = DOWN, None
        self.out, self.rest = [], b''
        self.known = False        # a CONNACK has come: the session exists for certain
        self.connects = 0         # CONNECTs that were sent
        self.resumed = False      # this connection continues a session
        self.away = 0.0           # how long to stay away after the next cut
        self.cut_out = self.cut_in = None
        self.cut_how = 'rst'
        self.lazy = 0.0           # seconds for which what is to be sent is held back
        self.lazy_due = False
        self.stopped = False
        self.server = {}          # CONNACK properties
        self.wire = []            # (time, '<' or '>' or '|', bytes or remark)
        self.reasons = collections.Counter()
        world.clients.append(self)

    # ---- the connection ----

    def open(self):
        if self.state is not DOWN or self.stopped:
            return
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.state, self.generation = CONNECTING, self.world.generation
        self.world.by_fd[self.sock.fileno()] = self
        error = self.sock.connect_ex(('127.0.0.1', self.world.port))
        if error not in (0, errno.EINPROGRESS):
            self.lost(0.005)
            return
        self.world.epoll.register(self.sock.fileno(), select.EPOLLOUT)
        self.mask = select.EPOLLOUT

    def lost(self, again):
        """The connection is gone; what was not sent is gone with it. Comes back after `again` seconds."""
        if self.sock:
            self.world.by_fd.pop(self.sock.fileno(), None)
            try:
                self.world.epoll.unregister(self.sock.fileno())
            except (OSError, ValueError):
                pass
            self.sock.close()
            self.sock = None
        self.state, self.out, self.rest = DOWN, [], b''
        self.cut_out = self.cut_in = None
        self.lazy_due = False
        self.connection_reset()
        if again is not None:
            self.world.after(again + self.away, self.open)
            self.away = 0.0

    def drop(self):
        self.stopped = True
        self.lost(None)

    def cut(self, how='rst', out_after=None, in_after=None, away=0.0):
        """Cuts the connection: at once, or after so many more bytes sent or received."""
        self.cut_how, self.away = how, away
        if self.state is DOWN:
            return False
        if out_after is None and in_after is None:
            self.cut_now()
        else:
            self.cut_out, self.cut_in = out_after, in_after
        return True

    def cut_now(self):
        self.world.cuts += 1
        if self.cut_how == 'rst' and self.sock:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RST)
        self.remark(f'cut ({self.cut_how})')
        self.lost(self.world.random.choice((0.0, 0.001, 0.01, 0.03)))

    def cut_waits(self):
        return self.cut_out is not None or self.cut_in is not None

    def remark(self, text):
        if self.world.keep_wire:
            self.wire.append((time.monotonic(), '|', text))

    def on_event(self, events):
        if self.state is CONNECTING:
            if self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.lost(0.005)
                return
            self.state = WAITING
            self.connects += 1
            self.remark('connected')
            self.out.append(self.connect_packet())
            self.watch(select.EPOLLIN)
            self.flush()
            return
        if events & ~select.EPOLLOUT:
            size = 65536 if self.cut_in is None else min(65536, self.cut_in)
            try:
                data = self.sock.recv(size) if size else b''
            except BlockingIOError:
                data = None
            except OSError:
                self.peer_closed('reset')
                return
            if self.cut_in is not None and data is not None:
                self.cut_in -= len(data)
            if data:
                if self.world.keep_wire:
                    self.wire.append((self.world.now, '<', data))
                self.on_bytes(data)
            elif data is not None and self.cut_in != 0:
                self.peer_closed('end of stream')
                return
            if self.cut_in == 0:
                self.cut_now()
                return
        if self.state is not DOWN:
            self.flush()

    def peer_closed(self, how):
        """Nobody of us closed it: the broker did. That is a fault unless the broker has died."""
        self.remark(f'closed by the broker ({how})')
        self.world.fault('closed', self.client_id, (f'the broker closed the connection ({how})', self.generation))
        self.lost(0.005)

    def flush(self):
        if not self.out or self.lazy_due:
            return
        if self.lazy and self.state is UP:
            self.lazy_due = True
            self.world.after(self.lazy, self.flush_lazy)
            return
        self.flush_now()

    def flush_lazy(self):
        if self.lazy_due:
            self.lazy_due = False
            self.flush_now()

    def watch(self, mask):
        if mask != self.mask:
            self.mask = mask
            self.world.epoll.modify(self.sock.fileno(), mask)

    def flush_now(self):
        data = b''.join(self.out)
        part = data if self.cut_out is None else data[:self.cut_out]
        try:
            sent = self.sock.send(part) if part else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.peer_closed('reset while sending')
            return
        if self.world.keep_wire and sent:
            self.wire.append((time.monotonic(), '>', part[:sent]))
        if self.cut_out is not None:
            self.cut_out -= sent
            if not self.cut_out:
                self.cut_now()
                return
        if sent < len(data):
            self.out = [data[sent:]]
            self.watch(select.EPOLLIN | select.EPOLLOUT)
        else:
            self.out = []
            self.watch(select.EPOLLIN)
        self.flushed()

    # ---- packets ----

    def connect_packet(self):
        props = None
        if self.level >= 5:
            props = {'session_expiry': self.expiry}
            if self.receive_maximum:
                props['receive_maximum'] = self.receive_maximum
        return codec.connect(self.client_id, self.level, clean=False, props=props)

    def violation(self, what):
        self.remark('VIOLATION: ' + what)
        self.world.fault('violation', self.client_id, what)

    def on_bytes(self, data):
        buf = self.rest + data if self.rest else data
        at, n = 0, len(buf)
        while n - at >= 2:
            length, p = buf[at + 1], at + 2
            if length >= 128:
                shift, length = 7, length & 127
                while p < n:
                    b = buf[p]
                    p += 1
                    length |= (b & 127) << shift
                    if b < 128:
                        break
                    shift += 7
                    if shift > 21:
                        self.violation('remaining length of more than four bytes')
                        self.lost(0.1)
                        return
                else:
                    break
            end = p + length
            if end > n:
                break
            first, at = buf[at], end
            try:
                self.on_packet(first, buf, p, end)
            except codec.WireError as e:
                self.violation(f'malformed: {e}: {bytes([first]).hex()} {buf[p:end][:60].hex()}')
            if self.state is DOWN:
                return
        self.rest = buf[at:] if at < n else b''

    def on_other(self, first, body):
        """The packets that are not part of a flow."""
        packet = codec.decode(first, body, self.level)
        if packet.type == codec.CONNACK:
            self.on_connack(packet)
        elif packet.type == codec.PINGRESP:
            self.pongs = getattr(self, 'pongs', 0) + 1
        elif packet.type == codec.DISCONNECT:
            self.reasons[packet.reason] += 1
            self.remark(f'DISCONNECT 0x{packet.reason:02X}')
            if packet.reason != 0x8B:
                self.violation(f'DISCONNECT with reason 0x{packet.reason:02X} {packet.props}')
        else:
            self.on_rare(packet)

    def on_connack(self, packet):
        if self.state is not WAITING:
            self.violation('a second CONNACK')
            return
        if packet.reason:
            self.violation(f'CONNACK refused with 0x{packet.reason:02X}')
            self.lost(0.1)
            return
        if packet.session_present and self.connects == 1:
            self.violation('session present on the very first CONNECT')
        if self.known and not packet.session_present:
            self.world.fault('forgotten', self.client_id, 'session present 0 for a session that was never ended')
            self.session_lost()
        self.known, self.resumed, self.state, self.server = True, packet.session_present, UP, packet.props
        self.connection_up()

    def ping(self):
        if self.state is UP:
            self.out.append(codec.PING)
            self.flush()

    # ---- for the subclasses ----

    def connection_reset(self):
        pass

    def flushed(self):
        pass

    def on_rare(self, packet):
        self.violation(f'unexpected {packet}')

    def print_wire(self, out, last=60):
        for at, way, what in self.wire[-last:]:
            if way == '|':
                out.write(f'  {at - self.world.began:9.4f} -- {what}\n')
                continue
            buf = bytearray(what)
            try:
                while (whole := codec.split(buf)):
                    first, body, used = whole
                    del buf[:used]
                    packet_id = int.from_bytes(body[:2], 'big') if first >> 4 in range(4, 8) else ''
                    if first >> 4 == codec.PUBLISH:
                        packet_id = describe_publish(first, body, self.level)
                    out.write(f'  {at - self.world.began:9.4f} {way} {codec.NAMES[first >> 4]} {packet_id}\n')
            except codec.WireError:
                pass
            if buf:
                out.write(f'  {at - self.world.began:9.4f} {way} part of a packet, {len(buf)} bytes\n')


def describe_publish(first, body, level):
    at = 2 + int.from_bytes(body[:2], 'big')
    packet_id = int.from_bytes(body[at:at + 2], 'big') if first & 6 else 0
    where = body.find(MAGIC)
    names = HEAD.unpack_from(body, where)[1:] if where >= 0 and len(body) >= where + HEAD.size else '?'
    return f'id {packet_id} qos {first >> 1 & 3}{" dup" if first & 8 else ""} {body[2:at].decode(errors="replace")} {names}'


class Publisher(Client):
    """Message i of its outbox goes to stream i % streams with number i // streams. QoS of a stream: qos[stream].

    `limit` may grow while it runs: messages below it are stored in the outbox. `acked` counts completed ones."""

    def __init__(self, world, number, level=4, window=20, qos=(2,), prefix='trial', limit=0, size=64, pool=None, **more):
        super().__init__(world, f'{prefix}-p{number}', level, **more)
        self.number, self.window, self.qos, self.prefix = number, window, qos, prefix
        self.limit, self.size = limit, size
        self.pool = min(65535, pool or 4 * window)  # few ids: they come round soon
        self.topics = [codec.text(f'{prefix}/{number}/{s}') for s in range(len(qos))]
        self.next_message, self.acked, self.refused = 0, 0, 0
        self.again = collections.deque()   # refused with a reason >= 0x80: to be published anew
        self.next_id = 0
        self.sent = {}                     # id -> message: PUBLISH sent, no PUBREC or PUBACK yet; in sending order
        self.released = {}                 # id -> message: PUBREC came, PUBREL owed; in order of PUBREC
        self.ready = lambda: True          # may it begin?
        self.refusals_allowed = False
        self.held_back = False
        self.unordered = False             # a refusal has changed the order of its messages
        self.connection_reset()

    def connection_reset(self):
        self.await_rec, self.await_ack, self.await_comp = (collections.deque() for _ in range(3))
        self.rel_once = set()              # ids whose PUBREL was sent first on this connection

    def count(self, stream):
        """Messages of a stream that are in the outbox."""
        return (self.limit - stream + len(self.qos) - 1) // len(self.qos)

    def session_lost(self):
        self.again.extendleft(reversed(self.sent.values()))
        self.acked += len(self.released)
        self.sent, self.released = {}, {}

    def publish_packet(self, message, packet_id, dup):
        stream, number = message % len(self.qos), message // len(self.qos)
        size = self.size if isinstance(self.size, int) else self.size(message)
        fill = max(0, size - HEAD.size)
        qos = self.qos[stream]
        body = (self.topics[stream] + packet_id.to_bytes(2, 'big') + (b'\0' if self.level >= 5 else b'')
                + HEAD.pack(MAGIC, self.number, stream, number) + FILL[:fill])
        n = len(body)
        return bytes((0x30 | dup << 3 | qos << 1,)) + (bytes((n,)) if n < 128 else codec.varint(n)) + body

    def connection_up(self):
        limit = self.server.get('receive_maximum', 65535)
        self.quota = min(self.window, limit)
        for packet_id in self.released:
            self.out.append(b'\x62\x02' + packet_id.to_bytes(2, 'big'))
            self.await_comp.append(packet_id)
        for packet_id, message in self.sent.items():
            self.send(message, packet_id, True)
        self.pump()

    def send(self, message, packet_id, dup):
        self.out.append(self.publish_packet(message, packet_id, dup))
        (self.await_rec if self.qos[message % len(self.qos)] == 2 else self.await_ack).append(packet_id)

    def pump(self):
        if self.state is not UP or not self.ready() or self.held_back:
            return
        room = self.quota - len(self.sent) - len(self.released)
        while room > 0 and (self.again or self.next_message < self.limit):
            if self.again:
                message = self.again.popleft()
            else:
                message, self.next_message = self.next_message, self.next_message + 1
            packet_id = self.next_id % self.pool + 1
            while packet_id in self.sent or packet_id in self.released:
                packet_id = packet_id % self.pool + 1
            self.next_id = packet_id
            self.sent[packet_id] = message
            self.send(message, packet_id, False)
            room -= 1

    def kick(self):
        self.pump()
        if self.state is UP:
            self.flush()

    def on_bytes(self, data):
        super().on_bytes(data)
        self.pump()

    def on_packet(self, first, buf, at, end):
        if first == 0x50 or first == 0x70 or first == 0x40:
            if end - at != 2 and self.level < 5 or end - at < 2:
                raise codec.WireError('length')
            packet_id = buf[at] << 8 | buf[at + 1]
            reason = 0
            if end - at > 2:
                reason = codec.decode(first, buf[at:end], self.level).reason
            self.world.progress += 1
            if first == 0x50:
                self.on_pubrec(packet_id, reason)
            elif first == 0x70:
                self.on_pubcomp(packet_id, reason)
            else:
                self.on_puback(packet_id, reason)
        else:
            self.on_other(first, buf[at:end])

    def in_order(self, queue, packet_id, name):
        """Each acknowledgement comes once per packet of this connection, and in their order."""
        if queue and queue[0] == packet_id:
            queue.popleft()
            return True
        if packet_id in queue:
            self.violation(f'{name} {packet_id} out of order, {queue[0]} was first')
            queue.remove(packet_id)
            return True
        self.violation(f'{name} {packet_id} that nothing on this connection asks for')
        return False

    def refuse(self, packet_id, reason, name):
        self.refused += 1
        self.reasons[reason] += 1
        if not self.refusals_allowed:
            self.violation(f'{name} refused with 0x{reason:02X}')
        self.again.append(self.sent.pop(packet_id))
        self.unordered = True
        if not self.held_back:
            self.held_back = True
            self.world.after(0.05, self.unhold)

    def unhold(self):
        self.held_back = False
        self.kick()

    def on_pubrec(self, packet_id, reason):
        if not self.in_order(self.await_rec, packet_id, 'PUBREC'):
            return
        if reason >= 0x80:
            self.refuse(packet_id, reason, 'PUBREC')
            return
        self.released[packet_id] = self.sent.pop(packet_id)
        self.out.append(b'\x62\x02' + packet_id.to_bytes(2, 'big'))
        self.await_comp.append(packet_id)
        self.rel_once.add(packet_id)

    def on_puback(self, packet_id, reason):
        if not self.in_order(self.await_ack, packet_id, 'PUBACK'):
            return
        if reason >= 0x80:
            self.refuse(packet_id, reason, 'PUBACK')
            return
        del self.sent[packet_id]
        self.acked += 1

    def on_pubcomp(self, packet_id, reason):
        if not self.in_order(self.await_comp, packet_id, 'PUBCOMP'):
            return
        if reason == 0x92 and packet_id in self.rel_once:
            self.violation(f'PUBCOMP {packet_id} with 0x92 for the first PUBREL: the broker forgot the id')
        self.rel_once.discard(packet_id)
        del self.released[packet_id]
        self.acked += 1

    def done(self):
        return self.acked == self.limit

    def open_flows(self):
        return len(self.sent) + len(self.released)


class Stream:
    """What one subscriber got of one stream."""
    __slots__ = ('next', 'missing', 'repeats', 'late')

    def __init__(self):
        self.next, self.missing, self.repeats, self.late = 0, set(), 0, 0


class Subscriber(Client):
    """method 'B': the message enters the inbox at PUBLISH; 'A': at PUBREL. `granted`: its QoS."""

    def __init__(self, world, number, level=4, method='B', granted=2, prefix='trial', filters=None, **more):
        super().__init__(world, f'{prefix}-s{number}', level, **more)
        self.number, self.method, self.granted, self.prefix = number, method, granted, prefix
        self.filters = filters or [(f'{prefix}/#', granted)]
        self.streams = collections.defaultdict(Stream)
        self.topic_cache = {}
        self.subscribed = False
        self.held = {}            # id -> payload: PUBLISH came, PUBREL did not; in order of PUBLISH
        self.over = set()         # ids whose flow is complete, since their last PUBLISH
        self.others = []          # payloads that are not of a Publisher: (topic, payload, qos, retain)
        self.connection_reset()

    def connection_reset(self):
        self.live = {}            # ids whose PUBLISH came on this connection and whose flow is open; -> PUBREC sent
        self.await_rel = collections.deque()
        self.rel_seen = set()     # ids whose PUBREL of an older flow came on this connection
        self.unflushed = []       # ids whose PUBREC is not on its way yet
        self.resent_at = -1
        self.resend_place = {packet_id: i for i, packet_id in enumerate(getattr(self, 'held', ()))}

    def session_lost(self):
        self.subscribed = False
        self.held, self.over = {}, set()
        self.resend_place = {}

    def connection_up(self):
        if not self.subscribed:
            self.out.append(codec.subscribe(1, self.filters, self.level))

    def on_rare(self, packet):
        if packet.type != codec.SUBACK or packet.packet_id != 1 or self.subscribed:
            super().on_rare(packet)
        elif packet.reasons != tuple(options & 3 for _, options in self.filters):
            self.violation(f'SUBACK {packet.reasons}')
        else:
            self.subscribed = True
            for client in self.world.clients:
                if isinstance(client, Publisher):
                    self.world.after(0, client.kick)

    def flushed(self):
        if self.unflushed:
            for packet_id in self.unflushed:
                if packet_id in self.live:
                    self.live[packet_id] = True
            self.unflushed = []

    def on_packet(self, first, buf, at, end):
        if first >> 4 == codec.PUBLISH:
            self.on_publish(first, buf, at, end)
        elif first == 0x62:
            if end - at != 2 and self.level < 5 or end - at < 2:
                raise codec.WireError('length')
            self.on_pubrel(buf[at] << 8 | buf[at + 1])
        else:
            self.on_other(first, buf[at:end])

    def on_publish(self, first, buf, at, end):
        topic_end = at + 2 + (buf[at] << 8 | buf[at + 1])
        qos = first >> 1 & 3
        if first & 1:
            raise codec.WireError('RETAIN on a delivery that is not of a retained message')
        if qos > self.granted:
            self.violation(f'PUBLISH with QoS {qos}, granted was {self.granted}')
        topic, p = buf[at + 2:topic_end], topic_end
        packet_id = 0
        if qos:
            packet_id = buf[p] << 8 | buf[p + 1]
            p += 2
            if not packet_id:
                raise codec.WireError('packet identifier 0')
        if self.level >= 5:
            if buf[p]:
                p = end - len(codec.decode(first, buf[at:end], self.level).payload)
            else:
                p += 1
        payload = buf[p:end]
        self.world.progress += 1
        if qos == 2:
            if self.on_publish_2(first, packet_id, topic, payload) and self.method == 'B':
                self.accept(topic, payload, 2)
        else:
            if qos == 1:
                if packet_id in self.held:
                    self.violation(f'QoS 1 PUBLISH on id {packet_id} of an open QoS 2 flow')
                self.over.discard(packet_id)
                self.out.append(b'\x40\x02' + packet_id.to_bytes(2, 'big'))
            self.accept(topic, payload, qos)

    def on_publish_2(self, first, packet_id, topic, payload):
        """The flow's rules. True when the message is new."""
        new = packet_id not in self.held
        if packet_id in self.live:
            self.violation(f'PUBLISH on id {packet_id} again on a live connection, before its flow is complete')
        if new:
            if first & 8 and not self.resumed:
                self.violation(f'PUBLISH {packet_id} with DUP on a session that is new')
            self.held[packet_id] = payload
            self.over.discard(packet_id)
        else:
            if not first & 8 and packet_id not in self.live:
                self.violation(f'PUBLISH {packet_id} sent again without DUP')
            if self.held[packet_id] != payload:
                self.violation(f'id {packet_id} of an open flow now names another message')
            place = self.resend_place.get(packet_id, -1)
            if place < self.resent_at:
                self.violation(f'PUBLISH {packet_id} sent again out of its original order')
            self.resent_at = place
        if self.receive_maximum and len(self.live) >= self.receive_maximum and self.level >= 5:
            self.violation(f'{len(self.live) + 1} in flight, receive maximum is {self.receive_maximum}')
        self.live[packet_id] = False
        self.unflushed.append(packet_id)
        self.await_rel.append(packet_id)
        self.out.append(b'\x50\x02' + packet_id.to_bytes(2, 'big'))
        if not new:
            return False
        return True

    def on_pubrel(self, packet_id):
        self.world.progress += 1
        if packet_id in self.live:
            if not self.live[packet_id]:
                self.violation(f'PUBREL {packet_id} before PUBREC was sent')
            if self.await_rel[0] != packet_id:
                self.violation(f'PUBREL {packet_id} out of order, PUBREC {self.await_rel[0]} was first')
                self.await_rel.remove(packet_id)
            else:
                self.await_rel.popleft()
            del self.live[packet_id]
        elif packet_id in self.rel_seen:
            self.violation(f'PUBREL {packet_id} again on a live connection')
        elif not self.resumed or packet_id not in self.held and packet_id not in self.over:
            self.violation(f'PUBREL {packet_id} that belongs to no flow')
        self.rel_seen.add(packet_id)
        if packet_id in self.held:
            payload = self.held.pop(packet_id)
            if self.method == 'A':
                self.accept(None, payload, 2)
        self.over.add(packet_id)
        self.out.append(b'\x70\x02' + packet_id.to_bytes(2, 'big'))

    def accept(self, topic, payload, qos):
        if payload[:4] != MAGIC:
            self.others.append((topic, payload, qos))
            return
        _, publisher, stream, number = HEAD.unpack_from(payload)
        if topic is not None and topic != self.topic_cache.get((publisher, stream)):
            want = f'{self.prefix}/{publisher}/{stream}'.encode()
            if topic != want:
                self.violation(f'message of {want} came as {topic}')
            self.topic_cache[publisher, stream] = want
        if payload[HEAD.size:] != FILL[:max(0, len(payload) - HEAD.size)]:
            self.violation(f'payload of {publisher}/{stream} number {number} is damaged')
        got = self.streams[publisher, stream]
        if number == got.next:
            got.next += 1
        elif number > got.next:
            got.missing.update(range(got.next, number))
            got.next = number + 1
        elif number in got.missing:
            got.missing.remove(number)
            got.late += 1
            self.remark(f'LATE: {publisher}/{stream} number {number}, expected {got.next}')
        else:
            got.repeats += 1
            self.remark(f'REPEAT: {publisher}/{stream} number {number}')
            return
        self.world.deliveries += 1

    def has(self, publisher):
        """Got everything that is in this publisher's outbox."""
        return all(self.streams[publisher.number, s].next - len(self.streams[publisher.number, s].missing)
                   >= publisher.count(s) for s in range(len(publisher.qos)))

    def done(self):
        return not self.held and not self.live


class Tally:
    """The verdict over all pairs of publisher and subscriber."""
    FIELDS = ('lost', 'duplicated', 'reordered', 'stuck', 'forgotten', 'violations', 'closed')

    def __init__(self, world, publishers, subscribers):
        self.expected = self.delivered = self.lost = self.duplicated = self.reordered = self.stuck = 0
        self.repeats_qos1 = 0
        self.details = []
        for sub in subscribers:
            for pub in publishers:
                for s, qos in enumerate(pub.qos):
                    self.add(sub, pub, s, min(qos, sub.granted))
            if sub.held or sub.live:
                self.stuck += len(set(sub.held) | set(sub.live))
                self.details.append(f'{sub.client_id}: flows never completed: {sorted(sub.held)[:10]}')
        for pub in publishers:
            if pub.acked < pub.limit:
                self.stuck += pub.limit - pub.acked
                self.details.append(f'{pub.client_id}: {pub.limit - pub.acked} messages not complete; '
                                    f'PUBLISH open {list(pub.sent)[:10]}, PUBREL open {list(pub.released)[:10]}')
        faults = world.true_faults()
        self.forgotten = sum(f.kind == 'forgotten' for f in faults)
        self.violations = sum(f.kind == 'violation' for f in faults)
        self.closed = sum(f.kind == 'closed' for f in faults)
        self.details += [repr(f) for f in faults[:20]]

    def add(self, sub, pub, s, qos):
        got, count = sub.streams[pub.number, s], pub.count(s)
        lost = len(got.missing) + max(0, count - got.next)
        self.expected += count
        self.delivered += count - lost
        if qos:
            self.lost += lost
        if qos == 2:
            self.duplicated += got.repeats
        else:
            self.repeats_qos1 += got.repeats
        if not pub.unordered:
            self.reordered += got.late
        if lost and qos or got.repeats and qos == 2 or got.late:
            some = sorted(got.missing)[:8]
            self.details.append(f'{sub.client_id} from {pub.client_id} stream {s} (QoS {qos}): lost {lost} {some}, '
                                f'repeats {got.repeats}, late {got.late}, of {count}')

    def clean(self):
        return not any(getattr(self, f) for f in self.FIELDS)

    def line(self):
        return ', '.join(f'{getattr(self, f)} {f}' for f in self.FIELDS)

    def summary(self):
        return ' '.join(f'{f}={getattr(self, f)}' for f in self.FIELDS)


def settle(world, publishers, subscribers, quiet=10.0):
    """Runs until everything published has arrived and every flow is complete, or until nothing moves any more."""
    return world.run_moving(
        lambda: all(p.done() for p in publishers) and all(s.done() and all(s.has(p) for p in publishers)
                                                          for s in subscribers), quiet)


def knock(world, clients, quiet=10.0):
    """Reconnects every client once more and waits for an answered PINGREQ: what a broker still holds comes now."""
    for client in clients:
        client.lost(0)
        client.pongs = 0
    asked = set()

    def answered():
        for client in clients:
            if client.state is UP and client not in asked:
                asked.add(client)
                client.ping()
            elif client.state is not UP:
                asked.discard(client)
        return all(getattr(c, 'pongs', 0) for c in clients)
    return world.run(answered, quiet)


def write_wires(world, path):
    os.makedirs(path, exist_ok=True)
    for client in world.clients:
        with open(os.path.join(path, client.client_id + '.wire'), 'w', encoding='utf-8') as f:
            client.print_wire(f, last=len(client.wire))
