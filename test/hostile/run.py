#!/usr/bin/env python3
"""Attacks one broker after the other, while well-behaved clients are measured.

  test/hostile/run.py [--short | --stage] [--p99 MS] [--broker BINARY] [--conf LINE]... [--disk] [--all-cores] [--table]
                      [--list] [--keep] [ATTACK...]

ATTACK is an attack's name or a part of it. Each gets a broker with default options and, where it knows them, with
`memory_limit 512M` and `store_limit 2G`. Before it and during it a publisher and a subscriber at QoS 2 from another
address send 125 messages a second, and newcomers connect. One line for each:

  NAME  p50/p99/max in ms of the well-behaved (p99 before the attack)  lost dup  memory and disk at their peak
        seconds until all accounts were zero, and until memory and disk were back, after the attackers had gone

It fails when p99 is over 50 ms (--p99), or over twice what it was before the attack on a machine that is that busy; when a
message is lost, doubled, refused or stuck, a connection of the well-behaved is cut, a newcomer waits for more than a
second; when memory or disk go over their limits, the broker dies or does not stop cleanly; or when not all is given back
within a minute (--short: 15 s) after the attackers have gone and an operator has ended their sessions and cleared their
retained messages with `quartet ctl`: accounts zero, the store at most 200 MB. Exit status 0 only if all passed.

The broker has one core of the machine and the attackers have the others, as if they were on other machines; it has as
many threads as without that. --all-cores leaves all to all."""

import argparse
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import attack as attacks  # noqa: E402
import attacks_connect  # noqa: E402,F401
import attacks_moment  # noqa: E402,F401
import attacks_publish  # noqa: E402,F401
import attacks_subscribe  # noqa: E402,F401
import broker as brokers  # noqa: E402
from guests import ADDRESS, Guests  # noqa: E402
from target import Target, Watch, left_over  # noqa: E402

LIMITS = ('memory_limit 512M', 'store_limit 2G')
MEMORY_MIB, DISK_MIB = 512, 2048
P99_MS, ENTRY_MS = 50, 1000
REST_MEMORY_MIB = 64  # above what it was before the attack
REST_DISK_MIB = 200
REST_SECONDS, REST_SECONDS_SHORT = 60, 15  # what is not back after the shorter time is waited for beside the next attack
CALM_SECONDS, CALM_SECONDS_SHORT = 2, 1.2

# Attacks that the broker stands, one of each kind, in two minutes and a half. docs/hostile.md has the others.
STAGE = ('connection_churn', 'half_connects', 'half_publishes', 'session_flood', 'takeover_storm', 'log_flood',
         'giant_connects', 'small_clients', 'garbage', 'durable_flood', 'held_ids', 'wrong_acks', 'largest_publishes',
         'user_properties', 'colliding_keys', 'filters_times_retained', 'all_retained', 'one_publish_many_matches',
         'late_mail', 'matching_nothing', 'wills_to_many')


def kept_files():
    """As many open files as may be, here and in what is started."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def cores_of(all_cores):
    """(the broker's, everybody else's), or (None, None) when they share."""
    cores = sorted(os.sched_getaffinity(0))
    return (None, None) if all_cores or len(cores) < 2 else ({cores[0]}, set(cores[1:]))


def act(name, port, seconds, pipe):
    """The attacker's process: builds, waits for the word, attacks, and keeps its connections until it is ended."""
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


class Attacker:
    def __init__(self, name, port, seconds, cores):
        self.pipe, other = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=act, args=(name, port, seconds, other), daemon=True)
        self.process.start()
        if cores:
            os.sched_setaffinity(self.process.pid, cores)
        other.close()

    def hear(self, limit):
        """What it reports, or None when it does not in time."""
        try:
            return self.pipe.recv() if self.pipe.poll(limit) else None
        except EOFError:
            return None

    def close(self):
        """All its connections break."""
        self.process.kill()
        self.process.join()


