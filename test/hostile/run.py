#!/usr/bin/env python3
"""Attacks one broker after the other, while well-behaved clients are measured.

  test/hostile/run.py [--short | --stage] [--p99 MS] [--broker BINARY] [--conf LINE]... [--disk] [--list] [--keep]
                      [ATTACK...]

ATTACK is an attack's name or a part of it. Each gets a broker with default options and, where it knows them, with
`memory_limit 512M` and `store_limit 2G`. Before it and during it a publisher and a subscriber at QoS 2 from another
address send 125 messages a second, and newcomers connect. One line for each:

  NAME  p99 and max in ms (before the attack, under it)  lost dup  memory and disk at their peak  what is left afterwards

It fails when p99 is over 50 ms (--p99), or over twice what it was before the attack on a machine that is that busy; when a
message is lost, doubled, refused or stuck, a connection of the well-behaved is cut, a newcomer waits for more than a
second; when memory or disk go over their limits, the broker dies or does not stop cleanly; or when it is not back at
rest a while after the attackers have gone and their sessions were ended. Exit status 0 only if all passed."""

import argparse
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import attack as attacks  # noqa: E402
import attacks_connect  # noqa: E402,F401
import attacks_publish  # noqa: E402,F401
import attacks_subscribe  # noqa: E402,F401
import broker as brokers  # noqa: E402
from guests import Guests  # noqa: E402

LIMITS = ('memory_limit 512M', 'store_limit 2G')
MEMORY_MB, DISK_MB = 512, 2048
P99_MS, ENTRY_MS = 50, 1000
REST_MEMORY_MB, REST_DISK_MB = 64, 40  # above what they were before the attack
REST_SECONDS, REST_SECONDS_SHORT = 60, 8

# Attacks that the broker stands, one of each kind, in a minute and a half. docs/hostile.md has the others.
STAGE = ('half_connects', 'half_publishes', 'log_flood', 'giant_connects', 'garbage', 'durable_flood', 'held_ids',
         'user_properties', 'colliding_keys', 'filters_times_retained', 'one_publish_many_matches')


def kept_files():
    """As many open files as may be, here and in what is started."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Target(brokers.Broker):
    """A broker of the given binary, with figures of its memory and disk."""

    def __init__(self, binary, lines, deaf):
        lines = ['listener {port} 127.0.0.1', 'allow_anonymous true', 'persistence_location {data}', *lines]
        super().__init__(f'{binary} -c {{conf}}', conf=lines)
        self.pipe = None
        if deaf:
            os.mkfifo(self.scratch + '/deaf')
            self.pipe = os.open(self.scratch + '/deaf', os.O_RDWR | os.O_NONBLOCK)

    def begin(self):
        # Its output goes into a pipe that is full before long.
        shell = ('sh', '-c', f'exec "$@" >{self.scratch}/deaf 2>&1', 'sh') if self.pipe else ()
        self.start(shell)
        return self.wait_ready(30)

    def memory_mb(self):
        try:
            with open(f'/proc/{self.process.pid}/status', encoding='ascii') as f:
                return next(int(line.split()[1]) for line in f if line.startswith('RssAnon')) / 1024
        except (OSError, StopIteration):
            return 0.0

    def disk_mb(self):
        size = 0
        try:
            for entry in os.scandir(self.data):
                size += entry.stat().st_blocks * 512
        except OSError:
            pass
        return size / 1e6

    def cleanup(self, keep=False):
        super().cleanup(keep)
        if self.pipe:
            os.close(self.pipe)


def knows(binary, line):
    """Whether this build takes the option."""
    target = Target(binary, [line], False)
    try:
        return subprocess.run([*target.argv, '--test-config'], capture_output=True, check=False).returncode == 0
    finally:
        target.cleanup()


class Watch(threading.Thread):
    """Looks at memory and disk while something goes on."""

    def __init__(self, target):
        super().__init__(daemon=True)
        self.target, self.going = target, True
        self.memory, self.disk = 0.0, 0.0

    def run(self):
        while self.going:
            self.memory = max(self.memory, self.target.memory_mb())
            self.disk = max(self.disk, self.target.disk_mb())
            time.sleep(.05)

    def end(self):
        self.going = False
        self.join()


def act(name, port, seconds, pipe):
    """The attacker's process: builds, waits for the word, attacks, and repairs when it is told so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    ground, one = attacks.Ground(port), attacks.ATTACKS[name]()
    ground.total = seconds
    one.build(ground)
    pipe.send('built')
    pipe.recv()
    ground.begin(seconds)
    one.run(ground)
    pipe.send(ground.notes)
    pipe.recv()
    ground.leave()
    ground.notes = {}
    one.repair(ground)
    pipe.send('repaired')


