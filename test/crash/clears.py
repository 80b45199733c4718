#!/usr/bin/env python3
"""On a full disk retained messages are cleared in one burst, in any order, and a session with a queue ends.

  test/crash/clears.py [--broker COMMAND] [--count 150000]

The store is on a small ext4 file system (as root) that another file fills. All clears must be acknowledged, the session
must end; then the store folds that and gives space back. In a second round half of the messages were cleared before the
disk was full, so that the table has holes; and the broker is killed right after the last acknowledgement and must start
on the full disk, with nothing retained, and then give space back. The pages of the table that a burst changes are many
more than its bytes in the journal."""

import argparse
import os
import random
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import broker as brokers  # noqa: E402
import codec  # noqa: E402
import disk as disks  # noqa: E402
from anew import Line, Wrong  # noqa: E402

BODY, QUEUED, PART = 250, 20000, 500
REST_SECONDS = 60
MIB = 1 << 20


class Round:
    def __init__(self, a, hard):
        self.a, self.hard, self.chance = a, hard, random.Random(a.seed)
        self.disk = disks.Disk(300)
        self.broker = brokers.Broker(a.broker, data=os.path.join(self.disk.path, 'data'), conf=['segment_size 4M', 'frame_size 1M', 'max_packet_size 1M'])

    def start(self):
        self.broker.start()
        if not self.broker.wait_ready(30):
            raise Wrong(f'it does not start, status {self.broker.process.poll()}:\n{self.broker.log()}')

    def send(self, line, packets, answer):
        for at in range(0, len(packets), PART):
            part = packets[at:at + PART]
            line.sock.sendall(b''.join(part))
            line.until(answer, len(part))

    def fill(self):
        line, away = Line(self.broker.port, 'filler'), Line(self.broker.port, 'away', clean=False)
        away.sock.sendall(codec.subscribe(1, [('queued', 1)], 4))
        away.until(codec.SUBACK)
        away.close()
        topics = [f't/{n}' for n in range(self.a.count)]
        self.send(line, [codec.publish(t, b'x' * BODY, 1, n % PART + 1, 4, retain=True) for n, t in enumerate(topics)],
                  codec.PUBACK)
        self.send(line, [codec.publish('queued', b'x' * BODY, 1, n % PART + 1, 4) for n in range(QUEUED)], codec.PUBACK)
        self.rests(line, 0)
        return line, topics

    def clear(self, line, topics):
        self.chance.shuffle(topics)
        line.sock.settimeout(60)
        self.send(line, [codec.publish(t, b'', 1, n % PART + 1, 4, retain=True) for n, t in enumerate(topics)], codec.PUBACK)

    def free(self):
        st = os.statvfs(self.disk.path)
        return st.f_bfree * st.f_frsize

    def rests(self, line, free):
        """Waits until space was given back: for some seconds nothing changes, and so much is free."""
        end, last, since = time.monotonic() + REST_SECONDS, -1, 0
        while time.monotonic() < end:
            now = time.monotonic()
            if self.free() != last:
                last, since = self.free(), now
            if now - since > 7 and last >= free:
                return
            time.sleep(.2)
        raise Wrong(f'{self.free()} bytes are free, {free} were to be given back:\n{self.broker.log()[-500:]}')

    def run(self):
        self.start()
        line, topics = self.fill()
        if self.hard:
            self.clear(line, topics[::2])
            self.rests(line, 0)
            del topics[::2]
        self.disk.fill()
        self.clear(line, topics)
        Line(self.broker.port, 'away').close()
        if self.hard:
            self.broker.kill()
            self.start()
        left = Line(self.broker.port, 'reader').retained()
        if left:
            raise Wrong(f'{len(left)} are still retained')
        self.rests(line, 20 * MIB)

    def close(self):
        self.broker.kill()
        self.broker.cleanup()
        self.disk.close()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--broker')
    p.add_argument('--count', type=int, default=150000)
    p.add_argument('--seed', type=int, default=1)
    a = p.parse_args()
    brokers.quick_tmp()
    if disks.skipped('clears on a full disk', 'passed=0 failed=0'):
        return 0
    failed = 0
    for hard in (False, True):
        began, r, problem = time.monotonic(), Round(a, hard), None
        try:
            r.run()
        except (Wrong, OSError) as e:
            problem = f'{traceback.format_exc()}{r.broker.log()[-500:]}' if isinstance(e, OSError) else str(e)
        finally:
            r.close()
        failed += bool(problem)
        print(f'{"FAILED" if problem else "ok"}: {"with holes, and killed after the burst" if hard else "left alone"}, '
              f'{time.monotonic() - began:.1f} s' + (f': {problem}' if problem else ''), flush=True)
    print(f'summary: passed={2 - failed} failed={failed}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
