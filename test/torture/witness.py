"""A small broker in memory that writes down what it saw: the other end of the wire of `quartet torture`.

It speaks 3.1.1 and 5.0 at QoS 2, sends one message at a time to each subscriber, and keeps for each connection what
came, what it sent, the bytes of a packet that never became whole, and how the connection ended. A habit is a word for
what it does differently from a plain broker; see HABITS. It runs in a thread of the test that asks for it.
"""

import asyncio
import threading

CONNECT, CONNACK, PUBLISH, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = (
    1, 2, 3, 5, 6, 7, 8, 9, 12, 13, 14)

# What a broker must not do.
WRONGS = {
    "lose": "does not deliver message 7",
    "twice": "delivers message 7 once more as a new one",
    "swap": "delivers message 7 after message 8",
    "mute": "sends no PUBREL for message 7",
    "forget": "says Session Present 0 to whoever comes back",
    "lower": "delivers message 7 at QoS 1",
    "keep": "does not close the old connection of a client that connects anew",
    "fresh": "sends PUBLISH again without DUP",
    "hang up": "closes the connection at message 7",
}
# What it may do.
ODDS = {
    "late": "answers everything 40 ms later",
    "backwards": "answers PUBLISH packets in another order",
    "again": "sends PUBLISH and PUBREL again while they are not answered, which 3.1.1 does not forbid",
    "linger": "keeps its half of a connection open for a while after the client's is closed",
    "full": "refuses every fifth message once with PUBREC 0x97",
    "busy": "cannot serve anybody for the moment, twice for each client",
    "three": "closes the connection of a 5.0 client that sends a packet twice",
}
# What cannot be tortured.
CLOSED = {
    "refuse": "answers CONNECT with 5, Not authorized, or 0x87, unless it brings a username and a password",
    "slam": "closes every connection at once",
    "http": "speaks HTTP",
    "one": "grants QoS 1",
    "no two": "says Maximum QoS 1",
    "brief": "says Session Expiry Interval 1",
    "never": "refuses every message with PUBREC 0x87",
}
HABITS = {**WRONGS, **ODDS, **CLOSED}


def number_of(payload):
    """The message's number, as `quartet torture` writes it into its payloads."""
    return int.from_bytes(payload[10:14], "big") if payload[:4] == b"\x51\x74\x0a\x7e" else None


def whole(first, body):
    length = bytearray()
    left = len(body)
    while True:
        left, digit = left >> 7, left & 127
        length.append(digit | (128 if left else 0))
        if not left:
            return bytes([first]) + bytes(length) + body


class Session:
    def __init__(self):
        self.topics = set()
        self.held = set()      # packet ids of PUBLISH packets that came
        self.queue = []        # messages to be sent
        self.flight = {}       # packet id: [message, payload, topic, released]
        self.next_id = 0
        self.connection = None


