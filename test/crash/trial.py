#!/usr/bin/env python3
"""The trial: publishers and durable subscribers, killed brokers, cut connections; then the count.

  scripts/trial [--broker COMMAND] [--publishers 4] [--window 20] [--subscribers 2] [--messages 30000] [--kills 5]
                [--cuts 20] [--qos 2] [--protocol 3.1.1|5] [--seed S] [--wire DIRECTORY] [--conf LINE]... [--unix]
                [--stress]

COMMAND is a name (quartetd, mosquitto, mosquitto+persistence) or a command with {port} and {data} in it. --qos takes a
list: with 1,2 every publisher has one stream of each. Kills and cuts come at random points of the work done; a cut
falls at a random byte of what is sent or received. Exit status 0 only if nothing was lost, duplicated, reordered,
stuck or forgotten and no packet broke the standard.

--stress draws odd limits, sizes and long absences from the seed: 1 to 8 shards, small windows, queues that spill into
the table, journal files of 1 MiB.
"""

import argparse
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import broker as brokers  # noqa: E402
import strict  # noqa: E402
import verdict  # noqa: E402
import worlds  # noqa: E402


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--broker')
    p.add_argument('--publishers', type=int, default=4)
    p.add_argument('--window', type=int, default=20)
    p.add_argument('--subscribers', type=int, default=2)
    p.add_argument('--messages', type=int, default=30000)
    p.add_argument('--kills', type=int, default=5)
    p.add_argument('--cuts', type=int, default=20)
    p.add_argument('--qos', default='2')
    p.add_argument('--protocol', choices=('3.1.1', '5', 'both'), default='3.1.1')
    p.add_argument('--size', type=int, default=64)
    p.add_argument('--conf', action='append', help='a configuration line of quartetd')
    p.add_argument('--unix', action='store_true', help="connect to quartetd's UNIX socket")
    p.add_argument('--stress', action='store_true')
    p.add_argument('--seed', type=int, default=None)
    p.add_argument('--patience', type=float, default=15.0, help='seconds without any movement before it gives up')
    p.add_argument('--wire', help='write what every connection carried into this directory')
    p.add_argument('--keep', action='store_true', help='keep the store and the log')
    a = p.parse_args()
    a.away = (0, 0, 0.02, 0.2)  # seconds that a client may stay away after a cut
    return a


