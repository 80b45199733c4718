#!/usr/bin/env python3
"""quartetd as a process: its log, signals, pid file, ports, service manager, configuration on this machine; and what all
programs do when standard output takes no more.

  test/process/run.py [--jobs 8] [--list] [NAME...]

NAME is a part of a case's name. Exit status 0 only if all passed."""

import argparse
import concurrent.futures
import contextlib
import fcntl
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cases import (  # noqa: E402
    CASES, LATE, NOWHERE, QUARTET, QUARTETD, Skip, begin, case, check, folder, own_broker, rude, serves, text_of, until)
import cases_ctl  # noqa: E402,F401
import broker as brokers  # noqa: E402
from peer import Peer  # noqa: E402


# ---- the log ----


def reader_who_sleeps(dest):
    """Standard error or output is a pipe that nobody reads: the broker serves; and says what is missing when it is read."""
    stream = 'stderr' if dest == 'stderr' else 'stdout'
    r, w = os.pipe()
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 4096)
    with own_broker(f'log_dest {dest}', 'log_type all', start=False) as broker:
        begin(broker, **{stream: w})
        os.close(w)
        check(broker.wait_ready(), 'it does not serve')
        for _ in range(60):
            for _ in range(20):
                rude(broker.port)
            serves(broker.port)
        read, said = [], threading.Event()

        def drain():
            while not said.is_set():
                data = os.read(r, 65536)
                if not data:
                    return
                read.append(data)

        thread = threading.Thread(target=drain)
        thread.start()
        until(lambda: b'more lines like this were left out: ' in b''.join(read), b''.join(read)[-2000:])
        check(broker.stop(5) == 0, 'it does not stop')
        said.set()
        thread.join(5)
        os.close(r)


@case
def log_pipe_of_standard_error_that_nobody_reads():
    reader_who_sleeps('stderr')


@case
def log_pipe_of_standard_output_that_nobody_reads():
    reader_who_sleeps('stdout')


@case
def log_pipe_that_is_never_read_does_not_hold_up_the_stop():
    r, w = os.pipe()
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 4096)
    with own_broker('log_type all', start=False) as broker:
        begin(broker, stderr=w)
        os.close(w)
        check(broker.wait_ready(), 'it does not serve')
        for _ in range(200):
            rude(broker.port)
        serves(broker.port)
        check(broker.stop(10) == 0, 'it does not stop')
    os.close(r)


@case
def log_pipe_whose_reader_is_gone():
    """The broker serves; and says how many lines are missing when another reader has come."""
    with folder() as place, own_broker('log_type all', start=False) as broker:
        os.mkfifo(f'{place}/pipe')
        reader, writer = os.open(f'{place}/pipe', os.O_RDONLY | os.O_NONBLOCK), os.open(f'{place}/pipe', os.O_WRONLY)
        begin(broker, stderr=writer)
        os.close(writer)
        check(broker.wait_ready(), 'it does not serve')
        os.close(reader)
        for _ in range(50):
            rude(broker.port)
        serves(broker.port)
        reader = os.open(f'{place}/pipe', os.O_RDONLY | os.O_NONBLOCK)
        os.kill(broker.process.pid, signal.SIGHUP)
        until(lambda: select.select([reader], [], [], .1)[0] and b' lines were dropped: ' in os.read(reader, 65536),
              'it does not say what is missing')
        check(broker.stop(5) == 0, 'it does not stop')
        os.close(reader)


@case
def log_on_a_full_disk():
    """The broker serves, its other log says all, and the full one how many lines are missing, when it has room again."""
    with folder() as place:
        os.symlink('/dev', f'{place}/disk')
        with own_broker(f'log_dest file {place}/disk/full', 'log_dest stderr', 'log_type all') as broker:
            for _ in range(20):
                rude(broker.port)
            serves(broker.port)
            os.remove(f'{place}/disk')
            os.mkdir(f'{place}/disk')
            os.kill(broker.process.pid, signal.SIGHUP)
            until(lambda: os.path.exists(f'{place}/disk/full') and ' lines were dropped: ' in text_of(f'{place}/disk/full'),
                  'it does not say what is missing')
            check(broker.stop() == 0)
            check('ready: ' in broker.log() and 'stopped' in broker.log(), broker.log())


