#!/usr/bin/env python3
"""Power cuts under libquartet's applications: nothing lost, nothing twice, whosever power fails, one's or everybody's.

  test/client/powercut.py [--cuts 200] [--chapter 40] [--seconds S] [--seed S] [--lie outbox|inbox|database]
                          [--build BUILD] [--evidence DIR]
  test/client/powercut.py --lie all

    client_feeder ══ tap ══> quartetd ══ tap ══> example_sqlite ──> database
       outbox                 broker                 inbox

Outbox, broker, inbox and database lie on ext4 file systems: each on its own, or together, as the chapter says. Numbers
flow, four of five at QoS 2. At a chosen packet, at a random instant, when all is quiet, or while somebody starts, the
power of one, two or all file systems fails: they stop without a flush. The processes live on for some milliseconds (they
must promise nothing any more; only who has the database dies at once), are killed, the file systems are mounted again,
and all start again. applications.py says what must come of it. Needs root.

With --lie the syncs of that part's files do nothing (by strace): then messages must be found missing or doubled, and that
is what makes the exit status 0. So it is known that this test can see.
"""

import argparse
import collections
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from applications import PARTS, PROGRAM, ROOT, Applications, Failed, Judge  # noqa: E402
import broker as brokers  # noqa: E402
import codec  # noqa: E402
import disk as disks  # noqa: E402
import tap  # noqa: E402

# Which parts share a file system.
LAYOUTS = (
    ("outbox", "inbox", "database", "broker"),
    ("outbox", "inbox database", "broker"),
    ("outbox broker", "inbox database"),
    ("outbox inbox database broker",),
)
MOMENTS = (("packet", 60), ("delay", 18), ("quiet", 11), ("start", 11))
# How many of each packet there are for each number.
SHARE = {codec.PUBLISH: 1.0, codec.PUBACK: 0.2, codec.PUBREC: 0.8, codec.PUBREL: 0.8, codec.PUBCOMP: 0.8}
LIARS = ("outbox", "inbox", "database")
UP_S, PATIENCE_S, PATIENCE_LIE_S = 20, 30, 5


class Counts:
    def __init__(self):
        self.cuts = self.devices = self.under_way = self.messages = self.weighed = self.took = self.bytes = 0
        self.kills = self.taken_back = self.published = self.delivered = self.repeats_qos1 = self.chapters = 0
        self.judged = dict.fromkeys(Judge.FIELDS, 0)
        self.moments, self.victims = collections.Counter(), collections.Counter()


