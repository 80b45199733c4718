#!/usr/bin/env python3
"""What `quartet pub` and `sub` do beyond mosquitto's tools, with a real broker and real SIGKILLs: --exactly-once,
--stored, --flush, --numbered, --ack-cmd, --ack stdin, --trace; and how they end when they are interrupted, cut off, not
read, or given nothing to read.

    durable.py [--kills N] [--seed S] [TEST ...]
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import side  # noqa: E402
import broker  # noqa: E402
import codec  # noqa: E402
import peer  # noqa: E402

LIMIT_S = 120


def program():
    build = os.environ.get('QUARTET_BUILD') or os.path.join(side.ROOT, 'build', 'release')
    return os.environ.get('QUARTET_PROGRAM') or os.path.join(build, 'bin', 'quartet')


class World:
    """A broker, a folder, and the processes of one test."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.random = random.Random(options.seed)
        self.broker = broker.Broker('quartetd')
        self.port = self.broker.port
        self.kills = 0

    def path(self, name):
        return os.path.join(self.folder, name)

    def start_broker(self):
        self.broker.start()
        assert self.broker.wait_ready(), 'the broker does not start'

    def start(self, *words, **more):
        verb, *rest = words
        return subprocess.Popen([program(), verb, '-h', '127.0.0.1', '-p', str(self.port), *rest],
                                stderr=more.pop('stderr', subprocess.PIPE), env={**os.environ, 'HOME': self.folder},
                                preexec_fn=more.pop('preexec_fn', broker.die_with_parent), **more)

    def run(self, *words, code=0, **more):
        """Runs it to its end, which must have this exit code; returns its standard output and error."""
        text = more.pop('input', b'')
        process = self.start(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more)
        out, err = process.communicate(text, timeout=LIMIT_S)
        assert process.returncode == code, f'{words}: exit code {process.returncode}, not {code}: {err[-500:]!r}'
        return out, err

    def kill(self, process):
        process.kill()
        process.communicate()
        self.kills += 1

    def peer(self, *args, **more):
        return peer.Peer(self.port, 5, LIMIT_S).connect(*args, **more)


