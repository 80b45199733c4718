#!/usr/bin/env python3
"""quartetd as a process: its log, signals, pid file, ports, service manager, configuration on this machine; and what all
programs do when standard output takes no more.

  test/process/run.py [--jobs 8] [--list] [NAME...]

NAME is a part of a case's name. Exit status 0 only if all passed."""

import argparse
import concurrent.futures
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'crash'))
import broker as brokers  # noqa: E402
from peer import Peer  # noqa: E402

BIN = os.path.join(os.environ.get('QUARTET_BUILD') or os.path.join(brokers.ROOT, 'build', 'release'), 'bin')
QUARTETD, QUARTET = os.path.join(BIN, 'quartetd'), os.path.join(BIN, 'quartet')
CASES = []
NOWHERE, LATE = '192.0.2.77', '192.0.2.78'  # of documentation (RFC 5737): no machine has them


class Skip(Exception):
    """Something that the case needs is not here."""


def case(function):
    CASES.append(function)
    return function


def check(truth, what='not as expected'):
    if not truth:
        raise AssertionError(what)


def until(question, what, limit=10.0):
    """Waits until the question is answered with something true, and returns that."""
    end = time.monotonic() + limit
    while True:
        answer = question()
        if answer:
            return answer
        check(time.monotonic() < end, what)
        time.sleep(0.01)


@contextlib.contextmanager
def folder():
    path = tempfile.mkdtemp(prefix='quartet-process-')
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def own_broker(*conf, start=True, like=None, port=None):
    """A broker of the case's own. like: on the store of that one."""
    broker = brokers.Broker('quartetd', conf=list(conf), data=like.data if like else None, port=port)
    try:
        if start:
            broker.start()
            check(broker.wait_ready(), broker.log())
        yield broker
    finally:
        broker.cleanup()


def serves(where):
    with Peer(where, 5) as p:
        p.connect('well-behaved')
        p.disconnect()


def rude(port):
    """A peer that makes the broker write a line."""
    with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), 2) as s:
        s.sendall(b'\xf0\x00')


def text_of(path):
    with open(path, encoding='utf-8', errors='replace') as f:
        return f.read()


# ---- the log ----


def reader_who_sleeps(dest):
    """Standard error or output is a pipe that nobody reads: the broker serves; and says what is missing when it is read."""
    stream = 'stderr' if dest == 'stderr' else 'stdout'
    r, w = os.pipe()
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 4096)
    with own_broker(f'log_dest {dest}', 'log_type all', start=False) as broker:
        broker.process = subprocess.Popen(broker.argv, stdin=subprocess.DEVNULL, cwd=broker.scratch,
                                          preexec_fn=brokers.die_with_parent, **{stream: w})
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
        broker.process = subprocess.Popen(broker.argv, stdin=subprocess.DEVNULL, cwd=broker.scratch, stderr=w,
                                          preexec_fn=brokers.die_with_parent)
        os.close(w)
        check(broker.wait_ready(), 'it does not serve')
        for _ in range(200):
            rude(broker.port)
        serves(broker.port)
        check(broker.stop(10) == 0, 'it does not stop')
    os.close(r)


@case
def log_pipe_whose_reader_is_gone():
    r, w = os.pipe()
    with own_broker('log_type all', start=False) as broker:
        broker.process = subprocess.Popen(broker.argv, stdin=subprocess.DEVNULL, cwd=broker.scratch, stderr=w,
                                          preexec_fn=brokers.die_with_parent)
        os.close(w)
        check(broker.wait_ready(), 'it does not serve')
        os.close(r)
        for _ in range(50):
            rude(broker.port)
        serves(broker.port)
        check(broker.stop(5) == 0, 'it does not stop')


@case
def log_on_a_full_disk():
    """The broker serves, and its other log says all."""
    with own_broker('log_dest file /dev/full', 'log_dest stderr', 'log_type all') as broker:
        for _ in range(20):
            rude(broker.port)
        serves(broker.port)
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
            # Until main() has run its first lines it has the system's defaults, as every program.
            until(lambda: int(re.search(r'SigIgn:\s*(\w+)', text_of(f'/proc/{broker.process.pid}/status'))[1], 16) &
                  1 << signal.SIGUSR1 - 1, 'it does not ignore SIGUSR1')
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
        s.sendall(brokers.PROBE[:19])  # CONNECT without DISCONNECT
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
        broker.process = subprocess.Popen(broker.argv, stdin=subprocess.DEVNULL, cwd=broker.scratch,
                                          stderr=subprocess.DEVNULL, preexec_fn=brokers.die_with_parent,
                                          env={**os.environ, 'NOTIFY_SOCKET': name})
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
            broker.process = subprocess.Popen(broker.argv, stdin=subprocess.DEVNULL, cwd=broker.scratch,
                                              stderr=subprocess.DEVNULL, preexec_fn=brokers.die_with_parent,
                                              env={**os.environ, 'NOTIFY_SOCKET': name})
            check(broker.wait_ready(), name)