class Chapter:
    """Some cuts in one world; at its end everything is counted."""

    def __init__(self, options, number, counts, rng):
        self.options, self.counts, self.random, self.number = options, counts, rng, number
        self.layout = [(parts, 64 + 64 * len(parts.split())) for parts in LAYOUTS[number % len(LAYOUTS)]]
        self.p = Applications(options.build, self.layout, rng, options.lie)
        self.feeder_hop, self.receiver_hop = self.p.hops
        self.began, self.cut_now, self.known, self.seen, self.ended = time.monotonic(), False, [], False, []
        self.start(honest=True)

    def start(self, honest=False):
        names = ["broker", "receiver"] + (["feeder"] if self.seen else [])
        self.random.shuffle(names)
        self.connects = [hop.connects for hop in self.p.hops]
        for name in names:
            if name not in self.p.running:
                self.p.start(name, honest)

    def run(self, cuts, end):
        self.establish()
        for _ in range(cuts):
            if end is not None and time.monotonic() > end:
                break
            self.round()
        self.p.must_finish(PATIENCE_LIE_S if self.options.lie else PATIENCE_S)

    # ---- rounds ----

    def establish(self):
        """The receiver's subscription must be durable before anybody publishes; the power may fail meanwhile."""
        hop = self.receiver_hop
        tries = 0 if self.options.lie else self.random.randrange(4)
        for _ in range(tries):
            self.p.loop.idle(self.random.random() * 0.06)
            self.cut_and_restart(self.victims(), "creation")
        self.must(self.p.loop.run(lambda: hop.subscribed, UP_S), "SUBACK is missing")
        self.p.see_positions()
        self.seen = True
        self.p.start("feeder", honest=True)

    def must(self, truth, what):
        self.p.check_running()
        if self.p.broken and not self.options.lie:
            raise Failed("a promise is broken" + self.p.logs())
        if not truth:
            raise Failed(what + self.p.logs())

    def victims(self, one=None):
        """One file system (of this part), several, or all."""
        count = len(self.p.disks)
        most = self.random.choice((1, 1, 2, count))
        some = self.random.sample(self.p.disks, min(most, count))
        return some if one is None or self.p.disk[one] in some else [self.p.disk[one], *some[1:]]

    @staticmethod
    def sender(hop, kind):
        """Whose barrier a packet must wait for: the part of its sender."""
        from_client = hop.sender == (kind in (codec.PUBLISH, codec.PUBREL))
        return "broker" if not from_client else "outbox" if hop.sender else "inbox"

    def round(self):
        p, r = self.p, self.random
        moment = r.choices(*zip(*MOMENTS))[0]
        hop, kind = r.choice(p.hops), r.choice(tap.FLOW)
        victims = self.victims(self.sender(hop, kind) if moment == "packet" and r.random() < 0.5 else None)
        if moment != "start":
            self.must(p.loop.run(lambda: all(hop.up() for hop in p.hops) and p.last is not None, UP_S),
                      f"nobody could connect after cut {self.counts.cuts}")
            self.look()
        for disk in victims:
            disk.watch()
        self.cut_now = False
        self.wait_for(moment, hop, kind, lambda: self.cut(victims))
        if not self.cut_now:
            self.cut(victims)
        self.cut_and_restart(victims, moment, done=True)

    def feed(self, amount):
        """Not more than the receiver can take in within some seconds."""
        p = self.p
        p.feed(max(p.limit, min(p.stored + amount, len(self.known) + 1500)))

    def wait_for(self, moment, hop, kind, cut):
        p, r = self.p, self.random
        if moment == "packet":
            amount = r.choice((10, 50, 200))
            hop.trigger = (kind, r.randint(1, max(1, int(amount * SHARE[kind] * 0.7))), r.random() < 0.5, cut)
            self.feed(amount)
            p.loop.run(lambda: self.cut_now, 0.5)
            hop.trigger = None
        elif moment == "delay":
            packets = sum(hop.packets for hop in p.hops)
            self.feed(300)
            p.loop.run(lambda: sum(hop.packets for hop in p.hops) > packets, 0.2)
            p.loop.idle(r.random() * 0.08)
        elif moment == "quiet":
            self.feed(r.choice((1, 3, 20)))
            p.loop.run(lambda: p.stored >= p.limit and not any(hop.open for hop in p.hops), 0.5)
            p.loop.idle(r.choice((0, 0.001, 0.003, 0.01, 0.03)))
        else:
            self.feed(100)
            p.loop.idle(r.random() * 0.05)

    def cut(self, victims):
        """Called in the middle of a packet's way, too: it does nothing but cut. Who has the database does not live on:
        it could be told that a commit is safe which is not (Disk.cut), and say so to the inbox on another device."""
        self.cut_now = True
        self.ended = self.p.ended()
        self.p.remark(f"cut {self.counts.cuts + 1} of {' and '.join(self.parts_of(victims))}")
        if self.p.disk["database"] in victims and "receiver" in self.p.running:
            self.p.running["receiver"].kill()
        for disk in victims:
            disk.cut()
        under_way = sum(len(hop.open) for hop in self.p.hops)
        self.counts.under_way += under_way > 0
        self.counts.messages += under_way

    def cut_and_restart(self, victims, moment, done=False):
        p, r, c = self.p, self.random, self.counts
        if not done:
            self.cut(victims)
        if self.ended:
            raise Failed(f"ended by itself, before the cut: {self.ended}{p.logs()}")
        p.loop.idle(r.choice((0, 0, 0.002, 0.01, 0.03)))
        hit = {PROGRAM[part] for part, disk in p.disk.items() if disk in victims}
        bystanders = {name for name in p.running if name not in hit and r.random() < 0.25}
        p.kill(sorted(hit | bystanders))
        self.weigh(victims)
        for hop in p.hops:
            hop.note("--", f"cut {c.cuts + 1} of {' and '.join(self.parts_of(victims))}, {moment}; killed {hit | bystanders}")
        for disk in victims:
            disk.power_on()
        c.cuts += 1
        c.devices += len(victims)
        c.moments[moment] += 1
        c.victims.update(self.parts_of(victims))
        if self.options.evidence:
            self.keep_stores()
        self.start()

    def parts_of(self, victims):
        return [part for part, disk in self.p.disk.items() if disk in victims]

    def weigh(self, victims):
        """What the cut took."""
        lost = [disk.lost() for disk in victims]
        if None not in lost:
            self.counts.weighed += 1
            self.counts.took += sum(lost) > 0
            self.counts.bytes += sum(lost)

    def look(self):
        """A fault shows at the next start already: what is in the database has no gap and no repeat."""
        rows = self.p.rows()
        if rows is None:
            return
        self.counts.taken_back += sum(old != new for old, new in zip(self.known, rows)) + max(0, len(self.known) - len(rows))
        self.known = rows
        top = max((row[1] for row in rows if row[0].endswith("/2")), default=0)
        judge = Judge([row for row in rows if row[0].endswith("/2")], 0, self.receiver_hop.sent)
        there = {row[1] for row in rows}
        gaps = [n for n in range(1, top) if n % 5 and n not in there]
        if gaps or not judge.clean():
            raise Failed(f"after cut {self.counts.cuts}: {len(gaps)} gaps {gaps[:12]}; " + "; ".join(judge.details))

    # ---- the end ----

    def judge(self, whole):
        """Counts what the database holds; of a chapter that broke off, only what others have come after."""
        p, c = self.p, self.counts
        rows = p.rows() or []
        end = p.limit if whole else max((row[1] for row in rows), default=0)
        judge = Judge(rows, end, self.receiver_hop.sent)
        for field in Judge.FIELDS:
            c.judged[field] += getattr(judge, field)
        c.published += p.limit
        c.delivered += len(rows)
        c.kills += p.kills
        c.repeats_qos1 += judge.repeats_qos1
        c.chapters += 1
        return p.broken + judge.details

    def keep_stores(self):
        """The stores as they were found after each of the last cuts."""
        folder = os.path.join(self.options.evidence, f"stores-{self.counts.cuts % 3}")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.copy_disks(folder, "")

    def keep_evidence(self, problems):
        folder = self.options.evidence
        os.makedirs(folder, exist_ok=True)
        for hop in self.p.hops:
            hop.print(os.path.join(folder, f"chapter-{self.number}-{hop.name}.wire"), self.began)
        with open(os.path.join(folder, f"chapter-{self.number}.txt"), "w", encoding="utf-8") as f:
            f.write(f"layout {self.layout}\n" + "\n".join(problems) + self.p.logs() + "\n")
            f.writelines(f"{row[0]} {row[1]} {row[3]}\n" for row in self.p.rows() or ())
        self.copy_disks(folder, "end-")

    def copy_disks(self, folder, name):
        for number, disk in enumerate(self.p.disks):
            subprocess.run(["cp", "-a", "--sparse=always", disk.path, os.path.join(folder, f"{name}{number}")],
                           check=False, stderr=subprocess.DEVNULL)


