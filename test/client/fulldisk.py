#!/usr/bin/env python3
"""A full disk under libquartet's applications: what was stored is not lost, nothing more is taken, nothing comes twice.

  test/client/fulldisk.py [--rounds 6] [--seed S] [--only outbox|inbox|database] [--build BUILD]
                         [--evidence DIR]

In each round the file system of the outbox, the inbox or the database is filled by another file while numbers flow; of
the outbox also while there is no broker, so that all must be kept. Then quartet_publish() must refuse or wait, never say
"stored" of what is not; the receiver must not acknowledge what it cannot keep; SIGKILL and a start on the full disk must
do no harm. With room again everything goes on, and applications.py says what must come of it. Needs root.
"""

import argparse
import os
import random
import sqlite3
import sys
import time

sys.dont_write_bytecode = True
from applications import PROGRAM, ROOT, Applications, Failed, Judge  # noqa: E402
import broker as brokers  # noqa: E402
import disk as disks  # noqa: E402

VICTIMS = ("outbox", "inbox", "database")
SMALL, LARGE = 48, 256  # MiB
UP_S, FULL_S, FINISH_S, STALLED_S = 20, 40, 30, 2
LOCKED_S = 8  # less than the receiver waits for its database
MANY = 20000  # numbers: more than the full disk can take
# What an application may end with, when its disk is full.
EXCUSES = ("QUARTET_STORE_FULL", "No space left", "the disk is full", "disk is full", "database or disk is full")


class Round:
    def __init__(self, options, number, victim):
        self.random = random.Random(options.seed * 1000 + number)
        self.victim = victim
        layout = [(part, SMALL if part == victim else LARGE) for part in ("outbox", "inbox", "database", "broker")]
        self.p = Applications(options.build, layout, self.random)
        self.disk = self.p.disk[victim]
        self.program = PROGRAM[victim]
        self.ends = 0  # of the victim, on the full disk
        self.away = victim == "outbox" and self.random.random() < 0.6
        self.leave = self.random.choice((0, 0, 50, 1000, 3000)) << 10
        self.stored_when_full = 0
        self.full = False

    def run(self):
        p = self.p
        for name in ("broker", "receiver"):
            p.start(name)
        self.must(p.loop.run(lambda: p.hops[1].subscribed, UP_S), "SUBACK is missing")
        p.see_positions()
        p.start("feeder")
        p.feed(self.random.choice((1, 50, 300)))
        self.must(p.loop.run(lambda: p.stored >= p.limit and len(p.rows() or ()) > 0, UP_S), "nothing comes")
        if self.away:
            p.kill(["broker"])
        self.disk.fill(leave=self.leave)
        p.feed(p.stored + MANY)
        self.until_full()
        self.on_the_full_disk()
        self.room_again()
        p.must_finish(FINISH_S)

    def must(self, truth, what):
        if self.p.broken:
            raise Failed("a promise is broken")
        for name, status in self.p.ended():
            if name != self.program:
                raise Failed(f"{name} ended by itself with {status}{self.p.logs()}")
        if not truth:
            raise Failed(what + self.p.logs())

    def progress(self):
        p = self.p
        return {"outbox": p.stored, "inbox": p.hops[1].answered,
                "database": len(p.rows() or ())}[self.victim]

    def victim_ended(self):
        """Whether it ended, with a good excuse, and was buried."""
        p = self.p
        process = p.running.get(self.program)
        if process is None or process.poll() is None:
            return False
        if not any(excuse in p.log(self.program) for excuse in EXCUSES):
            raise Failed(f"{self.program} ended with {process.returncode}, not because its disk is full{p.logs()}")
        p.kill([self.program])
        self.ends += 1
        return True

    def until_full(self):
        """Until the victim has ended, or does not get on any more."""
        if self.victim == "inbox":
            self.until_inbox_full()
            return
        self.full = self.until_stalled(FULL_S)
        self.must(self.full, f"{self.progress()} fit on the full disk, {self.disk.free()} bytes are free")

    def until_inbox_full(self):
        """An inbox works on the full disk as long as the application empties it: so that waits for its database."""
        with sqlite3.connect(self.p.path("database"), timeout=5, isolation_level=None) as database:
            database.execute("BEGIN IMMEDIATE")
            self.full = self.until_stalled(LOCKED_S) and bool(self.p.hops[1].open)
            database.execute("ROLLBACK")
        database.close()

    def until_stalled(self, seconds):
        """False when the time was over first."""
        p, end = self.p, time.monotonic() + seconds
        last, since = self.progress(), time.monotonic()
        while time.monotonic() < end:
            p.loop.idle(0.1)
            if self.victim_ended():
                return True
            self.must(True, "")
            now = self.progress()
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() - since > STALLED_S:
                return True
        return False

    def on_the_full_disk(self):
        """SIGKILL and a start; the broker comes back."""
        p, r = self.p, self.random
        if self.away:
            p.start("broker")
        for _ in range(r.randrange(3)):
            p.kill([self.program])
            p.start(self.program)
            p.loop.idle(r.choice((0.05, 0.5)))
            self.must(True, "")
            self.victim_ended()
        self.stored_when_full = p.stored

    def room_again(self):
        p = self.p
        p.loop.idle(self.random.choice((0, 0.3)))
        self.victim_ended()
        self.disk.unfill()
        if self.victim == "database" or self.random.random() < 0.3:
            p.kill([self.program])  # of a database: it ends by itself, sooner or later
        p.kill(["feeder"])  # it was told to publish more than the test wants to wait for
        p.limit = 0
        for name in ("feeder", "receiver"):
            if name not in p.running:
                p.start(name)
        self.must(p.loop.run(lambda: p.last is not None, UP_S), "the feeder does not start")
        p.feed(max(p.last, p.stored) + 200)
        self.must(p.loop.run(lambda: p.stored >= p.limit or p.ended(), UP_S), "publishing does not go on")


    def keep_evidence(self, folder):
        for hop in self.p.hops if folder else ():
            os.makedirs(folder, exist_ok=True)
            hop.print(os.path.join(folder, hop.name + ".wire"), 0)


