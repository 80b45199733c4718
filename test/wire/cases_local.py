"""What is particular to a UNIX socket: its file, its peers without an address, one listener beside another."""

import contextlib
import os
import signal
import stat
import subprocess
import time

import broker as brokers
from case import Gone, Peer, case, check, closes, codec, equal, only

UNIX = ('unix',)
QUARTET = os.path.join(brokers.ROOT, 'build', 'release', 'bin', 'quartet')


@contextlib.contextmanager
def own_broker(*conf, start=True, like=None):
    """A broker of the case's own. like: with the socket of that one."""
    listener = f'listener 0 {like.path()}' if like else brokers.LOCAL
    broker = brokers.Broker('quartetd', conf=[listener, *conf])
    try:
        if start:
            broker.start()
            check(broker.wait_ready(), broker.log())
        yield broker
    finally:
        broker.cleanup()


def durable(broker, level, name='d'):
    return Peer(broker.path(), level).connect(name, clean=False, props={'session_expiry': 1000} if level >= 5 else None)


@case(5, ways=UNIX)
def local_owner_and_group_may_connect(t):
    status = os.stat(t.where)
    check(stat.S_ISSOCK(status.st_mode))
    equal(oct(stat.S_IMODE(status.st_mode)), oct(0o770))
    equal(oct(stat.S_IMODE(os.stat(t.where + '.lock').st_mode)), oct(0o600))


@case(5, ways=UNIX)
def local_files_are_gone_after_a_stop(t):
    """SIGTERM: clients are told, and no file is left."""
    with own_broker() as broker:
        p = Peer(broker.path(), 5).connect('c')
        os.kill(broker.process.pid, signal.SIGTERM)
        closes(p, 0x8B)
        p.close()
        equal(broker.wait_exit(), 0)
        check(not os.path.lexists(broker.path()) and not os.path.lexists(broker.path() + '.lock'))


@case(ways=UNIX)
def local_broker_is_killed_in_every_step(t):
    """SIGKILL leaves the socket behind; the next broker takes its place, and one QoS 2 message arrives once."""
    with own_broker('shards 4') as broker:
        with durable(broker, t.level, 's') as s:
            equal(s.subscribe(('x', 2)), (2,))

        def reborn(name):
            broker.kill()
            check(os.path.lexists(broker.path()))
            broker.start()
            check(broker.wait_ready(), broker.log())
            check(broker.says('had left behind; it was replaced'), broker.log())
            return durable(broker, t.level, name)

        p = durable(broker, t.level, 'p')
        for packet, answer in ((codec.publish('x', b'once', 2, 7, t.level), codec.PUBREC),
                               (codec.publish('x', b'once', 2, 7, t.level, dup=True), codec.PUBREC),
                               (codec.ack(codec.PUBREL, 7), codec.PUBCOMP), (codec.ack(codec.PUBREL, 7), codec.PUBCOMP)):
            p.send(packet)
            p.expect(answer, packet_id=7)
            p.close()
            p = reborn('p')
        p.close()
        s = durable(broker, t.level, 's')
        first = s.expect(codec.PUBLISH, payload=b'once', qos=2)
        s.close()
        s = reborn('s')
        s.expect(codec.PUBLISH, payload=b'once', packet_id=first.packet_id, dup=True)
        s.send(codec.ack(codec.PUBREC, first.packet_id))
        s.expect(codec.PUBREL, packet_id=first.packet_id)
        s.close()
        s = reborn('s')
        s.expect(codec.PUBREL, packet_id=first.packet_id)
        s.send(codec.ack(codec.PUBCOMP, first.packet_id))
        s.quiet()
        s.close()


@case(5, ways=UNIX)
def local_socket_cannot_be_stolen(t):
    """A second broker ends with 1 and says why; the first goes on with its clients and takes new ones."""
    with own_broker() as first, own_broker(like=first, start=False) as second:
        p = Peer(first.path(), 5).connect('old')
        second.start()
        equal(second.wait_exit(), 1)
        check(f'cannot listen on {first.path()}: another broker holds {first.path()}.lock' in second.log(), second.log())
        p.quiet()
        p.close()
        Peer(first.path(), 5).connect('new').close()