class Trial:
    """One attack on one broker."""

    def __init__(self, a, name, lines):
        self.a, self.name, self.kind = a, name, attacks.ATTACKS[name]
        self.seconds = self.kind.short if a.short else self.kind.seconds
        self.target = Target(a.broker, [*lines, *self.kind.conf, *a.conf], self.kind.deaf_log)
        self.wrong, self.notes, self.figures = [], {}, {}
        self.waits, self.served = {}, False

    def fault(self, truth, words):
        if truth:
            self.wrong.append(words)

    def run(self):
        guests = attacker = None
        try:
            broker_cores, cores = cores_of(self.a.all_cores)
            if not self.target.begin(broker_cores):
                self.wrong.append('the broker does not start: ' + self.target.log()[-300:])
                return
            attacker = Attacker(self.name, self.target.port, self.seconds, cores)
            if attacker.hear(120) != 'built':
                self.wrong.append('the attack could not be built')
                return
            guests = Guests(self.target.port, cores)
            self.fault(not guests.until(lambda: guests.ask('ready'), 10), 'the well-behaved were not let in')
            self.measure(guests, attacker)
        finally:
            for one in (guests, attacker):
                if one:
                    one.close()
            self.later = threading.Thread(target=self.end)
            self.later.start()
            if not self.waits or self.a.short:
                self.later.join()

    def end(self):
        if self.waits:
            self.rest(self.gone + REST_SECONDS)
        self.judge_end()
        self.target.cleanup(self.a.keep)
        print(self.line(), flush=True)

    def measure(self, guests, attacker):
        self.friend = self.friend_accounts()
        guests.ask('send')
        start = time.monotonic()
        time.sleep(CALM_SECONDS_SHORT if self.a.short else CALM_SECONDS)
        self.memory_before = self.target.memory()
        watch, busy = Watch(self.target), self.target.busy()
        watch.start()
        go = time.monotonic()
        attacker.pipe.send('go')
        self.notes = attacker.hear(self.seconds * 2 + 20)
        over = time.monotonic()
        busy = (self.target.busy() - busy) / (over - go)
        self.fault(self.notes is None, 'the attacker does not come back')
        calm = guests.ask('figures', start + .2, go)
        # What was due last may still be on its way.
        time.sleep(.3)
        storm = guests.ask('figures', go, over)
        attacker.close()
        self.gone, self.served = time.monotonic(), True
        if self.friend is not None and self.target.alive():
            if not self.target.clear(ADDRESS):
                self.wrong.append(f'the broker does not answer its operator: {self.target.silence}')
        watch.end()
        guests.ask('hush')
        guests.until(lambda: not guests.ask('waiting'), 10)
        totals = guests.ask('totals')
        self.figures = {**storm, 'calm': calm['p99'], **totals, 'memory': watch.memory, 'disk': watch.disk, 'cpu': busy}
        self.judge(calm, storm, totals, watch)
        self.waits = {'zero_s': self.accounts_left if self.friend is not None else dict, 'memory_s': self.memory_left,
                      'disk_s': self.disk_left}
        self.rest(self.gone + REST_SECONDS_SHORT)

    def friend_accounts(self):
        """What the well-behaved have, without what a newcomer has for a moment; None when nobody counts."""
        seen = []
        for _ in range(3):
            accounts = self.target.accounts()
            if accounts is None:
                return None
            seen.append(accounts.get(ADDRESS, {}))
            time.sleep(.1)
        return {row: min(s.get(row, 0) for s in seen) for row in seen[0]}

    def rest(self, limit):
        """Waits until all is given back; seconds since the attackers had gone."""
        last = limit >= self.gone + (REST_SECONDS_SHORT if self.a.short else REST_SECONDS)
        while self.waits and self.target.alive():
            now = time.monotonic()
            for key, left in list(self.waits.items()):
                words = left()
                if not words:
                    self.figures[key] = now - self.gone
                    del self.waits[key]
                elif now > limit and last:
                    self.wrong.append(f'{words} not given back')
                    del self.waits[key]
            if now > limit:
                return
            time.sleep(.1)

    def accounts_left(self):
        left = left_over(self.target.accounts() or {}, ADDRESS, self.friend)
        if left:
            self.target.clear(ADDRESS)  # what a will has set since then, say
        return ', '.join(f'{amount} {where}' for where, amount in list(left.items())[:4])

    def memory_left(self):
        more = self.target.memory() - self.memory_before
        return more > REST_MEMORY_MIB and f'{more:.0f} MB of memory ({self.target.live():.0f} MB in use)'

    def disk_left(self):
        disk = self.target.disk()
        return disk > REST_DISK_MIB and f'{disk - REST_DISK_MIB:.0f} MB of disk over {REST_DISK_MIB}'

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
        self.fault(watch.memory > MEMORY_MIB, f'memory {watch.memory:.0f} MB')
        self.fault(watch.disk > DISK_MIB, f'disk {watch.disk:.0f} MB')

    def judge_end(self):
        if not self.served:
            return
        if not self.target.alive():
            self.wrong.append(f'the broker died ({self.target.process.returncode}): '
                              + ' '.join(self.target.log().split('\n')[-3:])[-200:])
            return
        status = self.target.stop(20)
        self.fault(status != 0, 'does not stop within 20 s' if status is None else f'stop: exit code {status}')

    def verdict(self):
        return 'FAILED: ' + '; '.join(self.wrong) if self.wrong else 'ok'

    def seconds_text(self, key):
        return f'{self.figures[key]:.1f}s' if key in self.figures else 'never'

    def line(self):
        f, out = self.figures, f'{self.name:26}'
        if f:
            out += (f' p50/p99/max={f["p50"]:.1f}/{f["p99"]:.1f}/{f["max"]:.1f}ms before={f["calm"]:.1f}ms '
                    f'entry={f["entry"]:.0f}ms lost={f["lost"]} dup={f["dup"]} of={f["sent"]} cpu={f["cpu"]:.2f} '
                    f'memory={f["memory"]:.0f}MB disk={f["disk"]:.0f}MB accounts_zero={self.seconds_text("zero_s")} '
                    f'memory_back={self.seconds_text("memory_s")} disk_back={self.seconds_text("disk_s")}')
        done = ' '.join(f'{key}={value}' for key, value in (self.notes or {}).items() if key != 'bytes_read')
        return f'{out} [{done}]  {self.verdict()}'

    def row(self):
        """Of the table in docs/hostile.md."""
        f = self.figures
        if not f:
            return f'| `{self.name}` | | | | | | | {self.verdict()} |'
        return (f'| `{self.name}` | {f["calm"]:.1f} | {f["p50"]:.1f} / {f["p99"]:.1f} / {f["max"]:.1f} '
                f'| {f["lost"]} / {f["dup"]} of {f["sent"]} | {f["memory"]:.0f} | {f["disk"]:.0f} '
                f'| {self.seconds_text("zero_s")} / {self.seconds_text("disk_s")} | {self.verdict()} |')


