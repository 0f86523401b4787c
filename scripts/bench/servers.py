# SPDX-License-Identifier: BSD-2-Clause
"""What stands in the middle: xylem, brokers, proxies of connections; started with settings that are
stated here, on CPUs of the caller's choice, and looked at from outside.

Everybody: loopback or UNIX sockets, TCP_NODELAY, nothing on disk, defaults otherwise. Limits that
would cut a subscriber because it is slower than a publisher are lifted, as the bench keeps
publishers near their subscribers (user/cmd/bench_publish.c) and a lost message fails the run."""
import contextlib
import os
import re
import shutil
import socket
import subprocess
import time

READY_S = 60
STOP_S = 10


class Missing(Exception):
    """It is not installed."""


class Broken(Exception):
    """It does not start, or has died."""


def free_ports(count, bases=iter(range(21000 + os.getpid() % 5000, 32000, 16))):
    """So many consecutive ports nobody listens at, and others each time."""
    for base in bases:
        sockets = []
        try:
            for port in range(base, base + count):
                sockets.append(socket.socket())
                sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sockets[-1].bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise Broken("no free ports")


def number_of(path, key):
    """The sum of the numbers behind "key:" in a file of /proc."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return sum(int(n) for n in re.findall(rf"^{key}:\s*(\d+)", file.read(), re.M))
    except OSError:
        return 0


def maps_kib(pid):
    """Memory of the kernel's maps that a process holds, each once."""
    seen, total = set(), 0
    directory = f"/proc/{pid}/fdinfo"
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        identity = number_of(path, "map_id")
        if identity and identity not in seen:
            seen.add(identity)
            total += number_of(path, "memlock")
    return total // 1024


class Server:
    """One process in the middle, and those that it has started. A subclass says how it is begun, and
    what is given to the bench of each of its transports: [name of the bench's transport, address]."""

    name = program = ""
    package = ""
    version = ("--version",)

    def __init__(self, work, placement, cpus, build):
        self.work, self.cpus, self.build = work, cpus, build
        self.path = os.path.join(work, f"{self.name}-{placement}")
        self.log = self.path + ".log"
        self.process = None
        self.port = free_ports(4)

    def find(self):
        path = shutil.which(self.program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        if not path:
            raise Missing(f"{self.name}: there is no {self.program} (package {self.package})")
        return path

    def command(self):
        raise NotImplementedError

    def transports(self):
        return {self.name: [self.name, f"127.0.0.1:{self.port}"]}

    def configure(self, text):
        with open(self.path + ".conf", "w", encoding="ascii") as file:
            file.write(text)
        return self.path + ".conf"

    def start(self):
        command = [self.find()] + self.command()
        # Who kills the comparison kills them.
        if shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.work,
                preexec_fn=lambda: os.sched_setaffinity(0, self.cpus))
        end = time.monotonic() + READY_S
        while not self.is_ready():
            self.check()
            if time.monotonic() > end:
                raise Broken(f"{self.name} does not come up:\n{self.told()}")
            time.sleep(0.02)

    def is_ready(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def told(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-20:])

    def check(self, patience_s=0):
        try:
            status = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return
        raise Broken(f"{self.name} has ended with {status}:\n{self.told()}")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def pids(self):
        """The one that works first."""
        return [self.process.pid]

    def told_version(self):
        done = subprocess.run([self.find(), *self.version], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, check=False)
        found = re.search(r"\d+\.\d+[\w.+~-]*", done.stdout)
        return found.group(0) if found else "?"

    # ---- what it uses -------------------------------------------------------------------------

    def processor_time(self):
        """Seconds."""
        ticks = 0
        for pid in self.pids:
            # Who has died is told by others.
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii",
                                                    errors="replace") as file:
                ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def reset_peak(self):
        for pid in self.pids:
            try:
                with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
                    file.write("5")
            except OSError:
                pass

    def memory(self):
        sums = {"rss_kib": 0, "pss_kib": 0, "peak_kib": 0, "maps_kib": 0}
        for pid in self.pids:
            sums["rss_kib"] += number_of(f"/proc/{pid}/smaps_rollup", "Rss")
            sums["pss_kib"] += number_of(f"/proc/{pid}/smaps_rollup", "Pss")
            sums["peak_kib"] += number_of(f"/proc/{pid}/status", "VmHWM")
            sums["maps_kib"] += maps_kib(pid)
        return sums