class Listener(threading.Thread):
    """A subscriber that is always there, does QoS 2 by the book and keeps what it got."""

    def __init__(self, world, topic):
        super().__init__(daemon=True)
        self.peer = world.peer('')
        self.peer.subscribe((topic, 2))
        self.got, self.changed = [], threading.Condition()
        self.start()

    def run(self):
        held = set()
        while True:
            try:
                packet = self.peer.next(LIMIT_S)
            except (OSError, peer.Late):
                return
            if packet is None:
                return
            if packet.type == codec.PUBLISH:
                self.take(packet, held)
            elif packet.type == codec.PUBREL:
                held.discard(packet.packet_id)
                self.peer.send(codec.ack(codec.PUBCOMP, packet.packet_id))

    def take(self, packet, held):
        if packet.packet_id not in held:
            with self.changed:
                self.got.append(packet.payload)
                self.changed.notify_all()
        if packet.qos == 2:
            held.add(packet.packet_id)
            self.peer.send(codec.ack(codec.PUBREC, packet.packet_id))
        elif packet.qos == 1:
            self.peer.send(codec.ack(codec.PUBACK, packet.packet_id))

    def wait(self, count):
        """Waits until so many have come; what has come."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.got) >= count, LIMIT_S), f'only {len(self.got)} of {count} came'
            return list(self.got)


def wait_until(condition, what):
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


# ---- publishing ----

def lines_of(count):
    return [b'line %d' % i for i in range(count)]


def test_killed_publisher(world):
    """Killed between any two messages and run again on the same input: every line once and in order."""
    world.start_broker()
    listener, count = Listener(world, 'in/#'), 200 * world.options.kills
    path = world.path('input')
    with open(path, 'wb') as f:
        f.write(b'\n'.join(lines_of(count)))
    words = ('pub', '-t', 'in/a', '-l', '--numbered', '--exactly-once', '--store', world.path('store'), '-i', 'publisher',
             '-M', '20')
    for i in range(world.options.kills):
        with open(path, 'rb') as f:
            process = world.start(*words, stdin=f)
            target = min(count, len(listener.got) + world.random.randrange(1, 200))
            wait_until(lambda: len(listener.got) >= target or process.poll() is not None, 'nothing is published')
            world.kill(process)
    with open(path, 'rb') as f:
        process = world.start(*words, stdin=f)
        _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, f'exit code {process.returncode}: {err!r}'
    got = listener.wait(count)
    assert got == lines_of(count), f'{len(got)} messages, {len(set(got))} different ones, of {count}'


def test_stored_without_broker(world):
    """--stored needs no broker; a later --flush sends it, once."""
    words = ('--store', world.path('store'), '-i', 'publisher')
    world.run('pub', '-t', 'in/a', '-l', '-q', '2', '--stored', *words, input=b'one\ntwo\n')
    world.run('pub', '-t', 'in/a', '-m', 'three', '-q', '1', '--stored', *words, '-D', 'publish',
              'message-expiry-interval', '1000')
    world.start_broker()
    listener = Listener(world, 'in/#')
    world.run('pub', '--flush', *words)
    world.run('pub', '--flush', *words)
    world.run('pub', '-t', 'in/end', '-m', 'end', '-q', '1', *words)
    assert listener.wait(4) == [b'one', b'two', b'three', b'end'], listener.got


def test_waits_for_a_broker(world):
    """With a store a broker that is not there yet is waited for; -W ends that with 27, and nothing is lost."""
    words = ('pub', '-t', 'in/a', '--store', world.path('store'), '-i', 'publisher', '-q', '2')
    world.run(*words, '-m', 'first', '-W', '1', code=27)
    process = world.start(*words, '-m', 'second', stdout=subprocess.PIPE)
    world.start_broker()
    listener = Listener(world, 'in/#')
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    # The listener may have come later than the first of them.
    world.run(*words, '-m', 'third')
    got = listener.wait(1)
    assert got[-1] == b'third' and len(got) == len(set(got)), got


def test_tells_of_lines_left_out(world):
    """Other lines under numbers that were taken before are not lost in silence."""
    world.start_broker()
    words = ('pub', '-t', 'in/a', '-l', '-q', '2', '--numbered', '--store', world.path('store'), '-i', 'publisher')
    _, err = world.run(*words, input=b'one\ntwo\n')
    assert b'left out' not in err, err
    _, err = world.run(*words, input=b'1\n2\n3\n')
    assert b'lines 1 to 2 were left out' in err, err


def test_one_process_for_a_store(world):
    """A second process, and another client, are refused with a sentence; the first goes on."""
    world.start_broker()
    words = ('pub', '-t', 'in/a', '-q', '2', '--exactly-once', '--store', world.path('store'), '-i')
    listener = Listener(world, 'in/#')
    first = world.start(*words, 'publisher', '-l', stdin=subprocess.PIPE)
    first.stdin.write(b'one\n')
    first.stdin.flush()
    assert listener.wait(1) == [b'one']
    _, err = world.run(*words, 'publisher', '-m', 'x', code=14)
    assert b'in use by another process' in err, err
    first.communicate(b'two\n', timeout=LIMIT_S)
    assert first.returncode == 0 and listener.wait(2) == [b'one', b'two']
    _, err = world.run(*words, 'other', '-m', 'x', code=3)
    assert b'belongs to the client id "publisher"' in err and b'quartet_' not in err, err


def test_refuses_unsafe_options(world):
    for words, code in ((('sub', '-t', 'a', '--exactly-once'), 1),
                        (('sub', '-t', 'a', '--exactly-once', '--store', world.path('s')), 1),
                        (('sub', '-t', 'a', '--exactly-once', '--store', world.path('s'), '-i', 'x', '-x', '0'), 1),
                        (('pub', '-t', 'a', '-m', 'x', '--exactly-once', '-i', 'x'), 1)):
        _, err = world.run(*words, code=code)
        assert b'exactly-once' in err or b'-i' in err, err


# ---- subscribing ----

def publish_all(world, topic, payloads):
    with world.peer('') as p:
        for i, payload in enumerate(payloads):
            assert p.publish(topic, payload, 2, 1 + i % 60000) < 0x80
        p.disconnect()


def subscriber(world, *words):
    return ('sub', '-t', 'out/#', '--exactly-once', '--store', world.path('store'), '-i', 'subscriber', *words)


def test_killed_subscriber(world):
    """Killed at any moment; its command writes one file for each QUARTET_ID. Each message ends in one file, and no
    message has two names."""
    world.start_broker()
    folder, count = world.path('effects'), 30 * world.options.kills
    os.mkdir(folder)
    command = f'cat > {folder}/.$QUARTET_ID && mv {folder}/.$QUARTET_ID {folder}/$QUARTET_ID'
    words = subscriber(world, '--ack-cmd', command)
    world.run(*subscriber(world, '-E'))
    publish_all(world, 'out/a', lines_of(count))

    def effects():
        return [name for name in os.listdir(folder) if name[0] != '.']
    for i in range(world.options.kills):
        process = world.start(*words)
        target = min(count, len(effects()) + world.random.randrange(1, 30))
        wait_until(lambda: len(effects()) >= target, 'no command has run')
        world.kill(process)
    process = world.start(*words)
    wait_until(lambda: len(effects()) >= count, 'not every message has come')
    world.kill(process)
    contents = []
    for name in sorted(effects(), key=lambda n: int(n.split(':')[1])):
        with open(os.path.join(folder, name), 'rb') as f:
            contents.append(f.read())
    assert contents == lines_of(count), f'{len(contents)} effects, {len(set(contents))} different ones, of {count}'


def test_killed_printer(world):
    """Printed to a file: none is lost; those that come again are the ones printed around a kill, in order."""
    world.start_broker()
    count, path = 100 * world.options.kills, world.path('printed')
    words = subscriber(world)
    world.run(*subscriber(world, '-E'))
    publish_all(world, 'out/a', lines_of(count))

    def printed():
        with open(path, 'rb') as f:
            return [line for line in f.read().split(b'\n') if line]
    open(path, 'wb').close()
    for i in range(world.options.kills):
        with open(path, 'ab') as out:
            process = world.start(*words, stdout=out)
            target = min(count, len(set(printed())) + world.random.randrange(1, 100))
            wait_until(lambda: len(set(printed())) >= target, 'nothing is printed')
            world.kill(process)
    with open(path, 'ab') as out:
        process = world.start(*words, stdout=out)
        wait_until(lambda: len(set(printed())) >= count, f'{len(set(printed()))} of {count} printed')
        world.kill(process)
    first = list(dict.fromkeys(printed()))
    assert first == lines_of(count), 'lost or out of order'


def test_command_that_fails(world):
    """A command that fails is run again for the same message before the next one's turn."""
    world.start_broker()
    log = world.path('log')
    command = (f'read -r line; echo "$line $QUARTET_TOPIC $QUARTET_QOS $QUARTET_ID" >> {log}; '
               f'[ "$(grep -c "^$line " {log})" -ge 3 ]')
    world.run(*subscriber(world, '-E'))
    publish_all(world, 'out/a', [b'one\n', b'two\n', b'three\n'])
    _, err = world.run(*subscriber(world, '--ack-cmd', command, '--ack-pause', '10', '-C', '3'))
    with open(log, encoding='ascii') as f:
        lines = [line.split() for line in f]
    assert [line[0] for line in lines] == ['one'] * 3 + ['two'] * 3 + ['three'] * 3, lines
    assert all(line[1:3] == ['out/a', '2'] for line in lines) and len({line[3] for line in lines}) == 3, lines
    assert err.count(b'the command has failed (status 1)') == 6, err


