# SPDX-License-Identifier: BSD-2-Clause
"""A node: one proxy in the host's network for pods that have networks of their own. Their sockets
reach it through veth pairs, at the node's address; lanes cross the network namespaces."""
import os

from machine import (Container, Pod, Proxy, await_that, main, moved_by_kernel, run)

REQUESTS = 20000
NODE = "10.77.0.1"
SERVER = f"{NODE}:7400"
TOKEN = "the pods' token"


class Node:
    """The host's network, as far as the pods know: an address, and a way to it from each pod."""

    def __init__(self, machine):
        self.machine, self.wires = machine, 0
        self.netns = machine.netns("net-node")
        self.ip("address", "add", NODE + "/32", "dev", "lo")
        self.tokens = machine.path("tokens")
        with open(self.tokens + "/token", "w", encoding="ascii") as file:
            file.write(TOKEN + "\n")
        os.chmod(self.tokens + "/token", 0o444)

    def ip(self, *arguments, netns=None):
        run("nsenter", f"--net={netns or self.netns}", "ip", *arguments)

    def pod(self, layout):
        pod = Pod(self.machine, layout)
        self.wires += 1
        near, far = f"10.77.{self.wires}.1", f"10.77.{self.wires}.2"
        wire = f"wire{self.wires}"
        self.ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", pod.netns)
        self.ip("address", "add", near + "/24", "dev", wire)
        self.ip("link", "set", wire, "up")
        self.ip("address", "add", far + "/24", "dev", "eth0", netns=pod.netns)
        self.ip("link", "set", "eth0", "up", netns=pod.netns)
        self.ip("route", "add", "default", "via", near, netns=pod.netns)
        return pod

    def token_mount(self):
        return {"destination": "/run/secrets", "type": "bind", "source": self.tokens,
                "options": ["bind", "ro"]}

    def proxy(self, *options):
        own = Pod(self.machine, "systemd", netns=self.netns)
        return Proxy(own, "--listen", SERVER, "--cgroup", "all", "--token-file",
                     "/run/secrets/token", *options, more_mounts=[self.token_mount()]).ready()

    def app(self, pod, command, *arguments):
        return Container(pod, command, "--server", SERVER, "--token-file", "/run/secrets/token",
                         *arguments, mounts=[self.token_mount()])


def lanes_between_pods(machine):
    node = Node(machine)
    pods = [node.pod("cgroupfs"), node.pod("systemd")]
    proxy = node.proxy("--kernel-path", "on")
    assert proxy.status()["kernel_path"]["cgroup"] == "/host", proxy.status()["kernel_path"]
    node.app(pods[0], "reply", "--name", "replier", "--echo", "svc")
    await_that("the replier subscribes",
               lambda: any(c["subscriptions"] for c in proxy.clients("replier") or []))
    requester = node.app(pods[1], "request", "--name", "requester", "--count", str(REQUESTS),
                         "--quiet", "--hold", "svc", "a request of some bytes")
    await_that("all replies", lambda: f"{REQUESTS:,} replies" in requester.output())
    clients = proxy.clients("replier", "requester")
    assert [client["peer"].split(":")[0] for client in clients] == ["10.77.1.2", "10.77.2.2"], clients
    assert all(client["lane"] for client in clients), clients
    share, frames = moved_by_kernel(clients)
    print(f"# {share:.4%} of {frames} frames were moved by the kernel")
    assert frames == 2 * REQUESTS and share >= 0.99, clients
    assert proxy.end() == 0, proxy.output()


def being_reachable_is_not_enough(machine):
    """Who may talk is decided by what it says, not by where it is."""
    node = Node(machine)
    pod = node.pod("cgroupfs")
    proxy = node.proxy("--kernel-path", "on")
    stranger = Container(pod, "pub", "--server", SERVER, "--name", "stranger", "a.b", "text")
    assert stranger.wait() == 3, stranger.output()
    assert "unauthorized" in stranger.output() or "token" in stranger.output(), stranger.output()
    assert proxy.status()["counters"]["lanes"] == 0
    friend = node.app(pod, "pub", "--name", "friend", "a.b", "text")
    assert friend.wait() == 0, friend.output()


main([lanes_between_pods, being_reachable_is_not_enough])