class Xylem(Server):
    name, kernel_path = "xylem", "on"

    def find(self):
        if self.kernel_path == "on" and os.geteuid() != 0:
            raise Missing("xylem: lanes need root")
        return os.path.join(self.build, "xylem")

    @property
    def admin(self):
        return self.path + ".admin"

    def command(self):
        return ["serve", "--listen", f"127.0.0.1:{self.port}", "--listen",
                f"unix:{self.path}.unix", "--kernel-path", self.kernel_path, "--instance",
                f"bench-{os.getpid()}-{self.port}", "--admin", self.admin, "--log-level", "error"]

    def is_ready(self):
        return subprocess.run([self.find(), "status", "--ready", "--admin", self.admin],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              check=False).returncode == 0

    def transports(self):
        return {"xylem": ["xylem", f"127.0.0.1:{self.port}"]}


class XylemOff(Xylem):
    name, kernel_path = "xylem-off", "off"

    def transports(self):
        return {"xylem-off": ["xylem", f"127.0.0.1:{self.port}"],
                "xylem-off-unix": ["xylem", f"unix:{self.path}.unix"]}


class Nats(Server):
    name = "nats"
    program = package = "nats-server"

    def command(self):
        return ["-a", "127.0.0.1", "-p", str(self.port)]


class Redis(Server):
    name = "redis"
    program = package = "redis-server"

    def command(self):
        return ["--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket",
                self.path + ".unix", "--save", "", "--appendonly", "no", "--dir", self.work,
                "--client-output-buffer-limit", "pubsub", "0", "0", "0"]

    def transports(self):
        return {"redis": ["redis", f"127.0.0.1:{self.port}"],
                "redis-unix": ["redis", f"unix:{self.path}.unix"]}


class Zeromq(Server):
    """libzmq has no broker: its guide's proxy of XSUB and XPUB (zeromq_proxy.c)."""
    name = "zeromq"

    def find(self):
        path = os.path.join(self.build, "bench", "zeromq_proxy")
        if not os.path.exists(path):
            raise Missing("zeromq: there is no libzmq (package libzmq3-dev)")
        return path

    def command(self):
        return [str(self.port)]

    def told_version(self):
        return subprocess.run(["pkg-config", "--modversion", "libzmq"], stdout=subprocess.PIPE,
                              text=True, check=False).stdout.strip() or "?"


class Mosquitto(Server):
    name = program = package = "mosquitto"
    version = ("-h",)

    def command(self):
        return ["-c", self.configure(
            f"listener {self.port} 127.0.0.1\nuser root\nallow_anonymous true\npersistence false\n"
            "set_tcp_nodelay true\nmax_queued_messages 0\n")]


class Connections(Server):
    """A proxy of connections: the publisher listens at the last port, behind it."""

    def transports(self):
        return {self.name: ["stream", f"127.0.0.1:{self.port},127.0.0.1:{self.port + 1}"]}


class Haproxy(Connections):
    name = program = package = "haproxy"
    version = ("-v",)

    def command(self):
        return ["-db", "-f", self.configure(
            "global\n  maxconn 1024\ndefaults\n  mode tcp\n  timeout connect 5s\n"
            "  timeout client 1h\n  timeout server 1h\n"
            f"listen bench\n  bind 127.0.0.1:{self.port}\n"
            f"  server behind 127.0.0.1:{self.port + 1}\n")]


class Nginx(Connections):
    name = program = "nginx"
    package = "nginx-light libnginx-mod-stream"
    version = ("-v",)
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"

    def find(self):
        if not os.path.exists(self.module):
            raise Missing(f"nginx: there is no {self.module} (package libnginx-mod-stream)")
        return super().find()

    def command(self):
        return ["-c", self.configure(
            f"load_module {self.module};\nuser root;\nworker_processes 1;\ndaemon off;\n"
            f"pid {self.path}.pid;\nerror_log {self.path}.error;\n"
            "events { worker_connections 1024; }\nstream {\n  access_log off;\n"
            f"  server {{ listen 127.0.0.1:{self.port}; proxy_pass 127.0.0.1:{self.port + 1};\n"
            "    tcp_nodelay on; proxy_timeout 1h; }\n}\n"), "-e", self.path + ".error"]

    @property
    def pids(self):
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()] + [pid]


SERVERS = (Xylem, XylemOff, Nats, Redis, Zeromq, Mosquitto, Haproxy, Nginx)
FLOORS = ("tcp", "unix", "pipe")


def floors(work):
    """Transports with nobody in between."""
    return {"tcp": ["stream", f"127.0.0.1:{free_ports(1)}"],
            "unix": ["stream", f"unix:{work}/floor.unix"],
            "pipe": ["pipe", f"unix:{work}/floor.pipe"]}
