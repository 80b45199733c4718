"""The broker that is attacked: what it takes of memory, disk and processor, its accounts, and an operator's words to it."""

import json
import os
import subprocess
import threading
import time

import broker as brokers
import guests

MIB = 1 << 20
OTHERS = ('memory_bytes', 'store_bytes', 'staged_bytes')  # shown with the accounts, and no accounts


class Target(brokers.Broker):
    """A broker of the given binary. `deaf`: nobody reads what it logs."""

    def __init__(self, binary, lines, deaf=False):
        lines = ['listener {port} 127.0.0.1', 'allow_anonymous true', 'persistence_location {data}', *lines]
        super().__init__(f'{binary} -c {{conf}}', conf=lines)
        self.tool = os.path.join(os.path.dirname(binary), 'quartet')
        self.pipe, self.silence = None, ''
        if deaf:
            os.mkfifo(self.scratch + '/deaf')
            self.pipe = os.open(self.scratch + '/deaf', os.O_RDWR | os.O_NONBLOCK)

    def knows(self):
        """Whether this build takes its configuration."""
        return subprocess.run([*self.argv, '--test-config'], capture_output=True, check=False).returncode == 0

    def begin(self, cores=None):
        """Starts it, with as many threads as the machine has cores for, and puts it on `cores` then, where other work of
        this machine, which is no part of the attack, gives way."""
        # Its output goes into a pipe that is full before long.
        shell = ('sh', '-c', f'exec "$@" >{self.scratch}/deaf 2>&1', 'sh') if self.pipe else ()
        self.start(shell)
        if not self.wait_ready(30):
            return False
        if cores:
            for thread in os.listdir(f'/proc/{self.process.pid}/task'):
                os.sched_setaffinity(int(thread), cores)
                guests.before_others(int(thread))
        return True

    def memory(self):
        """MiB of anonymous memory."""
        try:
            with open(f'/proc/{self.process.pid}/status', encoding='ascii') as f:
                return next(int(line.split()[1]) for line in f if line.startswith('RssAnon')) / 1024
        except (OSError, StopIteration):
            return 0.0

    def disk(self):
        """MiB that its data directory takes."""
        size = 0
        try:
            for entry in os.scandir(self.data):
                size += entry.stat().st_blocks * 512
        except OSError:
            pass
        return size / MIB

    def busy(self):
        """Seconds of processor time."""
        try:
            with open(f'/proc/{self.process.pid}/stat', encoding='ascii') as f:
                user, system = f.read().rsplit(')', 1)[1].split()[11:13]
            return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')
        except OSError:
            return 0.0

    def ctl(self, *words, limit=60):
        """What `quartet ctl` prints, or None when it does not answer."""
        try:
            done = subprocess.run([self.tool, 'ctl', '--data', self.data, '--json', *words], capture_output=True,
                                  check=False, timeout=limit)
        except (OSError, subprocess.TimeoutExpired) as e:
            self.silence = str(e)
            return None
        self.silence = done.stderr.decode(errors='replace').strip()
        return json.loads(done.stdout) if done.stdout else None

    def accounts(self):
        """{owner: {row: what it has taken}} without zeros; None when the broker has no accounts."""
        rows = self.ctl('accounts', '--rows', '1000')
        if rows is None:
            return None
        owners = {}
        for row in rows:
            if row['name'] not in OTHERS and row.get('level', 'all') in ('all', 'owner') and row['used']:
                owners.setdefault(row['owner'], {})[row['name']] = row['used']
        return owners

    def live(self):
        """MiB that the broker itself says it has; what it has on top is the allocator's."""
        rows = self.ctl('accounts', '--rows', '1') or []
        return sum(row['used'] for row in rows if row['name'] == 'memory_bytes') / MIB

    def clear(self, friend):
        """An operator ends the sessions of everybody but the owner `friend` and clears all retained messages."""
        for owner in self.accounts() or {}:
            if owner not in ('all', friend):
                self.ctl('end', '--owner', owner)
        return self.ctl('clear', '#') is not None

    def cleanup(self, keep=False):
        super().cleanup(keep)
        if self.pipe:
            os.close(self.pipe)


# What is under way to the friend, who goes on while the accounts are looked at, is charged in portions (broker/inlet.h).
UNDER_WAY = {'queued': 64, 'queued_bytes': 64 << 10, 'disk': 64 << 10, 'inflight_bytes': 64 << 10}


def left_over(accounts, friend, friends_before):
    """What is taken beyond what the owner `friend` had before: {'owner row': amount}; empty: accounts are zero.
    Everybody's account must be the friend's, too, or something was taken and never given back: to the byte, but for
    what is under way, where it must be the same as the friend's of now."""
    left = {}
    now = accounts.get(friend, {})
    for owner, rows in accounts.items():
        for row, used in rows.items():
            more = used - (friends_before.get(row, 0) if owner in ('all', friend) else 0)
            if row in UNDER_WAY and owner == friend:
                more = used - max(UNDER_WAY[row], friends_before.get(row, 0))
            elif row in UNDER_WAY and owner == 'all':
                more = used - now.get(row, 0)
            if more > 0:
                left[f'{row} of {owner}'] = more
    return left


class Watch(threading.Thread):
    """Looks at memory and disk while something goes on."""

    def __init__(self, target):
        super().__init__(daemon=True)
        self.target, self.going = target, True
        self.memory, self.disk = 0.0, 0.0

    def run(self):
        while self.going:
            self.memory = max(self.memory, self.target.memory())
            self.disk = max(self.disk, self.target.disk())
            time.sleep(.05)

    def end(self):
        self.going = False
        self.join()
