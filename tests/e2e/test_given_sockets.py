# SPDX-License-Identifier: BSD-2-Clause
"""Sockets that a service manager has opened: the proxy serves them, and leaves them alone."""
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from xylem_client import Client  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
XYLEM = os.environ.get("XYLEM", os.path.join(TOP, "build", "xylem"))
FIRST = 3


def cgroup_mount():
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return next(line.split()[1] for line in mounts if line.split()[2] == "cgroup2")


class Place:
    """Sockets, and a cgroup that this process is in."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="xylem-given-")
        self.path = os.path.join(self.directory, "socket")
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.local.bind(self.path)
        self.local.listen()
        self.server = "127.0.0.1:%d" % self.tcp.getsockname()[1]
        self.mount = cgroup_mount()
        self.cgroup = os.path.join(self.mount, f"xylem-given-{os.getpid()}")
        os.mkdir(self.cgroup)
        self.move(self.cgroup)

    @staticmethod
    def move(cgroup):
        with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as procs:
            procs.write("0")

    def close(self):
        self.move(self.mount)
        os.rmdir(self.cgroup)
        self.tcp.close()
        self.local.close()
        shutil.rmtree(self.directory)

    def serve(self, *options, given=None, for_pid=None):
        """As systemd starts it: the sockets are descriptors 3 and up."""
        given = [self.tcp, self.local] if given is None else given

        def prepare():
            # Out of the way first: one of them may be where another has to go.
            moved = [fcntl.fcntl(fd.fileno(), fcntl.F_DUPFD_CLOEXEC, 20) for fd in given]
            for number, fd in enumerate(moved):
                os.dup2(fd, FIRST + number)
            os.environ["LISTEN_FDS"] = str(len(given))
            os.environ["LISTEN_PID"] = str(os.getpid() if for_pid is None else for_pid)
            os.execv(XYLEM, ["xylem", "serve", "--instance", f"given-{os.getpid()}", "--cgroup",
                             self.cgroup, *options])

        # What follows preexec_fn never runs.
        return subprocess.Popen(["true"], preexec_fn=prepare, close_fds=False,
                                stderr=subprocess.PIPE, text=True)


def started(proxy):
    log = ""
    for line in proxy.stderr:
        log += line
        if "event=started" in line:
            return log
    raise AssertionError("does not start: " + log)


def ended(proxy):
    proxy.send_signal(signal.SIGTERM)
    proxy.stderr.read()
    assert proxy.wait(20) == 0, proxy.returncode


def exchanges(server, lane):
    with Client(server, timeout=20) as subscriber, Client(server, timeout=20) as publisher:
        assert subscriber.lane == publisher.lane == lane, (subscriber.lane, publisher.lane)
        subscriber.subscribe("a.b")
        publisher.publish("a.b", b"text")
        publisher.flush()
        assert subscriber.next(20).data == b"text"
        publisher.goodbye()
        subscriber.goodbye()


def served_with_and_without_lanes(place):
    for kernel_path in "off", "on":
        proxy = place.serve("--listen", "systemd", "--kernel-path", kernel_path)
        log = started(proxy)
        assert f"address={place.server}" in log and f"address=unix:{place.path}" in log, log
        exchanges(place.server, kernel_path == "on")
        exchanges("unix:" + place.path, False)
        ended(proxy)
        assert os.path.exists(place.path)


def who_comes_between_two_proxies_is_served_by_the_second(place):
    """Nobody accepts; the connection waits in the manager's socket."""
    waiting = socket.create_connection(("127.0.0.1", place.tcp.getsockname()[1]))
    proxy = place.serve("--listen", "systemd", "--kernel-path", "off")
    started(proxy)
    waiting.settimeout(20)
    waiting.sendall(bytes(60))
    assert waiting.recv(60), "closed without a word"
    waiting.close()
    ended(proxy)


def beside_an_address_of_its_own(place):
    proxy = place.serve("--listen", "systemd", "--listen", "127.0.0.1:0", "--kernel-path", "off",
                        given=[place.tcp])
    log = started(proxy)
    addresses = re.findall(r"address=(127\S+)", log)
    assert len(addresses) == 2 and addresses[0] == place.server, log
    for server in addresses:
        exchanges(server, False)
    ended(proxy)


def what_cannot_be_served_is_refused(place):
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with open("/dev/null", encoding="ascii") as null, silent, datagrams:
        cases = [([null], None, "descriptor 3, passed by systemd, is no listening stream socket"),
                 ([place.tcp, datagrams], None, "descriptor 4, passed by systemd, is no"),
                 ([silent], None, "descriptor 3, passed by systemd, is no"),
                 ([place.tcp], 1, "systemd has passed no sockets"),
                 ([], None, "systemd has passed no sockets")]
        for given, for_pid, words in cases:
            proxy = place.serve("--listen", "systemd", given=given, for_pid=for_pid)
            log = proxy.communicate(timeout=20)[1]
            assert proxy.returncode == 2, (proxy.returncode, log)
            assert "option=--listen" in log and words in log, log


def main():
    tests = [served_with_and_without_lanes, who_comes_between_two_proxies_is_served_by_the_second,
             beside_an_address_of_its_own, what_cannot_be_served_is_refused]
    print(f"1..{len(tests)}")
    place = Place()
    failed = 0
    try:
        for number, test in enumerate(tests, 1):
            try:
                test(place)
                print(f"ok {number} - {test.__name__}", flush=True)
            except (AssertionError, OSError, ValueError, subprocess.SubprocessError) as error:
                failed += 1
                print(f"not ok {number} - {test.__name__}\n# {error!r}", flush=True)
    finally:
        place.close()
    raise SystemExit(1 if failed else 0)


main()