class Trial:
    def __init__(self, a):
        self.a, self.random = a, random.Random(a.seed)
        if a.stress:
            self.draw(a)
        if a.unix:
            a.conf = (a.conf or []) + [brokers.LOCAL]
        self.broker = brokers.Broker(a.broker, conf=a.conf)
        self.world = worlds.World(self.broker.path() if a.unix else self.broker.port, a.seed, keep_wire=True)
        qos = tuple(int(q) for q in a.qos.split(','))
        level = {'3.1.1': lambda n: 4, '5': lambda n: 5, 'both': lambda n: 4 + n % 2}[a.protocol]
        self.subscribers = [strict.Subscriber(self.world, n, level(n), method='BA'[n % 2], receive_maximum=(None, 30)[n % 2])
                            for n in range(a.subscribers)]
        self.publishers = [strict.Publisher(self.world, n, level(n // 2), window=a.window, qos=qos, size=a.size)
                           for n in range(a.publishers)]
        for n, p in enumerate(self.publishers):
            p.limit = a.messages // a.publishers + (n < a.messages % a.publishers)
            p.ready = lambda: all(s.subscribed for s in self.subscribers)
        self.kills = 0

    def draw(self, a):
        r = self.random
        a.conf = (a.conf or []) + brokers.SMALL_STORE + [
            f'shards {r.choice((1, 2, 3, 8))}', f'max_inflight_messages {r.choice((1, 2, 10, 1000))}',
            f'queue_window {r.choice((16, 17, 100, 1000))}', f'outbox_size {r.choice(("4K", "20K", "1M"))}',
            f'receive_maximum {r.choice((1, 3, 50, 1000))}', f'staged_size {r.choice(("64K", "1M"))}']
        a.window, a.size = r.choice((1, 5, 20, 100)), r.choice((16, 64, 500, 4000))
        a.publishers, a.subscribers = r.randrange(1, 7), r.randrange(1, 5)
        a.away = (0, 0.02, 0.2, 1.0, 2.0)

    def run(self):
        a, world = self.a, self.world
        self.broker.start()
        if not self.broker.wait_ready():
            return f'the broker did not start:\n{self.broker.log()}'
        for client in world.clients:
            client.open()
        work = lambda: world.deliveries + sum(p.acked for p in self.publishers)
        counted = sum(p.count(s) for p in self.publishers for s, qos in enumerate(p.qos) if qos)
        whole = counted * (a.subscribers + 1)  # QoS 0 may get lost: no point of the plan may depend on it
        plan = sorted([(self.random.uniform(0.02, 0.95) * whole, 'kill') for _ in range(a.kills)]
                      + [(self.random.uniform(0.01, 0.95) * whole, 'cut') for _ in range(a.cuts)])
        for when, what in plan:
            if not world.run_moving(lambda: work() >= when, a.patience):
                break
            if what == 'cut':
                self.cut()
            elif not self.kill():
                return f'the broker did not start again after kill {self.kills}:\n{self.broker.log()}'
        for client in world.clients:
            if client.cut_waits():
                client.cut_now()
        verdict.settle(world, self.publishers, self.subscribers, a.patience)
        if not self.broker.alive():
            return f'the broker died by itself, status {self.broker.process.returncode}:\n{self.broker.log()}'
        if not verdict.knock(world, world.clients, a.patience):
            return f'not everybody was answered after the last reconnect:\n{self.broker.log()}'
        return None

    def cut(self):
        up = [c for c in self.world.clients if c.state is worlds.UP and not c.cut_waits()]
        if not up:
            self.world.run(lambda: any(c.state is worlds.UP and not c.cut_waits() for c in self.world.clients),
                           self.a.patience)
            up = [c for c in self.world.clients if c.state is worlds.UP and not c.cut_waits()]
        if not up:
            return
        client = self.random.choice(up)
        how, away = self.random.choice(('rst', 'fin')), self.random.choice(self.a.away)
        place = self.random.randrange(3)
        client.cut(how, out_after=self.random.randrange(1, 400) if place == 1 else None,
                   in_after=self.random.randrange(1, 400) if place == 2 else None, away=away)

    def kill(self):
        self.broker.kill()
        self.world.died()
        self.kills += 1
        self.broker.start()
        generation = self.world.generation
        came = lambda: any(c.state is worlds.UP and c.generation == generation for c in self.world.clients)
        return self.world.run(lambda: came() or not self.broker.alive(), 30) and self.broker.alive()


def main():
    a = arguments()
    if a.seed is None:
        a.seed = int.from_bytes(os.urandom(4), 'big')
    began = time.monotonic()
    trial = Trial(a)
    failure = trial.run()
    seconds = time.monotonic() - began
    tally = verdict.Tally(trial.world, trial.publishers, trial.subscribers)
    if a.wire:
        worlds.write_wires(trial.world, a.wire)
    clean = tally.clean() and not failure
    for line in tally.details[:40]:
        print('  ' + line)
    if failure:
        print('  ' + failure)
    if not clean and a.keep:
        print(f'  kept: {trial.broker.scratch}')
    trial.world.close()
    trial.broker.cleanup(keep=a.keep and not clean)
    print(f'{"clean" if clean else "BROKEN"}: {tally.delivered} of {tally.expected} deliveries, {tally.line()}; '
          f'{trial.kills} SIGKILLs, {trial.world.cuts} cuts, {seconds:.1f} s, protocol {a.protocol}, '
          f'QoS {a.qos}, seed {a.seed}' + (f', {a.conf}' if a.conf else ''))
    print(f'summary: trials=1 sigkills={trial.kills} cuts={trial.world.cuts} power_cuts=0 failures={int(bool(failure))} '
          f'{tally.summary()}')
    return 0 if clean else 1


if __name__ == '__main__':
    sys.exit(main())
