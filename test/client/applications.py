"""Three programs and what is judged of them: a feeder of numbers, the broker, and a receiver with a database.

    client_feeder ══ tap ══> quartetd ══ tap ══> example_sqlite ──> database
       outbox                 broker                 inbox

What the feeder said was stored, it does not publish again. In the end the database must hold each number of QoS 2 once
and in order, each of QoS 1 at least once and not more often than it came over the wire, and each position of the inbox
once.
"""

import collections
import contextlib
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "test" / "crash"))
import broker as brokers  # noqa: E402
import disk as disks  # noqa: E402
import tap  # noqa: E402

PARTS = ("outbox", "inbox", "database", "broker")
PROGRAM = {"outbox": "feeder", "inbox": "receiver", "database": "receiver", "broker": "broker"}
END_S = 30
SEEN = """PRAGMA synchronous = EXTRA;
CREATE TABLE IF NOT EXISTS seen(effect INTEGER, epoch BLOB, sequence INTEGER);
CREATE TRIGGER IF NOT EXISTS see AFTER INSERT ON position BEGIN
  INSERT INTO seen SELECT max(rowid), NEW.epoch, NEW.sequence FROM effect; END;"""
ROWS = """SELECT topic, CAST(CAST(substr(payload, 1, 20) AS TEXT) AS INTEGER), epoch, sequence
FROM effect LEFT JOIN seen ON seen.effect = effect.rowid ORDER BY effect.rowid"""


class Failed(Exception):
    pass


class Judge:
    """What the database holds against what was published; `end`: the numbers 1 to this must be there."""
    FIELDS = ("lost", "duplicated", "reordered", "unexplained")

    def __init__(self, rows, end, arrived):
        self.lost = self.duplicated = self.reordered = self.unexplained = self.repeats_qos1 = 0
        self.details = []
        for qos in (1, 2):
            self.stream(qos, [row[1] for row in rows if row[0].endswith(f"/{qos}")], end, arrived)
        self.positions([row[2:] for row in rows])

    def stream(self, qos, numbers, end, arrived):
        times = collections.Counter(numbers)
        wanted = {n for n in range(1, end + 1) if (n % 5 == 0) == (qos == 1)}
        lost = sorted(wanted - times.keys())
        twice = sorted(n for n, k in times.items() if k > (arrived[n] if qos == 1 else 1))
        first = list(dict.fromkeys(numbers))
        late = [b for a, b in zip(first, first[1:]) if b < a]
        strange = sorted(times.keys() - wanted) if end else []
        self.lost += len(lost)
        self.duplicated += len(twice)
        self.reordered += len(late)
        self.unexplained += len(strange)
        self.repeats_qos1 += len(numbers) - len(times) if qos == 1 else 0
        for what, some in (("lost", lost), ("twice", twice), ("late", late), ("never published", strange)):
            if some:
                self.details.append(f"QoS {qos}: {what} {len(some)}, {some[:12]}")

    def positions(self, positions):
        wrong = [b for a, b in zip(positions, positions[1:]) if b[0] != a[0] or b[1] is None or b[1] <= a[1]]
        self.unexplained += len(wrong)
        if wrong:
            self.details.append(f"positions of the inbox that do not grow: {len(wrong)}, {wrong[:4]}")

    def clean(self):
        return not self.details


