"""`quartet ctl`: what an operator asks the broker that runs, and how it answers those without manners."""

import contextlib
import json
import os
import re
import resource
import socket
import subprocess
import sys
import time

import codec
from cases import QUARTET, Skip, case, check, folder, own_broker, serves, until
from peer import Peer


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
def ctl_gives_no_client_a_hand_on_the_terminal():
    """A client id may have controls in it, also those of UTF-8, with which commands to a terminal begin."""
    names = ['a\x1b[2J', 'b\u009b2J', 'caf\u00e9']
    with own_broker('shards 1') as broker:
        for name in names:
            with Peer(broker.port, 5) as p:
                p.connect(name, clean=False, props={'session_expiry': 1000})
                p.disconnect()
        shown = ctl(broker, 'sessions')[1] + ctl(broker, '--json', 'sessions')[1]
        check(not re.search('[\x00-\x09\x0b-\x1f\x7f-\x9f]', shown), repr(shown))
        check('b\\xc2\\x9b2J' in shown and 'caf\u00e9' in shown, repr(shown))
        check(sorted(r['client_id'] for r in ctl_json(broker, 'sessions')) == names)


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
            check(got == [{'cleared': 125, 'left': 125}], got)
            broker.kill()
        broker.start()
        check(broker.wait_ready(), broker.log())
        check(ctl_json(broker, 'clear', 'a/#') == [{'cleared': 0, 'left': 125}])
        check(ctl_json(broker, 'clear', '+/1') == [{'cleared': 1, 'left': 124}])
        check(ctl_json(broker, 'clear', '#') == [{'cleared': 124, 'left': 0}])


@case
def ctl_clears_topics_that_begin_with_a_dollar():
    """Section 4.7.2: a wildcard at the first level is no match for them; their own filters are, and --all."""
    topics = ('$a', '$a/1', '$b/1', '$b/2', 'a/1', 'b')
    with own_broker('shards 2') as broker, Peer(broker.port, 5) as p:
        p.connect('p')
        for words, cleared in ((('#',), 2), (('+/1',), 1), (('$a/#',), 2), (('$b/+',), 2), (('--all', '#'), 6), (('--all', '+/1'), 3),
                               (('--all', '$a/#'), 2), (('--all', 'a/#'), 1)):
            for topic in topics:
                check(p.publish(topic, b'x', 1, packet_id=1, retain=True) < 0x80)
            check(ctl_json(broker, 'clear', *words) == [{'cleared': cleared, 'left': 6 - cleared}], words)


@case
def ctl_shows_accounts():
    """By owner and all together; zero when everybody has gone."""
    with own_broker('shards 2') as broker:
        with Peer(broker.port, 5) as p:
            p.connect('p')
            p.subscribe(('a/b', 1))
            rows = ctl_json(broker, 'accounts')
            seen = {(r['name'], r['owner']): r['used'] for r in rows if r['level'] in ('all', 'owner')}
            check(seen['sessions', 'all'] == seen['sessions', '127.0.0.1'] == 1, seen)
            check(seen['subscriptions', '127.0.0.1'] == 1 and seen['memory_bytes', 'all'] > 0, seen)
            p.disconnect()
        until(lambda: all(r['used'] == 0 for r in ctl_json(broker, 'accounts') if r['name'] not in ('memory_bytes', 'store_bytes')), 'not zero')


@case
def ctl_shows_who_has_the_most():
    """Bounds of a single session, connection and listener stand beside the accounts."""
    with own_broker('shards 2', 'max_connections 7', 'max_takeover_rate 3') as broker:
        sleepers(broker, 6)
        with Peer(broker.port, 5) as p:
            p.connect('p')
            p.subscribe(('a/b', 1), ('c', 1))
            p.send(b'\x30\x90\x4e' + b'x' * 5000)
            peer = until(lambda: next((r for r in ctl_json(broker, 'accounts')
                                       if r['name'] == 'input_bytes' and r['level'] == 'connection'
                                       and r['used'] == 5003), None), 'no input')
            check(peer['owner'].startswith('127.0.0.1:') and peer['limit'] == 1 << 20, peer)
            rows = {(r['name'], r['level']): r for r in ctl_json(broker, 'accounts')}
            fat = rows['queued', 'session']
            check((fat['used'], fat['owner'], fat['limit']) == (5, 's5', 1000000), fat)
            check(rows['disk', 'session']['owner'] == 's5' and rows['disk', 'session']['used'] > 500, rows)
            check(rows['subscriptions', 'session']['owner'] == 'p' and rows['subscriptions', 'session']['used'] == 2, rows)
            listener = next(r for r in ctl_json(broker, 'accounts') if r['limit'] == 7)
            check((listener['name'], listener['level'], listener['used']) == ('connections', 'listener', 1), listener)
            check(rows['staged_bytes', 'all']['limit'] == 4 << 20, rows)
            check(rows['takeover_rate', 'all']['limit'] == 3, rows)


@case
def ctl_counts_connections_that_are_refused():
    with own_broker('max_connections 2', 'max_connection_rate 1') as broker:  # ten at once
        with Peer(broker.port, 5) as p:
            p.connect('p')
            for _ in range(20):
                with contextlib.suppress(OSError), Peer(broker.port, 5):
                    pass
            with contextlib.suppress(OSError), Peer(broker.port, 5), Peer(broker.port, 5):
                pass
            until(lambda: any(r['name'] == 'connection_rate' and r['owner'] == '127.0.0.1' and r['refused'] > 5
                              for r in ctl_json(broker, 'accounts')), 'not counted')


@case
def ctl_without_descriptors_does_not_spin():
    with folder() as place, own_broker('persistence false', f'ctl_socket {place}/ctl') as broker:  # no store: it needs files
        pid = broker.process.pid
        taken = {int(fd) for fd in os.listdir(f'/proc/{pid}/fd')}
        lowest = next(fd for fd in range(len(taken) + 1) if fd not in taken)
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))
        with socket.socket(socket.AF_UNIX) as asker:
            asker.connect(f'{place}/ctl')
            before = broker_seconds(pid)
            time.sleep(1)
            spent = broker_seconds(pid) - before
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            check(spent < .3, f'{spent} s of processor time in a second')
            asker.settimeout(5)
            asker.sendall(b'counters\n')
            check(asker.recv(3) == b'ok\n', 'it is let in when there is a descriptor')


def broker_seconds(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii') as f:
        user, system = f.read().rsplit(')', 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')


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
def ctl_knows_whose_session_it_is_when_the_peer_is_gone():
    """A client that resets its connection behind its CONNECT, which belongs to another shard: it is held against its
    address all the same."""
    with own_broker('shards 2') as broker:
        for i in range(1000):
            with Peer(broker.port, 5) as p:
                p.send(codec.connect(f'gone{i}', clean=False, props={'session_expiry': 1000}))
                p.close(reset=True)
        serves(broker.port)
        check({r['owner'] for r in ctl_json(broker, 'sessions', '--rows', '1000')} == {'127.0.0.1'})


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
