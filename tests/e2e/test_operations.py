# SPDX-License-Identifier: BSD-2-Clause
"""docs/OPERATIONS.md tells the truth: every command of it is run, as it stands there, against a live
proxy with traffic, and its output must look like the one in the document: the same words, fields and
lines, with other numbers."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("XY_BUILD", os.path.join(TOP, "build"))
XYLEM = os.environ.get("XYLEM", os.path.join(BUILD, "xylem"))
PAGE = os.path.join(TOP, "docs", "OPERATIONS.md")
TIMEOUT = 60.0


def page():
    with open(PAGE, encoding="utf-8") as file:
        return file.read()


def reasons():
    """Names of why a send went to the proxy, from the header that all sides share."""
    with open(os.path.join(TOP, "include", "xylem", "maps.h"), encoding="utf-8") as file:
        return re.findall(r'^\tX\(\w+, "([a-z-]+)"', file.read(), re.M)


# ---- the document --------------------------------------------------------------------------------

def is_whole(command):
    """Whether a shell would begin to run this, or wait for another line."""
    return subprocess.run(["bash", "-n", "-c", command], stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


def commands(text):
    """(question, command, lines of output) of each command of the document, in their order."""
    found, question, lines = [], "", text.splitlines()
    inside = False
    while lines:
        line = lines.pop(0)
        if line.startswith("```"):
            inside = not inside
        elif not inside and line.startswith("#"):
            question = line.lstrip("# ")
        elif inside and line.startswith("# "):
            command = line[2:]
            while not is_whole(command):
                assert lines and not lines[0].startswith("```"), f"never ends: {command}"
                command += "\n" + lines.pop(0)
            found.append((question, command, []))
        elif inside and found:
            found[-1][2].append(line)
    return found


def shape(lines, names):
    """Lines without what differs from run to run. Lines that then are alike are one: there may be
    more or fewer lanes."""
    named = "|".join(re.escape(name) for name in names)
    result = []
    for line in lines:
        line = re.sub(rf"\b({named}) \d+(, ({named}) \d+)*", "REASONS", line.rstrip())
        line = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{16}\b", "ID", line)
        line = re.sub(r"\d[\d,.]*", "N", line)
        if line and (not result or result[-1] != line):
            result.append(line)
    return result


def looks_like(documented, output):
    """… stands for whatever is left out: within a line, or lines."""
    if not documented:
        return not output
    if documented[0].strip() == "…":
        return any(looks_like(documented[1:], output[skip:]) for skip in range(len(output) + 1))
    pattern = ".*".join(re.escape(part) for part in documented[0].split("…"))
    return bool(output and re.fullmatch(pattern, output[0])
                and looks_like(documented[1:], output[1:]))


# ---- what the document's output is of ------------------------------------------------------------

class Scene:
    """A proxy and its clients: some subscribers, a service, publishers; one subscriber has stopped
    reading."""

    def __init__(self):
        self.instance = f"operations-{os.getpid()}"
        self.directory = os.path.join(BUILD, self.instance)
        self.programs, self.proxy = [], None
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            self.mount = next(line.split()[1] for line in mounts if line.split()[2] == "cgroup2")
        self.cgroup = os.path.join(self.mount, self.instance)

    def open(self):
        os.mkdir(self.cgroup)
        self.enter(self.cgroup)
        self.proxy = self.start("serve", "--listen", "127.0.0.1:0", "--instance", self.instance,
                                "--cgroup", self.cgroup, "--kernel-path", "on", stderr=subprocess.PIPE)
        self.server = None
        for line in self.proxy.stderr:
            address = re.search(r"event=listening\b.*address=(\S+)", line)
            self.server = address.group(1) if address else self.server
            if "event=started" in line:
                break
        assert self.server, "the proxy does not start"
        self.traffic()

    @staticmethod
    def enter(cgroup):
        with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as procs:
            procs.write("0")

    def start(self, *arguments, **more):
        program = subprocess.Popen([XYLEM, *arguments], text=True, **more)
        self.programs.append(program)
        return program

    def client(self, *arguments):
        return self.start(arguments[0], "--server", self.server, *arguments[1:],
                          stdout=subprocess.DEVNULL)

    def map(self, name):
        output = subprocess.run(["bpftool", "-j", "map", "dump", "pinned",
                                 f"/sys/fs/bpf/xylem/{self.instance}/{name}"], check=True,
                                stdout=subprocess.PIPE, env=environment())
        return [entry["formatted"]["value"] for entry in json.loads(output.stdout)]

    def await_sessions(self, what, condition):
        deadline = time.monotonic() + TIMEOUT
        while not condition([session for session in self.map("sessions") if session["state"] == 2]):
            assert time.monotonic() < deadline, f"never: {what}"
            time.sleep(0.02)

    def traffic(self):
        self.client("sub", "orders.>")
        self.client("reply", "--echo", "time.now")
        slow = self.client("sub", "--stall", "600s", "images.>")
        self.await_sessions("three lanes", lambda lanes: len(lanes) == 3)
        subprocess.run([XYLEM, "request", "--server", self.server, "time.now", "?"], check=True,
                       stdout=subprocess.DEVNULL)
        self.client("pub", "--rate", "100", "--count", "1000000", "orders.new", "three apples")
        self.await_sessions("redirected orders", lambda lanes: any(
            lane["frames"] > 0 for lane in lanes))
        slow.send_signal(signal.SIGSTOP)
        os.mkdir(self.directory)
        image = os.path.join(self.directory, "image")
        with open(image, "wb") as file:
            file.write(bytes(50000))
        self.client("pub", "--count", "1000000", "--file", image, "images.new")
        self.await_sessions("a subscriber with little credit left", lambda lanes: any(
            outstanding(lane) > lane["window"] * 3 // 4 for lane in lanes))

    def close(self):
        for program in self.programs[1:]:
            program.kill()
            program.wait()
        if self.proxy:
            self.proxy.send_signal(signal.SIGTERM)
            self.proxy.communicate(timeout=TIMEOUT)
        self.enter(self.mount)
        shutil.rmtree(self.directory, ignore_errors=True)
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                os.rmdir(self.cgroup)
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def outstanding(lane):
    return lane["sent"] - max(lane["acked"], lane["acked_loop"])


def environment():
    """bpftool lives where only root's PATH looks; commands of the document say `xylem`."""
    path = os.pathsep.join([os.path.dirname(XYLEM), os.environ["PATH"], "/usr/sbin", "/sbin"])
    return dict(os.environ, PATH=path)


