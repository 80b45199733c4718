#!/usr/bin/env python3
"""Writes the left sides of the break-point scenarios of real clients: hop x packet x how far it came x what dies x
protocol.

`generate_real.py DIRECTORY` writes real-*.txt; `quartet sim --scenario --rewrite FILE...` fills in what is seen; a
person reads it. Run it again only when the language changes.

`generate_real.py --check DIRECTORY` reads what was filled in and holds it against the rule of all of them: each message
is had once and in order, and the payload is sent again, with DUP and under its id, only if its sender had not recorded
PUBREC.
"""

import pathlib
import re
import sys

PACKETS = ("PUBLISH", "PUBREC", "PUBREL", "PUBCOMP")
HOPS = {"pub": "publisher to broker", "sub": "broker to subscriber"}
HOWS = {
    "lost": "it does not arrive; its sender has recorded what it must",
    "arrived": "it arrives, and neither is recorded what it says nor is it answered",
    "torn": "half of its bytes arrive",
}
# What dies at that moment, and what the text says of it; {c} is the client of the hop.
BESIDE = {
    "the connection is cut": "",
    "the client is killed": "{c} killed",
    "the client's power goes": "{c} power cut",
    "the broker is killed": "broker killed",
    "the broker's power goes": "power cut",
    "the power of both goes": "{c} power cut, power cut",
    "all power goes": "{c} power cut, {other} power cut, power cut",
}
PROTOCOLS = ("3.1.1", "5.0")


def arrow(hop, packet):
    """The publisher sends PUBLISH and PUBREL, the subscriber PUBREC and PUBCOMP."""
    return ">" if (hop == "pub") == (packet in ("PUBLISH", "PUBREL")) else "<"


def scenario(hop, packet, how, dies, protocol):
    other = "sub" if hop == "pub" else "pub"
    then = f": {dies.format(c=hop, other=other)}" if dies else ""
    lines = [
        "ids 2",
        f"sub client {protocol} exactly-once commits",
        "sub subscribes t qos 2",
        f"pub client {protocol} exactly-once",
        f"break {hop} {arrow(hop, packet)} {packet} {how}{then}",
        'pub publishes t qos 2 "one" number 1',
    ]
    broker_dies = dies.endswith("broker killed") or dies.endswith(", power cut") or dies == "power cut"
    client_dies = dies.startswith("{c}")
    if broker_dies:
        lines += ["broker started"]
    if client_dies:
        lines += [f"{hop} started"]
    if "{other}" in dies:
        lines += [f"{other} started"]
    elif broker_dies or not client_dies:
        lines += ["wait 1"]
    if "{other}" in dies or (client_dies and hop == "pub"):
        lines += ['pub publishes t qos 2 "one" number 1']
    return lines + ['pub publishes t qos 2 "two" number 2', "sub has?", "drained"]


def breaches(title, text):
    """What is wrong with one scenario that was filled in."""
    hop, number, packet, how, beside, _ = re.fullmatch(r"(\w+) \*(\d) (\w+) (\w+), (.*): (.*)", title).groups()
    seen = [e for line in text.splitlines() if "|" in line for e in re.split(r"; ", line.split("|", 1)[1].strip())]
    sends = [e for e in seen if re.match(rf'{hop} {arrow(hop, "PUBLISH")} PUBLISH .*"one"', e)]
    dies = re.split(", ", BESIDE[beside])
    sender = {"{c} killed", "{c} power cut"} if hop == "pub" else {"broker killed", "power cut"}
    sender_dies = not sender.isdisjoint(dies)
    recorded = int(number) > 2 or (packet == "PUBREC" and how == "arrived" and not sender_dies)
    if len(sends) != (1 if recorded else 2):
        yield f"the payload is sent {len(sends)} times"
    if any(" PUBLISH 1 t qos 2 dup " not in e for e in sends[1:]):
        yield "it is sent again without DUP, or under another id"
    if sorted(e.split()[2] for e in seen if re.fullmatch(r'sub has "\w+"( again)?', e)) != ['"one"', '"two"']:
        yield "a message is had more than once, or not at all"
    if 'sub has "one", "two"' not in seen or not re.search(r"^drained +\|$", text, re.MULTILINE):
        yield "not both are had in order, or something is left"


def check(directory):
    found, count = 0, 0
    for path in sorted(directory.glob("real-*.txt")):
        for part in path.read_text().split("\n== ")[1:]:
            title, text = part.split("\n", 1)
            count += 1
            for breach in breaches(title, text):
                found += 1
                print(f"{path}: {title}: {breach}")
    print(f"{count} scenarios, {found} breaches")
    return 0 if found == 0 and count > 0 else 1


def main():
    if sys.argv[1] == "--check":
        sys.exit(check(pathlib.Path(sys.argv[2])))
    directory = pathlib.Path(sys.argv[1])
    for hop, title in HOPS.items():
        for number, packet in enumerate(PACKETS, 1):
            for how, words in HOWS.items():
                text = f"# {title}, real clients; the connection breaks at *{number}, {packet}: {words}.\n"
                for beside, dies in BESIDE.items():
                    if how == "torn" and dies:
                        continue
                    for protocol in PROTOCOLS:
                        text += f"\n== {hop} *{number} {packet} {how}, {beside}: {protocol}\n"
                        text += "".join(f"{line}\n" for line in scenario(hop, packet, how, dies, protocol))
                (directory / f"real-{hop}-{number}-{packet.lower()}-{how}.txt").write_text(text)


if __name__ == "__main__":
    main()