# ---- quartet ctl ----


def ctl(broker, *words, **more):
    done = subprocess.run([QUARTET, 'ctl', '--data', broker.data, *words], capture_output=True, text=True, timeout=30, **more)
    return done.returncode, done.stdout, done.stderr


def ctl_json(broker, *words):
    status, out, err = ctl(broker, '--json', *words)
    check(status == 0, err)
    return json.loads(out)


def sleepers(broker, count, prefix='s'):
    """Durable sessions that are away; number i has i messages of QoS 1."""
    with Peer(broker.port, 5) as p:
        p.connect('publisher')
        for i in range(count):
            with Peer(broker.port, 5) as s:
                s.connect(f'{prefix}{i}', clean=False, props={'session_expiry': 1000})
                s.subscribe((f'{prefix}/{i}', 1))
                s.disconnect()
            for k in range(i):
                check(p.publish(f'{prefix}/{i}', b'x' * 100, 1, packet_id=k + 1) == 0)
        p.disconnect()


@case
def ctl_lists_sessions_by_queue():
    with own_broker('shards 3') as broker:
        sleepers(broker, 12)
        with Peer(broker.port, 5) as here:
            here.connect('here " \\ \t\u00fc')
            rows = ctl_json(broker, 'sessions')
            check([r['client_id'] for r in rows[:12]] == [f's{i}' for i in range(11, -1, -1)] or
                  [r['queued_messages'] for r in rows[:11]] == list(range(11, 0, -1)), rows)
            check(len(rows) == 13 and {r['owner'] for r in rows} <= {'-', '127.0.0.1'}, rows)
            one = [r for r in rows if r['connected']]
            check(len(one) == 1 and one[0]['client_id'] == 'here " \\ \t\u00fc' and one[0]['owner'] == '127.0.0.1', one)
            check([r['client_id'] for r in ctl_json(broker, 'sessions', '--rows', '3')] == ['s11', 's10', 's9'])
            check(len(ctl_json(broker, 'sessions', '--owner', '192.0.2.9')) == 0)
            status, out, _ = ctl(broker, 'sessions', '--rows', '1')
            check(status == 0 and re.search(r'^client_id +owner .*\ns11 ', out), out)
            check({r['name']: r['value'] for r in ctl_json(broker, 'counters')}['sessions'] == 13)


@case
def ctl_ends_sessions():
    """One that is connected is told; one that is away is gone when it comes back, and so after a kill -9 at once."""
    with own_broker('shards 3') as broker:
        sleepers(broker, 5)
        with Peer(broker.port, 5) as here:
            here.connect('here', clean=False, props={'session_expiry': 1000})
            check(ctl(broker, 'end', 'here')[0] == 0)
            here.expect_close(0x98)
        check(ctl(broker, 'end', 's4')[:2] == (0, 'ended\n    1\n'))
        check(ctl(broker, 'end', 's4')[0] == 1)
        broker.kill()
        broker.start()
        check(broker.wait_ready(), broker.log())
        for name, present in (('here', False), ('s4', False), ('s3', True)):
            with Peer(broker.port, 5) as p:
                p.connect(name, clean=False, props={'session_expiry': 1000})
                check(p.connack.session_present == present, name)
                p.disconnect()


@case
def ctl_ends_all_sessions_of_an_owner():
    with own_broker('shards 3', 'listener {port} 127.0.0.2') as broker:
        peers = []
        for i in range(40):
            p = Peer(broker.port, 5)
            p.connect(f'c{i}', clean=False, props={'session_expiry': 1000})
            peers.append(p)
        check(ctl(broker, 'end', '--owner', '127.0.0.9')[0] == 1)
        check(ctl_json(broker, 'end', '--owner', '127.0.0.1') == [{'ended': 40}])
        for p in peers:
            p.expect_close(0x98)
            p.close()
        check(ctl_json(broker, 'sessions') == [])


