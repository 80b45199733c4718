"""What an attack is, and the ground that it stands on.

An attack is a class with @attack. Its first sentence of documentation says what it does. It runs in a process of its
own, from addresses that the well-behaved do not have, with a priority below theirs, as if it came from another machine:

    build(ground)     makes its packets; nothing is sent yet
    run(ground)       the attack itself, until ground.on() is false

What it leaves behind, sessions and retained messages, an operator ends and clears afterwards with `quartet ctl`.

An attack never fails by what the broker does to it: to be refused, slowed and thrown out is what it deserves."""

import contextlib
import os
import select
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'crash'))
import codec  # noqa: E402
from peer import socket_to  # noqa: E402

ATTACKS = {}
FOR_EVER = codec.NEVER


def attack(cls):
    ATTACKS[cls.__name__] = cls
    return cls


class Attack:
    """What is left out below does nothing."""
    conf = ()          # lines for the broker
    deaf_log = False   # nobody reads what the broker logs
    seconds = 6.0      # of the attack
    short = 2.5        # the same in the short form

    def build(self, ground):
        pass

    def run(self, ground):
        raise NotImplementedError


class Ground:
    def __init__(self, port):
        self.port, self.end, self.notes = port, 0.0, {}
        self.sink, self.lines = None, []

    def begin(self, seconds):
        self.end = time.monotonic() + seconds

    def on(self):
        return time.monotonic() < self.end

    def left(self):
        return max(0.0, self.end - time.monotonic())

    def rest(self):
        """Stays as it is until the end."""
        time.sleep(self.left())

    def note(self, **figures):
        self.notes.update(figures)

    def count(self, key, n=1):
        self.notes[key] = self.notes.get(key, 0) + n

    def open(self, source='127.0.0.1', buffer=None, limit=5.0, keep=True):
        """A connection on which nothing was said, or None. buffer: of its receiver in the kernel, in bytes."""
        sock, address = socket_to(self.port, source)
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.settimeout(limit)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            self.count('shut_out')
            return None
        if keep:
            self.lines.append(sock)
        return sock

    def say(self, sock, *packets, patience=None):
        """Sends; false when the broker does not take it in time, or has closed."""
        if sock is None:
            return False
        try:
            sock.settimeout(patience or max(.05, min(5.0, self.left())))
            sock.sendall(b''.join(packets))
            return True
        except OSError:
            return False

    def hear(self, sock, limit=None):
        """The first byte of one more packet and its body, read to its end; None when none came."""
        if sock is None:
            return None
        try:
            sock.settimeout(limit or max(.05, min(10.0, self.left() + .5)))
            head = sock.recv(1)
            size = shift = 0
            while head:
                b = sock.recv(1)[0]
                size |= (b & 127) << shift
                shift += 7
                if b < 128:
                    break
            body = b''
            while head and len(body) < size:
                more = sock.recv(size - len(body))
                if not more:
                    return None
                body += more
            return (head[0], body) if head else None
        except (OSError, IndexError):
            return None

    def enter(self, name, level=4, source='127.0.0.1', buffer=None, **more):
        """A connected client: its socket, or None when it was not let in."""
        sock = self.open(source, buffer)
        if not self.say(sock, codec.connect(name, level, **more), patience=5):
            return None
        answer = self.hear(sock, 5)
        if answer is None or answer[0] != 0x20 or answer[1][1] != 0:
            self.count('not_let_in')
            return None
        return sock

    def drain(self, *socks):
        """What comes there is read and thrown away, by a thread, from now on."""
        if self.sink is None:
            self.sink = select.epoll()
            self.drained = {}
            threading.Thread(target=self.swallow, daemon=True).start()
        for sock in socks:
            if sock is not None:
                sock.setblocking(True)
                self.drained[sock.fileno()] = sock
                self.sink.register(sock.fileno(), select.EPOLLIN)

    def swallow(self):
        while True:
            for fd, _ in self.sink.poll(1):
                try:
                    data = self.drained[fd].recv(1 << 20, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b''
                self.count('bytes_read', len(data))
                if not data:
                    with contextlib.suppress(OSError):
                        self.sink.unregister(fd)


def many(prefix, count):
    return [f'{prefix}{i}' for i in range(count)]


__all__ = ['ATTACKS', 'Attack', 'FOR_EVER', 'Ground', 'attack', 'codec', 'many', 'socket', 'time']