class Connection(asyncio.Protocol):
    def __init__(self, broker):
        self.broker = broker
        self.transport = None
        self.client = None
        self.five = False
        self.durable = False
        self.session = None
        self.bytes = b""
        self.got = []    # (type, packet id, dup, message)
        self.sent = []
        self.end = None  # "fin", "rst" or "open", as the client left it
        self.late = []   # first bytes of what came after that
        self.waiting = []

    # ---- asyncio ----

    def connection_made(self, transport):
        self.transport = transport
        self.broker.connections.append(self)
        if "slam" in self.broker.habits:
            transport.close()

    def data_received(self, data):
        if self.end is not None:
            self.late.append(data[0])
            return
        self.bytes += data
        while self.end is None and (packet := self.cut_off()) is not None:
            self.take(*packet)

    def eof_received(self):
        self.end = self.end or "fin"
        self.leave()
        if "linger" in self.broker.habits:
            self.broker.loop.call_later(0.1, self.transport.close)
            return True
        return False

    def connection_lost(self, error):
        self.end = self.end or ("rst" if isinstance(error, ConnectionResetError) else "fin")
        self.leave()

    # ---- packets ----

    def cut_off(self):
        """(first byte, body) of the first whole packet."""
        length = shift = 0
        for at in range(1, min(len(self.bytes), 5)):
            length |= (self.bytes[at] & 127) << shift
            shift += 7
            if not self.bytes[at] & 128:
                end = at + 1 + length
                if len(self.bytes) < end:
                    return None
                first, body, self.bytes = self.bytes[0], self.bytes[at + 1:end], self.bytes[end:]
                return first, body
        return None

    def send(self, kind, first, body, packet_id=0, message=None):
        self.sent.append((kind, packet_id, message))
        if "late" in self.broker.habits:
            self.broker.loop.call_later(0.04, self.write, whole(first, body))
        else:
            self.write(whole(first, body))

    def write(self, data):
        if not self.transport.is_closing():
            self.transport.write(data)

    def answer(self, kind, packet_id, message=None, reason=0):
        flags = 2 if kind == PUBREL else 0
        body = packet_id.to_bytes(2, "big") + (bytes([reason]) if reason else b"")
        self.send(kind, kind << 4 | flags, body, packet_id, message)

    def take(self, first, body):
        kind = first >> 4
        if kind == CONNECT:
            self.take_connect(body)
        elif kind == PUBLISH:
            self.take_publish(first, body)
        elif kind in (PUBREC, PUBREL, PUBCOMP):
            self.take_answer(kind, int.from_bytes(body[:2], "big"))
        elif kind == SUBSCRIBE:
            self.take_subscribe(body)
        elif kind == PINGREQ:
            self.got.append((kind, 0, False, None))
            self.send(PINGRESP, PINGRESP << 4, b"")

    def take_connect(self, body):
        habits = self.broker.habits
        self.five = body[6] == 5
        self.durable = not body[7] & 2
        at = 10 + (1 + body[10] if self.five else 0)
        self.client = body[at + 2:at + 2 + int.from_bytes(body[at:at + 2], "big")].decode()
        busy = self.broker.busy
        if "http" in habits:
            self.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            self.transport.close()
            return
        refused = "refuse" in habits and body[7] & 0xC0 != 0xC0
        if refused or ("busy" in habits and busy.setdefault(self.client, 0) < 2):
            busy[self.client] = busy.get(self.client, 0) + 1
            reason = (0x87 if self.five else 5) if refused else (0x88 if self.five else 3)
            self.send(CONNACK, CONNACK << 4, bytes([0, reason]) + (b"\0" if self.five else b""))
            self.transport.close()
            return
        old = self.broker.sessions.get(self.client)
        if old is not None and old.connection is not None and old.connection is not self:
            old.connection.end = old.connection.end or "open"
            if "keep" not in habits:
                old.connection.transport.close()
        present = self.durable and old is not None and "forget" not in habits
        self.session = old if present else Session()
        self.session.connection = self
        self.broker.sessions[self.client] = self.session
        properties = b"\x24\x01" if "no two" in habits else b"\x11\0\0\0\x01" if "brief" in habits else b""
        self.send(CONNACK, CONNACK << 4,
                  bytes([present, 0]) + (bytes([len(properties)]) + properties if self.five else b""))
        self.resume()

    def resume(self):
        for packet_id, flow in self.session.flight.items():
            if flow[3]:
                self.answer(PUBREL, packet_id, flow[0])
            else:
                self.send_publish(packet_id, dup="fresh" not in self.broker.habits)

    def leave(self):
        if self.session is not None and self.session.connection is self:
            self.session.connection = None
            if not self.durable:
                self.broker.sessions.pop(self.client, None)

    # ---- from the publisher ----

    def take_publish(self, first, body):
        length = int.from_bytes(body[:2], "big")
        topic, packet_id = body[2:2 + length], int.from_bytes(body[2 + length:4 + length], "big")
        payload = body[4 + length + (1 if self.five else 0):]
        message = number_of(payload)
        habits = self.broker.habits
        self.got.append((PUBLISH, packet_id, bool(first & 8), message))
        if self.five and "three" in habits and [p[:2] for p in self.got[-2:-1]] == [(PUBLISH, packet_id)]:
            self.transport.close()
            return
        if "hang up" in habits and message == 7:
            habits.discard("hang up")
            self.transport.close()
            return
        full = "full" in habits and message is not None and message % 5 == 0 and message not in self.broker.refused
        if self.five and ("never" in habits or full):
            self.broker.refused.add(message)
            self.answer(PUBREC, packet_id, message, 0x87 if "never" in habits else 0x97)
            return
        if packet_id not in self.session.held:
            self.session.held.add(packet_id)
            self.broker.deliver(topic, message, payload)
        self.waiting.append((packet_id, message))
        if "backwards" not in habits:
            self.answer_publishes()
        elif len(self.waiting) == 1:
            self.broker.loop.call_later(0.002, self.answer_publishes)

    def answer_publishes(self):
        for packet_id, message in reversed(self.waiting):
            self.answer(PUBREC, packet_id, message)
        self.waiting.clear()

    # ---- from both ----

    def take_answer(self, kind, packet_id):
        flow = self.session.flight.get(packet_id)
        self.got.append((kind, packet_id, False, flow[0] if flow else None))
        if self.five and "three" in self.broker.habits and self.got[-2:-1] == [self.got[-1]]:
            self.transport.close()
        elif kind == PUBREL:
            self.session.held.discard(packet_id)
            self.answer(PUBCOMP, packet_id)
        elif kind == PUBREC:
            if flow:
                flow[3] = True
            if not (flow and flow[0] == 7 and "mute" in self.broker.habits):
                self.answer(PUBREL, packet_id, flow[0] if flow else None)
        elif flow:
            del self.session.flight[packet_id]
            self.send_next()

    # ---- to the subscriber ----

    def take_subscribe(self, body):
        at = 2 + (1 if self.five else 0)
        length = int.from_bytes(body[at:at + 2], "big")
        self.session.topics.add(body[at + 2:at + 2 + length])
        granted = 1 if "one" in self.broker.habits else 2
        self.send(SUBACK, SUBACK << 4, body[:2] + (b"\0" if self.five else b"") + bytes([granted]))

    def send_next(self):
        session = self.session
        if session.queue and not session.flight:
            message, payload, topic = session.queue.pop(0)
            session.next_id = session.next_id % 50 + 1
            if "lower" in self.broker.habits and message == 7:
                self.write_publish(PUBLISH << 4 | 2, session.next_id, message, payload, topic)
                self.send_next()
                return
            session.flight[session.next_id] = [message, payload, topic, False]
            self.send_publish(session.next_id, dup=False)

    def send_publish(self, packet_id, dup):
        message, payload, topic, released = self.session.flight[packet_id]
        self.write_publish(PUBLISH << 4 | 4 | (8 if dup else 0), packet_id, message, payload, topic)
        if "again" in self.broker.habits and not self.five:
            self.broker.loop.call_later(0.01, self.try_again, packet_id, message)

    def try_again(self, packet_id, message):
        flow = self.session.flight.get(packet_id)
        if flow and flow[0] == message and self.end is None and self.session.connection is self:
            if flow[3]:
                self.answer(PUBREL, packet_id, message)
                self.broker.loop.call_later(0.01, self.try_again, packet_id, message)
            else:
                self.send_publish(packet_id, dup=True)

    def write_publish(self, first, packet_id, message, payload, topic):
        body = len(topic).to_bytes(2, "big") + topic + packet_id.to_bytes(2, "big")
        self.send(PUBLISH, first, body + (b"\0" if self.five else b"") + payload, packet_id, message)


class Witness:
    """with Witness(habits) as broker: ... broker.port, and afterwards broker.connections."""

    def __init__(self, *habits):
        assert all(habit in HABITS for habit in habits)
        self.habits = set(habits)
        self.sessions = {}
        self.connections = []
        self.refused = set()
        self.busy = {}
        self.kept = None  # the message that waits for the one behind it
        self.port = None
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        self.ready.wait()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def run(self):
        server = self.loop.run_until_complete(
            self.loop.create_server(lambda: Connection(self), "127.0.0.1", 0, backlog=100))
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        self.loop.run_forever()
        for connection in self.connections:
            connection.transport.abort()
        server.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def deliver(self, topic, message, payload):
        batch = [message]
        if "lose" in self.habits and message == 7:
            batch = []
        elif "twice" in self.habits and message == 7:
            batch = [message, message]
        elif "swap" in self.habits and message == 7:
            self.kept, batch = (message, payload), []
        messages = [(number, payload) for number in batch]
        if self.kept is not None and message == 8:
            messages, self.kept = [*messages, self.kept], None
        for session in self.sessions.values():
            if topic in session.topics:
                session.queue += [(number, content, topic) for number, content in messages]
                if session.connection is not None:
                    session.connection.send_next()