class Attacker:
    def __init__(self, name, port, seconds):
        self.pipe, other = multiprocessing.Pipe()
        self.seconds = seconds
        self.process = multiprocessing.Process(target=act, args=(name, port, seconds, other), daemon=True)
        self.process.start()
        other.close()

    def say(self, limit, word='go'):
        """Tells it to go on; what it reports then, or None when it does not in time."""
        if word:
            self.pipe.send(word)
        try:
            return self.pipe.recv() if self.pipe.poll(limit) else None
        except EOFError:
            return None

    def close(self):
        self.process.kill()
        self.process.join()


class Trial:
    """One attack on one broker."""

    def __init__(self, a, name, lines):
        self.a, self.name, self.kind = a, name, attacks.ATTACKS[name]
        self.seconds = self.kind.short if a.short else self.kind.seconds
        self.target = Target(a.broker, [*lines, *self.kind.conf, *a.conf], self.kind.deaf_log)
        self.wrong, self.notes = [], {}

    def fault(self, truth, words):
        if truth:
            self.wrong.append(words)

    def run(self):
        guests = attacker = None
        try:
            if not self.target.begin():
                self.wrong.append('the broker does not start: ' + self.target.log()[-300:])
                return self.line({}, {}, {}, None)
            attacker = Attacker(self.name, self.target.port, self.seconds)
            self.fault(attacker.say(120, None) != 'built', 'the attack could not be built')
            guests = Guests(self.target.port)
            self.fault(not guests.until(lambda: guests.ask('ready'), 10), 'the well-behaved were not let in')
            return self.measure(guests, attacker)
        finally:
            for one in (guests, attacker):
                if one:
                    one.close()
            self.target.cleanup(self.a.keep)

    def measure(self, guests, attacker):
        guests.ask('send')
        start = time.monotonic()
        time.sleep(1.2 if self.a.short else 3)
        self.before = self.target.memory_mb(), self.target.disk_mb()
        watch = Watch(self.target)
        watch.start()
        go = time.monotonic()
        self.notes = attacker.say(self.seconds * 2 + 20)
        over = time.monotonic()
        self.fault(self.notes is None, 'the attacker does not come back')
        calm = guests.ask('figures', start + .2, go)
        # What was due last may still be on its way.
        time.sleep(.3)
        storm = guests.ask('figures', go, over)
        if self.target.alive() and self.notes is not None:
            self.fault(attacker.say(90) != 'repaired', 'what the attacker left could not be ended within 90 s')
        attacker.close()
        watch.end()
        guests.ask('hush')
        guests.until(lambda: not guests.ask('waiting'), 10)
        totals = guests.ask('totals')
        rest = self.rest() if self.target.alive() else None
        self.judge(calm, storm, totals, watch)
        self.judge_end(rest)
        return self.line(calm, storm, totals, watch, rest)

    def rest(self):
        """Waits until memory and disk are back at rest; how much more there is then: (memory, disk, seconds)."""
        began, limit = time.monotonic(), REST_SECONDS_SHORT if self.a.short else REST_SECONDS
        while True:
            left = self.target.memory_mb() - self.before[0], self.target.disk_mb() - self.before[1]
            seconds = time.monotonic() - began
            if left[0] < REST_MEMORY_MB and left[1] < REST_DISK_MB or seconds > limit:
                return *left, seconds
            time.sleep(.1)

    def only_late(self):
        """Whether it failed by time alone."""
        return self.wrong and all(w.startswith(('p99 ', 'a newcomer waited')) for w in self.wrong)

    def judge(self, calm, storm, totals, watch):
        most = max(self.a.p99, 2 * calm['p99'])
        self.fault(storm['p99'] > most, f'p99 {storm["p99"]:.0f} ms')
        self.fault(storm['entry'] > ENTRY_MS, f'a newcomer waited {storm["entry"]:.0f} ms or was not served')
        for key, words in (('lost', 'lost'), ('dup', 'doubled'), ('refused', 'refused'), ('stuck', 'never accepted'),
                           ('forgotten', 'sessions forgotten')):
            self.fault(totals[key], f'{totals[key]} {words}')
        self.fault(totals['cuts'], f'{totals["cuts"]} cuts of the well-behaved')
        if totals['cuts'] or totals['refused']:
            self.wrong.append(totals['why'])
        self.fault(watch.memory > MEMORY_MB, f'memory {watch.memory:.0f} MB')
        self.fault(watch.disk > DISK_MB, f'disk {watch.disk:.0f} MB')

    def judge_end(self, rest):
        if not self.target.alive():
            self.wrong.append(f'the broker died ({self.target.process.returncode}): '
                              + ' '.join(self.target.log().split('\n')[-3:])[-200:])
            return
        self.fault(rest[0] >= REST_MEMORY_MB, f'{rest[0]:.0f} MB of memory not given back')
        self.fault(rest[1] >= REST_DISK_MB, f'{rest[1]:.0f} MB of disk not given back')
        began = time.monotonic()
        status = self.target.stop(20)
        self.stopped = time.monotonic() - began
        self.fault(status != 0, 'does not stop within 20 s' if status is None else f'stop: exit code {status}')

    def line(self, calm, storm, totals, watch, rest=None):
        out = f'{self.name:26}'
        if storm:
            out += (f' p99={calm["p99"]:.1f}->{storm["p99"]:.1f}ms max={calm["max"]:.1f}->{storm["max"]:.1f}ms '
                    f'entry={storm["entry"]:.0f}ms lost={totals["lost"]} dup={totals["dup"]} of={totals["sent"]} '
                    f'memory={watch.memory:.0f}MB disk={watch.disk:.0f}MB ')
        if rest:
            out += f'rest={rest[0]:+.0f}MB/{rest[1]:+.0f}MB '
        done = ' '.join(f'{key}={value}' for key, value in (self.notes or {}).items() if key != 'bytes_read')
        return f'{out} [{done}]  ' + ('FAILED: ' + '; '.join(self.wrong) if self.wrong else 'ok')


