"""Runs the stages of scripts/test: two at a time, each after those that it needs, to the end whatever fails.

A stage is a command. What it prints goes to build/test-logs/STAGE.log, and from there come its counts:

    summary: KEY=NUMBER KEY=NUMBER ...     a later line overrules an earlier one, key by key
    SKIPPED WHAT: WHY                      repeated loudly at the end

A stage passes when its exit code is 0, nothing in it failed and every count that it owes is there: a count that is
missing is a failure, not a zero. `passed`, `failed` and `skipped` count its tests; a stage that counts none is one
test itself.
"""

import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "test-logs"
AT_ONCE = 2  # stages
TAIL_LINES = 100
QUARTET = "build/release/bin/quartet"
RUNNING = set()  # the processes of the stages under way


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str
    what: str
    command: str
    needs: tuple = ()
    owes: tuple = ()  # counts without which the stage has failed
    timeout_s: int = 600


# The unit tests that start threads; only these, and the broker, are built with the thread sanitizer.
THREADED = ("base_ring", "net_waker", "store_local_threads", "topic_trie_threads", "lib_close")
THREADED_CLIENTS = ("live", "callback", "hostile", "close", "wait", "system", "unix")  # test/client/NAME_test.c


def build(preset, *targets):
    """Configures and builds a preset: all of it, or some targets."""
    chosen_targets = " ".join(("--target", *targets)) if targets else ""
    return f"cmake --preset {preset} && cmake --build --preset {preset} {chosen_targets}"