def run_round(options, number, victim):
    """What was wrong with it."""
    problems, r = [], Round(options, number, victim)
    began = time.monotonic()
    try:
        try:
            r.run()
        except (Failed, sqlite3.DatabaseError) as e:
            problems.append(str(e))
            r.keep_evidence(options.evidence)
            r.p.kill(["feeder", "receiver", "broker"])
        rows = r.p.rows() or []
        judge = Judge(rows, max((row[1] for row in rows), default=0) if problems else r.p.limit, r.p.hops[1].sent)
        problems += r.p.broken + judge.details
    finally:
        r.p.close(keep=False)
    print(f'{"FAILED" if problems else "ok"}: round {number}, {victim}, {r.leave >> 10} KiB left, '
          f'{"no broker, " if r.away else ""}{"" if r.full else "not "}full with {r.stored_when_full} stored, ended {r.ends} times, {len(rows)} effects, '
          f"{time.monotonic() - began:.1f} s", *problems, sep="\n  ", flush=True)
    return judge, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--only", choices=VICTIMS)
    parser.add_argument("--evidence", help="keep the wires of the last failed round in this directory")
    parser.add_argument("--build", default=os.environ.get("QUARTET_BUILD", ROOT / "build" / "release"))
    options = parser.parse_args()
    brokers.quick_tmp()
    if disks.skipped("full disks of clients", "passed=0 failed=0"):
        return 0
    os.environ["QUARTET_BUILD"] = str(options.build)
    totals, failed = dict.fromkeys(Judge.FIELDS, 0), 0
    for number in range(options.rounds):
        judge, problems = run_round(options, number, options.only or VICTIMS[number % len(VICTIMS)])
        failed += bool(problems)
        for field in Judge.FIELDS:
            totals[field] += getattr(judge, field)
    print(f"seed {options.seed}")
    print(f"summary: full_disks={options.rounds} passed={options.rounds - failed} failed={failed} "
          + " ".join(f"{k}={v}" for k, v in totals.items()))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
