#!/usr/bin/env python3
"""The judge is judged: for every wrong move of a broker, the strict clients must see exactly that.

No sockets: packets are put into the clients by hand. Each test is one lie that a broker could tell, and one that goes
well, so that a judge that always complains fails too."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import codec  # noqa: E402
import scenario  # noqa: E402
import strict  # noqa: E402
import verdict  # noqa: E402
from worlds import DOWN, HEAD, MAGIC, UP, WAITING, World  # noqa: E402


def message(number, packet_id=1, qos=2, dup=False, stream=0, retain=False, payload=None):
    body = HEAD.pack(MAGIC, 0, stream, number) if payload is None else payload
    return codec.publish(f'trial/0/{stream}', body, qos, packet_id, 4, dup=dup, retain=retain)


def ack(kind, packet_id):
    return codec.ack(kind, packet_id)


class Judge(unittest.TestCase):
    def setUp(self):
        self.world = World(1, keep_wire=False)

    def tearDown(self):
        self.world.epoll.close()

    # ---- a connection without sockets ----

    def connect(self, client, present=False):
        client.state, client.generation = WAITING, self.world.generation
        client.connects += 1
        client.connection_reset()
        self.feed(client, b'\x20\x02' + bytes([present, 0]) if client.level < 5 else b'\x20\x03' + bytes([present, 0, 0]))
        self.sent(client)

    def cut(self, client, present=True):
        client.state, client.out, client.rest = DOWN, [], b''
        self.connect(client, present)

    def feed(self, client, *packets):
        for packet in packets:
            client.on_bytes(packet)
            self.sent(client)

    def together(self, client, *packets):
        client.on_bytes(b''.join(packets))
        self.sent(client)

    def sent(self, client):
        client.last, client.out = b''.join(client.out), []
        client.flushed()

    def subscriber(self, **more):
        s = strict.Subscriber(self.world, 0, **more)
        self.connect(s)
        self.feed(s, b'\x90\x03\x00\x01\x02' if s.level < 5 else b'\x90\x04\x00\x01\x00\x02')
        return s

    def publisher(self, **more):
        p = strict.Publisher(self.world, 0, **{'limit': 3, 'window': 3, **more})
        self.connect(p)
        return p

    def flow(self, s, number, packet_id, **more):
        self.feed(s, message(number, packet_id, **more), ack(codec.PUBREL, packet_id))

    def says(self, *words, kind='violation'):
        texts = [f'{f.kind} {f.what}' for f in self.world.faults]
        self.assertEqual(len(texts), 1, texts)
        for word in (kind, *words):
            self.assertIn(word, texts[0])

    def fine(self):
        self.assertEqual([repr(f) for f in self.world.faults], [])

    def tally(self, s, limit, qos=(2,)):
        p = strict.Publisher(self.world, 0, limit=limit, qos=qos)
        p.acked = limit
        return verdict.Tally(self.world, [p], [s])

    # ---- the subscriber's count ----

    def test_all_well(self):
        s = self.subscriber()
        for i in range(5):
            self.flow(s, i, i % 2 + 1)
        self.fine()
        self.assertTrue(self.tally(s, 5).clean())

    def test_lost(self):
        s = self.subscriber()
        for i in (0, 1, 3):
            self.flow(s, i, 1)
        t = self.tally(s, 5)
        self.assertEqual((t.lost, t.duplicated, t.reordered), (2, 0, 0))

    def test_duplicated(self):
        s = self.subscriber()
        for i in (0, 1, 1, 2):
            self.flow(s, i, i + 1)
        self.assertEqual(self.tally(s, 3).duplicated, 1)
        self.fine()

    def test_duplicated_qos_1_is_allowed(self):
        s = self.subscriber()
        for i in (0, 1, 1, 2):
            self.feed(s, message(i, 1, qos=1))
        t = self.tally(s, 3, qos=(1,))
        self.assertEqual((t.duplicated, t.repeats_qos1, t.clean()), (0, 1, True))

    def test_reordered(self):
        s = self.subscriber()
        for i in (0, 2, 1, 3):
            self.flow(s, i, 1)
        t = self.tally(s, 4)
        self.assertEqual((t.lost, t.duplicated, t.reordered), (0, 0, 1))

    def test_stuck(self):
        s = self.subscriber()
        self.feed(s, message(0, 7))
        self.assertEqual(self.tally(s, 1).stuck, 1)

    def test_lost_in_method_a_until_pubrel(self):
        s = self.subscriber(method='A')
        self.feed(s, message(0, 7))
        self.assertEqual(self.tally(s, 1).lost, 1)
        self.feed(s, ack(codec.PUBREL, 7))
        self.assertTrue(self.tally(s, 1).clean())

    def test_damaged_payload(self):
        s = self.subscriber()
        self.feed(s, message(0, 1, payload=HEAD.pack(MAGIC, 0, 0, 0) + b'wrong'))
        self.says('damaged')

    def test_other_topic(self):
        s = self.subscriber()
        self.feed(s, message(0, 1, payload=HEAD.pack(MAGIC, 0, 1, 0)))
        self.says('came as')

    # ---- what a broker must not send to a subscriber ----

    def test_resend_on_a_live_connection(self):
        s = self.subscriber()
        self.feed(s, message(0, 1), message(0, 1, dup=True))
        self.says('again on a live connection')

    def test_resend_without_dup(self):
        s = self.subscriber()
        self.feed(s, message(0, 1))
        self.cut(s)
        self.feed(s, message(0, 1, dup=False))
        self.says('without DUP')

    def test_resend_with_dup_is_fine(self):
        s = self.subscriber()
        self.feed(s, message(0, 1))
        self.cut(s)
        self.feed(s, message(0, 1, dup=True), ack(codec.PUBREL, 1))
        self.fine()
        self.assertTrue(self.tally(s, 1).clean())

    def test_dup_on_a_new_session(self):
        s = self.subscriber()
        self.feed(s, message(0, 1, dup=True))
        self.says('DUP on a session that is new')

    def test_id_names_another_message(self):
        s = self.subscriber()
        self.feed(s, message(0, 1))
        self.cut(s)
        self.feed(s, message(1, 1, dup=True))
        self.says('another message')

    def test_resend_out_of_order(self):
        s = self.subscriber()
        self.feed(s, message(0, 1), message(1, 2))
        self.cut(s)
        self.feed(s, message(1, 2, dup=True), message(0, 1, dup=True))
        self.says('original order')

    def test_pubrel_of_nothing(self):
        s = self.subscriber()
        self.feed(s, ack(codec.PUBREL, 9))
        self.says('belongs to no flow')

    def test_pubrel_before_pubrec(self):
        s = self.subscriber()
        self.together(s, message(0, 1), ack(codec.PUBREL, 1))
        self.says('before PUBREC')

    def test_pubrel_twice(self):
        s = self.subscriber()
        self.flow(s, 0, 1)
        self.feed(s, ack(codec.PUBREL, 1))
        self.says('again on a live connection')

    def test_pubrel_again_after_reconnect_is_fine(self):
        s = self.subscriber()
        self.flow(s, 0, 1)
        self.cut(s)
        self.feed(s, ack(codec.PUBREL, 1))
        self.assertEqual(s.last, ack(codec.PUBCOMP, 1))
        self.fine()

    def test_pubrel_out_of_order(self):
        s = self.subscriber()
        self.feed(s, message(0, 1), message(1, 2), ack(codec.PUBREL, 2))
        self.says('out of order')

    def test_receive_maximum(self):
        s = self.subscriber(level=5, receive_maximum=2)
        body = HEAD.pack(MAGIC, 0, 0, 0)
        for i in range(3):
            self.feed(s, codec.publish('trial/0/0', body[:-1] + bytes([i]), 2, i + 1, 5))
        self.says('3 in flight')

    def test_qos_above_the_granted(self):
        s = strict.Subscriber(self.world, 0, granted=1)
        self.connect(s)
        self.feed(s, b'\x90\x03\x00\x01\x01', message(0, 1, qos=2))
        self.says('granted was 1')

    def test_retain_flag(self):
        s = self.subscriber()
        self.feed(s, message(0, 1, retain=True))
        self.says('RETAIN')

    def test_qos_1_on_an_open_id(self):
        s = self.subscriber()
        self.feed(s, message(0, 1), message(0, 1, qos=1, stream=1))
        self.says('open QoS 2 flow')

    def test_session_forgotten(self):
        s = self.subscriber()
        self.cut(s, present=False)
        self.says('never ended', kind='forgotten')

    def test_session_from_nowhere(self):
        s = strict.Subscriber(self.world, 0)
        self.connect(s, present=True)
        self.says('very first CONNECT')

    def test_closed_by_a_living_broker(self):
        s = self.subscriber()
        s.peer_closed('end of stream')
        self.assertEqual([f.kind for f in self.world.true_faults()], ['closed'])
        self.world.died()
        self.assertEqual(self.world.true_faults(), [])

    def test_disconnect(self):
        s = self.subscriber(level=5)
        self.feed(s, b'\xe0\x01\x82')
        self.says('0x82')

    def test_malformed(self):
        s = self.subscriber()
        self.feed(s, b'\x34\x03\x00\x01a')
        self.assertEqual(len(self.world.faults), 1)

    # ---- what a broker must not send to a publisher ----

    def test_publisher_all_well(self):
        p = self.publisher()
        self.feed(p, *(ack(codec.PUBREC, i) for i in (1, 2, 3)), *(ack(codec.PUBCOMP, i) for i in (1, 2, 3)))
        self.fine()
        self.assertTrue(p.done())

    def test_publisher_resends(self):
        p = self.publisher()
        self.feed(p, ack(codec.PUBREC, 1))
        p.state, p.out = DOWN, []
        p.state = WAITING
        p.connects += 1
        p.connection_reset()
        p.on_bytes(b'\x20\x02\x01\x00')
        out, kinds = bytearray(b''.join(p.out)), []
        while out:
            first, body, used = codec.split(out)
            del out[:used]
            kinds.append(hex(first))
        self.assertEqual(kinds, ['0x62', '0x3c', '0x3c'])

    def test_pubrec_unasked(self):
        p = self.publisher()
        self.feed(p, ack(codec.PUBREC, 9))
        self.says('nothing on this connection asks')

    def test_pubrec_twice(self):
        p = self.publisher()
        self.feed(p, ack(codec.PUBREC, 1), ack(codec.PUBREC, 1))
        self.says('nothing on this connection asks')

    def test_pubrec_out_of_order(self):
        p = self.publisher()
        self.feed(p, ack(codec.PUBREC, 2))
        self.says('out of order')

    def test_pubcomp_out_of_order(self):
        p = self.publisher()
        self.feed(p, ack(codec.PUBREC, 1), ack(codec.PUBREC, 2), ack(codec.PUBCOMP, 2))
        self.says('out of order')

    def test_pubcomp_before_pubrel(self):
        p = self.publisher()
        self.feed(p, ack(codec.PUBCOMP, 1))
        self.says('nothing on this connection asks')

    def test_puback_for_qos_2(self):
        p = self.publisher()
        self.feed(p, ack(codec.PUBACK, 1))
        self.says('nothing on this connection asks')

    def test_refusal(self):
        p = self.publisher(level=5)
        self.feed(p, codec.ack(codec.PUBREC, 1, 0x97))
        self.says('0x97')
        self.assertEqual(list(p.again), [0])

    def test_id_forgotten_by_the_broker(self):
        p = self.publisher(level=5)
        self.feed(p, ack(codec.PUBREC, 1), codec.ack(codec.PUBCOMP, 1, 0x92))
        self.says('forgot the id')

    def test_0x92_for_a_repeated_pubrel_is_fine(self):
        p = self.publisher(level=5)
        self.feed(p, ack(codec.PUBREC, 1))
        self.cut(p)
        self.feed(p, codec.ack(codec.PUBCOMP, 1, 0x92))
        self.fine()

    def test_not_complete(self):
        p = self.publisher()
        self.feed(p, ack(codec.PUBREC, 1), ack(codec.PUBCOMP, 1))
        t = verdict.Tally(self.world, [p], [])
        self.assertEqual(t.stuck, 2)

    def test_state_is_up(self):
        self.assertIs(self.publisher().state, UP)


class Standing:
    """A broker that is there, as far as a scenario asks."""
    port = 1

    def start(self):
        pass

    def wait_ready(self):
        return True

    def alive(self):
        return True


class Afterwards(unittest.TestCase):
    """What scenario.py judges when all is over, and a will comes to its subscriber at the last moment: on the same
    bytes as PINGRESP, when everything else is complete. Packets take one step of the world."""
    WILL = codec.publish('live/will', b'will due 0', 2, 1, 5)

    def setUp(self):
        self.run_ = scenario.Scenario(Standing(), keep_wire=False)
        self.run_.patience = 0.1
        self.run_.wills[b'will due 0'] = 'must'
        self.run_.verify_retained = lambda: None
        self.owed, self.pubrel = [self.WILL], True
        for client in self.run_.world.clients:
            client.limit, client.subscribed, client.known, client.connects = 0, True, True, 1
            client.open = lambda c=client: self.open(c)
            client.flush = lambda c=client: self.take(c)

    def tearDown(self):
        self.run_.close()

    def open(self, client):
        if client.state is DOWN:
            client.state, client.generation = WAITING, self.run_.world.generation
            client.connects += 1
            self.answer(client, b'\x20\x03\x01\x00\x00')

    def answer(self, client, data):
        def come(connection=client.connects):
            if client.state is not DOWN and client.connects == connection:
                client.on_bytes(data)
                client.flush()
        self.run_.world.after(0, come)

    def take(self, client):
        data, client.out = b''.join(client.out), []
        client.flushed()
        live = client is self.run_.subscribers[0]
        if codec.PING in data:
            self.answer(client, (self.owed.pop() if live and self.owed else b'') + b'\xd0\x00')
        if data.startswith(b'\x50') and self.pubrel:
            self.answer(client, ack(codec.PUBREL, 1))

    def test_a_will_that_comes_last_has_its_flow_completed(self):
        self.run_.wills[b'will due 0'] = 'may'  # nobody waits for it
        self.assertEqual(self.run_.verify(), [])
        self.assertEqual(self.run_.came(b'will due 0'), 1)

    def test_a_flow_begun_last_that_never_ends(self):
        self.run_.wills[b'will due 0'] = 'may'
        self.pubrel = False
        problems = self.run_.verify()
        self.assertIn('does not settle after the last reconnect', problems)
        self.assertIn('live-s0: flows never completed: [1]', problems)

    def test_a_client_that_is_never_let_in(self):
        self.run_.publishers[0].open = lambda: None
        self.assertIn('PINGREQ is not answered', self.run_.verify())

    def test_a_will_that_does_not_come(self):
        self.owed = []
        problems = self.run_.verify()
        self.assertIn('does not settle', problems)
        self.assertIn("b'will due 0' must have come, came 0 times", problems)


if __name__ == '__main__':
    result = unittest.main(exit=False, verbosity=0).result
    failed = len(result.failures) + len(result.errors)
    print(f'summary: passed={result.testsRun - failed} failed={failed}')
    sys.exit(1 if failed else 0)
