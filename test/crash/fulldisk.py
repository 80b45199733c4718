#!/usr/bin/env python3
"""A full disk: nothing that was accepted is lost, nothing more is accepted, what has begun is finished.

  test/crash/fulldisk.py [--rounds 3] [--seed S] [--broker COMMAND]

The store is on a small ext4 file system that fills up while clients publish to a subscriber that is away: by the
messages themselves, or at once by another file. 5.0 publishers must get 0x97, 3.1.1 publishers must wait; flows that
have begun are completed; the subscriber can come back and take what waits, on the full disk; a SIGKILL on the full disk
loses nothing. With room again everything goes on. Needs root.
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
CONF = ['segment_size 1M', 'frame_size 64K', 'max_packet_size 256K', 'max_queued_messages 0', 'max_queued_bytes 0',
        'max_segments 1000', 'refuse_timeout 600']


class Wrong(Exception):
    pass


class Round:
    def __init__(self, a, number):
        self.random = random.Random(a.seed * 1000 + number)
        self.disk = disks.Disk(64)
        self.broker = brokers.Broker(a.broker, data=os.path.join(self.disk.path, 'data'), conf=CONF)
        self.world = w = worlds.World(self.broker.port, a.seed, keep_wire=False)
        self.sub = strict.Subscriber(w, 0, level=5, method='B', receive_maximum=20)
        self.suddenly = number % 3 != 1  # else by the messages themselves
        size = self.random.choice((300, 3000, 30000) if self.suddenly else (3000, 30000))
        self.five = strict.Publisher(w, 0, level=5, window=20, qos=(2, 1), size=size)
        self.five.refusals_allowed = True
        self.three = strict.Publisher(w, 1, level=4, window=20, qos=(2, 1), size=size)
        self.publishers = (self.five, self.three)
        for p in self.publishers:
            p.ready = lambda: self.sub.subscribed
            p.limit = ENDLESS
        self.kills = self.refused_starts = 0
        self.settled = False

    def must(self, truth, what):
        if not self.broker.alive():
            raise Wrong(f'the broker has ended, status {self.broker.process.returncode}:\n{self.broker.log()[-2000:]}')
        if not truth:
            raise Wrong(what)

    def start(self):
        self.broker.start()
        self.must(self.broker.wait_ready(30), 'it does not start')

    def kill_when_full(self):
        """SIGKILL and start on the full disk. A start that needs more room may refuse, and must say so."""
        self.broker.kill()
        self.world.died()
        self.kills += 1
        self.broker.start()
        if self.broker.wait_ready(30):
            return True
        if self.broker.wait_exit(5) != 1 or 'No space left' not in self.broker.log():
            raise Wrong(f'killed on the full disk, it ends with {self.broker.process.returncode}:\n{self.broker.log()}')
        self.refused_starts += 1
        return False

    def run(self):
        w = self.world
        self.start()
        for client in w.clients:
            client.open()
        self.must(w.run(lambda: self.sub.subscribed, 10), 'SUBACK is missing')
        self.sub.drop()
        w.run(lambda: not self.broker.alive(), self.random.uniform(0.05, 0.4))
        if self.suddenly:
            self.disk.fill()
        self.must(w.run(lambda: self.five.refused > 0 or not self.broker.alive(), 60),
                  f'no refusal on a full disk, {self.disk.free()} bytes are free')
        self.must(set(self.five.reasons) <= {0x97}, f'reasons {self.five.reasons}')
        if not self.suddenly:
            self.disk.fill()
        self.begun_is_finished()
        if self.random.random() < 0.5 and not self.kill_when_full():
            self.disk.unfill()
            self.start()
        else:
            self.begun_is_finished()
            self.take_what_waits()
            self.disk.unfill()
        self.room_again()

    def begun_is_finished(self):
        """Stops publishing anew; every flow whose PUBREC came is completed, on the full disk. The 3.1.1 publisher is
        not read from, so it connects again: its PUBRELs come before the PUBLISHes that must wait."""
        for p in self.publishers:
            p.ready = lambda: False
        begun = set(self.three.released.items())
        self.three.lost(0)
        five, three = self.five, self.three
        self.must(self.world.run(lambda: not (five.released or five.sent or begun & set(three.released.items())), 15),
                  f'flows do not end: {list(five.released)} {begun & set(three.released.items())} {list(five.sent)}')
        self.must(self.five.acked > 0 and self.three.acked > 0, 'nothing was accepted at all')

    def take_what_waits(self):
        """The subscriber comes back: all that was accepted must reach it, while the disk is full."""
        self.sub.stopped = False
        self.sub.open()
        accepted = self.five.acked + self.three.acked
        self.must(self.world.run_moving(lambda: self.world.deliveries >= accepted and self.sub.done(), 15),
                  f'{self.world.deliveries} of {accepted} accepted messages were delivered on the full disk')

    def room_again(self):
        self.sub.stopped = False
        self.sub.open()
        for p in self.publishers:
            p.refusals_allowed, p.ready = True, lambda: True
            p.kick()
        before = (self.five.acked, self.three.acked)
        self.must(self.world.run(lambda: self.five.acked > before[0] + 100 and self.three.acked > before[1] + 100, 30),
                  f'publishing does not go on: {before}, {self.five.acked}, {self.three.acked}')
        for p in self.publishers:
            p.limit = p.next_message
        verdict.settle(self.world, self.publishers, [self.sub])
        self.settled = True  # as far as it ever will: the count shows

    def recover(self):
        """After something went wrong: room and a new start, so that the count says whether anything was lost."""
        self.broker.kill()
        self.world.died()
        if os.path.exists(os.path.join(self.disk.path, 'filler')):
            self.disk.unfill()
        self.start()
        self.room_again()

    def close(self, keep):
        self.world.close()
        self.broker.cleanup(keep)
        self.disk.close()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--seed', type=int, default=int.from_bytes(os.urandom(4), 'big'))
    p.add_argument('--broker')
    a = p.parse_args()
    brokers.quick_tmp()
    if disks.skipped('full disk', 'passed=0 failed=0'):
        return 0
    passed = failed = kills = 0
    totals = dict.fromkeys(verdict.Tally.FIELDS, 0)
    for number in range(a.rounds):
        began, r, problem = time.monotonic(), Round(a, number), None
        try:
            r.run()
        except Wrong as e:
            problem = str(e)
            try:
                r.recover()
            except Wrong as again:
                problem += f'\n  and afterwards: {again}'
        if r.settled:
            tally = verdict.Tally(r.world, r.publishers, [r.sub])
            if not tally.clean():
                problem = '\n  '.join(filter(None, [problem, tally.line(), *tally.details[:8]]))
            for field in totals:
                totals[field] += getattr(tally, field)
        kills += r.kills
        passed, failed = passed + (not problem), failed + bool(problem)
        print(f'{"FAILED" if problem else "ok"}: round {number}, {r.five.acked} + {r.three.acked} accepted, '
              f'{r.five.refused} refused, {r.refused_starts} starts refused, {time.monotonic() - began:.1f} s' + (f': {problem}' if problem else ''), flush=True)
        r.close(False)
    print(f'seed {a.seed}')
    print(f'summary: full_disks={a.rounds} sigkills={kills} passed={passed} failed={failed} '
          + ' '.join(f'{k}={v}' for k, v in totals.items()))
    return 0 if not failed else 1


if __name__ == '__main__':
    sys.exit(main())