@case
def ctl_clears_retained_messages():
    with own_broker('shards 3') as broker:
        with Peer(broker.port, 5) as p:
            p.connect('p')
            for i in range(250):
                check(p.publish(f'{"ab"[i % 2]}/{i}', b'x', 1, packet_id=1, retain=True) < 0x80)
            got = ctl_json(broker, 'clear', 'a/#')
            check(got == [{'cleared': 125}], got)
            broker.kill()
        broker.start()
        check(broker.wait_ready(), broker.log())
        check(ctl_json(broker, 'clear', 'a/#') == [{'cleared': 0}])
        check(ctl_json(broker, 'clear', '+/1') == [{'cleared': 1}])
        check(ctl_json(broker, 'clear', '#') == [{'cleared': 124}])


@case
def ctl_shows_accounts():
    """By owner and all together; zero when everybody has gone."""
    with own_broker('shards 2') as broker:
        with Peer(broker.port, 5) as p:
            p.connect('p')
            p.subscribe(('a/b', 1))
            seen = {(r['name'], r['owner']): r['used'] for r in ctl_json(broker, 'accounts')}
            check(seen['sessions', 'all'] == seen['sessions', '127.0.0.1'] == 1, seen)
            check(seen['subscriptions', '127.0.0.1'] == 1 and seen['memory_bytes', 'all'] > 0, seen)
            p.disconnect()
        until(lambda: all(r['used'] == 0 for r in ctl_json(broker, 'accounts') if r['name'] != 'memory_bytes'), 'not zero')


@case
def ctl_says_what_is_wrong():
    with own_broker() as broker:
        for words, status, said in ((('clear', 'a/#/b'), 2, 'clear takes a topic filter'), (('nonsense',), 2, 'no such verb'),
                                    (('sessions', '--rows', '0'), 2, 'a number of rows from 1 to 1000'),
                                    (('sessions', '--rows', '1001'), 2, 'a number of rows from 1 to 1000'),
                                    (('end',), 2, 'usage:'), (('counters', 'x'), 2, 'usage:'), ((), 2, 'usage:')):
            got = ctl(broker, *words)
            check(got[0] == status and said in got[2], f'{words}: {got}')
        broker.kill()
        got = ctl(broker, 'counters')
        check(got[0] == 1 and 'no broker answers at' in got[2], got)


@case
def ctl_socket_is_the_owners():
    """Mode 0600; and root or the broker's own user, whatever somebody has made of its mode."""
    with folder() as place, own_broker(f'ctl_socket {place}/ctl') as broker:
        check(oct(os.stat(f'{place}/ctl').st_mode & 0o7777) == oct(0o600))
        check(not os.path.exists(f'{broker.data}/ctl'))
        words = [QUARTET, 'ctl', '--socket', f'{place}/ctl', 'counters']
        check(subprocess.run(words, capture_output=True, timeout=30).returncode == 0)
        if os.geteuid() != 0:
            raise Skip('another user can be tried by root only')
        os.chmod(place, 0o777)
        os.chmod(f'{place}/ctl', 0o777)
        asks = ('import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b"counters\\n"); '
                'sys.exit(len(s.recv(10)))')
        for user, answered in (('root', 1), ('nobody', 0)):
            done = subprocess.run(['/usr/bin/python3', '-c', asks, f'{place}/ctl'], capture_output=True, text=True, timeout=30,
                                  user=user, cwd='/')
            got = done.returncode if 'Error' not in done.stderr else 0  # it was closed, sooner or later
            check((got > 0) == bool(answered), f'{user}: {done}')
    with own_broker('ctl_socket none') as broker:
        check(not os.path.exists(f'{broker.data}/ctl'))


@case
def ctl_peers_without_manners():
    """Half questions, endless ones, nothing at all, hang-ups: the broker serves, answers others, and stops in time."""
    with own_broker('shards 2') as broker:
        kept = []
        for data in (b'', b'sessions', b'\x00\xff\n', b'end\t\\x4\n', b'end\t\\xzz\n', b'\n', b'\t\t\t\t\t\t\n', b'x' * 400000,
                     b'sessions\t\t1000\n'):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(5)
            s.connect(f'{broker.data}/ctl')
            with contextlib.suppress(OSError):
                s.sendall(data)
            if data.endswith(b'\n') and not data.startswith(b'sessions'):
                check(s.recv(100).startswith(b'error\t'), data)
            kept.append(s)
        check(ctl(broker, 'counters')[0] == 0)
        serves(broker.port)
        check(broker.stop(10) == 0)
        for s in kept:
            s.close()
        check(not os.path.exists(f'{broker.data}/ctl') and not os.path.exists(f'{broker.data}/ctl.lock'))


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
