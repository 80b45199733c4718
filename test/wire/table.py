"""The tables of test/data: packets that the standards allow and forbid, as bytes. See packet_bytes.h for the notation."""

import collections
import os
import re

import codec

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'data')
Row = collections.namedtuple('Row', 'name sender protocol when bytes reason statement')
TOKEN = re.compile(r"\s*(?:'([^']*)'|([0-9A-Fa-f]{2})|x(\d+)|([({<])|([)}>]))")


def parse(text):
    """The bytes of one text in the tables' notation."""
    stack, out, last = [], bytearray(), 0
    at = 0
    text = text.strip()
    while at < len(text):
        m = TOKEN.match(text, at)
        if not m:
            raise ValueError(f'cannot read {text[at:at + 20]!r}')
        at = m.end()
        chars, byte, times, opening, closing = m.groups()
        if times:
            out += out[last:] * (int(times) - 1)
        elif opening:
            stack.append((opening, len(out)))
        elif closing:
            kind, begin = stack.pop()
            body = bytes(out[begin:])
            head = {'(': codec.varint, '{': lambda n: n.to_bytes(2, 'big'), '<': lambda n: b''}[kind](len(body))
            out[begin:] = head + body
            last = begin
        else:
            last = len(out)
            out += chars.encode('latin-1') if chars is not None else bytes.fromhex(byte)
    return bytes(out)


def malformed():
    with open(os.path.join(DATA, 'malformed.inc'), encoding='utf-8') as f:
        source = re.sub(r'/\*.*?\*/', '', f.read(), flags=re.DOTALL)
    rows = []
    pattern = r'MALFORMED\(\s*"([^"]*)",\s*(\w+),\s*(\w+),\s*(\w+),\s*((?:"[^"]*"\s*)+),\s*0x([0-9A-Fa-f]+),\s*"([^"]*)"\s*\)'
    for name, sender, protocol, when, words, reason, statement in re.findall(pattern, source):
        text = ''.join(re.findall(r'"([^"]*)"', words))
        rows.append(Row(name, sender, protocol, when, parse(text), int(reason, 16), statement))
    if len(rows) != source.count('MALFORMED('):
        raise ValueError(f'{source.count("MALFORMED(")} rows, {len(rows)} could be read')
    return rows
