# SPDX-License-Identifier: BSD-2-Clause
"""A pod with two application containers and the proxy as its sidecar: one network namespace, one
cgroup above all of them, lanes between the applications; two such pods at once."""
import os

from machine import (CGROUP, PROXY_CAPABILITIES, Container, Pod, Proxy, await_that, main,
                     moved_by_kernel)

REQUESTS, MESSAGES = 10000, 50000
SERVER = "127.0.0.1:7400"


def app(pod, *arguments):
    return Container(pod, *arguments)


def traffic(pod, proxy):
    """Requests and replies, and one publisher to one subscriber, between containers of the pod.
    Those who sent stay, to be looked at."""
    app(pod, "reply", "--name", "replier", "--echo", "svc")
    subscriber = app(pod, "sub", "--name", "subscriber", "--output", "/dev/null", "--count",
                     str(MESSAGES), "data")
    await_that("the services subscribe", lambda: all(
        c["subscriptions"] for c in proxy.clients("replier", "subscriber") or [{"subscriptions": 0}]))
    requester = app(pod, "request", "--name", "requester", "--count", str(REQUESTS), "--timeout",
                    "60s", "--quiet", "--hold", "svc", "a request of some bytes")
    app(pod, "pub", "--name", "publisher", "--count", str(MESSAGES), "--hold", "data",
        "a message of some bytes")
    assert subscriber.wait() == 0, subscriber.output()
    await_that("all replies", lambda: f"{REQUESTS:,} replies" in requester.output())
    clients = proxy.there("replier", "requester", "publisher")
    assert [moved_by_kernel([client])[1] for client in clients[:2]] == [REQUESTS] * 2, clients
    return clients


def lanes_carry(clients):
    assert all(client["lane"] for client in clients), clients
    share, frames = moved_by_kernel(clients)
    print(f"# {share:.4%} of {frames} frames were moved by the kernel")
    assert share >= 0.99, clients


def a_pod_with_its_sidecar(machine):
    pod = Pod(machine)
    proxy = Proxy(pod, "--kernel-path", "on").ready()
    status = proxy.status()
    # It found its pod by itself, from within a cgroup namespace.
    assert status["kernel_path"]["cgroup"] == "/host" + pod.cgroup, status["kernel_path"]
    assert status["kernel_path"]["cgroup_why"] == f"pod {pod.uid}, which this runs in"
    assert status["memory"]["budget"] == Proxy.MEMORY / 2, status["memory"]
    lanes_carry(traffic(pod, proxy))
    assert proxy.end() == 0, proxy.output()


def two_pods_at_once(machine):
    """Same options, same address, one bpffs: each has its own pins all the same."""
    pods = [Pod(machine, "cgroupfs"), Pod(machine, "systemd")]
    proxies = [Proxy(pod, "--kernel-path", "on").ready() for pod in pods]
    names = [proxy.status()["instance"] for proxy in proxies]
    assert names == [f"7400-{os.stat(pod.netns).st_ino}" for pod in pods], names
    assert sorted(os.listdir(machine.bpffs + "/xylem")) == sorted(names)
    for pod, proxy in zip(pods, proxies):
        assert proxy.status()["kernel_path"]["cgroup"] == "/host" + pod.cgroup
    # One dies without a word: the other does not notice, and the next one takes its place.
    first = traffic(pods[0], proxies[0])
    proxies[0].signal("KILL")
    proxies[0].wait()
    lanes_carry(first)
    lanes_carry(traffic(pods[1], proxies[1]))
    assert names[0] in os.listdir(machine.bpffs + "/xylem"), "pins outlive a proxy that is killed"
    again = Proxy(pods[0], "--kernel-path", "on").ready()
    assert again.status()["instance"] == names[0]
    await_that("the clients come back, on lanes", lambda: all(
        client["lane"] for client in again.clients("replier", "publisher") or [{"lane": False}]))
    for proxy in again, proxies[1]:
        assert proxy.end() == 0, proxy.output()
    assert not os.path.exists(machine.bpffs + "/xylem"), os.listdir(machine.bpffs + "/xylem")


def who_is_not_of_the_pod_works_without_a_lane(machine):
    """In the pod's network, as a neighbour on the host's would be, and not in its cgroup."""
    pod = Pod(machine)
    other = Pod(machine, netns=pod.netns)
    proxy = Proxy(pod, "--kernel-path", "on").ready()
    Container(pod, "reply", "--name", "replier", "--echo", "svc")
    await_that("the replier subscribes",
               lambda: any(c["subscriptions"] for c in proxy.clients("replier") or []))
    stranger = Container(other, "request", "--name", "stranger", "--count", "10", "--timeout", "60s",
                         "--hold", "svc", "hi")
    seen = await_that("the stranger's requests", lambda: [
        c for c in proxy.clients("stranger") or [] if stranger.output().count("hi") == 10])
    assert not seen[0]["lane"], seen
    assert proxy.there("replier")[0]["lane"]


def without_the_hosts_cgroups_there_is_only_itself(machine):
    """What a manifest that forgets the mount gets, and is told."""
    pod = Pod(machine)
    proxy = Proxy(pod, "--kernel-path", "on")
    assert proxy.ready()
    inside = Container(pod, "serve", "--listen", "127.0.0.1:7401", "--instance", "narrow", user=0,
                       capabilities=["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"],
                       mounts=[{"destination": "/run", "type": "tmpfs", "source": "tmpfs"}])
    await_that("it starts", lambda: "event=started" in inside.output() or not inside.is_running())
    assert (f"cgroup={CGROUP} why=\"this container alone: no mount shows more; for its pod, mount "
            "the host's /sys/fs/cgroup\"") in inside.output(), inside.output()


def each_of_its_capabilities_is_needed(machine):
    pod = Pod(machine)
    for capability in PROXY_CAPABILITIES:
        proxy = Proxy(pod, "--kernel-path", "on", without=capability)
        assert proxy.wait() == 5, proxy.output()
        assert "needs root or" in proxy.output() and capability in proxy.output(), proxy.output()


main([a_pod_with_its_sidecar, each_of_its_capabilities_is_needed, two_pods_at_once,
      who_is_not_of_the_pod_works_without_a_lane, without_the_hosts_cgroups_there_is_only_itself])
