"""The verdict: what was published against what arrived, and the faults that the clients saw."""

from worlds import UP


class Tally:
    """The verdict over all pairs of publisher and subscriber."""
    FIELDS = ('lost', 'duplicated', 'reordered', 'stuck', 'forgotten', 'violations', 'closed')

    def __init__(self, world, publishers, subscribers):
        self.expected = self.delivered = self.lost = self.duplicated = self.reordered = self.stuck = 0
        self.repeats_qos1 = 0
        self.details = []
        for sub in subscribers:
            for pub in publishers:
                for s, qos in enumerate(pub.qos):
                    self.add(sub, pub, s, min(qos, sub.granted))
            if sub.held or sub.live:
                self.stuck += len(set(sub.held) | set(sub.live))
                self.details.append(f'{sub.client_id}: flows never completed: {sorted(sub.held)[:10]}')
        for pub in publishers:
            if pub.acked < pub.limit:
                self.stuck += pub.limit - pub.acked
                self.details.append(f'{pub.client_id}: {pub.limit - pub.acked} messages not complete; '
                                    f'PUBLISH open {list(pub.sent)[:10]}, PUBREL open {list(pub.released)[:10]}')
        faults = world.true_faults()
        self.forgotten = sum(f.kind == 'forgotten' for f in faults)
        self.violations = sum(f.kind == 'violation' for f in faults)
        self.closed = sum(f.kind == 'closed' for f in faults)
        self.details += [repr(f) for f in faults[:20]]

    def add(self, sub, pub, s, qos):
        got, count = sub.streams[pub.number, s], pub.count(s)
        lost = len(got.missing) + max(0, count - got.next)
        self.expected += count
        self.delivered += count - lost
        if qos:
            self.lost += lost
        if qos == 2:
            self.duplicated += got.repeats
        else:
            self.repeats_qos1 += got.repeats
        if not pub.unordered:
            self.reordered += got.late
        if lost and qos or got.repeats and qos == 2 or got.late:
            some = sorted(got.missing)[:8]
            self.details.append(f'{sub.client_id} from {pub.client_id} stream {s} (QoS {qos}): lost {lost} {some}, '
                                f'repeats {got.repeats}, late {got.late}, of {count}')

    def clean(self):
        return not any(getattr(self, f) for f in self.FIELDS)

    def line(self):
        return ', '.join(f'{getattr(self, f)} {f}' for f in self.FIELDS)

    def summary(self):
        return ' '.join(f'{f}={getattr(self, f)}' for f in self.FIELDS)


def settle(world, publishers, subscribers, quiet=10.0):
    """Runs until everything published has arrived and every flow is complete, or until nothing moves any more."""
    return world.run_moving(
        lambda: all(p.done() for p in publishers) and all(s.done() and all(s.has(p) for p in publishers)
                                                          for s in subscribers), quiet)


def knock(world, clients, quiet=10.0):
    """Reconnects every client once more and waits for an answered PINGREQ: what a broker still holds comes now.

    None is cut whose CONNECT is under way: of two from one client the older may come last, and close the newer."""
    if not world.run(lambda: all(c.state is UP for c in clients), quiet):
        return False
    for client in clients:
        client.lost(0)
        client.pongs = 0
    asked = set()

    def answered():
        for client in clients:
            if client.state is UP and client not in asked:
                asked.add(client)
                client.ping()
            elif client.state is not UP:
                asked.discard(client)
        return all(getattr(c, 'pongs', 0) for c in clients)
    return world.run(answered, quiet)