@case
def log_flood_is_cut_and_counted():
    """Some hundred lines a second of what peers cause, whatever they do; other lines are not hidden by them."""
    with own_broker('log_type all') as broker:
        begin, sent = time.monotonic(), 3000
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(rude, [broker.port] * sent))
        seconds = time.monotonic() - begin
        os.kill(broker.process.pid, signal.SIGHUP)
        check(broker.stop(60) == 0)
        log = broker.log()
        written = len(re.findall(r'(refusing|closing) 127', log))
        left_out = sum(int(n) for n in re.findall(r'(\d+) more lines like this were left out: (?:refusing|closing)', log))
        check(written <= 100 * (int(seconds) + 2), f'{written} lines in {seconds:.1f} s')
        # A peer that is gone again before it was accepted, or while the broker stops, says nothing.
        check(sent * 0.8 < written + left_out <= sent, f'{written} written, {left_out} left out, {sent} caused')
        check('SIGHUP' in log and 'SIGTERM: stopping' in log, log[-1000:])


@case
def log_file_is_rotated():
    with folder() as place, own_broker(f'log_dest file {place}/log', 'log_type all') as broker:
        until(lambda: 'ready: ' in text_of(f'{place}/log'), 'no log')
        os.rename(f'{place}/log', f'{place}/log.1')
        rude(broker.port)
        os.kill(broker.process.pid, signal.SIGHUP)
        until(lambda: os.path.exists(f'{place}/log'), 'it is not opened again')
        until(lambda: 'SIGHUP' in text_of(f'{place}/log'), text_of(f'{place}/log'))
        rude(broker.port)
        check(broker.stop() == 0)
        check('stopped' in text_of(f'{place}/log'), text_of(f'{place}/log'))
        check('stopped' not in text_of(f'{place}/log.1'))


# ---- signals ----


@case
def signals_of_other_brokers_do_not_end_it():
    """Backup scripts send SIGUSR1, log rotation SIGHUP or SIGRTMIN."""
    with own_broker() as broker:
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGRTMIN, signal.SIGRTMAX, signal.SIGALRM,
                       signal.SIGPIPE, signal.SIGIO):
            os.kill(broker.process.pid, number)
        serves(broker.port)
        until(lambda: 'SIGUSR1 and SIGUSR2 have no effect' in broker.log(), broker.log())
        check(broker.stop() == 0)


@case
def signals_during_the_start_do_not_end_it():
    with own_broker(start=False) as broker:
        for _ in range(20):
            broker.start()
            until(lambda: os.path.exists(f'/proc/{broker.process.pid}/exe') and
                  os.readlink(f'/proc/{broker.process.pid}/exe') == os.path.realpath(QUARTETD), 'no program')
            # Until main() has run its first lines it has the system's defaults, as every program: then it is ignored,
            # and later caught.
            until(lambda: any(int(mask, 16) & 1 << signal.SIGUSR1 - 1 for mask in
                              re.findall(r'Sig(?:Ign|Cgt):\s*(\w+)', text_of(f'/proc/{broker.process.pid}/status'))),
                  'it neither ignores nor catches SIGUSR1')
            while 'ready: ' not in broker.log():
                os.kill(broker.process.pid, signal.SIGHUP)
                os.kill(broker.process.pid, signal.SIGUSR1)
                check(broker.process.poll() is None, f'it has ended: {broker.process.returncode}')
            serves(broker.port)
            broker.kill()


# ---- the pid file ----


@case
def pid_file_belongs_to_who_runs():
    """A second start by mistake, on the same ports, on others, and on another store: it stays and names the first."""
    with folder() as place:
        line = f'pid_file {place}/pid'
        with own_broker(line) as first:
            wanted = f'{first.process.pid}\n'
            check(text_of(f'{place}/pid') == wanted)
            for like, port in ((first, first.port), (first, None), (None, None)):
                with own_broker(line, start=False, like=like, port=port) as second:
                    second.start()
                    check(second.wait_exit() == 1, second.log())
                    check(text_of(f'{place}/pid') == wanted)
                    second.data = second.scratch  # the first one's is not removed
            serves(first.port)
            check(first.stop() == 0)
            check(not os.path.exists(f'{place}/pid'))


