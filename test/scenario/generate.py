#!/usr/bin/env python3
"""Writes the left sides of the break-point scenarios: hop x packet x direction x what happens beside.

`generate.py DIRECTORY` writes in-*.txt and out-*.txt; `quartet sim --scenario --rewrite FILE...` fills in what is seen;
a person reads it. Run it again only when the language changes.
"""

import pathlib
import sys

PACKETS = ("PUBLISH", "PUBREC", "PUBREL", "PUBCOMP")
WAYS = ("there", "back")
BESIDE = {
    "plain": "nothing else",
    "lost-power": "the power goes before the record of the last step is durable",
    "killed": "the broker is killed after the record of the last step is durable",
    "takeover": "the new connection comes while the broker still has the old one",
    "reuse": "the packet id is used again as soon as that is allowed",
}


def again(name, beside, resume):
    """The connection ends, perhaps the broker too; the client is back."""
    lines = []
    if beside == "takeover":
        lines += [f"{name} gone"]
    else:
        lines += [f"{name} cut"]
    if beside == "lost-power":
        lines += ["power cut", "broker started"]
    elif beside == "killed":
        lines += ["broker killed", "broker started"]
    return lines + [resume]


def inbound(packet, way, beside):
    """Publisher to broker: the connection breaks at one of its packets."""
    connect = "pub > CONNECT 3.1.1 resume"
    sub = "sub > CONNECT 3.1.1 resume"
    publish = 'pub > PUBLISH 1 t qos 2 "one"'
    repeat = 'pub > PUBLISH 1 t qos 2 dup "one"'
    pubrel = "pub > PUBREL 1"
    lines = [sub, "sub > SUBSCRIBE 1 t qos 0", connect]
    step = PACKETS.index(packet)
    if step >= 2:
        lines += [publish]
    last = publish if step < 2 else pubrel
    lost = " lost" if way == "there" and step in (0, 2) else ""
    # PUBREC and PUBCOMP go the other way: what is "there" for them is the answer that never leaves.
    stopped = beside == "lost-power" or (way == "there" and step in (1, 3))
    if stopped:
        lines += ["disk stops"]
    lines += [last + lost]
    lines += again("pub", beside, connect)
    if stopped and beside != "lost-power":
        lines += ["disk goes"]
    if beside in ("lost-power", "killed"):
        lines += [sub]
    if step < 2:
        lines += [repeat, repeat]
    lines += [pubrel, pubrel]
    if beside == "reuse":
        lines += ['pub > PUBLISH 1 t qos 2 "two"', "pub cut", connect, 'pub > PUBLISH 1 t qos 2 dup "two"', pubrel]
    return lines + ["drained"]


def outbound(packet, way, beside):
    """Broker to subscriber: the connection breaks at one of the four packets."""
    connect = "sub > CONNECT 3.1.1 resume"
    lines = [connect, "sub > SUBSCRIBE 1 t qos 2", "pub > CONNECT 3.1.1 resume"]
    send = ['pub > PUBLISH 9 t qos 2 "one"', "pub > PUBREL 9"]
    pubrec, pubcomp = "sub > PUBREC 1", "sub > PUBCOMP 1"
    step = PACKETS.index(packet)
    stopped = beside == "lost-power" or (way == "there" and step in (0, 2))
    steps = [None, pubrec, pubrec, pubcomp]
    if step == 0:
        lines += send[:1] if not stopped else ["disk stops", send[0]]
    else:
        lines += send
        if step == 3:
            lines += [pubrec]
        if stopped:
            lines += ["disk stops"]
        lines += [steps[step] + (" lost" if way == "there" and step in (1, 3) else "")]
    lines += again("sub", beside, connect)
    if stopped and beside != "lost-power":
        lines += ["disk goes"]
    if beside in ("lost-power", "killed"):
        lines += ["pub > CONNECT 3.1.1 resume"]
    if step == 0 and stopped:
        lines += ['pub > PUBLISH 9 t qos 2 dup "one"']
    if step == 0:
        lines += [send[1]]
    lines += ["sub > PUBREC 1", "sub > PUBREC 1", "sub > PUBCOMP 1", "sub > PUBCOMP 1"]
    if beside == "reuse":
        lines += ['pub > PUBLISH 9 t qos 2 "two"', "pub > PUBREL 9", "sub cut", connect, "sub > PUBREC 2",
                  "sub > PUBCOMP 2"]
    return lines + ["drained"]


def main():
    directory = pathlib.Path(sys.argv[1])
    hops = {"in": (inbound, "publisher to broker"), "out": (outbound, "broker to subscriber")}
    for hop, (make, title) in hops.items():
        for number, packet in enumerate(PACKETS, 1):
            for way in WAYS:
                text = f"# {title}; the connection breaks at *{number}, {packet}, lost on the way {way}.\n"
                if way == "there":
                    text += "# (\"There\": the packet does not arrive. \"Back\": it arrives, and its answer does not.)\n"
                for beside, words in BESIDE.items():
                    # What the broker sends and nobody gets is, for a kill, the same as an answer that is lost.
                    if beside == "killed" and way == "there" and (number in (1, 3)) == (hop == "out"):
                        continue
                    text += f"\n== {hop} *{number} {packet} {way}: {words}\n"
                    text += "".join(f"{line}\n" for line in make(packet, way, beside))
                (directory / f"{hop}-{number}-{packet.lower()}-{way}.txt").write_text(text)


if __name__ == "__main__":
    main()