STAGES = (
    Stage("house", "the checks of the checks; layers, cycles, sizes, documents", "scripts/check-house", owes=("passed",)),
    Stage("format", "clang-format", "scripts/check-format"),
    Stage("build-release", "as it is shipped",
          build("release", "quartetd", "quartet", "libquartet", "example_sqlite", "client_outbox", "client_feeder",
                "hostile_collide")),
    Stage("build-dev", "with the address and undefined-behaviour sanitizers", build("dev")),
    Stage("build-tsan", "the broker and the threaded unit tests, with the thread sanitizer",
          build("tsan", "quartetd", *(f"unit_{name}_test" for name in THREADED),
                *(f"client_{name}_test" for name in THREADED_CLIENTS))),
    Stage("scenarios", "texts of who sends what and what must be seen",
          f"test/scenario/generate_real.py --check test/scenario && {QUARTET} sim --scenario test/scenario/*.txt",
          ("build-release",), ("scenarios",)),
    Stage("mutants", "every barrier and rule left out once: the tests must notice",
          f"{QUARTET} sim --mutants", ("build-release",), ("mutants", "killed")),
    Stage("histories", "random faults, one seed each",
          f"{QUARTET} sim --seeds 10000", ("build-release",), ("histories",)),
    Stage("exhaustive", "all choices in small worlds, up to a number of states",
          f"{QUARTET} sim --exhaustive all", ("build-release",), ("states", "worlds", "whole")),
    Stage("explain", "`quartet explain`: what it finds, and that docs/why-four-packets.md shows the same",
          "test/explain/document.py", ("build-release",), ("passed",)),
    Stage("unit", "unit tests of the dev build", "scripts/unit-tests dev", ("build-dev",), ("passed",)),
    Stage("unit-threads", "the threaded unit tests of the tsan build",
          "scripts/unit-tests tsan "
          f"-R '/({'|'.join([name.split('_', 1)[1] for name in THREADED] + list(THREADED_CLIENTS))})_test$'",
          ("build-tsan",), ("passed",)),
    Stage("trial-threads", "the trial with four shards of the tsan build, which ends at the first race",
          "QUARTET_BUILD=$PWD/build/tsan TSAN_OPTIONS=halt_on_error=1 "
          "scripts/trial --conf 'shards 4' --messages 8000 --kills 4 --cuts 30 --protocol both --qos 1,2", ("build-tsan",),
          ("sigkills",)),
    Stage("trial-unix", "the same over a UNIX socket, from which one shard accepts for all",
          "QUARTET_BUILD=$PWD/build/tsan TSAN_OPTIONS=halt_on_error=1 "
          "scripts/trial --unix --conf 'shards 4' --messages 8000 --kills 4 --cuts 30 --protocol both --qos 1,2",
          ("build-tsan",), ("sigkills",)),
    Stage("trial-memory", "the trial with four shards of the dev build",
          "QUARTET_BUILD=$PWD/build/dev "
          "scripts/trial --conf 'shards 4' --messages 8000 --kills 4 --cuts 30 --protocol both --qos 1,2", ("build-dev",),
          ("sigkills",)),
    Stage("package", "libquartet, installed and used as others would", "test/client/package.py", ("build-release",),
          ("passed",)),
    Stage("client-faults", "SIGKILL of libquartet's applications at system calls chosen by strace",
          "test/client/faults.py --seconds 40", ("build-release",), ("sigkills",)),
    Stage("client-power", "the power of real file systems fails under libquartet's applications and the broker",
          "test/client/powercut.py --seconds 30 --chapter 12", ("build-release",), ("power_cuts",)),
    Stage("client-power-sees", "the same with syncs that do nothing, of outbox, inbox, database: the loss must be seen",
          "test/client/powercut.py --lie all --cuts 30", ("build-release",), ("passed",)),
    Stage("client-fulldisk", "the disk of outbox, inbox or database is full under load", "test/client/fulldisk.py --rounds 3",
          ("build-release",), ("passed",)),
    Stage("fuzz", "coverage-guided bytes for the codec", "scripts/fuzz 20", owes=("executions",)),
    Stage("wire", "the standard's rules, by packets over real sockets",
          "test/wire/run.py", ("build-release",), ("passed",)),
    Stage("process", "quartetd as a process: log, signals, pid file, ports, service manager; lost output of all programs",
          "test/process/run.py", ("build-release",), ("passed",)),
    Stage("hostile", "attacks, while well-behaved clients lose nothing and are served in time",
          "test/hostile/run.py --stage --p99 250", ("build-release",), ("passed",)),
    Stage("interop", "other people's clients",
          "test/interop/run.py --short", ("build-release",), ("passed",)),
    Stage("trial", "the real broker, cut connections and SIGKILLs under load; then the count",
          "scripts/trial --messages 40000 --kills 20 --cuts 60 --protocol both --qos 1,2", ("build-release",),
          ("sigkills",)),
    Stage("trial-sees", "the same for a broker without a disk: the count must see the loss",
          "scripts/trial --broker mosquitto --messages 3000 --kills 2 --cuts 0 --patience 3 | "
          "grep -E '^BROKEN.* [1-9][0-9]* (lost|forgotten)'"),
    Stage("judge", "every wrong move of a broker, put before the clients of the trial: they must see it",
          "test/crash/judge_test.py", owes=("passed",)),
    Stage("torture", "every break point, kind of cut and SIGKILL of the catalogue of `quartet torture`",
          "test/torture/short", ("build-release",), ("torture_runs", "sigkills")),
    Stage("torture-sees", "the same for mosquitto: what is wrong with it must be found, in the right columns",
          "test/torture/sees", ("build-release",), ("passed",)),
    Stage("torture-edges", "each row, bad brokers, odd ones and none at all, from the broker's end of the wire",
          "test/torture/edges", ("build-release",), ("passed",)),
    Stage("faults", "SIGKILL, EIO and ENOSPC at system calls chosen by strace",
          "test/crash/faults.py --seconds 60", ("build-release",), ("sigkills",)),
    Stage("anew", "SIGKILL, EIO, a full disk and power cuts at every call while a table is made anew",
          "test/crash/anew.py", ("build-release",), ("points",)),
    Stage("powercut", "the power of a real file system fails under load",
          "test/crash/powercut.py --cuts 220", ("build-release",), ("power_cuts",)),
    Stage("powercut-sees", "the same with a journal that is never synced: the loss must be seen",
          "test/crash/powercut.py --lie --cuts 20", ("build-release",), ("passed",)),
    Stage("fulldisk", "a real file system is full under load", "test/crash/fulldisk.py --rounds 6", ("build-release",), ("passed",)),
    Stage("clears", "a burst of clears on a full disk: folded, given back, and a start at once after it",
          "test/crash/clears.py", ("build-release",), ("passed",)),
    Stage("damage", "bits of a real store are flipped, files are cut or gone",
          "test/crash/damage.py", ("build-release",), ("passed",)),
    Stage("tool", "pub, sub and rr beside mosquitto's: the same output, exit code and messages",
          "test/tool/compare.py", ("build-release",), ("passed",)),
    Stage("tool-durable", "pub and sub killed with SIGKILL between messages; their own flags",
          "test/tool/durable.py", ("build-release",), ("passed", "sigkills")),
    Stage("bench", "a short load at each QoS must be clean", "scripts/bench-sanity", ("build-release",), ("passed",)),
    Stage("tidy", "clang-tidy without the analyser", "scripts/check-tidy --quick"),
)

# What the closing summary counts: its words, and the keys that are added up over all stages.
TOTALS = (
    ("scenarios", "scenarios"),
    ("simulated histories", "histories"),
    ("exhaustive states", "states"),
    ("small worlds", "worlds"),
    ("small worlds walked whole", "whole"),
    ("mutants", "mutants"),
    ("mutants killed", "killed"),
    ("fuzzed inputs", "executions"),
    ("torture runs", "torture_runs"),
    ("SIGKILLs", "sigkills"),
    ("power cuts", "power_cuts"),
)


@dataclasses.dataclass
class Result:
    stage: Stage
    failure: str  # why the stage has failed; empty when it has passed
    seconds: float = 0.0
    counts: dict = dataclasses.field(default_factory=dict)
    skips: list = dataclasses.field(default_factory=list)

    def tests(self):
        """(passed, failed, skipped): a failed stage has at least one failure, whatever it counted."""
        counted = self.counts.keys() & {"passed", "failed"}
        passed = self.counts.get("passed", 0) if counted else int(not self.failure)
        failed = max(self.counts.get("failed", 0), int(bool(self.failure)))
        return passed, failed, max(self.counts.get("skipped", 0), len(self.skips))


