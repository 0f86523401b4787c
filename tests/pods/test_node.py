# SPDX-License-Identifier: BSD-2-Clause
"""A node: one proxy in the host's network for pods that have networks of their own. Their sockets
reach it through veth pairs, at the node's address; lanes cross the network namespaces."""
import json
import os

from machine import (Container, Pod, Proxy, await_that, main, moved_by_kernel, run)

REQUESTS = 10000
NODE = "10.77.0.1"
SERVER = f"{NODE}:7400"
TOKENS = {name: f"{name}-{os.urandom(16).hex()}" for name in ("friend", "stranger")}
RULES = {"access": {"identities": {
    "friend": {"publish": [">"], "subscribe": [">"], "direct": ["friend"]},
    "stranger": {"publish": ["stranger.>"]}}}}


class Node:
    """The host's network, as far as the pods know: an address, and a way to it from each pod."""

    def __init__(self, machine):
        self.machine, self.wires = machine, 0
        self.netns = machine.netns("net-node")
        self.ip("address", "add", NODE + "/32", "dev", "lo")
        self.secrets = machine.path("secrets")
        # What the proxy has is closed to others; a client's is its own.
        self.write("tokens", "".join(f"{name} {token}\n" for name, token in TOKENS.items()), 0o400)
        self.write("rules.json", json.dumps(RULES), 0o444)
        for name, token in TOKENS.items():
            self.write(name, token + "\n", 0o444)

    def write(self, name, text, mode):
        path = os.path.join(self.secrets, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(path, mode)

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

    def secret_mount(self):
        return {"destination": "/run/secrets", "type": "bind", "source": self.secrets,
                "options": ["bind", "ro"]}

    def proxy(self, *options):
        own = Pod(self.machine, "systemd", netns=self.netns)
        return Proxy(own, "--listen", SERVER, "--cgroup", "all", "--token-file",
                     "/run/secrets/tokens", "--config", "/run/secrets/rules.json", *options,
                     more_mounts=[self.secret_mount()]).ready()

    def app(self, pod, command, *arguments, who="friend"):
        return Container(pod, command, "--server", SERVER, "--token-file", "/run/secrets/" + who,
                         *arguments, mounts=[self.secret_mount()])


def lanes_between_pods(machine):
    node = Node(machine)
    pods = [node.pod("cgroupfs"), node.pod("systemd")]
    proxy = node.proxy("--kernel-path", "on")
    assert proxy.status()["kernel_path"]["cgroup"] == "/host", proxy.status()["kernel_path"]
    node.app(pods[0], "reply", "--name", "replier", "--echo", "svc")
    await_that("the replier subscribes",
               lambda: any(c["subscriptions"] for c in proxy.clients("replier") or []))
    requester = node.app(pods[1], "request", "--name", "requester", "--count", str(REQUESTS),
                         "--timeout", "60s", "--quiet", "--hold", "svc", "a request of some bytes")
    await_that("all replies", lambda: f"{REQUESTS:,} replies" in requester.output())
    clients = proxy.there("replier", "requester")
    assert [client["peer"].split(":")[0] for client in clients] == ["10.77.1.2", "10.77.2.2"], clients
    assert all(client["lane"] for client in clients), clients
    share, frames = moved_by_kernel(clients)
    print(f"# {share:.4%} of {frames} frames were moved by the kernel")
    assert frames == 2 * REQUESTS and share >= 0.99, clients
    assert proxy.end() == 0, proxy.output()


def being_reachable_is_not_enough(machine):
    """Who may talk is decided by what it says and by rules, not by where it is."""
    node = Node(machine)
    pod = node.pod("cgroupfs")
    proxy = node.proxy("--kernel-path", "on")
    nobody = Container(pod, "pub", "--server", SERVER, "a.b", "text")
    assert nobody.wait() == 3, nobody.output()
    assert "refused" in nobody.output() and "token" in nobody.output(), nobody.output()
    assert proxy.status()["counters"]["lanes"] == 0
    friend = node.app(pod, "pub", "a.b", "text")
    assert friend.wait() == 0, friend.output()
    stranger = node.app(pod, "pub", "stranger.b", "text", who="stranger")
    assert stranger.wait() == 0, stranger.output()
    for command in (["pub", "a.b", "text"], ["sub", "stranger.b"]):
        stranger = node.app(pod, *command, who="stranger")
        assert stranger.wait() == 1, stranger.output()
        assert "forbidden" in stranger.output(), stranger.output()
    assert proxy.status()["counters"]["forbidden"] == 2


main([lanes_between_pods, being_reachable_is_not_enough])