@case
def pid_file_of_a_dead_broker_is_taken_over():
    with folder() as place, own_broker(f'pid_file {place}/pid') as broker:
        broker.kill()
        check(os.path.exists(f'{place}/pid'))
        broker.start()
        check(broker.wait_ready(), broker.log())
        check(text_of(f'{place}/pid') == f'{broker.process.pid}\n')
        with own_broker(f'pid_file {place}/pid', like=broker, start=False) as second:
            check(second.start().wait_exit() == 1, second.log())
            second.data = second.scratch  # the first one's is not removed
        check(text_of(f'{place}/pid') == f'{broker.process.pid}\n')


# ---- ports ----


@case
def ports_listen_when_there_is_something_to_serve():
    """While the store is opened, for seconds perhaps, nobody is let in to wait."""
    if not shutil.which('strace'):
        raise Skip('strace is missing')
    with own_broker(brokers.LOCAL, start=False) as broker:
        broker.start(('strace', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=mkdir', '-e',
                      'inject=mkdir:delay_exit=3000000:when=1'))
        until(lambda: os.path.isdir(broker.data), broker.log())
        for where in (('127.0.0.1', broker.port), broker.path()):
            with socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as s:
                check(s.connect_ex(where) != 0, f'{where} takes a connection')
        check(broker.wait_ready(), broker.log())
        serves(broker.path())


def address_tool(*words):
    done = subprocess.run(('ip', 'address', *words), capture_output=True, text=True)
    return done.returncode == 0


@case
def address_that_is_not_there_is_tried_again():
    """The other listener serves meanwhile."""
    with own_broker('listener {port} ' + LATE, 'shards 2') as broker:
        serves(broker.port)
        said = f'cannot listen on {LATE}:{broker.port} yet: this machine does not have that address'
        check(broker.log().count(said) == 1, broker.log())
        if not shutil.which('ip') or not address_tool('add', LATE + '/32', 'dev', 'lo'):
            raise Skip('no address can be added here')
        try:
            until(lambda: f'listening on {LATE}:{broker.port}, which is there now' in broker.log(), broker.log())
            until(lambda: socket.socket().connect_ex((LATE, broker.port)) == 0, 'it does not listen')
            for _ in range(8):  # whichever shard accepts
                with socket.create_connection((LATE, broker.port), 5) as s:
                    s.settimeout(5)
                    s.sendall(brokers.PROBE)
                    check(len(s.recv(4)) > 0, 'no answer')
        finally:
            address_tool('delete', LATE + '/32', 'dev', 'lo')
        check(broker.log().count(said) == 1, broker.log())
        check(broker.stop() == 0)


@case
def address_that_never_comes_does_not_hold_up_the_stop():
    with own_broker('listener {port} ' + NOWHERE) as broker:
        check(broker.stop() == 0, broker.log())


def knocks(port, source):
    """A connection from this address on which nothing is said; None when the broker closes it at once."""
    s = socket.socket()
    s.bind((source, 0))
    s.settimeout(5)
    try:
        s.connect(('127.0.0.1', port))
        s.sendall(b'\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00')  # CONNECT, without a client id: nobody is taken over
        return s if s.recv(4) else None
    except OSError:
        return None


@case
def address_that_takes_all_it_can_leaves_room():
    """Half of all, or what is configured; the places are given again. One log line says it."""
    for line, most in (('global_max_connections 40', 21), ('max_connections_per_address 7', 7)):
        with own_broker(line, 'log_type all') as broker:
            taken = [knocks(broker.port, '127.0.0.2') for _ in range(60)]
            kept = [s for s in taken if s]
            check(len(kept) == most, f'{line}: {len(kept)} connections of one address')
            serves(broker.port)
            said = f'127.0.0.2:\\d+ has {most} connections, max_connections_per_address'
            check(len(re.findall(said, broker.log())) == 1, broker.log())
            for s in kept:
                s.close()
            until(lambda: knocks(broker.port, '127.0.0.2'), 'no place is given again')
            for s in taken:
                if s:
                    s.close()


