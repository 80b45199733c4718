"""Cases by the wire: what a case is, and the names that it may use.

A case is a function with @case(...). It gets a Bench: its own client ids and topics, and connections that are closed
when it ends. Cases of one broker run at the same time, so none may count on silence of the whole broker. A case fails
by raising. What "nothing comes" means is decided by a later packet that does come, never by waiting a while."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'crash'))
import codec  # noqa: E402
from peer import Gone, Late, Peer  # noqa: E402

CASES = []


class Skip(Exception):
    """The broker says that it does not offer this."""


def case(*levels, conf=(), alone=False, ways=('tcp', 'unix')):
    """levels: 4, 5 or none for both. conf: lines for a broker of its own. alone: nothing else runs meanwhile. ways: how
    the broker is reached, once each."""
    def take(function):
        for level in levels or (4, 5):
            CASES.append((function, level, tuple(conf), alone, ways))
        return function
    return take


class Bench:
    def __init__(self, broker, name, level, where):
        """where: how this case reaches the broker, a port or the path of a UNIX socket."""
        self.broker, self.name, self.level, self.where = broker, name, level, where
        self.peers = []

    def id(self, name):
        return f'{self.name}.{self.level}.{name}'

    def topic(self, name=''):
        return f'{self.name}/{self.level}/{name}'

    def open(self, level=None, limit=5.0):
        """A connection on which nothing was said."""
        p = Peer(self.where, level or self.level, limit)
        self.peers.append(p)
        return p

    def client(self, name='c', level=None, expiry=None, props=None, **more):
        """A connected client. expiry: a durable session of so many seconds (3.1.1: any number is for ever)."""
        p = self.open(level)
        if p.level >= 5:
            props = dict(props or {})
            if expiry:
                props['session_expiry'] = expiry
            more['props'] = props
        elif expiry:
            more.setdefault('clean', False)
        return p.connect(self.id(name), **more)

    def durable(self, name='d', **more):
        """A client that resumes its session, or begins a durable one."""
        return self.client(name, expiry=more.pop('expiry', 1000), clean=False, **more)

    def subscriber(self, topic, qos=2, name='sub', props=None, **more):
        p = self.client(name, **more)
        codes = p.subscribe((topic, qos), props=props)
        check(codes == (qos & 3,), f'SUBACK {codes}')
        return p

    def publish(self, topic, payload=b'x', qos=0, **more):
        """By a client of its own, to the end of the flow. It is the same one each time: nothing orders the messages of
        several, which may come by several shards."""
        with Peer(self.where, self.level) as p:
            p.connect(self.id('publisher'))
            reason = p.publish(topic, payload, qos, **more)
            p.disconnect()
        return reason

    def close(self):
        for p in self.peers:
            p.close()


def check(truth, what='not as expected'):
    if not truth:
        raise AssertionError(what)


def equal(seen, wanted, what=''):
    if seen != wanted:
        raise AssertionError(f'{what} {seen!r}, expected {wanted!r}')


def only(peer, *payloads, **want):
    """Exactly these messages come (a PINGRESP ends the wait); returns them."""
    got = [peer.message(payload=p, **want) for p in payloads]
    peer.quiet()
    return got


def closes(peer, reason=None, limit=None):
    """The broker ends the connection: 5.0 with this DISCONNECT, 3.1.1 without a word. It may have sent nothing else."""
    peer.expect_close(reason, limit)


def refused(peer, code4, code5, limit=None):
    """CONNACK with this code (None: none is asked for), then the end of the connection."""
    p = peer.next(limit)
    if p is not None:
        check(p.type == codec.CONNACK, f'expected CONNACK or close, got {p}')
        allowed = code4 if peer.level < 5 else code5
        check(p.reason in (allowed if isinstance(allowed, (set, tuple)) else (allowed,)), f'got {p}')
        p = peer.next(limit)
    check(p is None, f'not closed after the refusal: {p}')


__all__ = ['Bench', 'CASES', 'Gone', 'Late', 'Peer', 'Skip', 'case', 'check', 'closes', 'codec', 'equal', 'only',
           'refused']