def test_killed_while_the_command_runs(world):
    """The message is not done: the next run gives it to the command again, under the same name."""
    world.start_broker()
    log = world.path('log')
    world.run(*subscriber(world, '-E'))
    publish_all(world, 'out/a', [b'work'])
    process = world.start(*subscriber(world, '--ack-cmd', f'echo "$QUARTET_ID $$" >> {log}; exec sleep 600'))
    wait_until(lambda: os.path.exists(log) and os.path.getsize(log), 'the command does not run')
    with open(log, encoding='ascii') as f:
        first, command = f.read().split()
    process.kill()
    os.kill(int(command), signal.SIGKILL)
    world.kill(process)
    world.run(*subscriber(world, '--ack-cmd', f'echo "$QUARTET_ID $QUARTET_REDELIVERED" >> {log}', '-C', '1'))
    with open(log, encoding='ascii') as f:
        second = f.read().splitlines()[1]
    assert second == f'{first} 1', (first, second)


def command_runs(world, command, *words):
    """A subscriber whose command runs for the one message; the command writes a line to the file `log` first."""
    world.start_broker()
    world.run(*subscriber(world, '-E'))
    publish_all(world, 'out/a', [b'work'])
    log = world.path('log')
    process = world.start(*subscriber(world, '--ack-cmd', f'echo $$ >> {log}; {command}', *words))
    wait_until(lambda: os.path.exists(log) and os.path.getsize(log), 'the command does not run')
    return process