def run_chapter(options, number, counts, rng, end):
    """What was wrong with it."""
    problems, chapter = [], Chapter(options, number, counts, rng)
    try:
        try:
            chapter.run(min(options.chapter, options.cuts - counts.cuts), end)
        except (Failed, codec.WireError, sqlite3.DatabaseError) as e:
            problems.append(f"chapter {number}: {e}")
            chapter.p.kill(["feeder", "receiver", "broker"])
        try:
            problems += chapter.judge(whole=not problems)
        except sqlite3.DatabaseError as e:
            problems.append(f"chapter {number}: nothing can be counted in the database: {e}")
        if problems and options.evidence:
            chapter.keep_evidence(problems)
    finally:
        chapter.p.close(keep=False)
    return problems


def run(options):
    """1 when something was wrong."""
    began, counts, problems, number = time.monotonic(), Counts(), [], 0
    end = began + options.seconds if options.seconds else None
    rng = random.Random(options.seed)
    while counts.cuts < options.cuts and not problems and not (end and time.monotonic() > end):
        problems = run_chapter(options, number, counts, rng, end)
        number += 1
    report(options, counts, problems, time.monotonic() - began)
    return int(bool(problems))


def report(options, c, problems, seconds):
    for problem in problems:
        print("  " + problem)
    print(f"{c.cuts} cuts of {c.devices} file systems in {c.chapters} chapters, {seconds / max(1, c.cuts):.2f} s each: "
          f"{c.under_way} with messages under way ({c.messages}), {c.took} of {c.weighed} weighed took {c.bytes >> 10} KiB that "
          f"were not written; rows of the database taken back: {c.taken_back}")
    print("moments: " + ", ".join(f"{k} {v}" for k, v in sorted(c.moments.items()))
          + "; victims: " + ", ".join(f"{part} {c.victims[part]}" for part in PARTS))
    print(f'{"BROKEN" if problems else "clean"}: {c.published} published, {c.delivered} effects, {c.repeats_qos1} of them repeats of '
          f"QoS 1 that came over the wire; seed {options.seed}")
    if options.lie:
        return
    print(f"summary: power_cuts={c.cuts} sigkills={c.kills} under_way={c.under_way} bit={c.took} "
          + " ".join(f"{k}={v}" for k, v in c.judged.items()) + f" failed={int(bool(problems))}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--chapter", type=int, default=40, help="cuts until everything is counted and begun anew")
    parser.add_argument("--seconds", type=float, help="stop after so long even if there were fewer cuts")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--lie", choices=(*LIARS, "all"), help="without its syncs: the test must notice")
    parser.add_argument("--build", default=os.environ.get("QUARTET_BUILD", ROOT / "build" / "release"))
    parser.add_argument("--evidence", help="keep wires and stores of what went wrong in this directory")
    options = parser.parse_args()
    brokers.quick_tmp()
    if disks.skipped("power cuts of clients", "passed=0" if options.lie else "power_cuts=0"):
        return 0
    os.environ["QUARTET_BUILD"] = str(options.build)
    if options.lie is None:
        return run(options)
    seen = 0
    liars = LIARS if options.lie == "all" else (options.lie,)
    for options.lie in liars:
        print(f"the syncs of {options.lie} do nothing:")
        seen += run(options)
    print(f"summary: passed={seen} failed={len(liars) - seen}")
    return int(seen < len(liars))


if __name__ == "__main__":
    sys.exit(main())
