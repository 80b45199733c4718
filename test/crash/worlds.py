"""The world that the strict clients live in: one thread, one epoll, real sockets, and what every client needs.

A client lives through cut connections and killed brokers: it connects again by itself. Every byte of every connection
is recorded, per direction, and can be printed. What breaks the standard is a Fault. A client's connection can be cut
at any byte of what it sends or receives.
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
from peer import socket_to

gc.disable()  # the recorded wire makes collections long; who makes many worlds collects between them
DOWN, CONNECTING, WAITING, UP = 'down', 'connecting', 'waiting for CONNACK', 'up'
LINGER_RST = struct.pack('ii', 1, 0)
HEAD = struct.Struct('>4sHHI')  # the head of a payload: magic, publisher, stream, number
MAGIC = b'\x00Qrt'
FILL = bytes(range(256)) * 1024


class Fault:
    """One thing that must not have happened. kind is one of World.KINDS."""

    def __init__(self, kind, who, what, at):
        self.kind, self.who, self.what, self.at = kind, who, what, at

    def __repr__(self):
        return f'{self.at:9.3f}s {self.kind}: {self.who}: {self.what}'


class World:
    KINDS = ('violation', 'forgotten', 'closed')

    def __init__(self, where, seed=0, keep_wire=True):
        self.where, self.random = where, random.Random(seed)
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
        self.full_allowed = False  # may the broker refuse with "quota exceeded"?
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
        self.sock, address = socket_to(self.world.where)
        self.sock.setblocking(False)
        self.state, self.generation = CONNECTING, self.world.generation
        self.world.by_fd[self.sock.fileno()] = self
        error = self.sock.connect_ex(address)
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
        self.lazy_due = False
        self.connection_reset()
        if again is not None:
            self.world.after(again + self.away, self.open)
            self.away = 0.0

    def drop(self):
        self.stopped = True
        self.lost(None)

    def cut(self, how='rst', out_after=None, in_after=None, away=0.0):
        """Cuts the connection: at once, or after so many more bytes sent or received (those of later connections
        count too, when this one breaks before)."""
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
        self.cut_out = self.cut_in = None
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
            except (codec.WireError, IndexError) as e:
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
        if packet.reason in (0x97, 3) and self.world.full_allowed:
            self.lost(0.1)
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


def write_wires(world, path):
    os.makedirs(path, exist_ok=True)
    for client in world.clients:
        with open(os.path.join(path, client.client_id + '.wire'), 'w', encoding='utf-8') as f:
            client.print_wire(f, last=len(client.wire))
