#!/usr/bin/env python3
"""Faults while a table of which most is free is made anew at a start: at each system call that concerns its files.

  test/crash/anew.py [--broker COMMAND] [--only KIND[:SYSCALL[:N]]] [--list]

A store is filled with retained messages that are then cleared, but for a few; some more are in the journal alone when the
broker is killed. One traced start counts the system calls on the table, its copy and their directory. Then, for each of
them, a start of the same store meets SIGKILL there, or EIO, or a full disk from there on, or a power cut (on an ext4 file
system of its own, as root). After an error the broker may also end, with a message. Started again, the store must hold
exactly what it held, the copy must be gone, and the file must be short."""

import argparse
import collections
import os
import re
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import broker as brokers  # noqa: E402
import codec  # noqa: E402
import disk as disks  # noqa: E402

CONF = ['segment_size 1M', 'frame_size 256K', 'max_packet_size 256K']
FLOOD, BODY, KEPT, LATE = 1000, 100000, 20, 5
MIB = 1 << 20
WRITES = ('write', 'writev', 'pwrite64', 'pwritev', 'ftruncate', 'fallocate', 'openat', 'rename', 'unlink')
CALLS = WRITES + ('fdatasync', 'fsync')
ERRORS = {'EIO': CALLS, 'ENOSPC': ('write', 'writev', 'pwrite64', 'pwritev', 'fallocate', 'openat', 'fdatasync', 'fsync')}
MESSAGES = {'EIO': 'Input/output error', 'ENOSPC': 'No space left'}
Point = collections.namedtuple('Point', 'kind call n')


class Wrong(Exception):
    pass


class Line:
    """A client that waits for what it wants."""

    def __init__(self, port, name, clean=True):
        self.sock = socket.create_connection(('127.0.0.1', port), 20)
        self.into = bytearray()
        self.sock.sendall(codec.connect(name, 4, clean=clean))
        self.until(codec.CONNACK)

    def packet(self):
        while not (whole := codec.split(self.into)):
            data = self.sock.recv(1 << 18)
            if not data:
                raise Wrong('the broker has closed')
            self.into += data
        first, body, used = whole
        del self.into[:used]
        return codec.decode(first, body, 4)

    def until(self, kind, count=1):
        while count:
            count -= self.packet().type == kind

    def retain(self, topics, body):
        for at in range(0, len(topics), 20):
            part = topics[at:at + 20]
            self.sock.sendall(b''.join(codec.publish(t, body(t), 1, n + 1, 4, retain=True) for n, t in enumerate(part)))
            self.until(codec.PUBACK, len(part))

    def retained(self):
        """What the broker retains: topic -> payload. An answer to a ping that was sent after SUBACK comes last."""
        self.sock.sendall(codec.subscribe(1, [('#', 0)], 4))
        out, pings = {}, 0
        while pings < 2:
            p = self.packet()
            if p.type == codec.PUBLISH:
                out[p.topic] = p.payload
            elif p.type in (codec.SUBACK, codec.PINGRESP):
                pings += p.type == codec.PINGRESP
                self.sock.sendall(codec.PING)
        return out

    def close(self):
        self.sock.close()


def payload(topic):
    return topic.encode() * 400


def topics(prefix, count):
    return [f'{prefix}/{n}' for n in range(count)]


WANTED = {t: payload(t) for t in topics('kept', KEPT) + topics('late', LATE)}


def taken(folder):
    return os.stat(os.path.join(folder, 'table.mdb')).st_blocks * 512


def make(command):
    """A store whose table is long and mostly free, and whose journal has more."""
    broker = brokers.Broker(command, conf=CONF)
    broker.start()
    if not broker.wait_ready():
        raise SystemExit(f'the broker does not start:\n{broker.log()}')
    line = Line(broker.port, 'filler')
    line.retain(topics('kept', KEPT), payload)
    line.retain(topics('flood', FLOOD), lambda t: bytes(BODY))
    line.retain(topics('flood', FLOOD), lambda t: b'')
    end = time.monotonic() + 60
    while taken(broker.data) > 16 * MIB:  # it rests: all is folded
        if time.monotonic() > end:
            raise SystemExit('the table is not given back')
        time.sleep(.1)
    line.retain(topics('late', LATE), payload)
    line.close()
    broker.kill()
    if os.stat(os.path.join(broker.data, 'table.mdb')).st_size < 64 * MIB:
        raise SystemExit('the table is too short to be made anew')
    return broker


def tracer(folder, log, inject=None):
    words = ['strace', '-D', '-f', '-qq', '-o', log, '-e', 'trace=' + ','.join('?' + c for c in CALLS)]
    words += ['-e', 'inject=' + inject] if inject else []
    for path in (folder, os.path.join(folder, 'table.mdb'), os.path.join(folder, 'table.making')):
        words += ['-P', path]
    return words