@case
def address_that_comes_too_often_is_refused():
    with own_broker('max_connection_rate 2', 'log_type all') as broker:  # 20 at once
        welcome = sum(bool(knocks(broker.port, '127.0.0.3')) for _ in range(100))
        check(20 <= welcome <= 30, f'{welcome} of 100')
        serves(broker.port)
        check(len(re.findall('connects more often than max_connection_rate, 2 a second', broker.log())) == 1, broker.log())


# ---- the service manager ----


def notified(name):
    """READY=1 when clients are served, STOPPING=1 at the stop."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, own_broker(start=False) as broker:
        manager.bind('\0' + name[1:] if name[0] == '@' else name)
        manager.settimeout(10)
        begin(broker, stderr=subprocess.DEVNULL, env={**os.environ, 'NOTIFY_SOCKET': name})
        first = manager.recv(4096).split(b'\n')
        check(b'READY=1' in first and b'STOPPING=1' not in first, first)  # some managers read no further
        serves(broker.port)
        os.kill(broker.process.pid, signal.SIGTERM)
        check(b'STOPPING=1' in manager.recv(4096).split(b'\n'))
        check(broker.wait_exit() == 0)


@case
def notify_by_a_path():
    with folder() as place:
        notified(f'{place}/notify')


@case
def notify_by_an_abstract_name():
    notified(f'@quartet-process-{os.getpid()}-{time.monotonic_ns()}')


@case
def notify_names_that_lead_nowhere_are_harmless():
    for name in ('', '@', 'x', '/nonexistent/notify', '/' + 'x' * 200, '/dev/null'):
        with own_broker(start=False) as broker:
            begin(broker, stderr=subprocess.DEVNULL, env={**os.environ, 'NOTIFY_SOCKET': name})
            check(broker.wait_ready(), name)


@case
def notify_manager_that_does_not_read():
    """Its socket takes no more: the broker serves all the same, and says STOPPING=1 when there is room again."""
    with folder() as place, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, own_broker(start=False) as broker:
        manager.bind(f'{place}/notify')
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                other.sendto(b'X', f'{place}/notify')
        begin(broker, stderr=subprocess.DEVNULL, env={**os.environ, 'NOTIFY_SOCKET': f'{place}/notify'})
        check(broker.wait_ready(), 'it does not serve')
        manager.settimeout(10)
        manager.recv(4096)
        os.kill(broker.process.pid, signal.SIGTERM)
        until(lambda: b'STOPPING=1' in manager.recv(4096).split(b'\n'), 'it does not say that it stops')
        check(broker.wait_exit() == 0)

# ---- in the background ----


def daemon(broker, wait=20):
    """quartetd -d; the exit status of the command and what it printed."""
    done = subprocess.run([*broker.argv, '-d'], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=wait,
                          cwd=broker.scratch)
    return done.returncode, done.stdout + done.stderr


@case
def daemon_says_in_its_log_why_it_ends():
    """Signals that say that something is wrong; an assertion goes the same way."""
    for number, words in ((signal.SIGSEGV, 'signal SIGSEGV'), (signal.SIGABRT, 'it was aborted'), (signal.SIGBUS, 'SIGBUS')):
        with folder() as place, own_broker(f'log_dest file {place}/log', f'pid_file {place}/pid', start=False) as broker:
            status, said = daemon(broker)
            check(status == 0, said)
            pid = int(text_of(f'{place}/pid'))
            os.kill(pid, number)
            until(lambda: not os.path.exists(f'/proc/{pid}') or ') Z ' in text_of(f'/proc/{pid}/stat'), 'it lives')
            check(re.search(f'error +the broker ends at once: .*{words}', text_of(f'{place}/log')), text_of(f'{place}/log'))


@case
def daemon_that_cannot_start_says_why_twice():
    """In its log, and to who has started it."""
    with folder() as place, own_broker() as first:
        with own_broker(f'log_dest file {place}/log', start=False, like=first) as second:
            status, said = daemon(second)
            check(status == 1, said)
            check('is in use by another process' in said, said)
            check('is in use by another process' in text_of(f'{place}/log'), text_of(f'{place}/log'))
            second.data = second.scratch


# ---- the data directory ----


@case
def data_directory_may_be_a_link():
    with folder() as place:
        os.mkdir(f'{place}/disk', 0o700)
        os.symlink(f'{place}/disk', f'{place}/data')
        broker = brokers.Broker('quartetd', conf=[], data=f'{place}/data')
        try:
            for _ in range(2):
                broker.start()
                check(broker.wait_ready(), broker.log())
                serves(broker.port)
                check(broker.stop() == 0)
            check(os.path.exists(f'{place}/disk/table.mdb') and os.path.islink(f'{place}/data'))
        finally:
            broker.cleanup()


# ---- --test-config ----


def tested(*lines):
    """(exit status, what is said) of --test-config; it changes nothing."""
    with folder() as place:
        with open(f'{place}/conf', 'w', encoding='utf-8') as f:
            f.write('\n'.join(line.replace('HERE', place) for line in ('allow_anonymous true', *lines)) + '\n')
        os.mkdir(f'{place}/open', 0o777)
        os.chmod(f'{place}/open', 0o777)
        os.symlink(f'{place}/conf', f'{place}/link')
        before = sorted(os.listdir(place))
        done = subprocess.run([QUARTETD, '--test-config', '-c', f'{place}/conf'], capture_output=True, text=True,
                              timeout=20, cwd=place)
        check(sorted(os.listdir(place)) == before, f'it has changed something: {os.listdir(place)}')
        return done.returncode, (done.stdout + done.stderr).replace(place, 'HERE')


@case
def test_config_says_what_cannot_start():
    listener = f'listener {brokers.free_port()} 127.0.0.1'
    rows = (
        (('persistence_location HERE/data', listener, 'log_dest file HERE/log', 'pid_file HERE/pid',
          'listener 0 HERE/socket'), 0, 'the configuration is fine'),
        (('listener 1883 no-such-host.invalid',), 2, 'cannot listen on no-such-host.invalid'),
        ((f'listener {brokers.free_port()} {NOWHERE}',), 0, 'this machine does not have that address'),
        ((listener, 'persistence_location HERE/no/such/place'), 2, 'the directory HERE/no/such/place cannot be made'),
        ((listener, 'persistence_location HERE/conf/data'), 2, 'cannot open HERE/conf/data: Not a directory'),
        ((listener, 'persistence_location HERE/conf'), 2, 'cannot open HERE/conf: Not a directory'),
        ((listener, 'persistence_location HERE/open'), 2, 'must not be writable by others'),
        ((listener, 'log_dest file HERE/no/log'), 2, 'the log file HERE/no/log cannot be made'),
        ((listener, 'log_dest file HERE/link'), 2, 'the log file HERE/link cannot be opened'),
        ((listener, 'pid_file HERE/no/pid'), 0, 'the pid file HERE/no/pid cannot be made'),
        ((listener, 'listener 0 HERE/no/socket'), 2, 'the socket HERE/no/socket cannot be made'),
        ((listener, 'listener 0 HERE/conf'), 2, 'it is there and not a socket'),
    )
    if os.geteuid() == 0:
        rows += (((listener, 'user no-such-user'), 2, 'there is no user no-such-user'),
                 ((listener, 'user nobody', 'persistence_location HERE/data'), 2, 'error: '))
    for lines, status, words in rows:
        got = tested(*lines)
        check(got[0] == status and words in got[1], f'{lines}: {got}')


@case
def test_config_beside_the_broker_that_runs():
    """Its ports and its store are in use: that is said, and is no failure."""
    with own_broker() as broker:
        done = subprocess.run([*broker.argv, '--test-config'], capture_output=True, text=True, timeout=20)
        check(done.returncode == 0, done)
        check('Address already in use' in done.stderr and 'is in use by another process' in done.stderr, done.stderr)
        serves(broker.port)
        broker.kill()
        done = subprocess.run([*broker.argv, '--test-config'], capture_output=True, text=True, timeout=20)
        check(done.returncode == 0 and 'in use' not in done.stderr, done)


@case
def test_config_counts_open_files():
    with folder() as place:
        done = subprocess.run(['bash', '-c', f'ulimit -n 60; exec {QUARTETD} --test-config --shards 20 --data {place}/d -p 0'],
                              capture_output=True, text=True, timeout=20)
        check(done.returncode == 2 and 'the limit of open files is 60' in done.stderr, done)


# ---- standard output ----


@case
def output_that_is_lost_is_a_failure():
    """On a full disk, and when it is closed: each verb says so and does not end with 0."""
    with own_broker() as broker, own_broker() as stopped:
        with Peer(stopped.port, 5) as p:
            p.connect('s', clean=False, props={'session_expiry': 1000})
        check(stopped.stop() == 0)
        rows = (
            [QUARTETD, '--version'], [QUARTETD, '--help'], [QUARTETD, '-p', '0', '--data', stopped.data, '--test-config'],
            [QUARTET, '--help'], [QUARTET, 'sim', '--help'], [QUARTET, 'sim', '--seeds', '1'], [QUARTET, 'bench', '--help'],
            [QUARTET, 'bench', '--port', str(broker.port), '--messages', '10'],
            [QUARTET, 'explain', '--flow'], [QUARTET, 'torture', '--help'], [QUARTET, 'torture', '--list'],
            [QUARTET, 'pub', '--help'], [QUARTET, 'sub', '--version'], [QUARTET, 'rr', '--help'],
            [QUARTET, 'store', '--help'], [QUARTET, 'store', 'dump', stopped.data],
            [QUARTET, 'store', 'check', stopped.data],
        )
        for words in rows:
            name = ' '.join(os.path.basename(w) for w in words)
            with open('/dev/full', 'w', encoding='utf-8') as full:
                done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
            check(done.returncode != 0, f'{name} > /dev/full: exit status 0')
            check('standard output takes no more' in done.stderr, f'{name} > /dev/full: {done.stderr!r}')
            done = subprocess.run(['bash', '-c', 'exec "$@" >&-', 'x', *words], stderr=subprocess.PIPE, text=True, timeout=60)
            check(done.returncode != 0, f'{name} >&-: exit status 0')
            done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60)
            check(done.returncode == 0, f'{name} > /dev/null: exit status {done.returncode}: {done.stderr}')


# ---- running them ----


class Runner:
    def __init__(self):
        self.lock, self.passed, self.failed, self.skipped = threading.Lock(), 0, 0, 0

    def one(self, function):
        name, began, problem = function.__name__, time.monotonic(), None
        try:
            function()
        except Skip as e:
            with self.lock:
                self.skipped += 1
                print(f'SKIPPED {name}: {e}', flush=True)
                return
        except Exception as e:  # a case fails by raising, whatever it is
            where = [f for f in traceback.extract_tb(e.__traceback__) if f.filename == __file__]
            problem = f'{type(e).__name__}: {e} (line {where[-1].lineno if where else "?"})'
        with self.lock:
            if problem:
                self.failed += 1
                print(f'FAILED {name}: {problem}', flush=True)
            else:
                self.passed += 1
                print(f'ok     {name} {time.monotonic() - began:.1f} s', flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--jobs', type=int, default=8)
    p.add_argument('--list', action='store_true')
    p.add_argument('name', nargs='*')
    a = p.parse_args()
    cases = [c for c in CASES if not a.name or any(n in c.__name__ for n in a.name)]
    if a.list:
        print('\n'.join(c.__name__ for c in cases))
        return 0
    runner = Runner()
    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        list(pool.map(runner.one, cases))
    print(f'summary: passed={runner.passed} failed={runner.failed} skipped={runner.skipped}')
    return 1 if runner.failed else 0


if __name__ == '__main__':
    sys.exit(main())
