#!/usr/bin/env python3
"""Faults at the Nth system call of a scripted run, for all N: SIGKILL, EIO and ENOSPC, by strace's injection.

  test/crash/faults.py [--broker COMMAND] [--seconds S] [--seed S] [--only KIND:SYSCALL[:THREAD[:N]]] [--protocol 4|5]
                       [--jobs 3]

One traced run without faults counts the system calls of each thread. Then there is one run per point (kind, thread,
system call, N): the broker starts, strace is attached to that one thread, the scripted run (scenario.py) meets the
fault, the broker is started again, the clients resume, and everything is compared. Also: SIGKILL at every N of the
start itself, over a store left by a SIGKILL. With --seconds a random part of the points is run, as many as fit.

After EIO the broker must be gone, with an exit status other than 0 and a message; after ENOSPC it may also live on.
"""

import argparse
import collections
import concurrent.futures
import gc
import io
import os
import random
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import broker as brokers  # noqa: E402
import scenario  # noqa: E402

WRITES = ('pwrite64', 'pwritev', 'pwritev2', 'write', 'writev', 'fallocate', 'ftruncate', 'openat', 'rename', 'renameat',
          'renameat2', 'unlink', 'unlinkat', 'link', 'linkat', 'mkdir', 'mkdirat', 'msync', 'copy_file_range')
SYNCS = ('fdatasync', 'fsync', 'sync_file_range', 'syncfs')
SENDS = ('sendmsg', 'sendto', 'sendmmsg')
ALL = WRITES + SYNCS + SENDS
# Which system calls may fail with what. Sockets and event counters use write and writev too: those are left out.
ERRORS = {'EIO': ('pwrite64', 'pwritev', 'fallocate', 'openat', 'fdatasync', 'fsync', 'ftruncate', 'msync', 'renameat',
                  'renameat2', 'rename', 'unlinkat', 'unlink'),
          'ENOSPC': ('pwrite64', 'pwritev', 'fallocate', 'openat', 'ftruncate', 'fdatasync', 'fsync')}
MESSAGES = {'EIO': 'Input/output error', 'ENOSPC': 'No space left'}

VIEWS_MAX = 2   # of so many failed runs the wire and the broker's own view are shown
LOG_LINES = 16

Point = collections.namedtuple('Point', 'kind thread syscall n')


def threads(pid):
    """Thread ids in the order of their making, with their names."""
    out = []
    for tid in sorted(int(t) for t in os.listdir(f'/proc/{pid}/task')):
        with open(f'/proc/{pid}/task/{tid}/comm', encoding='utf-8') as f:
            out.append((tid, f.read().strip()))
    return out


class Tracer:
    """strace, attached to a running thread (or to a process and all its threads)."""

    def __init__(self, broker, tid=None, trace=ALL, inject=None):
        self.log = os.path.join(broker.scratch, 'strace')
        words = ['strace', '-qq', '-o', self.log, '-e', 'trace=' + ','.join('?' + s for s in trace)]
        words += ['-e', 'inject=' + inject] if inject else []
        words += ['-p', str(tid)] if tid else ['-f', '-p', str(broker.process.pid)]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, preexec_fn=brokers.die_with_parent)
        wanted = [tid] if tid else [t for t, _ in threads(broker.process.pid)]
        end = time.monotonic() + 10
        while not all(self.traced(broker.process.pid, t) for t in wanted):
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError('strace cannot attach: ' + self.process.stderr.read().decode(errors='replace'))
            time.sleep(0.002)

    @staticmethod
    def traced(pid, tid):
        try:
            with open(f'/proc/{pid}/task/{tid}/status', encoding='utf-8') as f:
                return not re.search(r'^TracerPid:\s+0$', f.read(), re.MULTILINE)
        except FileNotFoundError:
            return True

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.process.stderr.close()

    def text(self):
        with open(self.log, encoding='utf-8', errors='replace') as f:
            return f.read()


class Outcome:
    """What one run found."""

    def __init__(self, point, problems=(), hit=False, kills=0, injected=0, text=''):
        self.point, self.problems, self.hit, self.kills, self.injected = point, list(problems), hit, kills, injected
        self.text = text


