"""The process: what it does with signals, logs, listeners and configurations."""

import contextlib
import os
import signal
import socket
import subprocess
import time

import broker as brokers
from case import Peer, case, check, equal
from cases_limits import wrapped

QUARTETD = os.path.join(os.environ.get('QUARTET_BUILD', brokers.ROOT + '/build/release'), 'bin', 'quartetd')

# Options of mosquitto with the value that holds anyway.
DEFAULTS = ('per_listener_settings false', 'retain_available true', 'upgrade_outgoing_qos false',
            'queue_qos0_messages false', 'max_qos 2', 'message_size_limit 0', 'max_inflight_bytes 0',
            'enable_control_api false', 'use_username_as_clientid false', 'require_certificate false')
OTHERS = ('retain_available false', 'max_qos 1', 'upgrade_outgoing_qos true', 'require_certificate true')


def test_config(*lines):
    """The exit code of --test-config for this, and what it says."""
    broker = brokers.Broker('quartetd', conf=list(lines))
    try:
        r = subprocess.run([*broker.argv, '--test-config'], capture_output=True, text=True, check=False)
        return r.returncode, r.stdout + r.stderr
    finally:
        broker.cleanup()


@case(5, ways=('tcp',))
def options_that_say_what_holds_anyway(t):
    """What mosquitto does by default is accepted when it is said; what Quartet cannot do is refused by name."""
    for line in DEFAULTS:
        equal(test_config(line), (0, test_config(line)[1]), line)
    for line in OTHERS:
        code, words = test_config(line)
        check(code == 2 and line.split()[0] in words, f'{line}: {code} {words}')


@case(5, ways=('tcp',))
def signals_do_not_end_it(t):
    """Scripts written for mosquitto send these."""
    with wrapped(conf=('shards 2',)) as broker:
        check(broker.wait_ready(), broker.log())
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN, signal.SIGPIPE):
            os.kill(broker.process.pid, number)
            Peer(broker.port, 5).connect('c').quiet()
            check(broker.alive(), f'{signal.Signals(number).name} ended it')
        equal(broker.stop(), 0)


def until_said(notify, word):
    """Reads datagrams until one has this word in it."""
    while word not in notify.recv(4096).split(b'\n'):
        pass


@case(5, ways=('tcp',))
def ready_is_said(t):
    """sd_notify(3): READY=1 when connections are served, STOPPING=1 at the end."""
    with wrapped() as first:
        path = first.scratch + '/notify'
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            s.settimeout(10)
            broker = brokers.Broker('quartetd', conf=['shards 2'])
            try:
                broker.start(('env', f'NOTIFY_SOCKET={path}'))
                until_said(s, b'READY=1')
                Peer(broker.port, 5).connect('c').quiet()
                os.kill(broker.process.pid, signal.SIGTERM)
                until_said(s, b'STOPPING=1')
                equal(broker.wait_exit(), 0)
            finally:
                broker.cleanup()


@case(5, ways=('tcp',))
def an_address_that_comes_later(t):
    """One listener's address is not there yet: the others are served, and the log says so."""
    with wrapped(conf=('listener {port} 192.0.2.77',)) as broker:
        check(broker.wait_ready(), broker.log())
        Peer(broker.port, 5).connect('c').quiet()
        check('192.0.2.77' in broker.log(), broker.log())
        equal(broker.stop(), 0)


@case(5, ways=('tcp',))
def a_log_that_nobody_reads(t):
    """Lines are dropped and counted; clients are served, and it stops when it is told to."""
    broker = brokers.Broker('quartetd', conf=['shards 2', 'log_type all'])
    os.mkfifo(broker.scratch + '/deaf')
    pipe = os.open(broker.scratch + '/deaf', os.O_RDWR | os.O_NONBLOCK)
    try:
        broker.start(('sh', '-c', f'exec "$@" >{broker.scratch}/deaf 2>&1', 'sh'))
        check(broker.wait_ready(), 'it does not start')
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(pipe, bytes(4096))
        for i in range(20):
            p = Peer(broker.port, 5)
            p.send(b'\0\0')
            p.next()
            p.close()
            began = time.monotonic()
            Peer(broker.port, 5).connect(f'c{i}').quiet()
            check(time.monotonic() - began < 1)
        equal(broker.stop(10), 0)
    finally:
        os.close(pipe)
        broker.cleanup()


@case(5, ways=('tcp',))
def a_second_start_by_mistake(t):
    """It ends, and takes nothing away from the one that runs: neither its pid file nor its store."""
    with wrapped(conf=('pid_file {data}.pid',)) as first:
        check(first.wait_ready(), first.log())
        with open(first.data + '.pid', encoding='ascii') as f:
            pid = f.read()
        second = brokers.Broker('quartetd', data=first.data, conf=['pid_file {data}.pid'])
        try:
            equal(second.start().wait_exit(), 1)
        finally:
            second.cleanup()
        with open(first.data + '.pid', encoding='ascii') as f:
            equal(f.read(), pid)
        Peer(first.port, 5).connect('c').quiet()


@case(5, ways=('tcp',))
def a_store_that_is_not_there(t):
    """`store check` of a name that is mistyped is an error, and makes nothing."""
    tool = os.path.join(os.path.dirname(QUARTETD), 'quartet')
    path = os.path.join(os.path.dirname(t.broker.data), 'mistyped')
    r = subprocess.run([tool, 'store', 'check', path], capture_output=True, check=False)
    check(r.returncode != 0 and not os.path.exists(path), f'exit code {r.returncode}')


@case(5, ways=('tcp',))
def little_address_space(t):
    """The table's size is address space: with 2 GB of it the broker starts, or says which option to change."""
    for gigabytes in (2, 8):
        size = gigabytes << 30
        with wrapped('prlimit', f'--as={size}:{size}') as broker:
            check(broker.wait_ready() or 'table_size' in broker.log(), broker.log())
