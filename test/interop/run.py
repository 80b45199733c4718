#!/usr/bin/env python3
"""Other people's clients against the broker: mosquitto's tools, paho for Python, MQTT.js; 3.1.1 and 5.0.

  test/interop/run.py [--broker COMMAND] [--short] [NAME...]

Every client does QoS 0, 1 and 2, retained messages, wills, and comes back to a durable session over a broker that was
killed in between; each one's messages reach each other one. What is missing on this machine is skipped and said."""

import argparse
import itertools
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'crash'))
import broker as brokers  # noqa: E402

LIMIT = 20.0


class Mosquitto:
    name = 'mosquitto'

    @staticmethod
    def missing():
        return None if shutil.which('mosquitto_sub') and shutil.which('mosquitto_pub') else 'mosquitto-clients'

    @staticmethod
    def argv(verb, port, protocol, id, topic=None, qos=0, payload=None, count=0, durable=False, retain=False, will=None,
             only_subscribe=False, only_take=False):
        words = ['mosquitto_' + verb, '-h', '127.0.0.1', '-p', str(port), '-V', 'mqttv5' if protocol == '5' else 'mqttv311',
                 '-i', id, '-q', str(qos), '-t', topic]
        if verb == 'pub':
            return words + (['-n'] if payload == '' else ['-m', payload] if payload is not None else ['-l']) + ['-r'] * retain
        words += ['-d', '-F', 'MSG %t %r %q %p']
        words += ['-c'] * durable + (['-x', '10000'] if durable and protocol == '5' else [])
        words += ['-E'] if only_subscribe else ['-C', str(count)] if count else []
        words += ['--will-topic', will, '--will-payload', payload, '--will-qos', str(qos)] if will else []
        return ['stdbuf', '-oL', *words]

    @staticmethod
    def subscribed(line):
        return line.startswith('Subscribed')


class Actor:
    """Those that speak the words of our own little programs."""

    @classmethod
    def argv(cls, verb, port, protocol, id, topic=None, qos=0, payload=None, count=0, durable=False, retain=False, will=None,
             only_subscribe=False, only_take=False):
        words = [*cls.program, verb, '--port', str(port), '--protocol', protocol, '--id', id, '--qos', str(qos)]
        for name, value in (('topic', topic), ('payload', payload), ('will', will), ('count', str(count))):
            words += ['--' + name, value] if value is not None else []
        for name, on in (('durable', durable), ('retain', retain), ('only-subscribe', only_subscribe), ('only-take', only_take)):
            words += ['--' + name] if on else []
        return words

    @staticmethod
    def subscribed(line):
        return line == 'SUBSCRIBED'


class Paho(Actor):
    name = 'paho'
    program = ('/usr/bin/python3', os.path.join(HERE, 'actor_paho.py'))

    @staticmethod
    def missing():
        done = subprocess.run(['/usr/bin/python3', '-c', 'import paho.mqtt.client'], check=False, capture_output=True)
        return 'python3-paho-mqtt' if done.returncode else None


class MqttJs(Actor):
    name = 'mqtt.js'
    program = ('node', os.path.join(HERE, 'actor_js.js'))

    @staticmethod
    def missing():
        if not shutil.which('node') or not shutil.which('npm'):
            return 'node and npm'
        if not os.path.isdir(os.path.join(HERE, 'node_modules', 'mqtt')):
            done = subprocess.run(['npm', 'ci', '--no-audit', '--no-fund', '--ignore-scripts'], cwd=HERE, check=False,
                                  capture_output=True, text=True)
            if done.returncode:
                return 'MQTT.js (npm ci: ' + done.stderr.strip().splitlines()[-1][:200] + ')'
        return None


class Process:
    """A client that runs; its lines as they come."""

    def __init__(self, client, verb, stdin=None, **words):
        self.client, self.lines, self.rest = client, [], b''
        self.process = subprocess.Popen(client.argv(verb, **words), stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        preexec_fn=brokers.die_with_parent)
        if stdin:
            self.process.stdin.write(stdin.encode())
            self.process.stdin.close()

    def read(self, until, limit=LIMIT):
        """Reads lines until one for which until(line); at the end of the output returns False."""
        end = time.monotonic() + limit
        while True:
            while b'\n' in self.rest:
                line, self.rest = self.rest.split(b'\n', 1)
                self.lines.append(line.decode(errors='replace'))
                if until(self.lines[-1]):
                    return True
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise AssertionError(f'{self.client.name} says nothing more; last: {self.lines[-4:]}')
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                return False
            self.rest += data

    def subscribed(self):
        if not self.read(self.client.subscribed):
            raise AssertionError(f'{self.client.name} ended without subscribing: {self.lines[-4:]}')
        return self

    def messages(self):
        """To the end of its output: what it received, as (topic, retain, qos, payload)."""
        self.read(lambda line: False)
        status = self.process.wait(LIMIT)
        if status:
            raise AssertionError(f'{self.client.name} ended with {status}: {self.lines[-4:]}')
        out = []
        for line in self.lines:
            if line.startswith('MSG '):
                _, topic, retain, qos, payload = line.split(' ', 4)
                out.append((topic, int(retain), int(qos), payload))
        return out

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


