#!/usr/bin/env python3
"""Power cuts: the broker's store is on an ext4 file system whose power fails at random instants under load.

  test/crash/powercut.py [--cuts 200] [--seed S] [--broker COMMAND] [--seconds S] [--size MiB] [--lie]

At each cut the file system stops without a flush; the broker lives on for some milliseconds (it must not acknowledge
anything that is not on the disk), is killed, the file system is mounted again, the broker starts, and the same clients
go on with what they hold. Everything is counted at every tenth cut and at the end. Needs root.

With --lie the fdatasync of the journal does nothing (by strace): then acknowledged messages must be found missing, and
that is what makes the exit status 0. So it is known that this test can see.
"""

import argparse
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import broker as brokers  # noqa: E402
import disk as disks  # noqa: E402
import strict  # noqa: E402
import verdict  # noqa: E402
import worlds  # noqa: E402

ENDLESS = 1 << 40


class PowerCuts:
    def __init__(self, a):
        self.a, self.random = a, random.Random(a.seed)
        self.disk = disks.Disk(a.size)
        # Files of 4 MiB: what waits longer is folded into the table under the cuts, too.
        conf = None if a.default_conf else ['segment_size 4M', 'frame_size 1M', 'max_packet_size 1M']
        self.broker = brokers.Broker(a.broker, data=os.path.join(self.disk.path, 'data'), conf=conf)
        self.world = worlds.World(self.broker.port, a.seed, keep_wire=bool(a.wire))
        w = self.world
        self.subscribers = [
            strict.Subscriber(w, 0, level=4, method='B'),
            strict.Subscriber(w, 1, level=5, method='A', receive_maximum=8),
            strict.Subscriber(w, 2, level=5, method='B', granted=1, receive_maximum=50)]
        self.publishers = [strict.Publisher(w, n, level=4 + n % 2, window=(20, 3, 50)[n], qos=((2,), (2, 1), (1, 2, 2))[n],
                                            size=(64, 2000, lambda m: 20 + m * 37 % 700)[n]) for n in range(3)]
        for p in self.publishers:
            p.ready = lambda: all(s.subscribed for s in self.subscribers)
        self.cuts, self.start_longest, self.failure = 0, 0.0, None

    def run(self):
        self.start()
        for client in self.world.clients:
            client.open()
        end = time.monotonic() + self.a.seconds if self.a.seconds else None
        while self.cuts < self.a.cuts and not self.failure and not (end and time.monotonic() > end):
            self.round()
            if self.cuts % 10 == 0:
                self.count()
        if not self.failure:
            self.count()
            if not self.failure and not verdict.knock(self.world, self.world.clients):
                self.failure = f'not everybody was answered after the last reconnect:\n{self.broker.log()}'

    def start(self):
        began = time.monotonic()
        lie = []
        if self.a.lie and self.cuts:  # the store itself is made honestly
            lie = disks.lying(disks.journals(self.broker.data))
        self.broker.start(lie)
        if not self.broker.wait_ready(30):
            self.failure = f'the broker does not start after cut {self.cuts}, status {self.broker.process.poll()}:\n{self.broker.log()}'
        self.start_longest = max(self.start_longest, time.monotonic() - began)

    def idle(self, seconds):
        """Lets the world run for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.world.step(min(0.005, max(0.0, end - time.monotonic())))

    def round(self):
        r, w = self.random, self.world
        if not w.run(lambda: any(c.state is worlds.UP for c in w.clients), 20):
            self.failure = f'nobody could connect after cut {self.cuts}'
            return
        for p in self.publishers:
            p.limit = ENDLESS if r.random() < 0.8 else p.next_message
            p.kick()
        if r.random() < 0.4:
            client = r.choice(w.clients)
            client.cut(r.choice(('rst', 'fin')), away=r.choice((0, 0.05, 0.3)))
        self.idle(r.choice((0.002, 0.02, 0.05, 0.1, 0.15)) * r.random())
        self.disk.cut()
        self.idle(r.choice((0, 0, 0.002, 0.01, 0.03)))
        self.broker.kill()
        self.world.died()
        self.cuts += 1
        self.disk.power_on()
        self.start()

    def count(self):
        """Stops publishing and waits until everything is complete; a fault found here ends the run."""
        for p in self.publishers:
            p.limit = p.next_message
        verdict.settle(self.world, self.publishers, self.subscribers, 15)
        if not self.broker.alive():
            self.failure = f'the broker died by itself, status {self.broker.process.returncode}:\n{self.broker.log()}'
        elif not verdict.Tally(self.world, self.publishers, self.subscribers).clean():
            self.failure = f'found wrong after cut {self.cuts}'


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--cuts', type=int, default=200)
    p.add_argument('--seconds', type=float, help='stop after so long even if there were fewer cuts')
    p.add_argument('--seed', type=int, default=int.from_bytes(os.urandom(4), 'big'))
    p.add_argument('--lie', action='store_true', help='without any sync: the test must notice')
    p.add_argument('--default-conf', action='store_true', help='with the default sizes of the store')
    p.add_argument('--size', type=int, default=512)
    p.add_argument('--broker')
    p.add_argument('--wire', help='write what every connection carried into this directory')
    p.add_argument('--keep', action='store_true', help='keep the log of a failed run')
    a = p.parse_args()
    brokers.quick_tmp()
    if disks.skipped('power cuts', 'passed=0' if a.lie else 'power_cuts=0'):
        return 0
    began = time.monotonic()
    run = PowerCuts(a)
    try:
        run.run()
        for p in run.publishers:
            p.limit = p.next_message
        seconds = time.monotonic() - began
        tally = verdict.Tally(run.world, run.publishers, run.subscribers)
        clean = tally.clean() and not run.failure
        if a.wire:
            worlds.write_wires(run.world, a.wire)
        for line in tally.details[:40] + ([run.failure] if run.failure else []):
            print('  ' + line)
    finally:
        run.world.close()
        run.broker.cleanup(keep=a.keep)
        run.disk.close()
    print(f'{"clean" if clean else "BROKEN"}: {run.cuts} power cuts, {tally.delivered} of {tally.expected} deliveries, '
          f'{tally.line()}; {seconds / max(1, run.cuts):.2f} s each, longest start {run.start_longest:.2f} s, seed {a.seed}')
    if a.lie:
        print(f'summary: passed={int(not clean)} failed={int(clean)}')
        return int(clean)
    print(f'summary: power_cuts={run.cuts} sigkills={run.cuts} cuts={run.world.cuts} {tally.summary()}')
    return 0 if clean else 1


if __name__ == '__main__':
    sys.exit(main())
