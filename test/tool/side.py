"""One invocation of a publishing or subscribing tool against a real broker, and all that it did: its standard output,
its exit code, and what the broker gave others because of it.

The tool speaks to the broker through a tap that sees when its subscriptions have been answered and when the broker has
taken all that the tool has sent; so nothing waits for a guess of time.
"""

import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, 'test', 'crash'))
import codec  # noqa: E402
import peer  # noqa: E402

LIMIT_S = 60  # a loaded machine is slow


class Tap:
    """Forwards one connection after the other; `subscribed` is set at the first SUBACK."""

    def __init__(self, port):
        self.broker_port = port
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.subscribed, self.closed = threading.Event(), threading.Event()
        self.sent = bytearray()  # by the tool
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
                broker = socket.create_connection(('127.0.0.1', self.broker_port), 5)
            except OSError:
                return
            self.closed.clear()
            with client, broker:
                self.forward(client, broker)
            self.closed.set()

    def forward(self, client, broker):
        answers = bytearray()
        sides = {client: broker, broker: client}
        while sides:
            for source in select.select(list(sides), [], [], LIMIT_S)[0]:
                try:
                    data = source.recv(65536)
                except OSError:
                    data = b''
                try:
                    if data:
                        sides[source].sendall(data)
                    else:
                        sides.pop(source).shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                if source is client:
                    self.sent += data
                else:
                    self.look(answers, data)

    def look(self, answers, data):
        answers += data
        while True:
            whole = codec.split(answers)
            if not whole:
                return
            if whole[0] >> 4 == codec.SUBACK:
                self.subscribed.set()
            del answers[:whole[2]]

    def end(self):
        """Waits until the broker has closed what the tool had opened, if it has."""
        if self.sent:
            self.closed.wait(LIMIT_S)
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(LIMIT_S)
        self.listener.close()


class Observer(peer.Peer):
    """Subscribes to all below a topic."""

    def __init__(self, port, topic):
        super().__init__(port, 5, LIMIT_S)
        self.seen = []
        self.connect('')
        self.subscribe((f'{topic}/#', 0x0A))  # QoS 2, retain as published

    def until(self, wanted):
        """Takes messages up to one for which `wanted` holds; false when the broker closes."""
        while True:
            packet = self.next()
            if packet is None:
                return False
            if packet.type == codec.PUBREL:
                self.send(codec.ack(codec.PUBCOMP, packet.packet_id))
            if packet.type == codec.PUBLISH:
                if packet.qos:
                    self.send(codec.ack(codec.PUBACK if packet.qos == 1 else codec.PUBREC, packet.packet_id))
                self.seen.append(packet)
                if wanted(packet):
                    return True


def line_of(packet):
    properties = sorted((packet.props or {}).items(), key=str)
    return f'{packet.topic} qos={packet.qos} retain={packet.retain} {packet.payload!r} {properties}'


def fill(text, words):
    if isinstance(text, bytes):
        return text.replace(b'{T}', words['T'].encode())
    return re.sub(r'\{(T|port|dir)\}', lambda m: str(words[m.group(1)]), text)


def run(program, case, broker_port, topic, limit_s=LIMIT_S):
    """Runs `program` once; returns what is to be compared as (exit code, standard output, observed), and its standard
    error."""
    if not case.connects and '{port}' not in ' '.join(case.args):
        return run_alone(program, case, topic)
    tap = Tap(broker_port)
    speaker = peer.Peer(broker_port, 5, LIMIT_S).connect('')
    observer = Observer(broker_port, topic)
    with tempfile.TemporaryDirectory(prefix='quartet-tool-') as folder, speaker, observer:
        words = {'T': topic, 'port': tap.port, 'dir': folder}
        speak(speaker, case.before, words)
        process = start(program, case, words)
        try:
            out, err = converse(process, case, limit_s, tap, speaker, observer, words)
        finally:
            process.kill()
            process.wait()
        tap.end()
        speaker.publish(f'{topic}/end', b'')
        observer.until(lambda p: p.topic == f'{topic}/end')
        for message in case.before:
            speaker.publish(fill(message[0], words), b'', 1, retain=True)
        return (process.returncode, out, [line_of(p) for p in observer.seen[:-1]]), err


def run_alone(program, case, topic):
    """The same without a broker."""
    with tempfile.TemporaryDirectory(prefix='quartet-tool-') as folder:
        process = start(program, case, {'T': topic, 'dir': folder, 'port': 1})
        feed(process.stdin, case.stdin)
        out, err = finish(process, LIMIT_S)
        return (process.returncode, out, []), err


def start(program, case, words):
    for name, content in case.files.items():
        path = os.path.join(words['dir'], name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as f:
            f.write(fill(content, words))
    environment = {'PATH': os.environ['PATH'], 'HOME': words['dir'], 'TZ': 'Europe/Berlin'}
    environment.update({k: fill(v, words) for k, v in case.env.items()})
    arguments = ['-h', '127.0.0.1', '-p', str(words['port'])] if case.connects else []
    arguments += [fill(a, words) for a in case.args]
    return subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=environment, cwd=words['dir'])


def speak(speaker, messages, words):
    for topic, payload, more in messages:
        speaker.publish(fill(topic, words), fill(payload, words), more.get('qos', 0), retain=more.get('retain', False),
                        props=more.get('props'))


def wait_subscribed(process, tap):
    """True when its subscriptions were answered, false when it ended before."""
    end = time.monotonic() + LIMIT_S
    while not tap.subscribed.wait(0.02):
        if process.poll() is not None or time.monotonic() > end:
            return False
    return True


def converse(process, case, limit_s, tap, speaker, observer, words):
    """Lets it run to its end while it hears what the case says."""
    feeder = threading.Thread(target=feed, args=(process.stdin, case.stdin))
    feeder.start()
    if case.live and wait_subscribed(process, tap):
        speak(speaker, case.live, words)
    if case.answer and wait_subscribed(process, tap):
        request, *message = case.answer
        if observer.until(lambda p: p.topic == fill(request, words)):
            speak(speaker, [message], words)
    out, err = finish(process, limit_s)
    feeder.join()
    return out, err


def feed(stdin, text):
    try:
        stdin.write(text)
        stdin.close()
    except BrokenPipeError:
        pass


def finish(process, limit_s):
    process.stdin = None  # it is the feeder's
    try:
        return process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        return out, err + b'not ended in time'