class Interop:
    def __init__(self, a):
        self.broker = brokers.Broker(a.broker)
        self.running = []

    def process(self, client, verb, protocol, **words):
        p = Process(client, verb, port=self.broker.port, protocol=protocol, **words)
        self.running.append(p)
        return p

    def publish(self, client, protocol, **words):
        p = self.process(client, 'pub', protocol, **words)
        p.messages()

    def restart(self):
        self.broker.kill()
        self.broker.start()
        if not self.broker.wait_ready():
            raise AssertionError(f'the broker does not start:\n{self.broker.log()}')

    # ---- the cases ----

    def levels(self, client, protocol, name):
        """QoS 0, 1, 2: each comes, in order, with its QoS."""
        for qos in range(3):
            topic = f'{name}/{qos}'
            s = self.process(client, 'sub', protocol, id=f'{name}-s{qos}', topic=topic, qos=qos, count=20).subscribed()
            texts = [f'message {qos} {i}' for i in range(20)]
            self.publish(client, protocol, id=f'{name}-p{qos}', topic=topic, qos=qos, stdin='\n'.join(texts) + '\n')
            self.equal(s.messages(), [(topic, 0, qos, t) for t in texts])

    def retained(self, client, protocol, name):
        for text, qos in (('one', 0), ('three', 2)):
            self.publish(client, protocol, id=name + '-p', topic=name, qos=qos, payload=text, retain=True)
            s = self.process(client, 'sub', protocol, id=name + '-s', topic=name, qos=2, count=1)
            self.equal(s.messages(), [(name, 1, qos, text)])
        self.restart()
        s = self.process(client, 'sub', protocol, id=name + '-s', topic=name, qos=2, count=1)
        self.equal(s.messages(), [(name, 1, 2, 'three')])
        self.publish(client, protocol, id=name + '-p', topic=name, qos=1, payload='', retain=True)
        s = self.process(client, 'sub', protocol, id=name + '-s', topic=name, qos=2, count=1).subscribed()
        self.publish(client, protocol, id=name + '-p', topic=name, qos=1, payload='live')
        self.equal(s.messages(), [(name, 0, 1, 'live')])

    def wills(self, client, protocol, name):
        s = self.process(client, 'sub', protocol, id=name + '-s', topic=name, qos=2, count=1).subscribed()
        w = self.process(client, 'sub', protocol, id=name + '-w', topic=name + '/other', qos=2, will=name, payload='gone')
        w.subscribed()
        w.end()
        self.equal(s.messages(), [(name, 0, 2, 'gone')])

    def durable(self, client, protocol, name):
        """A session is left, messages wait over a SIGKILL of the broker, and come once and in order."""
        self.process(client, 'sub', protocol, id=name + '-s', topic=name, qos=2, durable=True, only_subscribe=True).messages()
        texts = [f'waits {i}' for i in range(40)]
        self.publish(client, protocol, id=name + '-p', topic=name, qos=2, stdin='\n'.join(texts[:20]) + '\n')
        self.restart()
        self.publish(client, protocol, id=name + '-p', topic=name, qos=1, stdin='\n'.join(texts[20:]) + '\n')
        self.restart()
        s = self.process(client, 'sub', protocol, id=name + '-s', topic=name, qos=2, durable=True, only_take=True, count=40)
        got = s.messages()  # a QoS 1 message may overtake QoS 2 ones: some libraries hand those on at PUBREL
        for qos, part in ((2, texts[:20]), (1, texts[20:])):
            self.equal([m for m in got if m[2] == qos], [(name, 0, qos, t) for t in part])
        self.equal(len(got), 40)

    def kill_in_flight(self, client, protocol, name):
        """The broker is killed while the library publishes; the library connects again and goes on: all come once."""
        texts = [f'flight {i}' for i in range(2000)]
        self.process(client, 'sub', protocol, id=name + '-s', topic=name, qos=2, durable=True, only_subscribe=True).messages()
        p = self.process(client, 'pub', protocol, id=name + '-p', topic=name, qos=2, durable=True, stdin='\n'.join(texts) + '\n')
        for count in (300, 1200):
            self.equal(p.read(lambda line, n=count: line == f'ACKED {n}'), True, 'acknowledgements')
            self.restart()
        p.messages()
        s = self.process(client, 'sub', protocol, id=name + '-s', topic=name, qos=2, durable=True, only_take=True, count=2000)
        got = [m[3] for m in s.messages()]
        self.equal(sorted(set(texts) - set(got)), [], 'lost')
        self.equal(len(got), len(set(got)), 'twice')

    def between(self, a, b, protocol, name):
        s = self.process(b, 'sub', protocol, id=name + '-s', topic=name, qos=2, count=10).subscribed()
        other = {'5': '3.1.1', '3.1.1': '5'}[protocol]
        texts = [f'to {b.name} {i}' for i in range(10)]
        self.publish(a, other, id=name + '-p', topic=name, qos=2, stdin='\n'.join(texts) + '\n')
        self.equal(s.messages(), [(name, 0, 2, t) for t in texts])

    @staticmethod
    def equal(seen, wanted, what=''):
        if seen != wanted:
            odd = [(s, w) for s, w in itertools.zip_longest(seen, wanted) if s != w][:3] if isinstance(seen, list) else ''
            raise AssertionError(f'{what} {str(seen)[:200]} expected {str(wanted)[:200]} {odd}')


