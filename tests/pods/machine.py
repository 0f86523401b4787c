# SPDX-License-Identifier: BSD-2-Clause
"""Pods of real containers: runc, root filesystems made of what is built here, cgroups with the names
that the kubelet would give them. No registry, no daemon, and nothing of it outlives the test.

A Machine lives in a mount namespace of its own, with cgroup v2 alone on /sys/fs/cgroup, as runc wants
it, also where the rest of this machine uses v1.
"""
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("XY_BUILD", os.path.join(TOP, "build"))
XYLEM = os.environ.get("XYLEM", os.path.join(BUILD, "xylem"))
CGROUP = "/sys/fs/cgroup"
PATIENCE = 120  # seconds; only a failing test sees them pass
# What the proxy's container may do; docs/KUBERNETES.md says for what each is needed.
PROXY_CAPABILITIES = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]
CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_BIND, MNT_DETACH = 0x20000, 0x4000, 1 << 18, 0x1000, 2
LIBC = ctypes.CDLL(None, use_errno=True)


def run(*command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **more).stdout


def system(function, *arguments):
    if getattr(LIBC, function)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")


def mount(source, target, kind=None, flags=0):
    system("mount", source.encode(), target.encode(), kind and kind.encode(), flags, None)


def await_that(what, condition):
    deadline = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("never: " + what)
        time.sleep(0.02)


class Machine:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="xylem-pods-")
        self.containers, self.pods = [], []
        system("unshare", CLONE_NEWNS)
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        # Where v1 has the memory controller, v2 cannot limit memory.
        self.memory_v1 = None
        if os.path.exists(CGROUP + "/memory/memory.limit_in_bytes"):
            self.memory_v1 = self.path("memory")
            mount(CGROUP + "/memory", self.memory_v1, None, MS_BIND)
        mount("none", CGROUP, "cgroup2")
        self.bpffs = self.path("bpffs")
        mount("bpf", self.bpffs, "bpf")
        self.state = self.path("runc")
        # All that these pods are in, so that pods of others do not meet them.
        self.cgroup = f"/xylem-pods-{os.getpid()}"
        # What is shipped is what is tested.
        self.rootfs = self.path("rootfs")
        run(os.path.join(TOP, "scripts", "image", "root.sh"), XYLEM, self.rootfs)

    def path(self, name):
        path = os.path.join(self.directory, name)
        os.makedirs(path)
        return path

    def runc(self, *arguments, **more):
        return run("runc", "--root", self.state, *arguments, **more)

    def netns(self, name):
        """A network namespace with its loopback up; its path."""
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="ascii"):
            pass
        run("unshare", f"--net={path}", "ip", "link", "set", "lo", "up")
        return path

    def close(self):
        for container in self.containers:
            container.kill()
        for above, _, _ in os.walk(CGROUP + self.cgroup, topdown=False):
            os.rmdir(above)
        system("umount2", CGROUP.encode(), MNT_DETACH)
        if self.memory_v1 and os.path.exists(self.memory_v1 + self.cgroup):
            for above, _, _ in os.walk(self.memory_v1 + self.cgroup, topdown=False):
                os.rmdir(above)
        # Mounts go with the namespace, and their mount points with the directory.
        for name in sorted(os.listdir(self.directory)):
            LIBC.umount2(os.path.join(self.directory, name).encode(), MNT_DETACH)
        shutil.rmtree(self.directory)


class Pod:
    """A network namespace and a cgroup for containers to share. layout: of systemd, or cgroupfs."""

    def __init__(self, machine, layout="cgroupfs", netns=None):
        self.machine, self.layout = machine, layout
        self.uid = str(uuid.uuid4())
        self.netns = netns or machine.netns(f"net-{self.uid}")
        if layout == "systemd":
            self.cgroup = (f"{machine.cgroup}/kubepods.slice/kubepods-burstable.slice/"
                           f"kubepods-burstable-pod{self.uid.replace('-', '_')}.slice")
        else:
            self.cgroup = f"{machine.cgroup}/kubepods/burstable/pod{self.uid}"

    def container_cgroup(self, container):
        name = f"cri-containerd-{container}.scope" if self.layout == "systemd" else container
        return f"{self.cgroup}/{name}"


