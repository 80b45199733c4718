#!/usr/bin/env python3
"""A damaged store, and two brokers on one store.

  test/crash/damage.py [--flips 40] [--seed S] [--broker COMMAND]

A store is filled with acknowledged messages, left idle, and its broker killed. Then, each time on a copy: one bit is
flipped, a file is cut, removed or overwritten, and the broker is started. It must either refuse, naming the file and
the command that helps, and change nothing; or start with everything that was acknowledged. A bit of an acknowledged
message must make it refuse. Bytes behind the last frame were never acknowledged and must not. After
`quartet store repair` it must start, and only the damaged frame's messages may be gone.
"""

import argparse
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import broker as brokers  # noqa: E402
import codec  # noqa: E402
from peer import Gone, Peer  # noqa: E402

BLOCK = 4096
COUNT = 40


def marker(i):
    return b'marker-%03d-' % i + hashlib.sha256(b'%d' % i).hexdigest().encode() * (1 + i % 3)


def digest(directory):
    """Of all files but locks, which a start may touch, and the socket of `quartet ctl`."""
    out = {}
    for name in sorted(os.listdir(directory)):
        if 'lock' not in name and name != 'ctl':
            with open(os.path.join(directory, name), 'rb') as f:
                out[name] = hashlib.sha256(f.read()).hexdigest()
    return out


# What a killed broker leaves behind besides its store: the socket of `quartet ctl`.
SOCKETS = shutil.ignore_patterns('ctl', 'ctl.lock')


