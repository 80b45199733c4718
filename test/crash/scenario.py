"""A small scripted run that touches every barrier, and that goes on when the broker dies in the middle of it.

  pair 0    publisher -> connected subscriber, QoS 1 and 2
  pair 1    publisher -> subscriber that is away while much is published, then comes back
  wills     one that must come (its connection breaks), one that must not (DISCONNECT)
  retained  set, replaced, deleted
  clean     a durable session with a queued message is discarded by Clean Start

Each step is done until it was answered. What was answered must hold after any number of deaths; what was asked for and
not answered may hold or not. verify() starts the broker once more and compares.
"""

import collections
import time

import codec
import strict
import verdict
from peer import Gone, Late, Peer, Refused
from worlds import World


# The second pair's queue is more than one file of a small journal: it is folded into the table while it waits.
SIZES = (40, lambda message: 50000 if message % 4 else 40)


class Failed(Exception):
    """The run cannot go on."""


class Scenario:
    def __init__(self, broker, seed=0, level=5, messages=6, keep_wire=True, full_allowed=False):
        self.broker, self.level = broker, level
        self.world = World(broker.port, seed, keep_wire)
        self.world.full_allowed = full_allowed  # "quota exceeded" is asked again a little later
        self.deaths = []      # (exit status, log) of each time that the broker ended
        self.revivals_max = 8
        self.patience = 8.0   # seconds without any movement after which a flow counts as stuck
        self.problems = []
        self.retained = collections.defaultdict(lambda: {None})   # topic -> payloads that may be found
        self.wills = {}       # payload -> 'must', 'may' or 'must not' have come
        self.cleaned = set()  # client ids whose session was discarded for certain
        self.publishers, self.subscribers = [], []
        for n, prefix in enumerate(('live', 'away')):
            s = strict.Subscriber(self.world, n, level, method='BA'[n], prefix=prefix, receive_maximum=3,
                                  filters=[(prefix + '/#', 2)])
            p = strict.Publisher(self.world, n, level, window=(2, 8)[n], qos=(2, 1), prefix=prefix, size=SIZES[n])
            p.ready = lambda s=s: s.subscribed
            p.refusals_allowed = full_allowed
            p.limit = messages * (1, 5)[n]
            self.subscribers.append(s)
            self.publishers.append(p)

    # ---- death and life ----

    def revive(self, wait=2.0):
        """Called when a connection broke: when the broker has died it is started again, without injected faults."""
        end = time.monotonic() + (0.1 if self.world.full_allowed else wait)
        while self.broker.alive() and time.monotonic() < end:
            time.sleep(0.005)
        if self.broker.alive() and self.world.full_allowed:
            return
        if self.broker.alive():
            self.problems.append('the broker closed a connection, and lives')
            return
        self.deaths.append((self.broker.process.returncode, self.broker.log()))
        self.mark(f'the broker has died, status {self.broker.process.returncode}')
        self.world.died()
        if len(self.deaths) > self.revivals_max:
            raise Failed('the broker dies again and again')
        self.broker.start()
        if not self.broker.wait_ready():
            raise Failed(f'the broker does not start again:\n{self.broker.log()}')

    def mark(self, text):
        """A line in everybody's wire."""
        for client in self.world.clients:
            client.remark(text)

    def pump(self, done, quiet=15.0):
        """Runs the strict clients until done()."""
        end = time.monotonic() + quiet
        while not done():
            self.world.step(0.02)
            if not self.broker.alive():
                self.revive()
                end = time.monotonic() + quiet
            if time.monotonic() > end:
                raise Failed('stuck: ' + '; '.join(
                    f'{c.client_id} {c.state}' + (f' acked {c.acked}/{c.limit}' if hasattr(c, 'acked') else
                                                  f' holds {list(c.held)}') for c in self.world.clients))

    def insist(self, do):
        """do(attempt) until it was answered."""
        for attempt in range(40):
            try:
                return do(attempt)
            except Gone:
                self.revive()
            except Refused:
                if not self.world.full_allowed:
                    raise
                self.revive()
            except Late as e:
                if self.broker.alive() and not self.world.full_allowed:
                    self.problems.append(f'no answer: {e}')
                self.revive()
        raise Failed('a step was never answered')

    # ---- the steps ----

    def run(self):
        for client in (*self.subscribers, self.publishers[0]):
            client.open()
        self.pump(lambda: all(s.subscribed for s in self.subscribers))
        self.subscribers[1].drop()
        self.pump(self.publishers[0].done)
        self.publishers[1].open()
        self.pump(self.publishers[1].done)
        self.mark('the steps of others begin, we are not served')
        self.keep('keep/a', b'first', 2)
        self.keep('keep/a', b'second', 1)
        self.keep('keep/b', b'to be deleted', 2)
        self.keep('keep/b', b'', 1)
        self.will(cancelled=False)
        self.will(cancelled=True)
        self.clean_start()
        self.mark('the steps of others are done')
        self.back(self.subscribers[1])
        self.pump(lambda: self.subscribers[1].has(self.publishers[1]) and self.subscribers[1].done())

    def back(self, client):
        client.stopped = False
        client.open()

    def durable(self):
        return {'props': {'session_expiry': 1000}} if self.level >= 5 else {}

    def keep(self, topic, payload, qos):
        def do(attempt):
            with Peer(self.broker.port, self.level) as p:
                p.connect(f'keep-{len(self.retained)}-{payload[:5].hex()}-{attempt}')
                self.retained[topic].add(payload or None)
                reason = p.publish(topic, payload, qos, retain=True)
                if reason >= 0x80:
                    raise Refused(f'PUBLISH 0x{reason:02X}')
                self.retained[topic] = {payload or None}
                p.disconnect()
        self.insist(do)

    def will(self, cancelled):
        def do(attempt):
            payload = f'will {"cancelled" if cancelled else "due"} {attempt}'.encode()
            p = Peer(self.broker.port, self.level)
            self.wills[payload] = 'may'
            p.connect(f'will-{int(cancelled)}-{attempt}', clean=False, **self.durable(),
                      will={'topic': 'live/will', 'payload': payload, 'qos': 2})
            self.wills[payload] = 'must'
            if not cancelled:
                p.close(reset=True)
                return
            self.wills[payload] = 'may'
            p.disconnect()
            with Peer(self.broker.port, self.level) as q:  # a dying process closes its sockets, and answers nobody
                q.connect(f'will-{int(cancelled)}-{attempt}-probe')
                self.wills[payload] = 'must not'
                q.disconnect()
        self.insist(do)

    def clean_start(self):
        def make(attempt):
            name = f'clean-{attempt}'
            with Peer(self.broker.port, self.level) as p:
                p.connect(name, clean=False, **self.durable())
                codes = p.subscribe(('clean/x', 1))
                if codes != (1,):
                    raise Refused(f'SUBACK {codes}')
                p.disconnect()
            with Peer(self.broker.port, self.level) as p:
                p.connect(name + '-publisher')
                if p.publish('clean/x', b'ghost', 1) >= 0x80:
                    raise Refused('PUBLISH')
                p.disconnect()
            return name
        name = self.insist(make)

        def discard(_):
            with Peer(self.broker.port, self.level) as p:
                p.connect(name, clean=True, **self.durable())
                self.cleaned.add(name)
                if p.connack.session_present:
                    self.problems.append('session present after Clean Start')
                p.quiet()
                p.disconnect()
        self.insist(discard)

    # ---- afterwards ----

    def verify(self):
        """The broker must be down. Starts it without faults; returns all problems, none when everything holds."""
        self.world.died()
        self.mark('afterwards: the broker is started without faults')
        self.broker.start()
        if not self.broker.wait_ready():
            return self.problems + [f'the broker does not start:\n{self.broker.log()}']
        self.world.full_allowed = False
        for p in self.publishers:
            p.refusals_allowed = False
        try:
            for client in self.world.clients:
                self.back(client)
            if not self.world.run_moving(lambda: self.settled() and self.wills_came(), self.patience):
                self.problems.append('does not settle')
            if not verdict.knock(self.world, self.world.clients, self.patience):
                self.problems.append('PINGREQ is not answered')
            # A will may have come with the last of the answers: its flow has begun, and may end.
            if not self.world.run_moving(self.settled, self.patience):
                self.problems.append('does not settle after the last reconnect')
            self.verify_wills()
            self.verify_retained()
            for name in self.cleaned:
                self.verify_cleaned(name)
        except (Gone, Late, Refused, AssertionError, codec.WireError) as e:
            self.problems.append(f'{type(e).__name__}: {e}')
        tally = verdict.Tally(self.world, self.publishers[:1], self.subscribers[:1])
        other = verdict.Tally(self.world, self.publishers[1:], self.subscribers[1:])
        if not tally.clean():
            self.problems += [tally.line(), *tally.details]
        if not other.clean():
            self.problems += [other.line(), *other.details]
        if not self.broker.alive():
            self.problems.append(f'the broker died while it was verified:\n{self.broker.log()}')
        self.tallies = (tally, other)
        return self.problems

    def settled(self):
        pairs = zip(self.publishers, self.subscribers)
        return all(p.done() and s.done() and s.has(p) for p, s in pairs)

    def verify_wills(self):
        for payload, rule in self.wills.items():
            count = self.came(payload)
            if count > 1 or rule == 'must' and count != 1 or rule == 'must not' and count:
                self.problems.append(f'{payload} {rule} have come, came {count} times')
        unknown = {o[1] for o in self.subscribers[0].others} - set(self.wills)
        if unknown:
            self.problems.append(f'came from nowhere: {unknown}')

    def wills_came(self):
        return all(self.came(w) for w, rule in self.wills.items() if rule == 'must')

    def came(self, payload):
        return sum(o[1] == payload for o in self.subscribers[0].others)

    def verify_retained(self):
        with Peer(self.broker.port, self.level) as p:
            p.connect('look-retained')
            p.subscribe(('keep/#', 2))
            p.send(codec.PING)
            found = {}
            while (m := p.next()) is not None and m.type != codec.PINGRESP:
                if m.type == codec.PUBLISH:
                    if m.topic in found:
                        self.problems.append(f'retained {m.topic} came twice')
                    found[m.topic] = m.payload
                    if m.qos == 2:
                        p.send(codec.ack(codec.PUBREC, m.packet_id))
                    elif m.qos == 1:
                        p.send(codec.ack(codec.PUBACK, m.packet_id))
            for topic, allowed in self.retained.items():
                if found.get(topic) not in allowed:
                    self.problems.append(f'retained {topic}: found {found.get(topic)}, allowed {allowed}')
            for topic in set(found) - set(self.retained):
                self.problems.append(f'retained {topic} from nowhere')

    def verify_cleaned(self, name):
        with Peer(self.broker.port, self.level) as p:
            p.connect(name, clean=False, **self.durable())
            with Peer(self.broker.port, self.level) as q:
                q.connect(name + '-probe')
                q.publish('clean/x', b'ghost 2', 1)
            p.quiet()

    def close(self):
        self.world.close()
