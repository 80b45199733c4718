#!/usr/bin/env python3
"""Runs the cases by the wire against one broker, many at a time; quartetd's over TCP and over a UNIX socket.

  test/wire/run.py [--broker COMMAND] [--jobs 16] [--conf LINE]... [--not-yet] [--list] [NAME...]

NAME is a part of a case's name. Exit status 0 only if all passed."""

import argparse
import os
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import case  # noqa: E402
import broker as brokers  # noqa: E402
import cases_bounds  # noqa: E402,F401
import cases_connect  # noqa: E402,F401
import cases_hostile  # noqa: E402,F401
import cases_limits  # noqa: E402,F401
import cases_local  # noqa: E402,F401
import cases_outage  # noqa: E402,F401
import cases_process  # noqa: E402,F401
import cases_publish  # noqa: E402,F401
import cases_subscribe  # noqa: E402,F401
import cases_will  # noqa: E402,F401
import not_yet  # noqa: E402


class Runner:
    def __init__(self, a):
        self.a, self.lock = a, threading.Lock()
        self.passed, self.failed, self.skipped = 0, [], []
        self.ways = ('tcp', 'unix') if brokers.is_quartetd(a.broker) else ('tcp',)

    def one(self, broker, function, level, way):
        name = f'{function.__name__}/{"3.1.1" if level == 4 else "5.0"}/{way}'
        bench = case.Bench(broker, f'{function.__name__}-{way}', level, broker.path() if way == 'unix' else broker.port)
        began, problem = time.monotonic(), None
        try:
            function(bench)
        except case.Skip as e:
            problem = e
        except Exception as e:  # a case fails by raising, whatever it is
            where = [f for f in traceback.extract_tb(e.__traceback__) if '/cases_' in f.filename]
            line = f' (line {where[-1].lineno})' if where else ''
            problem = f'{type(e).__name__}: {e}{line}'
        finally:
            bench.close()
        seconds = time.monotonic() - began
        with self.lock:
            self.note(name, problem, seconds, broker)

    def note(self, name, problem, seconds, broker):
        if isinstance(problem, case.Skip):
            self.skipped.append(f'{name}: {problem}')
        elif problem:
            self.failed.append(name)
            print(f'FAILED {name}: {problem}', flush=True)
        else:
            self.passed += 1
            if self.a.verbose:
                print(f'ok     {name} {seconds:.1f} s', flush=True)
        if not broker.alive():
            print(f'the broker died (status {broker.process.returncode}) about {name}:\n{broker.log()[-3000:]}', flush=True)
            broker.start()
            broker.wait_ready()
            self.failed.append('broker died at ' + name)

    def group(self, conf, cases):
        lines = list(conf) + self.a.conf + [brokers.LOCAL] * ('unix' in self.ways)
        broker = brokers.Broker(self.a.broker, conf=lines if lines else None)
        try:
            broker.start()
            if not broker.wait_ready():
                print(f'the broker does not start:\n{broker.log()}')
                self.failed += [f.__name__ for f, *_ in cases]
                return
            # The slow ones first, so that they wait together.
            order = sorted(cases, key=lambda c: 'time.sleep' not in source(c[0]))
            runs = [(broker, function, level, way, alone) for function, level, _, alone, ways in order
                    for way in self.ways if way in ways]
            with ThreadPoolExecutor(self.a.jobs) as pool:
                list(pool.map(lambda run: self.one(*run[:4]), [run for run in runs if not run[4]]))
            for run in (run for run in runs if run[4]):
                self.one(*run[:4])
            status = broker.stop()
            if status != 0:
                print(f'FAILED clean stop: status {status}\n{broker.log()[-3000:]}')
                self.failed.append('clean stop')
        finally:
            broker.cleanup()

    def all(self, cases):
        groups = {}
        for c in cases:
            groups.setdefault(c[2], []).append(c)
        for conf, members in groups.items():
            self.group(conf, members)


def source(function):
    return ' '.join(function.__code__.co_names + ('time.sleep',) if 'sleep' in function.__code__.co_names
                    else function.__code__.co_names)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--broker')
    p.add_argument('--jobs', type=int, default=16)
    p.add_argument('--conf', action='append', default=[], help='a configuration line')
    p.add_argument('--not-yet', action='store_true', help='run also the cases of test/wire/not_yet.py')
    p.add_argument('--list', action='store_true')
    p.add_argument('--verbose', '-v', action='store_true')
    p.add_argument('name', nargs='*')
    a = p.parse_args()
    cases = [c for c in case.CASES if not a.name or any(n in f'{c[0].__name__}/{c[1]}' for n in a.name)]
    if a.list:
        for function, level, *_ in cases:
            print(f'{function.__name__}/{level}  {(function.__doc__ or "").splitlines()[0] if function.__doc__ else ""}')
        return 0
    runner, began = Runner(a), time.monotonic()
    if not a.not_yet:
        late = {c[0].__name__ for c in cases} & not_yet.NAMES
        runner.skipped += [f'{name}: not yet' for name in sorted(late)]
        cases = [c for c in cases if c[0].__name__ not in late]
    runner.all(cases)
    for line in runner.skipped:
        print('SKIPPED ' + line)
    print(f'{time.monotonic() - began:.1f} s')
    print(f'summary: passed={runner.passed} failed={len(runner.failed)} skipped={len(runner.skipped)}')
    return 0 if not runner.failed else 1


if __name__ == '__main__':
    sys.exit(main())
