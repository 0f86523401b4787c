# SPDX-License-Identifier: BSD-2-Clause
"""Another eBPF agent on the node: who meets a socket first has it; the other does without, and xylem
says so. All messages arrive in every case."""
import os
import shutil

from machine import BUILD, CGROUP, Pod, Proxy, main, requests, run

OBJECT = os.path.join(BUILD, "tests", "pods", "foreign.bpf.o")
BPFTOOL = shutil.which("bpftool") or "/usr/sbin/bpftool"
REQUESTS = 500


class Foreign:
    """Attaches to a cgroup; flags as bpftool calls them."""

    def __init__(self, machine, cgroup, *flags):
        self.cgroup, self.flags = CGROUP + cgroup, flags
        pins = os.path.join(machine.bpffs, "foreign")
        run(BPFTOOL, "prog", "loadall", OBJECT, pins, "pinmaps", pins)
        self.sockops = pins + "/foreign_established"
        os.makedirs(self.cgroup, exist_ok=True)
        # Their sockets take over the verdict that the map has when they go in.
        run(BPFTOOL, "prog", "attach", "pinned", pins + "/foreign_verdict", "msg_verdict", "pinned",
            pins + "/theirs")
        run(BPFTOOL, "cgroup", "attach", self.cgroup, "sock_ops", "pinned", self.sockops, *flags)

    def detach(self):
        run(BPFTOOL, "cgroup", "detach", self.cgroup, "sock_ops", "pinned", self.sockops)


def exchange(pod, proxy, lane):
    clients = requests(pod, proxy, REQUESTS)
    assert [client["lane"] for client in clients] == [lane, lane], clients


def told(proxy):
    return "event=sockets-left" in proxy.output()


def one_that_was_there_first_has_the_sockets(machine):
    pod = Pod(machine)
    foreign = Foreign(machine, pod.cgroup, "multi")
    proxy = Proxy(pod, "--kernel-path", "on").ready()
    exchange(pod, proxy, lane=False)
    assert proxy.status()["kernel_path"]["sockets_left"] >= 2, proxy.status()["kernel_path"]
    assert proxy.output().count("event=sockets-left") == 1, proxy.output()
    foreign.detach()


def one_above_comes_after_the_pods_own(machine):
    """A node's agent, attached to all pods: programs of the inner cgroup run first."""
    pod = Pod(machine)
    foreign = Foreign(machine, machine.cgroup, "multi")
    proxy = Proxy(pod, "--kernel-path", "on").ready()
    exchange(pod, proxy, lane=True)
    assert proxy.status()["kernel_path"]["sockets_left"] == 0, proxy.status()["kernel_path"]
    assert not told(proxy), proxy.output()
    foreign.detach()


def one_that_wants_to_be_alone_keeps_lanes_away(machine):
    pod = Pod(machine)
    foreign = Foreign(machine, pod.cgroup)
    refused = Proxy(pod, "--kernel-path", "on")
    assert refused.wait() == 5, refused.output()
    words = "no sock_ops program of another agent that tolerates none beside it"
    assert "option=--kernel-path value=on" in refused.output() and words in refused.output(), \
        refused.output()
    proxy = Proxy(pod, "--kernel-path", "auto").ready()
    assert "event=kernel-path active=no" in proxy.output() and words in proxy.output(), \
        proxy.output()
    exchange(pod, proxy, lane=False)
    foreign.detach()


main([one_that_was_there_first_has_the_sockets, one_above_comes_after_the_pods_own,
      one_that_wants_to_be_alone_keeps_lanes_away])
