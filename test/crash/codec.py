"""MQTT control packets <-> bytes, 3.1.1 (level 4) and 5.0 (level 5), for the tests that judge by the wire.

Written from the standard alone; it shares nothing with src/. It can also build wrong packets (`raw`), because half of
its work is to be a bad peer. Decoding checks what a strict peer must check: flags, lengths, reserved bits, property
types and places; it raises WireError on anything that the standard forbids a server to send.
"""

import struct

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15

NAMES = (None, 'CONNECT', 'CONNACK', 'PUBLISH', 'PUBACK', 'PUBREC', 'PUBREL', 'PUBCOMP', 'SUBSCRIBE', 'SUBACK',
         'UNSUBSCRIBE', 'UNSUBACK', 'PINGREQ', 'PINGRESP', 'DISCONNECT', 'AUTH')

NEVER = 0xFFFFFFFF


class WireError(Exception):
    """The peer sent what the standard forbids."""


# name: (identifier, kind, packets that a server may put it into)
PROPERTIES = {
    'payload_format': (1, 'byte', {PUBLISH}),
    'message_expiry': (2, 'u32', {PUBLISH}),
    'content_type': (3, 'text', {PUBLISH}),
    'response_topic': (8, 'text', {PUBLISH}),
    'correlation_data': (9, 'binary', {PUBLISH}),
    'subscription_id': (11, 'varint', {PUBLISH}),
    'session_expiry': (17, 'u32', {CONNACK}),
    'assigned_client_id': (18, 'text', {CONNACK}),
    'server_keep_alive': (19, 'u16', {CONNACK}),
    'auth_method': (21, 'text', {CONNACK, AUTH}),
    'auth_data': (22, 'binary', {CONNACK, AUTH}),
    'request_problem': (23, 'byte', set()),
    'will_delay': (24, 'u32', set()),
    'request_response': (25, 'byte', set()),
    'response_information': (26, 'text', {CONNACK}),
    'server_reference': (28, 'text', {CONNACK, DISCONNECT}),
    'reason': (31, 'text', {CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH}),
    'receive_maximum': (33, 'u16', {CONNACK}),
    'topic_alias_maximum': (34, 'u16', {CONNACK}),
    'topic_alias': (35, 'u16', {PUBLISH}),
    'maximum_qos': (36, 'byte', {CONNACK}),
    'retain_available': (37, 'byte', {CONNACK}),
    'user': (38, 'pair', {CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH}),
    'maximum_packet_size': (39, 'u32', {CONNACK}),
    'wildcard_available': (40, 'byte', {CONNACK}),
    'subscription_id_available': (41, 'byte', {CONNACK}),
    'shared_available': (42, 'byte', {CONNACK}),
}
BY_ID = {row[0]: (name, row[1], row[2]) for name, row in PROPERTIES.items()}

