"""Strict MQTT clients: publishers with a durable outbox, subscribers with a durable inbox.

Outbox, inbox and packet ids are in the test's memory, which is this test's stable storage. The clients follow the
standard to the letter and hold the broker to it: every packet that comes is checked against what the standard allows
at that moment. What they find is in World.faults; what was delivered is judged by verdict.py.

A message's payload names its publisher, stream and number, so nobody needs a memory of payloads. A stream is one
(publisher, topic, QoS), which is the scope in which MQTT promises order.
"""

import collections

import codec
from worlds import FILL, HEAD, MAGIC, UP, Client


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
        body = (self.topics[stream] + (packet_id.to_bytes(2, 'big') if qos else b'')
                + (b'\0' if self.level >= 5 else b'') + HEAD.pack(MAGIC, self.number, stream, number) + FILL[:fill])
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
            if not self.qos[message % len(self.qos)]:
                self.out.append(self.publish_packet(message, 0, False))
                self.acked += 1
                continue
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
        elif self.world.full_allowed and {0x97, 0x80} & set(packet.reasons):
            self.world.after(0.1, self.subscribe_again)
        elif packet.reasons != tuple(options & 3 for _, options in self.filters):
            self.violation(f'SUBACK {packet.reasons}')
        else:
            self.subscribed = True
            for client in self.world.clients:
                if isinstance(client, Publisher):
                    self.world.after(0, client.kick)

    def subscribe_again(self):
        if self.state is UP and not self.subscribed:
            self.connection_up()
            self.flush()

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
        if p > end:
            raise codec.WireError('packet ends early')
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
                   >= publisher.count(s) for s, qos in enumerate(publisher.qos) if qos and self.granted)

    def done(self):
        return not self.held and not self.live
