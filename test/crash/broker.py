"""A real broker process that a test may start, kill and start again on the same port and the same store.

The command is a template: {port}, {data}, {conf} and {root} are filled in. `{conf}` is written from the lines that a
test asks for, in mosquitto.conf's language. The broker dies with the test, whatever way the test ends.
"""

import ctypes
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

COMMANDS = {
    'quartetd': '{root}/build/release/bin/quartetd -p {port} --data {data}',
    # The same with a configuration file, for tests that need other limits.
    'quartetd+conf': '{root}/build/release/bin/quartetd -c {conf}',
    # Peers that show that the judge can see: the first must lose under kills, the second has lost at times.
    'mosquitto': 'mosquitto -c {conf}',
    'mosquitto+persistence': 'mosquitto -c {conf}',
}
PEER_CONF = {
    'mosquitto': ['listener {port} 127.0.0.1', 'allow_anonymous true', 'max_inflight_messages 0',
                  'max_queued_messages 0', 'set_tcp_nodelay true'],
    'mosquitto+persistence': ['listener {port} 127.0.0.1', 'allow_anonymous true', 'max_inflight_messages 0',
                              'max_queued_messages 0', 'set_tcp_nodelay true', 'persistence true',
                              'persistence_location {data}/', 'autosave_interval 1', 'user root'],
}

# Many small files: a short run already fills and recycles them.
SMALL_STORE = ['segment_size 1M', 'frame_size 64K', 'max_packet_size 256K']

# CONNECT of 3.1.1 with a clean session, then DISCONNECT.
PROBE = b'\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05probe' + b'\xe0\x00'

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def quick_tmp():
    """Lets stores and images live in memory: for tests in which a process or a simulated power ends, but the kernel lives
    on, so that memory is as stable as a disk, and quicker."""
    if 'QUARTET_TMP' not in os.environ and os.access('/dev/shm', os.W_OK):
        st = os.statvfs('/dev/shm')
        if st.f_bavail * st.f_frsize > 2 << 30:
            os.environ['QUARTET_TMP'] = '/dev/shm'


def free_port(seed=None):
    """A port below the ephemeral range: nobody's outgoing connection can sit on it while the broker is down, and a
    client that retries cannot connect to itself."""
    rng = random.Random(seed if seed is not None else os.urandom(8))
    for _ in range(1000):
        port = rng.randrange(15000, 32000)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(('127.0.0.1', port))
                return port
            except OSError:
                continue
    raise RuntimeError('no free port')


def is_quartetd(command=None):
    """Whether this is our broker by its name, so that lines of a configuration reach it."""
    return (command or os.environ.get('QUARTET_BROKER') or 'quartetd') == 'quartetd'


# A UNIX socket beside the port, for Broker.path(); what follows is about it.
LOCAL = 'listener 0 {data}.sock'


class Broker:
    def __init__(self, command=None, data=None, conf=None, port=None):
        command = command or os.environ.get('QUARTET_BROKER') or 'quartetd'
        self.name = command
        self.scratch = tempfile.mkdtemp(prefix='quartet-test-', dir=os.environ.get('QUARTET_TMP'))
        self.data = data or os.path.join(self.scratch, 'data')
        self.port = port or free_port()
        self.log_path = os.path.join(self.scratch, 'log')
        self.conf_path = os.path.join(self.scratch, 'conf')
        lines = list(PEER_CONF.get(command, []))
        if conf is not None and 'mosquitto' not in command:
            lines += conf
            if command == 'quartetd':
                command = 'quartetd+conf'
                lines = ['listener {port} 127.0.0.1', 'allow_anonymous true', 'persistence_location {data}'] + lines
        fill = {'port': self.port, 'data': self.data, 'conf': self.conf_path, 'root': ROOT}
        with open(self.conf_path, 'w', encoding='utf-8') as f:
            f.write('\n'.join(line.format(**fill) for line in lines) + '\n')
        template = COMMANDS.get(command, command)
        self.argv = [part.format(**fill) for part in shlex.split(template)]
        if template.startswith('{root}') and os.environ.get('QUARTET_BUILD'):
            self.argv[0] = os.path.join(os.environ['QUARTET_BUILD'], 'bin', os.path.basename(self.argv[0]))
        self.process = None
        self.starts = 0

    def start(self, wrapper=()):
        """Starts it; does not wait. `wrapper`: a tracer's words put before the command."""
        if not self.starts and not os.path.isdir(self.data) and 'mosquitto' in self.name:
            os.makedirs(self.data)
        self.starts += 1
        with open(self.log_path, 'ab') as log:
            log.write(f'---- start {self.starts}\n'.encode())
            log.flush()
            self.process = subprocess.Popen([*wrapper, *self.argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=self.scratch, preexec_fn=die_with_parent)
        return self

    def wait_ready(self, limit=20.0):
        """True when it answers a CONNECT; False when it ended or time is over. That it listens says nothing: the
        kernel takes connections while the store is still being opened."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            try:
                with socket.create_connection(('127.0.0.1', self.port), 1) as s:
                    s.settimeout(max(0.01, end - time.monotonic()))
                    s.sendall(PROBE)
                    if s.recv(4):
                        return True
            except OSError:
                pass
            time.sleep(0.002)
        return False

    def path(self):
        """Of its UNIX socket, when LOCAL is among its lines."""
        return self.data + '.sock'

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """SIGKILL, and the process is gone when this returns."""
        if self.process and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        if self.process:
            self.process.wait()

    def stop(self, limit=20.0):
        """SIGTERM: a clean stop. Its exit status, or None when it had to be killed."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def wait_exit(self, limit=20.0):
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            return None

    def log(self, last_start=True):
        with open(self.log_path, encoding='utf-8', errors='replace') as f:
            out = f.read()
        return out.rsplit('---- start', 1)[-1].split('\n', 1)[-1] if last_start else out

    def says(self, *words, limit=5.0):
        """Whether one of these comes in the log since its last start; lines are written a moment after their reason."""
        end = time.monotonic() + limit
        while not (seen := any(w in self.log() for w in words)) and time.monotonic() < end:
            time.sleep(.01)
        return seen

    def ctl(self, *words):
        """What `quartet ctl` says of it, for a report."""
        program = os.path.join(os.path.dirname(self.argv[0]), 'quartet')
        try:
            done = subprocess.run([program, 'ctl', '--data', self.data, *words], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=5, check=False)
        except (OSError, subprocess.TimeoutExpired) as e:
            return f'quartet ctl: {e}\n'
        return done.stdout + done.stderr

    def rss_kib(self):
        with open(f'/proc/{self.process.pid}/status', encoding='ascii') as f:
            for line in f:
                if line.startswith('VmRSS'):
                    return int(line.split()[1])
        return 0

    def anonymous_kib(self):
        """Memory of its own, without what is mapped of files."""
        with open(f'/proc/{self.process.pid}/status', encoding='ascii') as f:
            for line in f:
                if line.startswith('RssAnon'):
                    return int(line.split()[1])
        return 0

    def cleanup(self, keep=False):
        self.kill()
        if not keep:
            shutil.rmtree(self.scratch, ignore_errors=True)