# reason codes that a server may send, per packet (5.0, tables of chapter 3)
REASONS = {
    CONNACK: {0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A,
              0x9B, 0x9C, 0x9D, 0x9F},
    PUBACK: {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    PUBREC: {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    PUBREL: {0, 0x92},
    PUBCOMP: {0, 0x92},
    SUBACK: {0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2},
    UNSUBACK: {0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91},
    DISCONNECT: {0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
                 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2},
    AUTH: {0, 0x18, 0x19},
}


# ---- encode ----

def varint(n):
    out = bytearray()
    while True:
        n, low = n >> 7, n & 0x7F
        out.append(low | (0x80 if n else 0))
        if not n:
            return bytes(out)


def text(s):
    b = s.encode('utf-8', 'surrogatepass') if isinstance(s, str) else s
    return struct.pack('>H', len(b)) + b


def properties(values):
    """values: None, bytes (taken as they are), or a dict / list of pairs of names and values."""
    if values is None:
        values = {}
    if isinstance(values, bytes):
        return varint(len(values)) + values
    out = bytearray()
    for name, value in (values.items() if isinstance(values, dict) else values):
        number, kind, _ = PROPERTIES[name]
        out += varint(number)
        if kind == 'byte':
            out += bytes([value])
        elif kind == 'u16':
            out += struct.pack('>H', value)
        elif kind == 'u32':
            out += struct.pack('>I', value)
        elif kind == 'varint':
            out += varint(value)
        elif kind == 'pair':
            out += text(value[0]) + text(value[1])
        else:
            out += text(value)
    return varint(len(out)) + bytes(out)


def raw(first, body=b''):
    return bytes([first]) + varint(len(body)) + body


def connect(client_id, level=5, clean=True, keep_alive=0, props=None, will=None, user=None, password=None,
            flags=None, name='MQTT'):
    """will: dict(topic, payload, qos=0, retain=False, props=None)."""
    bits = 2 if clean else 0
    body = text(client_id)
    if will:
        bits |= 4 | will.get('qos', 0) << 3 | (32 if will.get('retain') else 0)
        if level >= 5:
            body += properties(will.get('props'))
        body += text(will['topic']) + text(will['payload'])
    if user is not None:
        bits |= 128
        body += text(user)
    if password is not None:
        bits |= 64
        body += text(password)
    head = text(name) + bytes([level, bits if flags is None else flags]) + struct.pack('>H', keep_alive)
    if level >= 5:
        head += properties(props)
    return raw(0x10, head + body)


def publish(topic, payload=b'', qos=0, packet_id=0, level=5, retain=False, dup=False, props=None):
    body = text(topic)
    if qos:
        body += struct.pack('>H', packet_id)
    if level >= 5:
        body += properties(props)
    return raw(0x30 | (8 if dup else 0) | qos << 1 | (1 if retain else 0), body + payload)


def ack(kind, packet_id, reason=None, props=None):
    """PUBACK, PUBREC, PUBREL, PUBCOMP; without a reason in the short form that both levels have."""
    body = struct.pack('>H', packet_id)
    if reason is not None:
        body += bytes([reason])
        if props is not None:
            body += properties(props)
    return raw(kind << 4 | (2 if kind == PUBREL else 0), body)


def subscribe(packet_id, filters, level=5, props=None):
    """filters: pairs of a filter and its options byte (the QoS)."""
    body = struct.pack('>H', packet_id) + (properties(props) if level >= 5 else b'')
    for name, options in filters:
        body += text(name) + bytes([options])
    return raw(0x82, body)


def unsubscribe(packet_id, filters, level=5, props=None):
    body = struct.pack('>H', packet_id) + (properties(props) if level >= 5 else b'')
    for name in filters:
        body += text(name)
    return raw(0xA2, body)


def disconnect(reason=None, props=None):
    body = b'' if reason is None else bytes([reason])
    if props is not None:
        body += properties(props)
    return raw(0xE0, body)


PING = b'\xc0\x00'


# ---- decode ----

class Packet:
    """One packet that came: type, flags, and what its type has (topic, payload, packet_id, reason, props...)."""
    topic = payload = packet_id = reason = None
    reasons = ()
    session_present = False

    def __init__(self, first):
        self.type, self.flags = first >> 4, first & 15
        self.qos, self.retain, self.dup = first >> 1 & 3, bool(first & 1), bool(first & 8)
        self.props = {}

    def __repr__(self):
        out = [NAMES[self.type] or 'type 0']
        if self.type == PUBLISH:
            out.append(f'qos {self.qos}{" dup" if self.dup else ""}{" retain" if self.retain else ""}')
            out.append(f'{self.topic!r} {self.payload[:40]!r} ({len(self.payload)} bytes)')
        if self.type == CONNACK:
            out.append(f'session present {int(self.session_present)}')
        if self.packet_id is not None:
            out.append(f'id {self.packet_id}')
        if self.reason is not None:
            out.append(f'reason 0x{self.reason:02X}')
        if self.reasons:
            out.append('reasons ' + ' '.join(f'0x{r:02X}' for r in self.reasons))
        if self.props:
            out.append(repr(self.props))
        return '<' + ', '.join(out) + '>'


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def left(self):
        return len(self.data) - self.at

    def take(self, n):
        if self.left() < n:
            raise WireError(f'packet ends early: {n} bytes wanted, {self.left()} there')
        self.at += n
        return self.data[self.at - n:self.at]

    def byte(self):
        return self.take(1)[0]

    def u16(self):
        return int.from_bytes(self.take(2), 'big')

    def u32(self):
        return int.from_bytes(self.take(4), 'big')

    def binary(self):
        return self.take(self.u16())

    def text(self):
        b = self.binary()
        try:
            s = b.decode('utf-8')
        except UnicodeDecodeError as e:
            raise WireError(f'text is not UTF-8: {b!r}') from e
        if '\0' in s:
            raise WireError('text has U+0000')
        return s

    def varint(self):
        n = shift = 0
        for i in range(4):
            b = self.byte()
            n |= (b & 0x7F) << shift
            shift += 7
            if not b & 0x80:
                if i and not b:
                    raise WireError('variable byte integer longer than needed')
                return n
        raise WireError('variable byte integer of more than four bytes')

    def properties(self, kind):
        end = self.varint()
        if self.left() < end:
            raise WireError('property length exceeds the packet')
        end += self.at
        out = {}
        while self.at < end:
            number = self.varint()
            if number not in BY_ID:
                raise WireError(f'unknown property {number}')
            name, shape, places = BY_ID[number]
            if kind not in places:
                raise WireError(f'property {name} in {NAMES[kind]} from a server')
            value = {'byte': self.byte, 'u16': self.u16, 'u32': self.u32, 'varint': self.varint, 'text': self.text,
                     'binary': self.binary, 'pair': lambda: (self.text(), self.text())}[shape]()
            if name in ('user', 'subscription_id') and kind == PUBLISH or name == 'user':
                out.setdefault(name, []).append(value)
            elif name in out:
                raise WireError(f'property {name} twice')
            else:
                out[name] = value
        if self.at != end:
            raise WireError('properties do not end at their length')
        return out


def split(buffer):
    """Takes one whole packet off the front: (first byte, body, bytes used), or None when there is none yet."""
    n = shift = 0
    for i in range(1, 5):
        if len(buffer) <= i:
            return None
        n |= (buffer[i] & 0x7F) << shift
        shift += 7
        if not buffer[i] & 0x80:
            if len(buffer) < i + 1 + n:
                return None
            return buffer[0], bytes(buffer[i + 1:i + 1 + n]), i + 1 + n
    raise WireError('remaining length of more than four bytes')


def decode(first, body, level):
    """A packet from a server. Raises WireError for what a server must not send."""
    p, c = Packet(first), Cursor(body)
    kind = p.type
    if kind in (0, CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ) or kind == AUTH and level < 5:
        raise WireError(f'a server must not send {NAMES[kind]}')
    if kind == DISCONNECT and level < 5:
        raise WireError('a 3.1.1 server must not send DISCONNECT')
    if kind != PUBLISH and p.flags != (2 if kind == PUBREL else 0):
        raise WireError(f'{NAMES[kind]} with flags {p.flags}')
    if kind == CONNACK:
        bits = c.byte()
        p.session_present, p.reason = bool(bits & 1), c.byte()
        if bits & 0xFE:
            raise WireError('reserved bits of CONNACK')
        if p.session_present and p.reason:
            raise WireError('session present with a refusal')
        if level >= 5:
            p.props = c.properties(kind)
        elif p.reason > 5:
            raise WireError(f'CONNACK return code {p.reason}')
    elif kind == PUBLISH:
        p.topic = c.text()
        if p.qos == 3 or p.dup and not p.qos:
            raise WireError('PUBLISH flags')
        if '+' in p.topic or '#' in p.topic:
            raise WireError('wildcard in a topic name')
        if p.qos:
            p.packet_id = c.u16()
        if level >= 5:
            p.props = c.properties(kind)
        if not p.topic and 'topic_alias' not in p.props:
            raise WireError('empty topic name')
        p.payload = c.take(c.left())
    elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        p.packet_id, p.reason = c.u16(), 0
        if level >= 5 and c.left():
            p.reason = c.byte()
            if c.left():
                p.props = c.properties(kind)
    elif kind in (SUBACK, UNSUBACK):
        p.packet_id = c.u16()
        if level >= 5:
            p.props = c.properties(kind)
        p.reasons = tuple(c.take(c.left() if kind == SUBACK or level >= 5 else 0))
        if not p.reasons and (kind == SUBACK or level >= 5):
            raise WireError(f'{NAMES[kind]} without reason codes')
        if kind == SUBACK and not set(p.reasons) <= (REASONS[SUBACK] if level >= 5 else {0, 1, 2, 0x80}):
            raise WireError(f'SUBACK codes {p.reasons}')
    elif kind in (DISCONNECT, AUTH):
        p.reason = c.byte() if c.left() else 0
        if c.left():
            p.props = c.properties(kind)
    if c.left():
        raise WireError(f'{c.left()} bytes after {NAMES[kind]}')
    if p.packet_id == 0:
        raise WireError('packet identifier 0')
    if level >= 5 and p.reason is not None and p.reason not in REASONS.get(kind, {p.reason}):
        raise WireError(f'{NAMES[kind]} must not carry reason 0x{p.reason:02X}')
    return p
