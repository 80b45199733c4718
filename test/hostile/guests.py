"""The well-behaved: one publisher and one subscriber at QoS 2, and newcomers, in a process of their own.

Both have durable sessions and come from an address that the attackers do not have. The publisher sends a message every
so often, whatever became of those before: what is late is measured from the moment at which it was due, so that a broker
that stands still is seen in every message that was due meanwhile. A connection that breaks is opened again and the
flows go on, so that what is lost or doubled is the broker's doing."""

import contextlib
import errno
import multiprocessing
import os
import select
import time

import codec
from peer import socket_to

ADDRESS = '127.0.0.2'
TOPIC = 'plant/line/7'
NEWCOMER_EVERY = 0.5
NEWCOMER_LIMIT = 3.0
WINDOW = 64  # messages in flight at most


class Line:
    """A connection with what is to be sent and what has come, that never blocks."""

    def __init__(self, port, level=5):
        self.level, self.out, self.into = level, bytearray(), bytearray()
        self.sock, address = socket_to(port, ADDRESS)
        self.sock.setblocking(False)
        self.broken = ''
        try:
            self.sock.connect(address)
        except BlockingIOError:
            pass
        except OSError as e:
            self.broken = str(e)

    def send(self, *packets):
        self.out += b''.join(packets)

    def pump(self):
        """Sends and receives what can be; the packets that came."""
        try:
            if self.out:
                del self.out[:self.sock.send(self.out)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as e:
            if e.errno != errno.ENOTCONN:
                self.broken = self.broken or str(e)
        try:
            data = self.sock.recv(1 << 18)
            self.into += data
            if not data:
                self.broken = 'closed by the broker'
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as e:
            if e.errno != errno.ENOTCONN:
                self.broken = self.broken or str(e)
        packets = []
        while whole := codec.split(self.into):
            first, body, used = whole
            del self.into[:used]
            packets.append(codec.decode(first, body, self.level))
        return packets

    def close(self):
        self.sock.close()


class Guest:
    """A durable session that comes back as long as it lives."""

    def __init__(self, port, name):
        self.port, self.name, self.cuts, self.why = port, name, 0, ''
        self.open()

    def open(self):
        self.line, self.ready, self.again = Line(self.port), False, None
        self.line.send(codec.connect(self.name, 5, clean=False, keep_alive=60,
                                     props={'session_expiry': 3600, 'receive_maximum': 1000}))

    def step(self, now):
        if self.again is not None:
            if now >= self.again:
                self.open()
            return
        for p in self.line.pump():
            if p.type == codec.CONNACK and p.reason == 0:
                self.ready = True
                self.resume(p)
            elif p.type in (codec.CONNACK, codec.DISCONNECT):
                self.line.broken = f'{codec.NAMES[p.type]} 0x{p.reason:02X} {p.props.get("reason", "")}'
                break
            else:
                self.take(p, now)
        if self.line.broken:
            self.cuts += 1
            self.why = self.line.broken
            self.ready = False
            self.line.close()
            self.again = now + 0.1


class Publisher(Guest):
    def __init__(self, port, record):
        self.record, self.flights, self.waiting, self.last_id = record, {}, [], 0
        super().__init__(port, 'guest-publisher')

    def resume(self, connack):
        if not connack.session_present and self.record.due:
            self.record.forgotten += 1
        for packet_id, (number, released) in sorted(self.flights.items(), key=lambda f: f[1][0]):
            self.line.send(codec.ack(codec.PUBREL, packet_id) if released else self.packet(packet_id, number, True))

    @staticmethod
    def packet(packet_id, number, dup=False):
        return codec.publish(TOPIC, b'%08d' % number + b'.' * 56, 2, packet_id, 5, dup=dup)

    def push(self):
        while self.ready and self.waiting and len(self.flights) < WINDOW:
            self.last_id = self.last_id % 60000 + 1
            number = self.waiting.pop(0)
            self.flights[self.last_id] = (number, False)
            self.line.send(self.packet(self.last_id, number))

    def take(self, p, now):
        if p.type == codec.PUBREC and p.reason < 0x80 and p.packet_id in self.flights:
            number, _ = self.flights[p.packet_id]
            self.record.accepted.add(number)
            self.flights[p.packet_id] = (number, True)
            self.line.send(codec.ack(codec.PUBREL, p.packet_id))
        elif p.type == codec.PUBREC and p.packet_id in self.flights:
            self.record.refused.append((self.flights.pop(p.packet_id)[0], p.reason, p.props.get('reason')))
        elif p.type == codec.PUBCOMP:
            self.flights.pop(p.packet_id, None)


class Subscriber(Guest):
    def __init__(self, port, record):
        self.record, self.known, self.subscribed, self.open_ids = record, False, False, set()
        super().__init__(port, 'guest-subscriber')

    def resume(self, connack):
        if not connack.session_present:
            self.record.forgotten += self.known
            self.line.send(codec.subscribe(1, [(TOPIC, 2)]))
        self.known = True

    def take(self, p, now):
        if p.type == codec.SUBACK:
            self.subscribed = p.reasons == (2,)
        elif p.type == codec.PUBLISH and p.qos == 2:
            # The same id before its PUBREL is the same message once more [MQTT-4.3.3-10].
            if p.packet_id not in self.open_ids:
                self.open_ids.add(p.packet_id)
                self.record.arrive(int(p.payload[:8]), now)
            self.line.send(codec.ack(codec.PUBREC, p.packet_id))
        elif p.type == codec.PUBREL:
            self.open_ids.discard(p.packet_id)
            self.line.send(codec.ack(codec.PUBCOMP, p.packet_id))


class Record:
    def __init__(self):
        self.due, self.arrived, self.accepted = [], {}, set()
        self.doubled, self.refused, self.forgotten, self.entries = 0, [], 0, []

    def arrive(self, number, now):
        if number in self.arrived:
            self.doubled += 1
        else:
            self.arrived[number] = now

    def figures(self, begin, end, now):
        """Milliseconds of the messages that were due from `begin` to `end`; what has not come yet counts up to `now`."""
        late = sorted(self.arrived.get(n, now) - due for n, due in enumerate(self.due) if begin <= due < end)
        entries = [seconds for at, seconds in self.entries if begin <= at < end]
        if not late:
            return {'count': 0, 'p50': 0, 'p99': 0, 'max': 0, 'entry': 0}
        return {'count': len(late), 'p50': late[len(late) // 2] * 1e3, 'p99': late[int(len(late) * .99)] * 1e3,
                'max': late[-1] * 1e3, 'entry': max(entries, default=0) * 1e3}


class Newcomer:
    """A client that connects, pings and leaves, over and over."""

    def __init__(self, port, record):
        self.port, self.record, self.next, self.line, self.number = port, record, 0, None, 0

    def step(self, now):
        if self.line is None:
            if now >= self.next:
                self.number += 1
                self.began, self.next, self.line = now, now + NEWCOMER_EVERY, Line(self.port)
                self.line.send(codec.connect(f'newcomer-{self.number % 50}', 5), codec.PING)
            return
        for p in self.line.pump():
            if p.type == codec.PINGRESP:
                self.end(now, now - self.began)
                return
        if self.line.broken or now - self.began > NEWCOMER_LIMIT:
            self.end(now, NEWCOMER_LIMIT)

    def end(self, now, seconds):
        self.record.entries.append((self.began, seconds))
        self.line.send(codec.disconnect())
        self.line.pump()
        self.line.close()
        self.line = None
        self.next = max(self.next, now + .1)


class Party:
    """What the process does: a loop over all of them, and the orders of the test."""

    def __init__(self, port, rate, pipe):
        self.pipe, self.every = pipe, 1 / rate
        self.record = Record()
        self.subscriber, self.publisher = Subscriber(port, self.record), Publisher(port, self.record)
        self.newcomer = Newcomer(port, self.record)
        self.next = None  # when the next message is due; None: nothing is sent

    def step(self):
        now = time.monotonic()
        while self.next is not None and now >= self.next:
            self.publisher.waiting.append(len(self.record.due))
            self.record.due.append(self.next)
            self.next += self.every
        for one in (self.subscriber, self.publisher, self.newcomer):
            one.step(now)
        self.publisher.push()

    def wait(self):
        now = time.monotonic()
        lines = [one.line for one in (self.subscriber, self.publisher, self.newcomer) if one.line]
        poll = select.poll()
        poll.register(self.pipe, select.POLLIN)
        for line in lines:
            if line.sock.fileno() >= 0:
                poll.register(line.sock, select.POLLIN | (select.POLLOUT if line.out else 0))
        left = min((self.next or now + .1) - now, .1)
        return poll.poll(max(0, left * 1e3))

    def order(self, word, *values):
        now, r = time.monotonic(), self.record
        if word == 'ready':
            return self.subscriber.subscribed and self.publisher.ready
        if word == 'send':
            self.next = now
        elif word == 'hush':
            self.next = None
        elif word == 'figures':
            return r.figures(*values, now)
        elif word == 'waiting':
            return len(r.accepted - r.arrived.keys()) + len(self.publisher.flights) + len(self.publisher.waiting)
        elif word == 'totals':
            return {'sent': len(r.due), 'lost': len(r.accepted - r.arrived.keys()), 'dup': r.doubled,
                    'refused': len(r.refused), 'forgotten': r.forgotten,
                    'stuck': len(set(range(len(r.due))) - r.accepted - {n for n, *_ in r.refused}),
                    'cuts': self.subscriber.cuts + self.publisher.cuts,
                    'why': self.publisher.why or self.subscriber.why or (str(r.refused[0][1:]) if r.refused else '')}
        return True

    def run(self):
        while True:
            self.step()
            self.wait()
            while self.pipe.poll():
                order = self.pipe.recv()
                if order[0] == 'end':
                    return
                self.pipe.send(self.order(*order))


def before_others(thread):
    """Gives a thread a high priority, where that is allowed."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, thread, -15)


def live(port, rate, pipe):
    try:
        Party(port, rate, pipe).run()
    except (EOFError, KeyboardInterrupt):
        pass


class Guests:
    """The same, from the test's side."""

    def __init__(self, port, cores=None, rate=125):
        self.pipe, other = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=live, args=(port, rate, other), daemon=True)
        self.process.start()
        if cores:
            os.sched_setaffinity(self.process.pid, cores)
        before_others(self.process.pid)  # what measures does not wait for the attackers, who share its cores
        other.close()

    def ask(self, *order):
        self.pipe.send(order)
        return self.pipe.recv()

    def until(self, done, limit):
        """Asks until done() says so; False when time is over."""
        end = time.monotonic() + limit
        while not done():
            if time.monotonic() > end:
                return False
            time.sleep(.02)
        return True

    def close(self):
        try:
            self.pipe.send(('end',))
        except OSError:
            pass
        self.process.join(2)
        if self.process.is_alive():
            self.process.kill()


__all__ = ['ADDRESS', 'Guests', 'before_others']