def run(scene, command):
    """A command of the document, on the scene's proxy."""
    command = command.replace("/xylem/docs", f"/xylem/{scene.instance}")
    command = command.replace("--instance docs", f"--instance {scene.instance}")
    deadline = time.monotonic() + TIMEOUT
    while True:
        done = subprocess.run(["bash", "-c", "set -o pipefail\n" + command],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=TIMEOUT, env=environment(), check=False)
        # A program of another instance that goes while bpftool lists all of the machine's.
        if "can't get prog by id" not in done.stdout or time.monotonic() > deadline:
            break
    output = done.stdout.replace(scene.instance, "docs")
    assert done.returncode == 0, f"status {done.returncode} of {command}\n{output}"
    return output.splitlines()


# ---- tests ---------------------------------------------------------------------------------------

def every_command_of_the_page_gives_what_the_page_shows(scene):
    names, wrong = reasons(), ""
    asked = commands(page())
    assert len(asked) >= 12, len(asked)
    for question, command, documented in asked:
        output = run(scene, command)
        if not looks_like(shape(documented, names), shape(output, names)):
            wrong += "\n".join([f"\n{question}\n# {command}", "---- in the document",
                                *documented, "---- in truth", *output, ""])
    assert not wrong, wrong


def every_pinned_map_is_read_with_names(scene):
    pins = sorted(os.listdir(f"/sys/fs/bpf/xylem/{scene.instance}"))
    assert pins == ["control", "flows", "pressure", "sessions"], pins
    for pin in set(pins) - {"pressure"}:
        values = scene.map(pin)
        assert values and all(isinstance(value, dict) and len(value) > 3 for value in values), pin


def the_page_names_every_reason(_):
    assert "names=\"" + " ".join(reasons()) + "\"" in re.sub(r"\s+", " ", page())


def answers(scene, title):
    """Output of the first command below this question."""
    for question, command, _ in commands(page()):
        if question == title:
            return run(scene, command)
    raise AssertionError(f"no command below {title}")


def lanes_and_flows_are_those_that_there_are(scene):
    lanes = [value for value in scene.map("sessions") if value["state"] == 2]
    listed = answers(scene, "Which lanes are there?")
    assert len(listed) == len(lanes) == 5, (listed, len(lanes))
    flows = answers(scene, "Which flows are there?")
    assert len(flows) == len(scene.map("flows")) >= 1, flows


def the_slow_one_is_seen(scene):
    credit = answers(scene, "How much credit is left?")
    left = [int(word) for line in credit for word in re.findall(r"left (-?\d+)", line)]
    assert sum(bytes_ < 300000 for bytes_ in left) == 1, credit


def a_proxy_that_has_stopped_is_seen(scene):
    """Last: it stands still afterwards."""
    first, second = answers(scene, "Is the proxy alive?")
    assert first != second, first
    scene.proxy.send_signal(signal.SIGSTOP)
    first, second = answers(scene, "Is the proxy alive?")
    assert first == second, (first, second)
    scene.proxy.send_signal(signal.SIGCONT)


def main():
    tests = [every_command_of_the_page_gives_what_the_page_shows, every_pinned_map_is_read_with_names,
             the_page_names_every_reason, lanes_and_flows_are_those_that_there_are,
             the_slow_one_is_seen, a_proxy_that_has_stopped_is_seen]
    print(f"1..{len(tests)}")
    failed, scene = 0, Scene()
    try:
        scene.open()
        for number, test in enumerate(tests, 1):
            try:
                test(scene)
                print(f"ok {number} - {test.__name__}", flush=True)
            except (AssertionError, OSError, ValueError, KeyError,
                    subprocess.SubprocessError) as error:
                failed += 1
                text = str(error).replace("\n", "\n# ")
                print(f"not ok {number} - {test.__name__}\n# {text}", flush=True)
    finally:
        scene.close()
    raise SystemExit(1 if failed else 0)


main()