class Container:
    """Runs until it ends or is killed."""

    def __init__(self, pod, *arguments, capabilities=(), user=65534, memory=None, mounts=(),
                 seccomp=None):
        self.machine, self.pod = pod.machine, pod
        self.id = uuid.uuid4().hex + uuid.uuid4().hex
        self.arguments = arguments
        self.bundle = self.machine.path("bundle-" + self.id)
        self.memory_cgroup = None
        spec = self.specification(list(capabilities), user, list(mounts))
        if memory:
            self.memory_limit(spec, memory)
        if seccomp:
            spec["linux"]["seccomp"] = seccomp
        with open(os.path.join(self.bundle, "config.json"), "w", encoding="ascii") as file:
            json.dump(spec, file)
        self.log = open(os.path.join(self.bundle, "log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            ["runc", "--root", self.machine.state, "run", "--bundle", self.bundle, self.id],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=self.prepare)
        self.machine.containers.append(self)

    def specification(self, capabilities, user, mounts):
        run("runc", "spec", "--bundle", self.bundle)
        with open(os.path.join(self.bundle, "config.json"), encoding="ascii") as file:
            spec = json.load(file)
        spec["process"].update(
            terminal=False, args=["/bin/xylem", *self.arguments], user={"uid": user, "gid": user},
            capabilities={kind: capabilities for kind in ("bounding", "permitted", "effective")},
            noNewPrivileges=True, env=["PATH=/bin"],
            rlimits=[])
        spec["root"] = {"path": self.machine.rootfs, "readonly": True}
        spec["mounts"] += mounts
        spec["linux"]["cgroupsPath"] = self.pod.container_cgroup(self.id)
        spec["linux"]["resources"] = {}
        kinds = ["pid", "ipc", "uts", "mount", "cgroup"]
        spec["linux"]["namespaces"] = [{"type": kind} for kind in kinds]
        spec["linux"]["namespaces"].append({"type": "network", "path": self.pod.netns})
        return spec

    def memory_limit(self, spec, memory):
        if not self.machine.memory_v1:
            spec["linux"]["resources"]["memory"] = {"limit": memory}
            return
        self.memory_cgroup = f"{self.machine.memory_v1}{self.machine.cgroup}/{self.id}"
        os.makedirs(self.memory_cgroup)
        with open(self.memory_cgroup + "/memory.limit_in_bytes", "w", encoding="ascii") as file:
            file.write(str(memory))
        spec["mounts"].append({"destination": "/run/memory", "type": "bind",
                               "source": self.memory_cgroup, "options": ["bind", "ro"]})

    def prepare(self):
        if self.memory_cgroup:
            with open(self.memory_cgroup + "/cgroup.procs", "w", encoding="ascii") as file:
                file.write("0")

    def execute(self, *arguments, check=True):
        """Another process in it; what it printed, or None when it failed."""
        done = subprocess.run(["runc", "--root", self.machine.state, "exec", self.id, *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=PATIENCE, check=False)
        if done.returncode and check:
            raise AssertionError(f"{arguments}: {done.stderr}\n{self.output()}")
        return None if done.returncode else done.stdout

    def output(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8") as file:
            return file.read()

    def is_running(self):
        return self.process.poll() is None

    def signal(self, name):
        subprocess.run(["runc", "--root", self.machine.state, "kill", self.id, name], check=False,
                       stderr=subprocess.DEVNULL)

    def wait(self):
        return self.process.wait(PATIENCE)

    def end(self):
        self.signal("TERM")
        return self.wait()

    def kill(self):
        if self.is_running():
            self.signal("KILL")
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        subprocess.run(["runc", "--root", self.machine.state, "delete", "--force", self.id],
                       check=False, stderr=subprocess.DEVNULL)


class Proxy(Container):
    """The proxy's container: the host's cgroups read-only, a bpffs, memory for itself, and nothing
    else that it could write to."""

    MEMORY = 128 << 20

    def __init__(self, pod, *options, more_mounts=(), without=None, **more):
        machine = pod.machine
        mounts = [
            {"destination": "/host", "type": "bind", "source": CGROUP, "options": ["rbind", "ro"]},
            {"destination": "/sys/fs/bpf", "type": "bind", "source": machine.bpffs,
             "options": ["bind", "rw"]},
            {"destination": "/run", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "nodev", "noexec", "size=1m"]}, *more_mounts]
        super().__init__(pod, "serve", *options, user=0, mounts=mounts,
                         capabilities=[one for one in PROXY_CAPABILITIES if one != without],
                         memory=self.MEMORY, **more)

    def ready(self):
        """As a probe would ask."""
        def probe():
            if not self.is_running():
                raise AssertionError("the proxy has ended: " + self.output())
            return self.execute("/bin/xylem", "status", "--ready", check=False) is not None

        await_that("ready", probe)
        return self

    def status(self):
        return json.loads(self.execute("/bin/xylem", "status", "--json"))

    def clients(self, *beginnings):
        """The connections whose names begin so, when all of them are there, or None: a status is
        without those whose loop did not answer in time."""
        found = []
        connections = self.status()["connections"]
        for beginning in beginnings:
            one = [c for c in connections if c["name"].startswith(beginning)]
            if len(one) != 1:
                return None
            found += one
        return found

    def there(self, *beginnings):
        """The same, as soon as they are."""
        return await_that(f"{beginnings} in the status", lambda: self.clients(*beginnings))


def requests(pod, proxy, count):
    """Requests and replies between two containers of the pod; the connections of both, which stay."""
    Container(pod, "reply", "--name", "replier", "--echo", "svc")
    await_that("the replier subscribes",
               lambda: any(c["subscriptions"] for c in proxy.clients("replier") or []))
    requester = Container(pod, "request", "--name", "requester", "--count", str(count), "--timeout",
                          "60s", "--quiet", "--hold", "svc", "a request of some bytes")
    await_that("all replies", lambda: f"{count:,} replies" in requester.output())
    return proxy.there("replier", "requester")


def moved_by_kernel(connections):
    """Of the DATA frames that these clients have sent: the kernel's share, and how many."""
    kernel = sum(c.get("kernel", {}).get("frames", 0) for c in connections)
    passed = sum(c.get("kernel", {}).get("passed", 0) for c in connections)
    return kernel / max(1, kernel + passed), kernel + passed


def main(tests):
    """TAP; $XY_TEST_FILTER names one."""
    only = os.environ.get("XY_TEST_FILTER")
    tests = [test for test in tests if not only or test.__name__ == only]
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for number, test in enumerate(tests, 1):
        machine = None
        try:
            machine = Machine()
            test(machine)
            print(f"ok {number} - {test.__name__}", flush=True)
        except (AssertionError, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            failed += 1
            print(f"not ok {number} - {test.__name__}", flush=True)
            print("\n".join("# " + line for line in repr(error).split("\\n")), flush=True)
            for container in machine.containers if machine else ():
                print(f"# {container.arguments}: " + container.output().replace("\n", "\n# "))
        finally:
            if machine:
                machine.close()
    sys.exit(1 if failed else 0)
