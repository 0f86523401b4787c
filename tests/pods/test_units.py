# SPDX-License-Identifier: BSD-2-Clause
"""The units are what systemd understands, as tight as the page says, and not so tight that lanes
would not work: their filter of system calls and their capabilities, around a real proxy."""
import json
import os
import re
import shutil
import subprocess

from machine import (PROXY_CAPABILITIES, TOP, XYLEM, Pod, Proxy, main, requests, run)

UNITS = os.path.join(TOP, "scripts", "systemd")
PAGE = os.path.join(TOP, "docs", "SYSTEMD.md")
ANALYZE = shutil.which("systemd-analyze")


def settings(unit):
    """(name, value) of its lines."""
    with open(os.path.join(UNITS, unit), encoding="utf-8") as file:
        return [line.strip().split("=", 1) for line in file if re.match(r"[A-Z]\w+=", line)]


def values(unit, name):
    return [value for key, value in settings(unit) if key == name]


def installed(machine):
    """The units with this program in them, as systemd would find them."""
    directory = os.path.join(machine.path("units"), "units")
    shutil.copytree(UNITS, directory)
    for above, _, files in os.walk(directory):
        for file in files:
            with open(os.path.join(above, file), "r+", encoding="utf-8") as unit:
                text = unit.read().replace("/usr/local/bin/xylem", XYLEM)
                unit.seek(0)
                unit.write(text)
                unit.truncate()
    return directory


def system_calls(words):
    """What the words of a SystemCallFilter= stand for."""
    found = set()
    for word in words:
        if not word.startswith("@"):
            found.add(word)
            continue
        lines = run(ANALYZE, "syscall-filter", "--no-pager", word).splitlines()[1:]
        names = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
        found |= system_calls(names)
    return found


def seccomp(unit):
    first, *more = values(unit, "SystemCallFilter")
    # An allow list has these without being told.
    allowed = system_calls(["@default", *first.split()])
    for line in more:
        if line.startswith("~"):
            allowed -= system_calls(line[1:].split())
        else:
            allowed |= system_calls(line.split())
    return {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86",
                                                                 "SCMP_ARCH_AARCH64"],
            "syscalls": [{"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"}]}


def units_are_what_systemd_understands(machine):
    directory = installed(machine)
    for units in ["xylem.service"], ["xylem.service", "xylem.socket"]:
        if len(units) == 1:
            os.rename(directory + "/xylem.service.d", directory + "/aside")
        paths = [os.path.join(directory, unit) for unit in units]
        done = subprocess.run([ANALYZE, "verify", *paths], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and not done.stderr, done.stderr
        if len(units) == 1:
            os.rename(directory + "/aside", directory + "/xylem.service.d")


def the_program_has_these_options(_):
    commands = values("xylem.service", "ExecStart") + values("xylem.service.d/socket.conf", "ExecStart")
    assert commands.pop(1) == "", "a drop-in clears the command first"
    for command in commands:
        program, *rest = command.split()
        assert program == "/usr/local/bin/xylem"
        rest = [os.path.join(TOP, "docs/examples/xylem.json") if word == "/etc/xylem/xylem.json"
                else word for word in rest]
        done = subprocess.run([XYLEM, *rest, "--check-config"], capture_output=True, text=True,
                              timeout=20, check=False)
        assert done.returncode == 0, done.stderr


def the_example_listens_where_the_unit_may_write(_):
    """The rest of the file system is read-only there."""
    with open(os.path.join(TOP, "docs", "examples", "xylem.json"), encoding="utf-8") as file:
        paths = [address[len("unix:"):] for address in json.load(file)["listen"]
                 if address.startswith("unix:")]
    writable = ["/run/" + name for name in values("xylem.service", "RuntimeDirectory")]
    assert values("xylem.service", "ProtectSystem") == ["strict"]
    assert paths and all(os.path.dirname(path) in writable for path in paths), (paths, writable)


def exposure_is_what_the_page_says(machine):
    said = run(ANALYZE, "security", "--offline=true", "--no-pager",
               os.path.join(installed(machine), "xylem.service"))
    level = re.search(r"Overall exposure level for xylem.service: ([0-9.]+)", said)[1]
    with open(PAGE, encoding="utf-8") as page:
        documented = re.search(r"exposure level (?:is|of) \*\*([0-9.]+)\*\*", page.read())[1]
    # Later versions of systemd may weigh differently; this one's figure is in the page.
    assert abs(float(level) - float(documented)) <= 0.3, (level, documented)


def within_its_bounds_lanes_work(machine):
    assert values("xylem.service", "CapabilityBoundingSet") == [" ".join(PROXY_CAPABILITIES)]
    pod = Pod(machine)
    proxy = Proxy(pod, "--kernel-path", "on", seccomp=seccomp("xylem.service")).ready()
    assert proxy.status()["kernel_path"]["pins"], proxy.status()["kernel_path"]
    assert all(client["lane"] for client in requests(pod, proxy, 100))
    assert proxy.end() == 0, proxy.output()
    assert not os.path.exists(machine.bpffs + "/xylem"), "pins are left"


main([units_are_what_systemd_understands, the_program_has_these_options,
      the_example_listens_where_the_unit_may_write, exposure_is_what_the_page_says,
      within_its_bounds_lanes_work])