def is_done(world):
    """Whether the next run is given nothing."""
    return not world.run(*subscriber(world, '-W', '1'), code=27)[0]


def test_interrupted_while_the_command_runs(world):
    """One SIGTERM waits for the command; the message is done then."""
    go = world.path('go')
    process = command_runs(world, f'until [ -e {go} ]; do sleep 0.01; done')
    process.send_signal(signal.SIGTERM)
    line = process.stderr.readline()
    assert b'waiting for the command' in line, line
    open(go, 'wb').close()
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0 and is_done(world)


def test_command_that_hangs(world):
    """A second SIGTERM ends the command and all that it has started, and so does -W; the message comes again."""
    process = command_runs(world, 'sleep 600; true')
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        process.stderr.readline()
    process.communicate(timeout=LIMIT_S)  # nobody holds standard error any more
    assert process.returncode == 0
    started = time.monotonic()
    world.run(*subscriber(world, '--ack-cmd', 'sleep 600; true', '-W', '1'), code=27)
    assert time.monotonic() - started < 60
    out, _ = world.run(*subscriber(world, '-C', '1'))
    assert out == b'work\n', out


def test_command_has_pipes(world):
    """A command's own pipes work as in any shell: SIGPIPE is not ignored."""
    process = command_runs(world, 'yes | head -1 > /dev/null', '-C', '1')
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0 and b'roken pipe' not in err, err


