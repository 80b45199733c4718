#!/usr/bin/env python3
"""SIGKILL of libquartet's applications at the Nth system call of a scripted run, for all N: nothing lost, nothing twice.

  test/client/faults.py [--build BUILD] [--seconds S] [--seed S] [--only VICTIM:SYSCALL[:N]] [--jobs 3]

    client_outbox --> quartetd --> example_sqlite --> database          numbers 1 to 40, QoS 2

One traced run counts the system calls of both applications, of whatever thread. Then there is one run per point (victim,
system call, N): the victim is killed there, by strace's injection, and started again; in every third run the broker and
the other application are killed at that moment too. In the end the database must hold each number once, in order.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "test" / "crash"))
import broker as brokers  # noqa: E402
import faults  # noqa: E402

COUNT = 40
CALLS = faults.ALL + ("recvfrom", "epoll_wait", "connect", "socket", "close", "unlink", "futex", "read", "pread64", "shutdown",
                      "fcntl", "flock", "mmap", "munmap", "epoll_ctl", "clone", "clone3", "exit_group")
LIMIT_S = 60
# CONNECT of 3.1.1 with a clean session; PUBLISH "probe" to numbers, QoS 1, packet id 1; again at QoS 0; DISCONNECT.
PROBE = (b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05probe" + b"\x32\x10\x00\x07numbers\x00\x01probe"
         + b"\x30\x0e\x00\x07numbersprobe" + b"\xe0\x00")

Point = collections.namedtuple("Point", "victim syscall n")


class Failed(Exception):
    pass


class World:
    """A broker, two applications, and their stores, in one folder."""

    def __init__(self, build, template=None):
        self.build = build
        self.broker = brokers.Broker(conf=brokers.SMALL_STORE)
        self.url = f"mqtt://127.0.0.1:{self.broker.port}"
        self.database = os.path.join(self.broker.scratch, "effects.db")
        self.processes = {}
        if template is not None:
            for name in ("data", "inbox"):
                shutil.copytree(template.path(name), self.path(name))
            shutil.copy(template.database, self.database)

    def words(self, name):
        if name == "sqlite":
            return [f"{self.build}/bin/example_sqlite", self.database, self.path("inbox"), "numbers", self.url]
        return [f"{self.build}/bin/client_outbox", self.path("outbox"), self.url, str(COUNT)]

    def path(self, name):
        return os.path.join(self.broker.scratch, name)

    def start(self, name, strace=()):
        tracer = ["strace", "-D", "-f", "-qq", *strace] if strace else []
        with open(self.path(name + ".log"), "ab") as log:
            self.processes[name] = subprocess.Popen(tracer + self.words(name), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                    cwd=self.broker.scratch, preexec_fn=brokers.die_with_parent)

    def up(self):
        self.broker.start()
        if not self.broker.wait_ready():
            raise Failed(f"the broker does not start:\n{self.broker.log()}")

    def payloads(self):
        try:
            with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=5) as database:
                rows = [bytes(row[0]) for row in database.execute("SELECT payload FROM effect ORDER BY rowid")]
            database.close()
            return rows
        except sqlite3.OperationalError:
            return []

    def subscribe(self):
        """Runs the receiver until two probes have come: then its subscription is durable, here and there. The second is of
        QoS 0 and has no position: that of the first must stay."""
        self.start("sqlite")
        end = time.monotonic() + LIMIT_S
        while self.payloads().count(b"probe") < 2:
            with socket.create_connection(("127.0.0.1", self.broker.port), 5) as s:
                s.sendall(PROBE)
                while s.recv(100):
                    pass
            if time.monotonic() > end:
                raise Failed("no subscription" + self.logs())
            time.sleep(0.01)
        self.stop("sqlite")
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=5) as database:
            if database.execute("SELECT sequence FROM position").fetchone()[0] == 0:
                raise Failed("the position of QoS 0 has taken the place of another")

    def stop(self, name):
        self.processes[name].send_signal(signal.SIGTERM)
        status = self.processes[name].wait(LIMIT_S)
        if status not in (0, -signal.SIGKILL):
            raise Failed(f"{name} ended with {status}{self.logs()}")

    def logs(self):
        out = ""
        for name in ("sqlite.log", "outbox.log"):
            if os.path.exists(self.path(name)):
                with open(self.path(name), encoding="utf-8", errors="replace") as f:
                    out += f"\n{name}: {f.read()[-500:]}"
        return out

    def close(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        self.broker.cleanup()


class Faults:
    def __init__(self, options):
        self.build, self.options = options.build, options
        self.end = time.monotonic() + options.seconds if options.seconds else None
        self.template = World(self.build)
        self.template.up()
        self.template.subscribe()
        self.template.broker.stop()

    def run(self, world, victim=None, strace=(), everybody=False):
        """The scripted run; True when the victim was killed. Whoever was killed is started again."""
        world.up()
        for name in ("sqlite", "outbox"):
            world.start(name, strace if victim in (name, "both") else ())
        end, killed = time.monotonic() + LIMIT_S, 0
        while True:
            for name, process in list(world.processes.items()):
                status = process.poll()
                if status == -signal.SIGKILL and name in (victim, "both"):
                    killed += 1
                    if everybody and killed == 1:
                        self.kill_everybody(world, name)
                    world.start(name)
                elif status not in (None, 0, -signal.SIGKILL):
                    raise Failed(f"{name} ended with {status}{world.logs()}")
            if world.processes["outbox"].poll() == 0 and len(self.numbers(world)) >= COUNT:
                return killed
            if time.monotonic() > end:
                raise Failed(f"stuck with {len(self.numbers(world))} of {COUNT}{world.logs()}")
            time.sleep(0.01)

    @staticmethod
    def kill_everybody(world, but):
        world.broker.kill()
        for name, process in world.processes.items():
            if name != but and process.poll() is None:
                process.kill()
                process.wait()
                world.start(name)
        world.up()

    @staticmethod
    def numbers(world):
        return [int(p) for p in world.payloads() if p != b"probe"]

    def verify(self, world):
        time.sleep(0.05)
        world.stop("sqlite")
        numbers = self.numbers(world)
        lost = sorted(set(range(1, COUNT + 1)) - set(numbers))
        twice = sorted(n for n, times in collections.Counter(numbers).items() if times > 1)
        if lost or twice or numbers != sorted(numbers):
            raise Failed(f"lost {lost}, twice {twice}, order {numbers}")

    def count(self):
        """(victim, system call) -> the most calls by one thread: strace counts each thread for itself."""
        counts = {}
        for victim in ("sqlite", "outbox"):
            world = World(self.build, self.template)
            try:
                log = world.path("strace")
                self.run(world, victim, ("-o", log, "-e", "trace=" + ",".join("?" + c for c in CALLS)))
                self.verify(world)
                with open(log, encoding="utf-8", errors="replace") as f:
                    calls = collections.Counter(re.findall(r"^(\d+) +(\w+)\(", f.read(), re.MULTILINE))
                for (_, call), n in calls.items():
                    if call in CALLS:
                        counts[victim, call] = max(counts.get((victim, call), 0), n)
            finally:
                world.close()
        return counts

    def one(self, point, everybody):
        if self.end is not None and time.monotonic() > self.end:
            return None
        world = World(self.build, self.template)
        try:
            strace = ("-o", "/dev/null", "-e", f"trace=?{point.syscall}", "-e",
                      f"inject=?{point.syscall}:signal=KILL:when={point.n}")
            killed = self.run(world, point.victim, strace, everybody)
            self.verify(world)
            return killed, ""
        except (Failed, subprocess.TimeoutExpired) as e:
            return 1, f"{e}"
        finally:
            world.close()

    def all(self):
        counts = self.count()
        points = [Point(victim, call, n) for (victim, call), most in sorted(counts.items()) for n in range(1, most + 1)]
        if self.options.only:
            want = (self.options.only.split(":") + [""] * 3)[:3]
            points = [p for p in points if all(w in ("", str(v)) for w, v in zip(want, p))]
        total = len(points)
        random.Random(self.options.seed).shuffle(points)
        self.template.processes.clear()  # they have ended; a process cannot be handed to a worker
        self.template.broker.process = None
        with concurrent.futures.ProcessPoolExecutor(self.options.jobs) as pool:
            futures = [(p, pool.submit(self.one, p, i % 3 == 2)) for i, p in enumerate(points)]
            results = [(p, f.result()) for p, f in futures]
        results = [(p, r) for p, r in results if r is not None]
        failed = [(p, problem) for p, (_, problem) in results if problem]
        for point, problem in failed:
            print(f"FAILED at {':'.join(map(str, point))}: {problem}")
        shutil.rmtree(self.template.broker.scratch, ignore_errors=True)
        killed = sum(bool(k) for _, (k, _) in results)
        print(f"{len(results)} runs of {total} points, {killed} applications killed, {len(failed)} failed")
        print(f"summary: fault_points={len(results)} sigkills={killed} passed={len(results) - len(failed)} failed={len(failed)}")
        return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.environ.get("QUARTET_BUILD", ROOT / "build" / "release"))
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--only")
    parser.add_argument("--jobs", type=int, default=3)
    options = parser.parse_args()
    if not faults.can_trace():
        print("SKIPPED SIGKILL of clients at system calls: strace is missing or may not attach")
        print("summary: sigkills=0 skipped=1")
        return 0
    brokers.quick_tmp()
    os.environ["QUARTET_BUILD"] = str(options.build)
    print(f"seed {options.seed}")
    return Faults(options).all()


if __name__ == "__main__":
    sys.exit(main())