class Damage:
    def __init__(self, a):
        self.a, self.random = a, random.Random(a.seed)
        self.passed, self.failed, self.skipped = 0, [], []
        self.refusals = self.starts = 0
        self.good = None
        self.padding = b''

    # ---- the store ----

    def fill(self, padding=0):
        """Messages that are `padding` bytes longer than their markers."""
        self.padding = b'.' * padding
        broker = brokers.Broker(self.a.broker, conf=brokers.SMALL_STORE)
        broker.start()
        if not broker.wait_ready():
            raise SystemExit(f'the broker does not start:\n{broker.log()}')
        d = Peer(broker.port, 5).connect('durable', clean=False, props={'session_expiry': 100000})
        d.subscribe(('damage/#', 2))
        d.disconnect()
        with Peer(broker.port, 5) as p:
            p.connect('filler')
            for i in range(COUNT):
                if p.publish('damage/x', marker(i) + self.padding, 1 + i % 2, packet_id=i + 1) >= 0x80:
                    raise SystemExit('a publish was refused')
            p.publish('damage-kept', b'retained-' + marker(0), 1, retain=True)
            p.disconnect()
        before, end = None, time.monotonic() + 10
        while before != digest(broker.data) and time.monotonic() < end:
            before = digest(broker.data)
            time.sleep(0.4)  # longer than the pause after which an idle broker says what is durable
        broker.kill()
        self.broker, self.good = broker, broker.data + '.good'
        shutil.copytree(broker.data, self.good, ignore=SOCKETS)

    def fresh(self):
        shutil.rmtree(self.broker.data)
        shutil.copytree(self.good, self.broker.data)

    def path(self, name):
        return os.path.join(self.broker.data, name)

    def read(self, name):
        with open(os.path.join(self.good, name), 'rb') as f:
            return f.read()

    def write(self, name, at, data):
        with open(self.path(name), 'r+b') as f:
            f.seek(at)
            f.write(data)

    def journals(self):
        """Names of the journal's files that hold acknowledged messages, and all of them."""
        names = [n for n in sorted(os.listdir(self.good)) if b'marker-' in self.read(n) and 'table' not in n]
        return names, [n for n in sorted(os.listdir(self.good)) if 'journal' in n]

    # ---- what a start does ----

    def collect(self):
        """What the durable session and the retained message give back."""
        got = []
        with Peer(self.broker.port, 5) as d:
            d.connect('durable', clean=False, props={'session_expiry': 100000})
            if not d.connack.session_present:
                return None
            d.send(codec.PING)
            while (m := d.next()) is not None and m.type != codec.PINGRESP:
                if m.type == codec.PUBLISH:
                    got.append(m.payload)
        with Peer(self.broker.port, 5) as r:
            r.connect('look')
            r.subscribe(('damage-kept', 0))
            r.send(codec.PING)
            kept = []
            while (m := r.next()) is not None and m.type != codec.PINGRESP:
                kept.append(m.payload)
        return got + kept

    def everything(self):
        return [marker(i) + self.padding for i in range(COUNT)] + [b'retained-' + marker(0)]

    def start(self):
        """('started', messages), ('refused', log), or ('ended', log): it served, and then found the damage."""
        self.broker.start()
        if self.broker.wait_ready():
            try:
                got = self.collect()
            except Gone:
                self.broker.wait_exit(5)
                return 'ended', self.broker.log()
            self.broker.kill()
            self.starts += 1
            return 'started', got
        status = self.broker.wait_exit(5)
        self.refusals += 1
        if status is None or status <= 0:
            return 'died', f'status {status}:\n{self.broker.log()}'
        return 'refused', self.broker.log()

    def judge(self, name, refuse=None, file='journal', place=r'at byte \d|\d bytes'):
        """refuse: True, False, or None for either. Records what is wrong."""
        before = digest(self.broker.data)
        way, what = self.start()
        problem = None
        if way in ('died', 'ended') or way == 'refused' and refuse is False:
            problem = f'{way}: {what}'
        elif way == 'started' and refuse:
            problem = 'started with damage to acknowledged data' + ('' if what == self.everything() else ', and lost some')
        elif way == 'started' and what != self.everything():
            problem = f'started, but not with everything: {self.difference(what)}'
        elif way == 'refused':
            if file.removesuffix('.mdb') not in what or 'journal' in file and not (re.search(place, what) and 'repair' in what):
                problem = f'the refusal does not name the file, the place and the command:\n{what}'
            elif (after := digest(self.broker.data)) != before:
                changed = [n for n in sorted(before | after) if before.get(n) != after.get(n)]
                problem = f'refused, but changed {", ".join(changed)}'
            elif self.start()[0] != 'refused':
                problem = 'refused, and started the second time'
        self.note(name, problem)
        return way

    def difference(self, got):
        if got is None:
            return 'the session is forgotten'
        gone = [m[:10] for m in self.everything() if m not in got]
        return f'{len(gone)} gone {gone[:5]}, {len(got) - len(set(got))} twice'

    def note(self, name, problem):
        if problem:
            self.failed.append(name)
            print(f'FAILED {name}: {problem}', flush=True)
        else:
            self.passed += 1

    # ---- the damages ----

    def flips(self):
        names, _ = self.journals()
        places = [(n, m.start() + self.random.randrange(len(b'marker-000-') + 60))
                  for n in names for m in re.finditer(b'marker-', self.read(n))]
        for n, at in self.random.sample(places, min(self.a.flips // 2, len(places))):
            self.flip(n, at, True)
        for _ in range(self.a.flips // 2):
            n = self.random.choice(names)
            used = [i for i in range(0, len(self.read(n)), BLOCK) if any(self.read(n)[i:i + BLOCK])]
            at = self.random.choice(used) + self.random.choice((self.random.randrange(BLOCK), self.random.randrange(80)))
            self.flip(n, at, None)

    def flip(self, name, at, refuse):
        self.fresh()
        bit = 1 << self.random.randrange(8)
        self.write(name, at, bytes([self.read(name)[at] ^ bit]))
        self.judge(f'bit {bit} of byte {at} of {name} flipped', refuse, name)

    def ends(self):
        """Behind the last frame, and whole files."""
        names, every = self.journals()
        last = max(every, key=lambda n: self.last_block(n)[1])
        end = self.last_block(last)[0]
        garbage = self.random.randbytes(3 * BLOCK)
        for what, data in (('garbage', garbage), ('half a block of garbage', garbage[:2000]),
                           ('an old frame', self.read(last)[end - BLOCK:end]), ('ones', b'\xff' * BLOCK)):
            self.fresh()
            self.write(last, end, data)
            self.judge(f'{what} behind the last frame', refuse=False)
        self.fresh()
        os.truncate(self.path(last), end)
        self.judge('the journal cut behind the last frame', refuse=None)
        for n in names:
            self.fresh()
            os.truncate(self.path(n), end // 2 // BLOCK * BLOCK)
            self.judge(f'{n} cut in the middle', refuse=None)
            self.fresh()
            self.write(n, 0, bytes(BLOCK))
            self.judge(f'first block of {n} zeroed', refuse=None)
        self.without_table()
        self.fresh()
        self.write('table.mdb', 0, bytes(BLOCK))
        self.judge('first page of table.mdb zeroed', refuse=True, file='table.mdb')

    def without_table(self):
        """Nothing takes the place of a table that is lost: it may come back."""
        for what in ('removed', 'emptied'):
            self.fresh()
            os.unlink(self.path('table.mdb'))
            if what == 'emptied':
                open(self.path('table.mdb'), 'xb').close()
            before = digest(self.broker.data)
            self.judge(f'table.mdb {what}', refuse=True, file='table.mdb')
            self.tools(f'table.mdb {what}', {'check': 1, 'dump': 1, 'repair': 1, 'list': 1}, 'table.mdb. is missing or empty')
            self.note(f'table.mdb {what}, and another made', None if digest(self.broker.data) == before else 'changed')

    def missing(self):
        """Every file of the journal, alone and with another one; whichever it is, it may have held something."""
        _, every = self.journals()
        if len(every) < 2:
            self.note('files of the journal', f'only {every}')
        for i, n in enumerate(every):
            for other in [None] + every[i + 1:]:
                self.fresh()
                os.unlink(self.path(n))
                if other:
                    os.unlink(self.path(other))
                self.judge(f'{n} removed' + (f', and {other}' if other else ''), refuse=True, file=n, place='is missing')
            self.tools(f'{n} removed', {'check': 1, 'dump': 1, 'repair': 0}, f'{n}.* is missing')
            way, got = self.start()
            known = way == 'started' and (got is None or len(set(got)) == len(got) and set(got) <= set(self.everything()))
            self.note(f'start after the repair without {n}', None if known else f'{way}: {str(got)[:300]}')
            self.fresh()
            os.truncate(self.path(n), 0)
            self.judge(f'{n} emptied', refuse=True, file=n, place='is missing or empty')

    def tools(self, name, statuses, words):
        """The offline tools say what is wrong, and never end in a signal."""
        tool = os.path.join(os.path.dirname(self.broker.argv[0]), 'quartet')
        for verb, status in statuses.items():
            done = subprocess.run([tool, 'store', verb, self.broker.data], capture_output=True, text=True, errors='replace',
                                  check=False)
            out = done.stdout + done.stderr
            fine = done.returncode == status and re.search(words, out)
            self.note(f'quartet store {verb}, {name}', None if fine else f'status {done.returncode}: {out[-800:]}')

    def cuts(self):
        """table.mdb ends early, at every page when there are few."""
        pages = len(self.read('table.mdb')) // BLOCK
        some = sorted({0, 1, 2, 3, pages // 2, pages - 2, pages - 1} | set(self.random.sample(range(pages), min(pages, 8))))
        for n in some:
            self.fresh()
            os.truncate(self.path('table.mdb'), n * BLOCK)
            name = f'table.mdb cut to {n} of {pages} pages'
            way = self.judge(name, refuse=True if n <= pages // 2 else None, file='table.mdb')
            if way == 'refused':
                self.tools(name, {'check': 1, 'dump': 1, 'repair': 1}, f'{n * BLOCK} bytes.*backup' if n else 'table')
        self.fresh()
        os.truncate(self.path('table.mdb'), pages // 2 * BLOCK + 1000)
        self.judge('table.mdb cut within a page', refuse=True, file='table.mdb')

    def last_block(self, name):
        """End of the last block that is not all zeros, and the number of such blocks."""
        data = self.read(name)
        used = [i for i in range(0, len(data), BLOCK) if any(data[i:i + BLOCK])]
        return (used[-1] + BLOCK if used else 0), len(used)

    def repair(self):
        tool = os.path.join(os.path.dirname(self.broker.argv[0]), 'quartet')
        if not os.path.exists(tool):
            self.skipped.append('quartet store repair: the tool is not built')
            return
        names, _ = self.journals()
        for i in self.random.sample(range(1, COUNT - 1), 3):
            self.fresh()
            name = next(n for n in names if marker(i) in self.read(n))
            at = self.read(name).index(marker(i)) + 5
            self.write(name, at, b'X')
            for verb, status in (('check', 1), ('repair', 0), ('check', 0)):
                done = subprocess.run([tool, 'store', verb, self.broker.data], capture_output=True, text=True, check=False)
                out = done.stdout + done.stderr
                if done.returncode != status or status and name not in out:
                    self.note(f'quartet store {verb} after damage to message {i}', f'status {done.returncode}: {out[-800:]}')
                    return
            way, got = self.start()
            gone = [j for j in range(COUNT) if way == 'started' and got is not None and marker(j) not in got]
            fine = way == 'started' and got is not None and i in gone and len(gone) <= 3 and len(got) == len(set(got))
            self.note(f'start after the repair of message {i}', None if fine else f'{way}: gone {gone}, {str(got)[:300]}')

    def two_brokers(self):
        self.fresh()
        self.broker.start()
        self.broker.wait_ready()
        second = brokers.Broker(self.a.broker, data=self.broker.data, conf=brokers.SMALL_STORE)
        second.start()
        status = second.wait_exit(10)
        log = second.log()
        second.cleanup()
        problem = None
        if status is None or status <= 0 or self.broker.data not in log:
            problem = f'status {status}: {log}'
        elif self.collect() != self.everything():
            problem = 'the first broker has lost something'
        self.broker.kill()
        self.note('a second broker on the same store', problem)

    def folded(self):
        """After a clean stop everything is in the table: the same for its bits."""
        self.fresh()
        self.broker.start()
        self.broker.wait_ready()
        if self.broker.stop() != 0:
            self.note('clean stop', self.broker.log())
        shutil.rmtree(self.good)
        shutil.copytree(self.broker.data, self.good, ignore=SOCKETS)
        table = self.read('table.mdb')
        self.judge('no damage, after a clean stop', refuse=False)
        self.cuts()
        places = [m.start() for m in re.finditer(b'marker-', table)]
        for at in self.random.sample(places, min(len(places), self.a.flips // 4)):
            self.flip('table.mdb', at + self.random.randrange(60), None)
        pages = [i for i in range(0, len(table), BLOCK) if any(table[i:i + BLOCK])]
        for _ in range(self.a.flips // 4):
            self.flip('table.mdb', self.random.choice(pages) + self.random.randrange(BLOCK), None)

    def run(self):
        self.fill(100000)  # the journal goes on in files that were made after the start
        self.missing()
        self.broker.cleanup()
        self.fill()
        if not self.journals()[0]:
            raise SystemExit('no file holds the messages as they are: what could be damaged?')
        self.judge('no damage', refuse=False)
        self.two_brokers()
        self.flips()
        self.ends()
        self.missing()
        self.cuts()
        self.repair()
        self.folded()
        self.broker.cleanup(keep=self.a.keep)
        for line in self.skipped:
            print('SKIPPED ' + line)
        print(f'{self.starts} starts, {self.refusals} refusals, seed {self.a.seed}')
        print(f'summary: passed={self.passed} failed={len(self.failed)} skipped={len(self.skipped)}')
        return 0 if not self.failed else 1


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--flips', type=int, default=40)
    p.add_argument('--seed', type=int, default=int.from_bytes(os.urandom(4), 'big'))
    p.add_argument('--broker')
    p.add_argument('--keep', action='store_true')
    a = p.parse_args()
    brokers.quick_tmp()
    return Damage(a).run()


if __name__ == '__main__':
    sys.exit(main())
