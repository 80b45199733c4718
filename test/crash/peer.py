"""One connection, driven step by step: sends any bytes, gives back checked packets, waits with a bound.

For tests that say exactly which packet comes when. It never answers by itself."""

import select
import socket
import struct
import time

import codec

IP_BIND_ADDRESS_NO_PORT = 24


class Gone(Exception):
    """The connection was closed (or refused) by the other side. `rest`: packets that came before its end."""


class Late(Exception):
    """What was waited for did not come in time."""


class Refused(AssertionError):
    """The other side answered, and said no."""


def socket_to(where, source=None):
    """A new socket for a port of this machine or the path of a UNIX socket, and the address to connect it to. source:
    the address of this machine that it comes from."""
    if isinstance(where, str):
        return socket.socket(socket.AF_UNIX), where
    sock = socket.socket(socket.AF_INET)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if source:
        # The port is chosen at connect(), so that one source has 28,000 of them for each broker.
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
    return sock, ('127.0.0.1', where)


class Peer:
    def __init__(self, where, level=5, limit=5.0, source=None):
        """where: a port, or the path of a UNIX socket. source: the address of this machine that it comes from."""
        self.level, self.limit = level, limit
        self.buffer, self.ended = bytearray(), False
        self.wire = []
        self.early = []  # packets that came while another one was awaited
        self.sock, address = socket_to(where, source)
        self.sock.settimeout(limit)
        try:
            self.sock.connect(address)
        except OSError as e:
            self.sock.close()
            raise Gone(f'connect: {e}') from e

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self, reset=False):
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.sock.close()

    def send(self, *packets):
        data = b''.join(packets)
        self.wire.append(('>', data))
        try:
            self.sock.settimeout(self.limit)
            self.sock.sendall(data)
        except TimeoutError as e:
            raise Late('the other side does not read') from e
        except OSError as e:
            # What it said before it closed is what matters: read on.
            self.wire.append(('|', str(e)))
        return self

    def fill(self, end):
        """Waits until `end` for more bytes; False at the end of the stream."""
        left = end - time.monotonic()
        if left <= 0 or not self.readable(left):
            raise Late(f'nothing came; so far {self.wire[-3:]}')
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b''
        if data:
            self.wire.append(('<', data))
            self.buffer += data
        return bool(data)

    def readable(self, seconds):
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return poll.poll(seconds * 1000)

    def next(self, limit=None):
        """The next packet, or None when the other side has closed."""
        if self.early:
            return self.early.pop(0)
        end = time.monotonic() + (limit or self.limit)
        while True:
            whole = codec.split(self.buffer)
            if whole:
                first, body, used = whole
                del self.buffer[:used]
                return codec.decode(first, body, self.level)
            if self.ended or not self.fill(end):
                self.ended = True
                if self.buffer:
                    raise codec.WireError(f'the stream ends inside a packet: {bytes(self.buffer[:40]).hex()}')
                return None

    def expect(self, kind, limit=None, **want):
        """The next packet, which must be of this kind and have these attributes."""
        p = self.next(limit)
        if p is None:
            raise Gone(f'closed, {codec.NAMES[kind]} {want} was expected')
        seen = {k: getattr(p, k) for k in want}
        if p.type != kind or seen != want:
            raise AssertionError(f'expected {codec.NAMES[kind]} {want}, got {p}')
        return p

    def expect_close(self, reason=None, limit=None):
        """The connection ends; with `reason`, 5.0: after a DISCONNECT with it. A set allows any of its members."""
        p = self.next(limit)
        if p is not None and p.type == codec.DISCONNECT and self.level >= 5:
            if reason is not None and p.reason not in (reason if isinstance(reason, (set, frozenset)) else {reason}):
                raise AssertionError(f'closed with 0x{p.reason:02X}, expected {reason}')
            if self.next(limit) is not None:
                raise AssertionError('a packet after DISCONNECT')
        elif p is not None:
            raise AssertionError(f'expected the connection to close, got {p}')
        elif reason is not None and self.level >= 5:
            raise AssertionError(f'closed without DISCONNECT, expected reason {reason}')

    def quiet(self, limit=None):
        """Nothing but PINGRESP comes: what was on its way to us has come by then."""
        self.send(codec.PING)
        self.expect(codec.PINGRESP, limit)

    # ---- the usual exchanges ----

    def connect(self, client_id, reason=0, **more):
        self.send(codec.connect(client_id, self.level, **more))
        p = self.expect(codec.CONNACK)
        if p.reason != reason:
            raise Refused(f'CONNACK 0x{p.reason:02X}, expected 0x{reason:02X}')
        self.connack = p
        return self

    def subscribe(self, *filters, packet_id=1, props=None):
        """filters: pairs of filter and options. Returns the reason codes."""
        self.send(codec.subscribe(packet_id, filters, self.level, props))
        return self.expect(codec.SUBACK, packet_id=packet_id).reasons

    def publish(self, topic, payload, qos=0, packet_id=1, **more):
        """A whole flow. Returns the reason of PUBREC or PUBACK."""
        self.send(codec.publish(topic, payload, qos, packet_id, self.level, **more))
        if qos == 0:
            return 0
        if qos == 1:
            return self.expect(codec.PUBACK, packet_id=packet_id).reason
        p = self.expect(codec.PUBREC, packet_id=packet_id)
        if p.reason < 0x80:
            self.send(codec.ack(codec.PUBREL, packet_id))
            self.expect(codec.PUBCOMP, packet_id=packet_id, reason=0)
        return p.reason

    def message(self, limit=None, **want):
        """The next packet is a PUBLISH: takes it, completes its flow, returns it."""
        p = self.expect(codec.PUBLISH, limit, **want)
        if p.qos == 1:
            self.send(codec.ack(codec.PUBACK, p.packet_id))
        elif p.qos == 2:
            self.send(codec.ack(codec.PUBREC, p.packet_id))
            self.await_pubrel(p.packet_id, limit)
            self.send(codec.ack(codec.PUBCOMP, p.packet_id))
        return p

    def await_pubrel(self, packet_id, limit):
        """Messages that come before it are kept for later."""
        kept = []
        while True:
            p = self.next(limit)
            if p is None:
                raise Gone(f'closed, PUBREL {packet_id} was expected')
            if p.type == codec.PUBREL and p.packet_id == packet_id:
                break
            if p.type != codec.PUBLISH:
                raise AssertionError(f'expected PUBREL {packet_id}, got {p}')
            kept.append(p)
        self.early = kept + self.early

    def disconnect(self, reason=None, props=None):
        """DISCONNECT, and waits until the broker has closed."""
        self.send(codec.disconnect(reason, props))
        while self.next() is not None:
            pass
        self.close()