def chosen(a):
    if a.stage:
        return list(STAGE)
    return [n for n in attacks.ATTACKS if not a.attack or any(part in n for part in a.attack)]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--short', action='store_true', help='a few seconds for each attack')
    p.add_argument('--stage', action='store_true', help='the short form of those that the broker stands, and no others')
    p.add_argument('--p99', type=float, default=P99_MS, help='milliseconds, the bound of the latency; %(default)s')
    p.add_argument('--broker', default=os.path.join(os.environ.get('QUARTET_BUILD', brokers.ROOT + '/build/release'),
                                                    'bin/quartetd'), help='another quartetd')
    p.add_argument('--conf', action='append', default=[], help='a configuration line')
    p.add_argument('--list', action='store_true', help='what there is')
    p.add_argument('--disk', action='store_true', help='keep stores on the disk: its other users are measured, too')
    p.add_argument('--keep', action='store_true', help='keep what the brokers have written')
    p.add_argument('attack', nargs='*')
    a = p.parse_args()
    if a.list:
        for name in chosen(a):
            print(f'{name:26} {" ".join(attacks.ATTACKS[name].__doc__.split())}')
        return 0
    a.short = a.short or a.stage
    a.broker = os.path.abspath(a.broker)
    kept_files()
    if not a.disk:
        brokers.quick_tmp()
    lines = [line for line in LIMITS if knows(a.broker, line)]
    for line in LIMITS:
        if line not in lines:
            print(f'NOTE: this broker does not know {line.split()[0]}: attacked without it')
    passed = failed = 0
    for name in chosen(a):
        trial = Trial(a, name, lines)
        print(trial.run(), flush=True)
        if a.stage and trial.only_late():  # another stage runs beside this one, on the same two cores
            print(f'{name} was late, and nothing else: once more', flush=True)
            trial = Trial(a, name, lines)
            print(trial.run(), flush=True)
        passed, failed = passed + (not trial.wrong), failed + bool(trial.wrong)
    for name in attacks.ATTACKS if a.stage else ():
        if name not in STAGE:
            print(f'not among them: {name}')
    print(f'summary: passed={passed} failed={failed}')
    return 0 if not failed else 1


if __name__ == '__main__':
    sys.exit(main())
