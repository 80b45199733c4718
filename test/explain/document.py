#!/usr/bin/env python3
"""Runs what docs/why-four-packets.md shows, and all of `quartet explain`.

    test/explain/document.py [--quartet PROGRAM] [--rewrite]     --rewrite puts what the commands print into the page

A block of the page is a comment that names its command, and the text that the command prints:

    <!-- quartet explain --cut 3 --bare -->
    ```text
    ...
    ```
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "why-four-packets.md"
BLOCK = re.compile(r"<!-- quartet (explain[^\n]*?) -->\n```text\n(.*?)```\n", re.DOTALL)
COLUMNS_MAX = 100


def run(program, words):
    """What the command prints, and its exit status."""
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=120)
    return done.stdout + done.stderr, done.returncode


def check_page(program, rewrite):
    """The breaches of the page; with `rewrite` it is brought up to date first."""
    text = PAGE.read_text(encoding="utf-8")
    if rewrite:
        def fresh(block):
            return f"<!-- quartet {block[1]} -->\n```text\n{run(program, block[1].split())[0]}```\n"
        text = BLOCK.sub(fresh, text)
        PAGE.write_text(text, encoding="utf-8")
    blocks = BLOCK.findall(text)
    if len(blocks) != text.count("<!-- quartet explain"):
        yield "a block of the page is not one"
    for command, shown in blocks:
        printed, status = run(program, command.split())
        if status != 0 or printed != shown:
            yield f"quartet {command}: exit status {status}, the page {'differs' if printed != shown else 'is right'}"


def check_whole(program):
    """The whole answer: as its tables claim, narrow enough, in ASCII when asked, and as JSON."""
    for words in (["explain"], ["explain", "--ascii"], ["explain", "--hops", "2"]):
        printed, status = run(program, words)
        if status != 0:
            yield f"quartet {' '.join(words)}: exit status {status}: something is found that the tables do not say"
        wide = [line for line in printed.splitlines() if len(line) > COLUMNS_MAX]
        if wide:
            yield f"quartet {' '.join(words)}: wider than {COLUMNS_MAX} columns: {wide[0]}"
        if "--ascii" in words and not printed.isascii():
            yield "quartet explain --ascii: not ASCII"
    printed, status = run(program, ["explain", "--json"])
    outcomes = {section["title"]: section.get("outcome") for section in json.loads(printed)}
    if status != 0 or outcomes.get("Protocol four") != "right" or outcomes.get("B3 left out") != "duplicate":
        yield f"quartet explain --json: exit status {status}, {outcomes}"


def names(program, flag):
    """The names that `FLAG list` shows."""
    printed, _ = run(program, ["explain", flag, "list", "--bare"])
    return [line.split()[0] for line in printed.split("\n\n")[0].splitlines() if line[:1].isalnum()]


def check_each(program):
    """Every value of every flag: exit status 0, and the same story in JSON as in the diagram."""
    words = [["--flow"], *(["--cut", str(n)] for n in range(1, 5))]
    words += [[*w, "--hops", "2"] for w in words]
    words += [["--protocol", name] for name in names(program, "--protocol")]
    words += [["--barrier", name] for name in names(program, "--barrier")]
    if len(words) < 10 + 10 + 15:
        yield f"the lists name too little: {words}"
    for each in words:
        printed, status = run(program, ["explain", *each])
        as_json, json_status = run(program, ["explain", *each, "--json"])
        sections = json.loads(as_json)
        if status != 0 or json_status != 0 or printed.count("== ") != len(sections):
            yield f"quartet explain {' '.join(each)}: exit status {status}, with --json {json_status}"
        for section in sections:
            packets = [e["what"] for e in section.get("story", {"events": []})["events"] if e["kind"] in ("packet", "call")]
            if section["title"] not in printed or any(f" {packet} " not in printed for packet in packets):
                yield f"quartet explain {' '.join(each)}: JSON and diagram differ in \"{section['title']}\""


def check_flags(program):
    """Flags that make no sense are refused with a sentence that names them, and exit status 2."""
    wrong = (["--cut", "5"], ["--cut", "0"], ["--cut", ""], ["--cut", "11"], ["--cut"], ["--protocol", "five"],
             ["--protocol", "FOUR"], ["--protocol", ""], ["--barrier", "B"], ["--barrier", "B99"], ["--barrier", ""],
             ["--hops", "3"], ["--cut", "1", "--flow"], ["--cut", "1", "--cut", "2"],
             ["--protocol", "four", "--protocol", "list"], ["--hops", "2", "--barrier", "B3"], ["--nonsense"], ["B3"])
    for words in wrong:
        printed, status = run(program, ["explain", *words])
        if status != 2 or words[0] not in printed or "Traceback" in printed:
            yield f"quartet explain {' '.join(words)}: not refused: exit status {status}: {printed}"
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([program, "explain", "--flow"], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    if done.returncode != 1 or b"standard output" not in done.stderr:
        yield f"quartet explain: standard output fails, exit status {done.returncode}"


def main():
    parser = argparse.ArgumentParser(description="Runs what docs/why-four-packets.md shows.")
    parser.add_argument("--quartet", default=str(ROOT / "build" / "release" / "bin" / "quartet"))
    parser.add_argument("--rewrite", action="store_true")
    options = parser.parse_args()
    failed = 0
    checks = (check_page(options.quartet, options.rewrite), check_whole(options.quartet), check_each(options.quartet),
              check_flags(options.quartet))
    for check in checks:
        breaches = list(check)
        print("".join(f"{breach}\n" for breach in breaches), end="")
        failed += 1 if breaches else 0
    print(f"summary: passed={len(checks) - failed} failed={failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