ALL = ('levels', 'retained', 'wills', 'durable', 'kill_in_flight')
# A run that has little time: each case with each client, each protocol with some cases.
SHORT = {'3.1.1': ('levels', 'durable'), '5': ('retained', 'wills', 'kill_in_flight')}


class Report:
    def __init__(self):
        self.lock, self.passed, self.failed = threading.Lock(), 0, 0

    def case(self, run, name, call, words):
        began, problem = time.monotonic(), None
        try:
            call(*words, name.replace('.', '').replace('/', '-').replace('>', ''))
        except (AssertionError, subprocess.TimeoutExpired) as e:
            problem = e
        for process in run.running:
            process.end()
        run.running.clear()
        if not run.broker.alive():
            problem = f'{problem}; the broker died, status {run.broker.process.returncode}:\n{run.broker.log()}'
            run.restart()
        with self.lock:
            self.passed, self.failed = self.passed + (problem is None), self.failed + (problem is not None)
            print(f'FAILED {name}: {problem}' if problem else f'ok     {name} {time.monotonic() - began:.1f} s', flush=True)


def run_cases(a, cases, report):
    """cases: (name, method, words). One broker for them, one after the other: some of them kill it."""
    run = Interop(a)
    run.broker.start()
    if not run.broker.wait_ready():
        report.failed += 1
        print(f'the broker does not start:\n{run.broker.log()}')
        return
    for name, method, words in cases:
        if not a.name or any(n in name for n in a.name):
            report.case(run, name, getattr(run, method), words)
    run.broker.cleanup()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--broker')
    p.add_argument('--short', action='store_true', help='fewer cases for each client, no pairs of different clients')
    p.add_argument('name', nargs='*', help='parts of the names of cases')
    a = p.parse_args()
    brokers.quick_tmp()
    skipped, clients, report = [], [], Report()
    for client in (Mosquitto, Paho, MqttJs):
        why = client.missing()
        skipped += [f'SKIPPED {client.name}: {why} is missing'] if why else []
        clients += [client] if not why else []
    groups = [[(f'{c.name}/{protocol}/{case}', case, (c, protocol)) for protocol in ('3.1.1', '5')
               for case in (SHORT[protocol] if a.short else ALL)
               if (c, case) != (Mosquitto, 'kill_in_flight')]  # its publisher gives up when the connection breaks
              for c in clients]
    if not a.short:
        groups.append([(f'{x.name}->{y.name}/{protocol}', 'between', (x, y, protocol))
                       for x in clients for y in clients if x is not y for protocol in ('3.1.1', '5')])
    workers = [threading.Thread(target=run_cases, args=(a, cases, report)) for cases in groups]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    for line in skipped:
        print(line)
    print(f'summary: passed={report.passed} failed={report.failed} skipped={len(skipped)}')
    return 0 if not report.failed else 1


if __name__ == '__main__':
    sys.exit(main())