class Anew:
    def __init__(self, a):
        self.a, self.store = a, make(a.broker)
        why = disks.why_not()
        self.disk = None if why else disks.Disk(256)
        if why:
            print(f'NOTE: without power cuts: {why}')

    def trial(self, where):
        """A broker on a copy of the store."""
        data = os.path.join(where, 'trial')
        shutil.rmtree(data, ignore_errors=True)
        subprocess.run(['cp', '-a', '--sparse=always', self.store.data, data], check=True)
        return brokers.Broker(self.a.broker, data=data, conf=CONF)

    def count(self):
        broker = self.trial(self.store.scratch)
        log = os.path.join(broker.scratch, 'trace')
        broker.start(tracer(broker.data, log))
        ok = broker.wait_ready()
        broker.kill()
        with open(log, encoding='utf-8', errors='replace') as f:
            text = f.read()
        self.verify(broker)
        broker.cleanup()
        if not ok or 'table.making' not in text:
            raise SystemExit('the table was not made anew without any fault:\n' + text)
        if self.a.list:
            print(text)
        return collections.Counter(re.findall(r'^\d+ +(\w+)\(', text, re.MULTILINE))

    def points(self, counts):
        kinds = {'KILL': CALLS, **ERRORS} | ({'POWER': CALLS} if self.disk else {})
        out = [Point(kind, call, n) for kind, calls in kinds.items() for call in calls
               for n in range(1, counts[call] + 1)]
        only = self.a.only.split(':') if self.a.only else []
        return [p for p in out if all(str(w) == str(g) for w, g in zip(only, p))]

    def verify(self, broker):
        """Started without a fault it holds what it must, and is short."""
        broker.start()
        if not broker.wait_ready():
            raise Wrong(f'does not start again, status {broker.process.poll()}:\n{broker.log()}')
        line = Line(broker.port, 'reader')
        got = line.retained()
        line.close()
        if got != WANTED:
            raise Wrong(f'{len(got)} retained messages instead of {len(WANTED)}; lost: {sorted(set(WANTED) - set(got))[:5]}')
        if broker.stop() != 0:
            raise Wrong('no clean stop:\n' + broker.log())
        if os.path.exists(os.path.join(broker.data, 'table.making')):
            raise Wrong('the copy is still there')
        table = os.stat(os.path.join(broker.data, 'table.mdb'))
        if table.st_size > 16 * MIB:
            raise Wrong('the table is as long as it was')
        if table.st_mode & 0o777 != 0o600:
            raise Wrong(f'others may read the table: {table.st_mode & 0o777:o}')

    def stopped(self, broker):
        """Waits until the process stands, has come past all of it, or has ended."""
        end = time.monotonic() + 20
        while time.monotonic() < end and broker.alive():
            with open(f'/proc/{broker.process.pid}/stat', encoding='ascii') as f:
                if f.read().rsplit(')', 1)[1].split()[0] in 'Tt':
                    return True
            if 'listening' in broker.log():
                return False
            time.sleep(.005)
        return False

    def run(self, point):
        """One fault; True when it was met."""
        power = point.kind == 'POWER'
        broker = self.trial(self.disk.path if power else self.store.scratch)
        try:
            if power:
                os.sync()
            what = {'KILL': 'signal=KILL', 'POWER': 'signal=STOP'}.get(point.kind, 'error=' + point.kind)
            more = '+' if point.kind == 'ENOSPC' else ''
            log = os.path.join(broker.scratch, 'trace')
            broker.start(tracer(broker.data, log, f'{point.call}:{what}:when={point.n}{more}'))
            if power:
                hit = self.stopped(broker)
                self.disk.cut()
                broker.kill()
                self.disk.power_on()
            else:
                ready = broker.wait_ready()
                hit = broker.process.poll() is not None or '(INJECTED)' in self.text(log)
                if not ready and point.kind in MESSAGES and not broker.says(MESSAGES[point.kind]):
                    raise Wrong(f'no message, status {broker.process.poll()}:\n{broker.log()}')
                if not ready and point.kind in MESSAGES and broker.wait_exit(5) != 1:
                    raise Wrong(f'status {broker.process.poll()}:\n{broker.log()}')
                broker.kill()
            self.verify(broker)
            return hit
        finally:
            broker.kill()
            broker.cleanup()

    @staticmethod
    def text(log):
        try:
            with open(log, encoding='utf-8', errors='replace') as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def close(self):
        self.store.cleanup()
        if self.disk:
            self.disk.close()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--broker')
    p.add_argument('--only', help='KIND, KIND:SYSCALL or KIND:SYSCALL:N')
    p.add_argument('--list', action='store_true', help='print the calls of a start without faults')
    a = p.parse_args()
    brokers.quick_tmp()
    if not shutil.which('strace'):
        print('SKIPPED the table made anew under faults: needs strace\nsummary: points=0 skipped=1')
        return 0
    anew = Anew(a)
    met, failed = collections.Counter(), 0
    try:
        for point in anew.points(anew.count()):
            try:
                met[point.kind] += anew.run(point)
            except Wrong as e:
                failed += 1
                print(f'  {":".join(map(str, point))}: {e}', flush=True)
    finally:
        anew.close()
    words = ' '.join(f'{kind.lower()}={met[kind]}' for kind in ('KILL', 'EIO', 'ENOSPC', 'POWER'))
    print(f'{"clean" if not failed else "BROKEN"}: faults met: {words}')
    print(f'summary: points={sum(met.values())} failed={failed}')
    return 1 if failed or not sum(met.values()) else 0


if __name__ == '__main__':
    sys.exit(main())
