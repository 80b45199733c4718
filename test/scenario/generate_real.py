#!/usr/bin/env python3
"""Writes the left sides of the break-point scenarios of real clients: hop x packet x how far it came x what dies x
protocol.

`generate_real.py DIRECTORY` writes real-*.txt; `quartet sim --scenario --rewrite FILE...` fills in what is seen; a
person reads it. Run it again only when the language changes.
"""

import pathlib
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


def main():
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