class Applications:
    """Feeder, broker and receiver: where they keep what, starting, killing and ending them. `layout`: which parts share
    a file system, and of how many MiB; `lie`: the part whose syncs do nothing."""

    def __init__(self, build, layout, rng, lie=None):
        self.build, self.random, self.lie = build, rng, lie
        self.disks = [disks.Disk(mebibytes) for _, mebibytes in layout]
        self.disk = {part: self.disks[i] for i, (parts, _) in enumerate(layout) for part in parts.split()}
        self.broker = brokers.Broker(data=self.path("broker"), conf=brokers.SMALL_STORE)
        self.loop = tap.Loop()
        self.hops = (tap.Hop(self.loop, "feeder", self.broker.port, True),
                     tap.Hop(self.loop, "receiver", self.broker.port, False))
        self.running, self.said = {}, b""
        self.last = None     # what the store of the feeder had taken when it started
        self.stored = 0      # what the feeder said was stored
        self.limit = 0       # what it is to publish up to
        self.kills = 0
        self.broken = []     # promises of the feeder

    def path(self, part):
        return os.path.join(self.disk[part].path, "effects.db" if part == "database" else part)

    def words(self, name):
        hop = self.hops[name == "receiver"]
        if name == "receiver":
            return ["example_sqlite", self.path("database"), self.path("inbox"), "n/#", f"mqtt://127.0.0.1:{hop.port}"]
        batch = self.random.choice((1, 1, 4, 30))
        return ["client_feeder", self.path("outbox"), f"mqtt://127.0.0.1:{hop.port}", "n", str(self.stored + 1), str(batch)]

    def liar(self, name):
        part = self.lie
        if part is None or PROGRAM[part] != name:
            return []
        path = self.path(part)
        return disks.lying([path + end for end in ("", "-wal", "-journal")] if part == "database" else disks.journals(path))

    def start(self, name, honest=False):
        lie = [] if honest else self.liar(name)
        if name == "broker":
            self.broker.start(lie)
            self.running[name] = self.broker.process
            return
        program, *rest = self.words(name)
        feeds = name == "feeder"
        self.remark(f"start of {name}")
        with open(os.path.join(self.broker.scratch, name + ".log"), "ab") as log:
            self.running[name] = process = subprocess.Popen(
                [*lie, f"{self.build}/bin/{program}", *rest], stdin=subprocess.PIPE if feeds else subprocess.DEVNULL,
                stdout=subprocess.PIPE if feeds else log, stderr=log, cwd=self.broker.scratch, bufsize=0,
                preexec_fn=brokers.die_with_parent)
        if feeds:
            self.last, self.said = None, b""
            os.set_blocking(process.stdout.fileno(), False)
            self.loop.listen(process.stdout, self.hear)
            self.feed(self.limit)

    def remark(self, what):
        """Into both logs, so that it is known what was said when."""
        for name in ("feeder", "receiver"):
            with open(os.path.join(self.broker.scratch, name + ".log"), "a", encoding="utf-8") as log:
                log.write(f"---- {what}\n")

    def feed(self, limit):
        self.limit = limit
        if "feeder" in self.running:
            try:
                self.running["feeder"].stdin.write(f"{limit}\n".encode())
            except OSError:
                pass  # it has ended, which is judged elsewhere

    def hear(self):
        """False when the feeder has nothing more to say."""
        feeder = self.running["feeder"]
        data = feeder.stdout.read(1 << 16)
        if data == b"":
            self.loop.forget(feeder.stdout)
        *lines, self.said = (self.said + (data or b"")).split(b"\n")
        for line in lines:
            what, number = line.split()
            if what == b"last":
                self.last = int(number)
                if self.last < self.stored:
                    self.broken.append(f"B0: {self.stored} was said to be stored, but the store knows only {self.last}")
            else:
                self.stored = max(self.stored, int(number))
        return bool(data)

    def kill(self, names):
        for name in names:
            process = self.running.pop(name, None)
            if process is None:
                continue
            self.kills += process.poll() is None
            process.kill()
            process.wait()
            if name == "feeder":
                self.running[name] = process
                while self.hear():
                    pass
                del self.running[name]
                self.loop.forget(process.stdout)
                process.stdin.close()
                process.stdout.close()

    def ended(self):
        """Who ended by itself, and how."""
        return [(name, process.returncode) for name, process in self.running.items() if process.poll() is not None]

    def check_running(self):
        for name, status in self.ended():
            raise Failed(f"{name} ended by itself with {status}{self.logs()}")

    def log(self, name):
        path = os.path.join(self.broker.scratch, name + ".log")
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def logs(self):
        parts = [("broker", self.broker.log())] + [(name, self.log(name)) for name in ("feeder", "receiver")]
        return "".join(f"\n{name}: {text[-1200:]}" for name, text in parts)

    def rows(self):
        """What the database holds; None when it is busy. It is closed however that ends: its disk is to be unmounted."""
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.path('database')}?mode=ro", uri=True, timeout=0.5)) as database:
                return database.execute(ROWS).fetchall()
        except sqlite3.OperationalError:
            return None

    def see_positions(self):
        """The database itself notes the position of each effect, in the application's transaction."""
        with contextlib.closing(sqlite3.connect(self.path("database"), timeout=5)) as database:
            database.executescript(SEEN)

    # ---- the end ----

    def must_finish(self, patience):
        """Everything has come, every flow is complete, the programs end cleanly, and their stores are sound."""
        end = time.monotonic() + patience
        while len({row[1] for row in self.rows() or ()}) < self.limit:
            self.check_running()
            if time.monotonic() > end:
                raise Failed(f"not everything has come after {patience} s: {len({r[1] for r in self.rows() or ()})} of "
                             f"{self.limit}, stored {self.stored}, flows open "
                             f"{[list(hop.open.items())[:5] for hop in self.hops]}{self.logs()}")
            self.loop.idle(0.1)
        self.running["feeder"].stdin.close()
        for name in ("feeder", "receiver", "broker"):
            self.must_end(name)
        if any(hop.forgotten for hop in self.hops):
            raise Failed("a session was forgotten: Session Present 0")
        for part in ("outbox", "inbox", "broker"):
            self.must_be_sound(part)

    def must_end(self, name):
        process = self.running[name]
        if name != "feeder":
            process.send_signal(signal.SIGTERM)
        self.loop.run(lambda: process.poll() is not None, END_S)
        if process.poll() != 0:
            raise Failed(f"{name} ended with {process.poll()}{self.logs()}")
        self.kill([name])

    def must_be_sound(self, part):
        done = subprocess.run([f"{self.build}/bin/quartet", "store", "check", self.path(part)], capture_output=True,
                              text=True, check=False)
        if done.returncode:
            raise Failed(f"store check of {part}: {done.stdout}{done.stderr}")

    def close(self, keep):
        self.kill(list(self.running))
        for hop in self.hops:
            hop.close()
        self.broker.cleanup(keep)
        for disk in self.disks:
            disk.close()
