"""The programs on this machine: what their configuration, a store and address space may be. test/process has the rest."""

import os
import subprocess

import broker as brokers
from case import case, check, equal
from cases_limits import wrapped

BIN = os.path.join(os.environ.get('QUARTET_BUILD', brokers.ROOT + '/build/release'), 'bin')

# Options of mosquitto with the value that holds anyway.
DEFAULTS = ('per_listener_settings false', 'retain_available true', 'upgrade_outgoing_qos false',
            'queue_qos0_messages false', 'max_qos 2', 'message_size_limit 0', 'max_inflight_bytes 0',
            'enable_control_api false', 'use_username_as_clientid false', 'require_certificate false')
OTHERS = ('retain_available false', 'max_qos 1', 'upgrade_outgoing_qos true', 'require_certificate true')


def test_config(*lines):
    """The exit code of --test-config for this, and what it says."""
    broker = brokers.Broker('quartetd', conf=list(lines))
    try:
        r = subprocess.run([*broker.argv, '--test-config'], capture_output=True, text=True, check=False)
        return r.returncode, r.stdout + r.stderr
    finally:
        broker.cleanup()


@case(5, ways=('tcp',))
def options_that_say_what_holds_anyway(t):
    """What mosquitto does by default is accepted when it is said; what Quartet cannot do is refused by name."""
    for line in DEFAULTS:
        code, words = test_config(line)
        equal(code, 0, words)
    for line in OTHERS:
        code, words = test_config(line)
        check(code == 2 and line.split()[0] in words, f'{line}: {code} {words}')


@case(5, ways=('tcp',))
def a_store_that_is_not_there(t):
    """`store check` of a name that is mistyped is an error, and makes nothing."""
    path = os.path.join(os.path.dirname(t.broker.data), 'mistyped')
    r = subprocess.run([os.path.join(BIN, 'quartet'), 'store', 'check', path], capture_output=True, check=False)
    check(r.returncode != 0 and not os.path.exists(path), f'exit code {r.returncode}')


@case(5, ways=('tcp',))
def little_address_space(t):
    """The table's size is address space: with 2 GB of it the broker starts, or says which option to change."""
    for gigabytes in (2, 8):
        size = gigabytes << 30
        with wrapped('prlimit', f'--as={size}:{size}') as broker:
            check(broker.wait_ready() or 'table_size' in broker.log(), broker.log())