@case(5, ways=UNIX)
def local_hangup_changes_nothing(t):
    with own_broker() as broker:
        p = Peer(broker.path(), 5).connect('old')
        inode = os.stat(broker.path()).st_ino
        os.kill(broker.process.pid, signal.SIGHUP)
        p.quiet()
        p.close()
        Peer(broker.path(), 5).connect('new').close()
        equal(os.stat(broker.path()).st_ino, inode)


def connected_at_last(path):
    """The broker learns that a client has gone after that client does."""
    end = time.monotonic() + 10
    while True:
        try:
            return Peer(path, 5).connect('again')
        except Gone:
            check(time.monotonic() < end, 'the place is not given again')


@case(5, ways=UNIX)
def local_limit_is_its_own(t):
    """max_connections of the UNIX socket: more are closed, the port's are not, and a place that is free is given again."""
    with own_broker('max_connections 2') as broker:
        kept = [Peer(broker.path(), 5).connect(f'c{i}') for i in range(2)]
        third = Peer(broker.path(), 5)
        closes(third)
        third.close()
        Peer(broker.port, 5).connect('by the port').close()
        said = f'{broker.path()} has 2 connections, its max_connections; new ones are closed'
        check(broker.says(said), broker.log())
        kept.pop().disconnect()
        kept.append(connected_at_last(broker.path()))
        for p in kept:
            p.close()


@case(5, ways=UNIX)
def local_peers_are_named_by_process_and_user(t):
    """In whatever shard the session is: the name is the same before and after the connection has moved."""
    with own_broker('shards 4', 'log_type all') as broker:
        for i in range(16):
            Peer(broker.path(), 5).connect(f'c{i}').disconnect()
        p = Peer(broker.path(), 5)
        p.send(b'\x00\x00')
        closes(p)
        who = f'unix:pid={os.getpid()},uid={os.getuid()}'
        check(broker.says(f'refusing {who}: ', f'closing {who} '), broker.log())
        for i in range(16):
            check(f'c{i} connected from {who} (' in broker.log(), broker.log())


@case(ways=UNIX)
def local_client_takes_over_from_a_port(t):
    """One session, reached by both ways in turn: the old connection is closed, the flow goes on."""
    p = Peer(t.broker.port, t.level)
    t.peers.append(p)
    p.connect(t.id('d'), clean=False, props={'session_expiry': 1000} if t.level >= 5 else None)
    p.subscribe((t.topic('x'), 2))
    t.publish(t.topic('x'), b'm', 2)
    first = p.expect(codec.PUBLISH, payload=b'm')
    q = t.durable()
    closes(p, 0x8E if t.level >= 5 else None)
    check(q.connack.session_present)
    q.message(payload=b'm', packet_id=first.packet_id, dup=True)
    q.quiet()


@case(ways=UNIX)
def local_large_messages_are_whole(t):
    """Much more than the socket takes at once, to one that reads late."""
    s = t.subscriber(t.topic('x'), 1)
    p = t.client('p')
    bodies = [bytes([65 + i]) * 900_000 for i in range(6)]
    for i, body in enumerate(bodies):
        equal(p.publish(t.topic('x'), body, 1, packet_id=i + 1), 0)
    only(s, *bodies)


def tool(*words, **more):
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **more)


@case(5, ways=UNIX)
def local_tools_meet(t):
    """mosquitto's subscriber and ours, each told by mosquitto's publisher and by ours."""
    with own_broker() as broker:
        where = ('--unix', broker.path(), '-q', '2', '-t', 'x')
        for level in ('311', '5'):
            version = ('-V', level)
            subscribers = [tool('mosquitto_sub', *where, *version, '-C', '2', '-W', '20', '-i', 'a', '-c', '-E'),
                           tool(QUARTET, 'sub', *where, *version, '-C', '2', '-W', '20', '-i', 'b', '-c', '-E')]
            for s in subscribers:
                s.wait(20)
            for words in (('mosquitto_pub',), (QUARTET, 'pub')):
                equal(tool(*words, *where, *version, '-m', words[0][-7:]).wait(20), 0, words)
            for s in (('mosquitto_sub', '-i', 'a'), (QUARTET, 'sub', '-i', 'b')):
                done = tool(*s, *where, *version, '-c', '-C', '2', '-W', '20')
                out = done.communicate()[0]
                equal((done.returncode, out), (0, 'tto_pub\nquartet\n'), s)
