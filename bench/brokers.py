"""The brokers that bench/compare puts side by side: how each is configured, started, watched and stopped.

Every broker listens on a loopback port of its own, keeps its files in a directory of its own, runs on one given core,
and is stopped by the process that was started here and nothing else. What may drop messages is switched off in all of
them, so that all do the same work.
"""

import os
import resource
import shutil
import signal
import socket
import subprocess
import time

START_SECONDS = 60
STOP_SECONDS = 30
OPEN_FILES = 60000


class BrokerError(Exception):
    """A broker that does not start, or died."""


def raise_open_files():
    """Lets the children open many connections; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (OPEN_FILES, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            return wanted
        except (ValueError, OSError):
            continue
    return soft


def connack(port):
    """Connects as an MQTT client and waits for CONNACK; True when the broker accepted."""
    client_id = b"qb-probe"
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + len(client_id).to_bytes(2, "big") + client_id
    with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as s:
        s.sendall(bytes([0x10, len(body)]) + body)
        answer = s.recv(4)
        s.sendall(b"\xe0\x00")
    return answer == b"\x20\x02\x00\x00"


def nats_info(port):
    """True when a NATS server greets."""
    with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as s:
        return s.recv(5) == b"INFO "


class Broker:
    """One broker. The class says how it is started; an instance is one running process."""

    name = "?"
    title = "?"  # what the tables print
    flags = ()  # that the generator needs to speak to it
    environment = {}
    variants = ("",)  # lines of configuration of which it may use the one that suits a work best

    def __init__(self, directory, core, port, files):
        self.directory = os.path.join(directory, self.name)
        self.core = core
        self.port = port
        self.files = files
        self.process = None
        self.start_seconds = 0.0
        self.persistent = False
        self.variant = ""

    @classmethod
    def program(cls, files):
        """The path of its program, or None when it is not there."""
        raise NotImplementedError

    def command(self):
        raise NotImplementedError

    def ready(self):
        return connack(self.port)

    def prepare(self):
        """An empty directory with the configuration in it."""
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory, mode=0o700)

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def start(self):
        """Starts the process and waits until a client is served."""
        log = open(os.path.join(self.directory, "log"), "ab")
        begun = time.monotonic()
        with log:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(self.core)] + self.command(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.environment}, cwd=self.directory)
        while True:
            try:
                if self.ready():
                    break
            except OSError:
                pass
            if self.process.poll() is not None:
                raise BrokerError(f"{self.name} ended with status {self.process.returncode}: {self.last_words()}")
            if time.monotonic() - begun > START_SECONDS:
                raise BrokerError(f"{self.name} did not answer within {START_SECONDS} s: {self.last_words()}")
            time.sleep(0.005)
        self.start_seconds = time.monotonic() - begun
        return self

    def stop(self):
        """Asks the process to end, insists after a while; only ever this process."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def pid(self):
        return self.process.pid

    def last_words(self):
        try:
            with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as f:
                return " | ".join(f.read().splitlines()[-3:])
        except OSError:
            return "no log"


class Quartet(Broker):
    """Durable as it always is: fdatasync before every barrier."""

    name = "quartet"
    title = "quartetd (on disk)"

    @classmethod
    def program(cls, files):
        return files["quartetd"] if os.access(files["quartetd"], os.X_OK) else None

    def prepare(self):
        super().prepare()
        self.write("quartetd.conf", f"""\
listener {self.port} 127.0.0.1
allow_anonymous true
persistence_location {self.directory}/data
shards 1
receive_maximum 65535
max_inflight_messages 0
max_queued_messages 0
max_queued_bytes 0
max_segments 256
""")

    def command(self):
        return [self.files["quartetd"], "-c", os.path.join(self.directory, "quartetd.conf")]


class Before(Quartet):
    """Another build of quartetd, say of the commit before a change: compare --before."""

    name = "before"
    title = "quartetd, the build before"

    @classmethod
    def program(cls, files):
        return files["before"] if files["before"] and os.access(files["before"], os.X_OK) else None

    def command(self):
        return [self.files["before"], "-c", os.path.join(self.directory, "quartetd.conf")]


class Mosquitto(Broker):
    """In memory, which is the faster of its ways; with its database only where a restart is measured."""

    name = "mosquitto"
    title = "mosquitto (memory)"
    variants = ("", "set_tcp_nodelay true")

    @classmethod
    def program(cls, files):
        return shutil.which("mosquitto") or (
            "/usr/sbin/mosquitto" if os.access("/usr/sbin/mosquitto", os.X_OK) else None)

    def prepare(self):
        super().prepare()
        user = "user root\n" if os.geteuid() == 0 else ""
        database = f"persistence_location {self.directory}/\n" if self.persistent else ""
        self.write("mosquitto.conf", f"""\
listener {self.port} 127.0.0.1
allow_anonymous true
max_inflight_messages 0
max_queued_messages 0
log_type error
persistence {"true" if self.persistent else "false"}
{self.variant}
{database}{user}""")

    def command(self):
        return [self.program(self.files), "-c", os.path.join(self.directory, "mosquitto.conf")]


class NatsMqtt(Broker):
    """nats-server's MQTT, whose QoS 1 lives in JetStream files that are not synced before an acknowledgement."""

    name = "nats-mqtt"
    title = "nats-server, MQTT"
    environment = {"GOMAXPROCS": "1"}

    @classmethod
    def program(cls, files):
        return shutil.which("nats-server") or (
            "/usr/sbin/nats-server" if os.access("/usr/sbin/nats-server", os.X_OK) else None)

    def prepare(self):
        super().prepare()
        self.write("nats.conf", f"""\
server_name: "compare"
host: "127.0.0.1"
port: {self.port + 1}
jetstream {{ store_dir: "{self.directory}/store" }}
mqtt {{ host: "127.0.0.1", port: {self.port}, max_ack_pending: 65535 }}
""")

    def command(self):
        return [self.program(self.files), "-c", os.path.join(self.directory, "nats.conf")]


class Nats(NatsMqtt):
    """nats-server in its own protocol, without JetStream."""

    name = "nats"
    title = "nats-server, NATS"
    flags = ("--nats",)

    def prepare(self):
        Broker.prepare(self)
        self.write("nats.conf", f'server_name: "compare"\nhost: "127.0.0.1"\nport: {self.port}\n')

    def ready(self):
        return nats_info(self.port)


class Sink(Broker):
    """The generator's own stub: an epoll loop that answers and forwards and keeps nothing."""

    name = "sink"
    title = "bare epoll sink"

    @classmethod
    def program(cls, files):
        return files["generator"][0]

    def command(self):
        return self.files["generator"] + ["--stub", "--port", str(self.port)]


ALL = [Quartet, Before, Mosquitto, NatsMqtt, Nats, Sink]