TABLE = ('| attack | p99 before, ms | p50 / p99 / max under it, ms | lost / doubled | memory, MB | disk, MB '
         '| accounts zero / disk back after | verdict |\n|---|---|---|---|---|---|---|---|')


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
    p.add_argument('--all-cores', action='store_true', help='broker and attackers share all cores')
    p.add_argument('--table', action='store_true', help='a table for docs/hostile.md at the end')
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
    return attack_all(a, [line for line in LIMITS if knows(a.broker, line)])


def knows(binary, line):
    """Whether this build takes the option."""
    target = Target(binary, [line])
    try:
        if not target.knows():
            print(f'NOTE: this broker does not know {line.split()[0]}: attacked without it')
            return False
        return True
    finally:
        target.cleanup()


def attack_once(a, name, lines):
    trial = Trial(a, name, lines)
    trial.run()
    return trial


def attack_all(a, lines):
    done, began = [], time.monotonic()
    for name in chosen(a):
        trial = attack_once(a, name, lines)
        if a.stage and trial.only_late():  # another stage runs beside this one, on the same two cores
            print(f'{name} was late, and nothing else: once more', flush=True)
            trial = attack_once(a, name, lines)
        done.append(trial)
    for trial in done:
        trial.later.join()
    if a.table:
        print(TABLE, *(trial.row() for trial in done), sep='\n')
    for name in attacks.ATTACKS if a.stage else ():
        if name not in STAGE:
            print(f'not among them: {name}')
    failed = [trial.name for trial in done if trial.wrong]
    if failed:
        print('failed: ' + ' '.join(failed))
    passed = len(done) - len(failed)
    print(f'passed {passed} of {len(done)} in {time.monotonic() - began:.0f} s')
    print(f'summary: passed={passed} failed={len(failed)}')
    return 0 if not failed else 1


if __name__ == '__main__':
    sys.exit(main())