def test_ack_by_lines(world):
    """A line on standard input says that the oldest message is done; those without one come again."""
    world.start_broker()
    world.run(*subscriber(world, '-E'))
    publish_all(world, 'out/a', [b'one', b'two', b'three'])
    words = subscriber(world, '--ack', 'stdin')
    process = world.start(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert [process.stdout.readline() for _ in range(3)] == [b'one\n', b'two\n', b'three\n']
    process.stdin.write(b'done\n')
    process.stdin.close()
    assert process.wait(LIMIT_S) == 1, 'two were not done: the exit code says so'
    process.stdout.close()
    process.stderr.close()
    process = world.start(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert [process.stdout.readline() for _ in range(2)] == [b'two\n', b'three\n']
    process.stdin.write(b'\n\n')
    process.stdin.close()
    assert process.wait(LIMIT_S) == 0
    process.stdout.close()
    process.stderr.close()
    _, err = world.run(*subscriber(world, '-W', '1'), code=27)


def test_ack_by_lines_counts(world):
    """-C 1 prints no second message before the first is done."""
    world.start_broker()
    world.run(*subscriber(world, '-E'))
    publish_all(world, 'out/a', [b'one', b'two'])
    process = world.start(*subscriber(world, '--ack', 'stdin', '-C', '1'), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out = process.stdout.readline() + process.communicate(b'\n', timeout=LIMIT_S)[0]
    assert process.returncode == 0 and out == b'one\n', out
    out, _ = world.run(*subscriber(world, '-C', '1'))
    assert out == b'two\n', out


def test_retained_only_takes_no_other(world):
    """The message that ends --retained-only is not retained, and waits for the next run."""
    world.start_broker()
    world.run(*subscriber(world, '-E'))
    publish_all(world, 'out/a', [b'one'])
    out, _ = world.run(*subscriber(world, '--retained-only'))
    assert out == b'', out
    out, _ = world.run(*subscriber(world, '-C', '1'))
    assert out == b'one\n', out


def test_full_output(world):
    """What could not be printed is not done: the next run prints it."""
    world.start_broker()
    world.run(*subscriber(world, '-E'))
    publish_all(world, 'out/a', [b'one'])
    with open('/dev/full', 'wb') as full:
        process = world.start(*subscriber(world, '-C', '1'), stdout=full)
        process.communicate(timeout=LIMIT_S)
    assert process.returncode == 14, process.returncode
    out, _ = world.run(*subscriber(world, '-C', '1'))
    assert out == b'one\n', out


def closed(fd):
    """Before the program begins, this descriptor is closed."""
    def close():
        broker.die_with_parent()
        os.close(fd)
    return close


def test_closed_descriptors(world):
    """Nothing of ours takes the place of a standard descriptor that was closed before we began."""
    world.start_broker()
    world.run(*subscriber(world, '-E'))
    publish_all(world, 'out/a', [b'one'])
    process = world.start(*subscriber(world, '-C', '1'), preexec_fn=closed(1))
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 14, process.returncode
    out, _ = world.run(*subscriber(world, '-C', '1'))
    assert out == b'one\n', out
    process = world.start('pub', '-t', 'a', '-l', preexec_fn=closed(0))
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1 and b'standard input cannot be read' in err, (process.returncode, err)


def test_reader_who_does_not_read(world):
    """SIGTERM ends it also while a full pipe takes nothing; what was not printed is not done."""
    world.start_broker()
    world.run(*subscriber(world, '-E'))
    publish_all(world, 'out/a', [b'x' * 500000])
    process = world.start(*subscriber(world), stdout=subprocess.PIPE)
    first = os.read(process.stdout.fileno(), 1)
    wait_until(lambda: open(f'/proc/{process.pid}/wchan', encoding='ascii').read() != '0', 'it does not wait')
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0 and first == b'x'
    process.stdout.close()
    process.stderr.close()
    out, _ = world.run(*subscriber(world, '-C', '1'))
    assert out == b'x' * 500000 + b'\n', len(out)


def test_interrupted_publisher(world):
    """What was not published is no success: pub dies by the signal, waiting for lines or for a broker."""
    world.start_broker()
    listener = Listener(world, 'in/#')
    process = world.start('pub', '-t', 'in/a', '-l', '-q', '1', stdin=subprocess.PIPE)
    process.stdin.write(b'one\n')
    process.stdin.flush()
    listener.wait(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_S) == -signal.SIGINT
    words = ('pub', '-t', 'in/a', '-l', '-q', '1', '--stored', '--store', world.path('store'), '-i', 'p', '--trace')
    process = world.start(*words, stdin=subprocess.PIPE)
    wait_until(lambda: os.path.exists(world.path('store/journal-0000')), 'the store is not opened')
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == -signal.SIGTERM


def answer_and_close(listener):
    """A broker that takes every CONNECT and hangs up at the next packet."""
    while True:
        try:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b'\x20\x02\x00\x00')
                connection.recv(65536)
        except OSError:
            return


def test_lost_connection(world):
    """A message that the broker hangs up on is not tried for ever: exit code 7, as mosquitto_pub has it."""
    with socket.create_server(('127.0.0.1', world.port)) as listener:
        threading.Thread(target=answer_and_close, args=(listener,), daemon=True).start()
        world.run('pub', '-t', 'a', '-m', 'x', '-q', '1', code=7)
        listener.shutdown(socket.SHUT_RDWR)


def test_unsubscribes_before_it_ends(world):
    """-U comes after -t, and -E waits for it."""
    world.start_broker()
    words = ('sub', '-q', '1', '-c', '-i', 'me', '-E')
    world.run(*words, '-t', 'out/a', '-t', 'out/b')
    world.run(*words, '-t', 'out/a', '-U', 'out/b')
    publish_all(world, 'out/b', [b'b'])
    publish_all(world, 'out/a', [b'a'])
    out, _ = world.run(*words[:-1], '-t', 'out/a', '-C', '1')
    assert out == b'a\n', out


def test_unix_socket(world):
    """Also with a path that is relative, as mosquitto's tools take it."""
    world.start_broker()
    path = world.path('socket')
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        threading.Thread(target=forward, args=(listener, world.port), daemon=True).start()
        for name in (path, 'socket'):
            process = world.start('sub', '--unix', name, '-t', 'a', '-E', cwd=world.folder)
            _, err = process.communicate(timeout=LIMIT_S)
            assert process.returncode == 0, (name, err)
        listener.shutdown(socket.SHUT_RDWR)


def forward(listener, port):
    """Takes connections and carries their bytes to the broker and back."""
    def carry(source, target):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    while True:
        try:
            with listener.accept()[0] as client, socket.create_connection(('127.0.0.1', port)) as served:
                back = threading.Thread(target=carry, args=(served, client))
                back.start()
                carry(client, served)
                back.join()
        except OSError:
            return


def test_interrupted(world):
    """SIGINT ends it with exit code 0 and, in MQTT 5.0, with the will."""
    world.start_broker()
    listener = Listener(world, 'will/#')
    process = world.start('sub', '-t', 'a', '-V', '5', '-v', '--will-topic', 'will/a', '--will-payload', 'gone',
                          stdout=subprocess.PIPE)
    with world.peer('') as p:
        wait_until(lambda: p.publish('a', b'x', 1) != 0x10, 'nobody subscribes')  # 0x10: there is no subscriber
    assert process.stdout.readline() == b'a x\n'
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0 and listener.wait(1) == [b'gone']


def test_broker_restarts(world):
    """The broker is killed and comes back: pub and sub go on, each message once and in order."""
    world.start_broker()
    world.run(*subscriber(world, '-E'))
    sub = world.start(*subscriber(world, '-C', '300'), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    pub = world.start('pub', '-t', 'out/a', '-l', '--exactly-once', '--store', world.path('out'), '-i', 'publisher',
                      stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    got = []
    for i in range(3):
        pub.stdin.write(b''.join(b'%d\n' % n for n in range(i * 100, i * 100 + 100)))
        pub.stdin.flush()
        got += [sub.stdout.readline() for _ in range(world.random.randrange(1, 90))]
        world.broker.kill()
        world.kills += 1
        world.start_broker()
    pub.stdin.close()
    assert pub.wait(LIMIT_S) == 0
    got += sub.stdout.readlines()
    assert sub.wait(LIMIT_S) == 0
    sub.stdout.close()
    assert got == [b'%d\n' % n for n in range(300)], got


def test_broker_is_restarted_in_order(world):
    """A broker that says that it goes away (5.0) is waited for like one that was killed, with and without a store."""
    world.start_broker()
    world.run(*subscriber(world, '-E'))
    live = world.start('sub', '-V', '5', '-t', 'live/#', '-q', '1', '-C', '2', stdout=subprocess.PIPE)
    kept = world.start(*subscriber(world, '-C', '2'), stdout=subprocess.PIPE)
    for _ in range(2):
        publish_all(world, 'out/a', [b'kept'])
        with world.peer('') as p:
            wait_until(lambda: p.publish('live/a', b'live', 1) != 0x10, 'nobody subscribes')  # 0x10: no subscriber
        assert kept.stdout.readline() == b'kept\n' and live.stdout.readline() == b'live\n'
        world.broker.stop()
        world.start_broker()
    for process in (live, kept):
        process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, process.returncode


def test_everything_is_killed(world):
    """Publisher, broker and subscriber are killed in any order: each line has one effect, in order."""
    world.start_broker()
    folder, path, count = world.path('effects'), world.path('input'), 30 * world.options.kills
    os.mkdir(folder)
    with open(path, 'wb') as f:
        f.write(b'\n'.join(lines_of(count)))
    world.run(*subscriber(world, '-E'))
    command = f'cat > {folder}/.$QUARTET_ID && mv {folder}/.$QUARTET_ID {folder}/$QUARTET_ID'

    def publish():
        with open(path, 'rb') as f:
            return world.start('pub', '-t', 'out/a', '-l', '--numbered', '--exactly-once', '--store', world.path('outbox'),
                               '-i', 'publisher', '-M', '20', stdin=f, stderr=subprocess.DEVNULL)

    def subscribe():
        return world.start(*subscriber(world, '--ack-cmd', command), stderr=subprocess.DEVNULL)

    def effects():
        return [name for name in os.listdir(folder) if name[0] != '.']
    start = {'pub': publish, 'sub': subscribe}
    running = {name: begin() for name, begin in start.items()}
    for _ in range(2 * world.options.kills):
        target = min(count, len(effects()) + world.random.randrange(0, 15))
        wait_until(lambda: len(effects()) >= target, 'nothing happens')
        victim = world.random.choice(('pub', 'sub', 'broker'))
        if victim == 'broker':
            world.broker.kill()
            world.kills += 1
            world.start_broker()
        else:
            world.kill(running[victim])
            running[victim] = start[victim]()
    wait_until(lambda: len(effects()) >= count, 'not every line has come')
    assert running['pub'].wait(LIMIT_S) == 0
    world.kill(running['sub'])
    contents = []
    for name in sorted(effects(), key=lambda n: int(n.split(':')[1])):
        with open(os.path.join(folder, name), 'rb') as f:
            contents.append(f.read())
    assert contents == lines_of(count), f'{len(contents)} effects, {len(set(contents))} different ones, of {count}'


# ---- looking ----

def test_trace(world):
    """--trace shows the four packets in order, with times; --trace=json as JSON."""
    world.start_broker()
    _, err = world.run('pub', '-t', 'a', '-m', 'x', '-q', '2', '--trace')
    seen = [line.split()[1:3] for line in err.decode().splitlines()]
    wanted = [['-->', 'CONNECT'], ['<--', 'CONNACK'], ['-->', 'PUBLISH'], ['<--', 'PUBREC'], ['-->', 'PUBREL'],
              ['<--', 'PUBCOMP'], ['-->', 'DISCONNECT']]
    assert seen == wanted, seen
    _, err = world.run('pub', '-t', 'a', '-m', 'x', '-q', '2', '--trace=json')
    rows = [json.loads(line) for line in err.splitlines()]
    assert [row['packet'].split()[0] for row in rows] == [name for _, name in wanted], rows
    assert [row['direction'] for row in rows] == ['out', 'in'] * 3 + ['out'], rows
    times = [row['time_ns'] for row in rows]
    assert times == sorted(times) and all(row['bytes'] >= 2 for row in rows), rows


TESTS = {name[5:]: function for name, function in list(globals().items()) if name.startswith('test_')}


def run(name, options):
    """True when it holds."""
    with tempfile.TemporaryDirectory(prefix='quartet-durable-', dir=os.environ.get('QUARTET_TMP')) as folder:
        world = World(options, folder)
        try:
            TESTS[name](world)
            print(f'ok     {name}' + (f' ({world.kills} kills)' if world.kills else ''), flush=True)
            return True, world.kills
        except (AssertionError, peer.Late, peer.Gone, subprocess.TimeoutExpired) as e:
            print(f'FAILED {name}: {type(e).__name__} {e}', flush=True)
            return False, world.kills
        finally:
            world.broker.cleanup()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--kills', type=int, default=8)
    parser.add_argument('--seed', type=int, default=int.from_bytes(os.urandom(4), 'big'))
    parser.add_argument('test', nargs='*', choices=[*TESTS, []])
    options = parser.parse_args()
    broker.quick_tmp()
    print(f'seed {options.seed}')
    results = [run(name, options) for name in options.test or TESTS]
    good = sum(ok for ok, _ in results)
    print(f'summary: passed={good} failed={len(results) - good} sigkills={sum(kills for _, kills in results)}')
    return 0 if good == len(results) else 1


if __name__ == '__main__':
    sys.exit(main())
