#!/usr/bin/env python3
"""Runs a table of invocations of mosquitto_pub, mosquitto_sub and mosquitto_rr twice, with theirs and with ours under
the same name, against the same broker: standard output, exit code and what others received must be the same bytes.

    compare.py [--broker quartetd|mosquitto] [--case TEXT] [--list]

What is a time in the output is masked, nothing else. Rows of `DIFFERENT` are where ours is meant to differ; they say
how, and fail when the two are equal or ours is something else.
"""

import argparse
import concurrent.futures
import os
import re
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import side  # noqa: E402
import broker  # noqa: E402
from table import CASES, DIFFERENT  # noqa: E402

THEIRS = {name: shutil.which(f'mosquitto_{name}') for name in ('pub', 'sub', 'rr')}
AT_ONCE = 10


def ours(folder):
    """Links to our program under their names."""
    build = os.environ.get('QUARTET_BUILD') or os.path.join(side.ROOT, 'build', 'release')
    program = os.environ.get('QUARTET_PROGRAM') or os.path.join(build, 'bin', 'quartet')
    links = {}
    for name in THEIRS:
        links[name] = os.path.join(folder, f'mosquitto_{name}')
        os.symlink(os.path.abspath(program), links[name])
    return links


def mask(text, case, topic):
    """The topic of one run becomes that of every run, and times become 0."""
    for pattern, instead in ((rb'"tst":(\s*)"[^"]*"', rb'"tst":\1"TIME"'), (topic.encode(), b'TOPIC_')):
        text = re.sub(pattern, instead, text)
    return re.sub(rb'[0-9]', b'0', text) if case.has_time else text


def run_masked(program, case, port, topic, *limit_s):
    (code, out, observed), err = side.run(program, case, port, topic, *limit_s)
    return (code, mask(out, case, topic), [line.replace(topic, 'TOPIC_') for line in observed]), err


def describe(case, name, seen, err):
    code, out, observed = seen
    more = ''.join(f'\n    {line}' for line in observed)
    return f'  {name}: exit code {code}, printed {out!r}, observed:{more or " nothing"}\n    standard error {err[-400:]!r}'


def judge(number, case, links, ports):
    """None when the case holds against all brokers, else what is wrong."""
    for name in case.brokers:
        if name not in ports:
            continue
        theirs, their_err = run_masked(THEIRS[case.program], case, ports[name], f't{number:03}{name[0]}a', case.limit_s)
        got, err = run_masked(links[case.program], case, ports[name], f't{number:03}{name[0]}b')
        same = got == theirs if case.instead is None else got[:2] == case.instead and got != theirs
        if not same:
            return (f'FAILED {case.name()} [{name}]\n' + describe(case, 'theirs', theirs, their_err) + '\n' +
                    describe(case, 'ours', got, err))
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--broker', choices=('quartetd', 'mosquitto'), help='only this one')
    parser.add_argument('--case', default='', help='only those whose command line contains this')
    parser.add_argument('--list', action='store_true')
    options = parser.parse_args()
    cases = [(n, c) for n, c in enumerate(CASES + DIFFERENT) if options.case in c.name()]
    if options.list:
        print('\n'.join(c.name() for _, c in cases))
        return 0
    broker.quick_tmp()
    names = [options.broker] if options.broker else ['quartetd', 'mosquitto']
    brokers = {name: broker.Broker(name).start() for name in names}
    failed = 0
    try:
        with tempfile.TemporaryDirectory(prefix='quartet-links-') as folder:
            assert all(b.wait_ready() for b in brokers.values()), 'a broker does not start'
            links, ports = ours(folder), {name: b.port for name, b in brokers.items()}
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                for wrong in pool.map(lambda nc: judge(*nc, links, ports), cases):
                    failed += bool(wrong)
                    if wrong:
                        print(wrong, flush=True)
    finally:
        for b in brokers.values():
            b.cleanup()
    print(f'summary: passed={len(cases) - failed} failed={failed}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