class Faults:
    def __init__(self, a):
        self.a, self.level = a, a.protocol
        self.random = random.Random(a.seed)
        self.end = time.monotonic() + a.seconds if a.seconds else None

    def broker(self):
        return brokers.Broker(self.a.broker, conf=brokers.SMALL_STORE)

    def over(self):
        return self.end is not None and time.monotonic() > self.end

    def count(self):
        """(thread index, name, system call) -> number of calls in a run without faults."""
        broker = self.broker()
        broker.start()
        if not broker.wait_ready():
            raise SystemExit(f'the broker does not start:\n{broker.log()}')
        names = threads(broker.process.pid)
        tracer = Tracer(broker)
        run = scenario.Scenario(broker, level=self.level)
        try:
            run.run()
            broker.stop()
            tracer.end()
            problems = run.verify()
        except scenario.Failed as e:
            problems = [str(e)]
        if problems:
            print('\n'.join('  ' + p for p in problems))
            raise SystemExit('the scripted run fails without any fault')
        calls = collections.Counter(re.findall(r'^(\d+) +(\w+)\(', tracer.text(), re.MULTILINE))
        run.close()
        broker.cleanup()
        index = {str(tid): (i, name) for i, (tid, name) in enumerate(names)}
        return {(*index[tid], call): n for (tid, call), n in calls.items() if tid in index and call in ALL}

    def points(self, counts):
        out = []
        for (thread, _, call), n in counts.items():
            kinds = ['KILL'] + [e for e, calls in ERRORS.items() if call in calls]
            out += [Point(kind, thread, call, i) for kind in kinds for i in range(1, n + 1)]
        if self.a.only:
            want = (self.a.only.split(':') + [None] * 4)[:4]
            out = [p for p in out if all(w in (None, '', str(v)) for w, v in
                                         zip(want, (p.kind, p.syscall, p.thread, p.n)))]
        return out

    def one(self, point):
        """One run; the fault was met or not."""
        if self.over():
            return None
        broker = self.broker()
        broker.start()
        if not broker.wait_ready():
            return Outcome(point, [f'the broker does not start:\n{broker.log()}'])
        tid = threads(broker.process.pid)[point.thread][0]
        what = 'signal=KILL' if point.kind == 'KILL' else f'error={point.kind}'
        tracer = Tracer(broker, tid, (point.syscall,), f'{point.syscall}:{what}:when={point.n}')
        run = scenario.Scenario(broker, level=self.level, full_allowed=point.kind == 'ENOSPC')
        problems = []
        try:
            run.run()
        except (scenario.Failed, AssertionError) as e:
            problems = [str(e)]
        if broker.alive():
            problems += self.clean_stop(point, broker, run, tracer)
        tracer.end()
        out = Outcome(point)
        if point.kind == 'KILL':
            out.hit = any(status == -9 for status, _ in run.deaths)
            out.kills = int(out.hit)
        elif 'INJECTED' in tracer.text():
            out.hit, out.injected = True, 1
            if run.deaths or self.concerns_store(point, tracer.text()):
                problems += self.judge_error(point, run.deaths)
            elif point.syscall.startswith('unlink') and MESSAGES[point.kind] not in broker.log():
                problems.append(f'the log does not say that a file stays behind:\n{broker.log()}')
        if not any('does not start' in p for p in problems):
            problems += run.verify()
        return self.finish(out, problems, broker, run)

    @staticmethod
    def clean_stop(point, broker, run, tracer):
        status = broker.stop()
        if status == 0:
            return []
        run.deaths.append((status, broker.log()))
        if status == -9 and point.kind == 'KILL' or point.kind != 'KILL' and 'INJECTED' in tracer.text():
            return []
        return [f'a clean stop ended with status {status}:\n{broker.log()}']

    @staticmethod
    def concerns_store(point, text):
        """An open or a removal that failed is the store's when it names one of its files; the C library opens others,
        such as /proc/sys/vm/overcommit_memory, and may do without them."""
        failed = [line for line in text.splitlines() if 'INJECTED' in line]
        return point.syscall not in ('openat', 'unlink', 'unlinkat') or \
            any(name in line for line in failed for name in ('journal-', 'table.mdb'))

    @staticmethod
    def judge_error(point, deaths):
        """After an injected error: what the broker must have done."""
        if not deaths:
            return [] if point.kind == 'ENOSPC' else [f'lives on after {point.kind} of {point.syscall}']
        status, log = deaths[0]
        if status is None or status <= 0:
            return [f'ended with status {status} after {point.kind} of {point.syscall}, a failure is expected:\n{log}']
        if MESSAGES[point.kind] not in log:
            return [f'the log does not say "{MESSAGES[point.kind]}":\n{log}']
        return []

    def finish(self, out, problems, broker, run):
        out.problems = problems
        if problems:
            out.text = self.views(broker, run)
        if problems and self.a.keep:
            out.text += f'    kept: {broker.scratch}\n'
        run.close()
        broker.cleanup(keep=bool(problems) and self.a.keep)
        del run
        gc.collect()
        return out

    def views(self, broker, run):
        """What those clients have seen at last whose flows are open, or all, and what the broker has of them."""
        text = io.StringIO()
        for client in [c for c in run.world.clients if not c.done()] or run.world.clients:
            text.write(f'    -- {client.client_id} is {client.state}\n')
            client.print_wire(text, self.a.wire)
        if broker.alive() and brokers.is_quartetd(broker.name):
            counts = broker.ctl('counters').splitlines()[1:]
            text.write(broker.ctl('sessions') + '    ' + ' '.join('='.join(line.split()) for line in counts) + '\n')
        text.write(''.join(f'    {line}\n' for line in broker.log(last_start=False).splitlines()[-LOG_LINES:]))
        return text.getvalue()

    def starts(self):
        """SIGKILL at the Nth write or sync of the start, N = 1, 2, 3...: each start finds what the last one left."""
        out = Outcome(Point('KILL', 0, 'start', 0))
        broker = self.broker()
        broker.start()
        broker.wait_ready()
        run = scenario.Scenario(broker, level=self.level)
        problems = []
        try:
            run.run()
            broker.kill()
            for call in ('pwrite64', 'fdatasync', 'fallocate', 'openat', 'ftruncate', 'unlinkat', 'renameat'):
                n, hit = 1, True
                while hit and not problems and n < 500:
                    hit = self.killed_start(broker, run, call, n, problems)
                    out.kills += hit
                    n += 1
            problems += run.verify()
        except scenario.Failed as e:
            problems.append(str(e))
        return self.finish(out, problems, broker, run)

    @staticmethod
    def killed_start(broker, run, call, n, problems):
        run.world.died()
        broker.start(('strace', '-D', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=?' + call, '-e',
                      f'inject=?{call}:signal=KILL:when={n}'))
        up = broker.wait_ready()
        hit = broker.process.poll() == -9
        broker.kill()
        if not up and not hit:
            problems.append(f'start with SIGKILL at {call} {n}: it ended by itself:\n{broker.log()}')
        return hit

    @staticmethod
    def show(out, views):
        p = out.point
        print(f'FAILED at {p.kind}:{p.syscall}:{p.thread}:{p.n}')
        for text in out.problems[:12]:
            print('    ' + str(text).replace('\n', '\n    '))
        if views:
            print(out.text, end='', flush=True)

    def all(self):
        counts = self.count()
        for (thread, name, call), n in sorted(counts.items()):
            print(f'thread {thread} ({name}): {n} {call}')
        points = self.points(counts)
        total = len(points)
        if self.end:
            self.random.shuffle(points)
        with concurrent.futures.ProcessPoolExecutor(self.a.jobs) as pool:
            outcomes = [] if self.a.only else [pool.submit(self.starts)]
            outcomes = [f.result() for f in outcomes + [pool.submit(self.one, p) for p in points]]
        outcomes = [o for o in outcomes if o]
        failed = [o for o in outcomes if o.problems]
        for out in failed:  # the views last: who reports a failed stage may show the end of its text alone
            self.show(out, views=out in failed[-VIEWS_MAX:])
        kills, injected = sum(o.kills for o in outcomes), sum(o.injected for o in outcomes)
        missed = sum(not o.hit for o in outcomes if o.point.syscall != 'start')
        print(f'{len(outcomes)} runs of {total} points, {missed} were not met, {len(failed)} failed')
        print(f'summary: fault_points={len(outcomes)} sigkills={kills} errors_injected={injected} '
              f'failed={len(failed)} passed={len(outcomes) - len(failed)}')
        return 0 if not failed else 1


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--broker')
    p.add_argument('--seconds', type=float, help='run only as many points as fit, chosen at random')
    p.add_argument('--seed', type=int, default=int.from_bytes(os.urandom(4), 'big'))
    p.add_argument('--only', help='KIND:SYSCALL:THREAD:N, any of them may be missing')
    p.add_argument('--protocol', type=int, choices=(4, 5), default=5)
    p.add_argument('--jobs', type=int, default=3)
    p.add_argument('--keep', action='store_true', help='keep store and log of failed runs')
    p.add_argument('--wire', type=int, default=16, help='print so much of the end of each wire of a failed run')
    a = p.parse_args()
    if not can_trace():
        print('SKIPPED faults at system calls: strace is missing or may not attach')
        print('summary: sigkills=0 errors_injected=0 skipped=1')
        return 0
    brokers.quick_tmp()
    print(f'seed {a.seed}')
    return Faults(a).all()


def can_trace():
    try:
        return subprocess.run(['strace', '-qq', '-o', '/dev/null', 'true'], check=False).returncode == 0
    except OSError:
        return False


if __name__ == '__main__':
    sys.exit(main())