def read_counts(text):
    counts = {}
    for line in re.findall(r"^summary: (.*)$", text, re.MULTILINE):
        pairs = [re.fullmatch(r"(\w+)=(\d+)", word) for word in line.split()]
        counts.update((pair.group(1), int(pair.group(2))) for pair in pairs if pair)
    return counts


def judge(stage, code, counts):
    """Why the stage has failed, or an empty string; `code` is None when it was stopped because its time was over."""
    missing = [key for key in stage.owes if key not in counts]
    if code is None:
        return f"not finished after {stage.timeout_s} s"
    if code != 0:
        return f"exit code {code}"
    if missing:
        return f"does not say how many: {', '.join(missing)}"
    if counts.get("failed", 0) > 0:
        return f"{counts['failed']} failed, though the exit code is 0"
    if counts.get("killed", 0) != counts.get("mutants", 0):
        return f"{counts['killed']} of {counts['mutants']} mutants were killed"
    return ""


def end_group(process):
    """Ends a stage that is still running, with all that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def end_all(number, _frame):
    """SIGTERM or SIGINT: nothing that was started outlives this."""
    for process in list(RUNNING):
        end_group(process)
    os._exit(128 + number)


def execute(stage):
    """Runs one stage; at the end of its time its whole process group is ended."""
    log = LOGS / f"{stage.name}.log"
    begin = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen(["bash", "-c", stage.command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        RUNNING.add(process)
        try:
            code = process.wait(stage.timeout_s)
        except subprocess.TimeoutExpired:
            code = None
            end_group(process)
        RUNNING.discard(process)
    text = log.read_text(encoding="utf-8", errors="replace")
    counts = read_counts(text)
    skips = re.findall(r"^SKIPPED .*$", text, re.MULTILINE)
    return Result(stage, judge(stage, code, counts), time.monotonic() - begin, counts, skips)


def report(result):
    """One line for a stage that has ended, and the end of its log when it has failed."""
    counts = " ".join(f"{key}={number}" for key, number in result.counts.items())
    verdict = "FAILED" if result.failure else "ok"
    print(f"{verdict:6}  {result.stage.name:14} {result.seconds:5.0f} s  {result.failure or counts}", flush=True)
    log = LOGS / f"{result.stage.name}.log"
    if result.failure and log.exists():
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        print("\n".join(f"        | {line}" for line in tail), flush=True)


def run_all(stages, run=execute):
    """Runs all stages, AT_ONCE at a time and each after its needs, and reports each as it ends; returns the results."""
    waiting, running, results = list(stages), {}, {}
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        while waiting or running:
            for stage in list(waiting):
                broken = [need for need in stage.needs if need in results and results[need].failure]
                if broken:
                    waiting.remove(stage)
                    results[stage.name] = Result(stage, f"needs {', '.join(broken)}")
                    report(results[stage.name])
                elif len(running) < AT_ONCE and all(need in results for need in stage.needs):
                    waiting.remove(stage)
                    running[pool.submit(run, stage)] = stage
            for future in concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED).done:
                results[running.pop(future).name] = future.result()
                report(future.result())
    return [results[stage.name] for stage in stages]


def close(results, seconds):
    """Prints the closing summary; true when nothing failed."""
    print("\n---- summary ----")
    for result in results:
        if result.failure:
            print(f"FAILED   {result.stage.name}: {result.failure} (build/test-logs/{result.stage.name}.log)")
        for skip in result.skips:
            print(f"{skip} [{result.stage.name}]")
    for words, key in TOTALS:
        counted = [result.counts[key] for result in results if key in result.counts]
        if counted:
            print(f"{sum(counted):>12,}  {words}")
    print(f"{seconds:>12,.0f}  seconds")
    passed, failed, skipped = (sum(column) for column in zip(*(result.tests() for result in results)))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed == 0


def chosen(names):
    """The stages of that name and all that they need, in the order of the table; all when no name is given."""
    wanted = set(names)
    for stage in reversed(STAGES):
        if stage.name in wanted:
            wanted.update(stage.needs)
    return [stage for stage in STAGES if stage.name in wanted or not names]


def main():
    parser = argparse.ArgumentParser(prog="scripts/test", description="Builds Quartet and runs its tests.")
    parser.add_argument("stage", nargs="*", help="run only these and what they need")
    parser.add_argument("--list", action="store_true", help="list the stages and end")
    options = parser.parse_args()
    if options.list:
        for stage in STAGES:
            print(f"{stage.name:14} {stage.what}")
        return 0
    unknown = set(options.stage) - {stage.name for stage in STAGES}
    if unknown:
        parser.error(f"no such stage: {', '.join(sorted(unknown))}; see --list")
    signal.signal(signal.SIGTERM, end_all)
    signal.signal(signal.SIGINT, end_all)
    begin = float(os.environ.get("QUARTET_TEST_BEGAN", time.time()))
    LOGS.mkdir(parents=True, exist_ok=True)
    results = run_all(chosen(options.stage))
    return 0 if close(results, time.time() - begin) else 1


if __name__ == "__main__":
    sys.exit(main())
