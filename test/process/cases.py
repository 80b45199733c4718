"""What the cases of this folder share: a broker of their own, peers, and how a case says that something is wrong."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'crash'))
import broker as brokers  # noqa: E402
from peer import Peer  # noqa: E402

BIN = os.path.join(os.environ.get('QUARTET_BUILD') or os.path.join(brokers.ROOT, 'build', 'release'), 'bin')
QUARTETD, QUARTET = os.path.join(BIN, 'quartetd'), os.path.join(BIN, 'quartet')
CASES = []
NOWHERE, LATE = '192.0.2.77', '192.0.2.78'  # of documentation (RFC 5737): no machine has them


class Skip(Exception):
    """Something that the case needs is not here."""


def case(function):
    CASES.append(function)
    return function


def check(truth, what='not as expected'):
    if not truth:
        raise AssertionError(what)


def until(question, what, limit=10.0):
    """Waits until the question is answered with something true, and returns that."""
    end = time.monotonic() + limit
    while True:
        answer = question()
        if answer:
            return answer
        check(time.monotonic() < end, what)
        time.sleep(0.01)


@contextlib.contextmanager
def folder():
    path = tempfile.mkdtemp(prefix='quartet-process-')
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def own_broker(*conf, start=True, like=None, port=None):
    """A broker of the case's own. like: on the store of that one."""
    broker = brokers.Broker('quartetd', conf=list(conf), data=like.data if like else None, port=port)
    try:
        if start:
            broker.start()
            check(broker.wait_ready(), broker.log())
        yield broker
    finally:
        broker.cleanup()


def begin(broker, **more):
    """Starts it with streams or an environment of the case's own."""
    broker.process = subprocess.Popen(broker.argv, stdin=subprocess.DEVNULL, cwd=broker.scratch,
                                      preexec_fn=brokers.die_with_parent, **more)


def serves(where):
    with Peer(where, 5) as p:
        p.connect('well-behaved')
        p.disconnect()


def rude(port):
    """A peer that makes the broker write a line."""
    with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), 2) as s:
        s.sendall(b'\xf0\x00')


def text_of(path):
    with open(path, encoding='utf-8', errors='replace') as f:
        return f.read()
