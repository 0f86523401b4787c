# SPDX-License-Identifier: BSD-2-Clause
"""The manifests say what Kubernetes understands, with options that the program has; and a container
made of what they say, by runc, gets lanes."""
import glob
import os
import re
import subprocess

import yaml

from machine import (CGROUP, PROXY_CAPABILITIES, TOP, XYLEM, Container, Pod, Proxy, await_that, main)

MANIFESTS = os.path.join(TOP, "scripts", "k8s")

# ---- what the kinds and fields in use look like --------------------------------------------------
# A dictionary names its keys, those that may be missing with a "?"; a list has one schema for all of
# its items; a set has the words that may stand there; else a type, or a function that says yes.


def name(text):
    return isinstance(text, str) and re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text)


def quantity(text):
    return re.fullmatch(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?", str(text))


def path(text):
    return isinstance(text, str) and text.startswith("/") and ".." not in text


def labels(node):
    return isinstance(node, dict) and all(
        isinstance(value, str) and re.fullmatch(r"[-A-Za-z0-9_.]{1,63}", value)
        and re.fullmatch(r"([a-z0-9.-]{1,253}/)?[-A-Za-z0-9_.]{1,63}", key)
        for key, value in node.items())


METADATA = {"name": name, "namespace?": name, "labels?": labels}
PROBE = {"exec": {"command": [str]}, "periodSeconds?": int, "timeoutSeconds?": int,
         "failureThreshold?": int, "initialDelaySeconds?": int}
ENV = {"name": str, "value?": str, "valueFrom?": {"fieldRef": {
    "fieldPath": {"metadata.name", "metadata.uid", "status.hostIP", "status.podIP", "spec.nodeName"}}}}
SECURITY = {
    "runAsUser?": int, "runAsGroup?": int, "runAsNonRoot?": bool, "allowPrivilegeEscalation?": bool,
    "readOnlyRootFilesystem?": bool, "privileged?": bool,
    "capabilities?": {"drop?": [str], "add?": [str]},
    "seccompProfile?": {"type": {"RuntimeDefault", "Unconfined", "Localhost"}}}
RESOURCES = {"requests?": {"cpu?": quantity, "memory?": quantity},
             "limits?": {"cpu?": quantity, "memory?": quantity}}
CONTAINER = {
    "name": name, "image": str, "command?": [str], "args?": [str], "env?": [ENV],
    "securityContext?": SECURITY, "resources?": RESOURCES, "startupProbe?": PROBE,
    "readinessProbe?": PROBE, "livenessProbe?": PROBE,
    "volumeMounts?": [{"name": name, "mountPath": path, "readOnly?": bool}]}
VOLUME = {
    "name": name,
    "hostPath?": {"path": path, "type": {"Directory", "DirectoryOrCreate"}},
    "emptyDir?": {"medium?": {"Memory"}, "sizeLimit?": quantity},
    "secret?": {"secretName": name, "defaultMode?": int}}
POD = {
    "automountServiceAccountToken?": bool, "enableServiceLinks?": bool, "serviceAccountName?": name,
    "hostNetwork?": bool, "terminationGracePeriodSeconds?": int,
    "tolerations?": [{"operator": {"Exists"}, "key?": str}],
    "initContainers?": [dict(CONTAINER, **{"restartPolicy?": {"Always"}})],
    "containers": [CONTAINER], "volumes?": [VOLUME]}
TEMPLATE = {"metadata": {"labels": labels}, "spec": POD}
SELECTOR = {"matchLabels": labels}
KINDS = {
    ("v1", "Namespace"): {"metadata": METADATA},
    ("v1", "ServiceAccount"): {"metadata": METADATA, "automountServiceAccountToken?": bool},
    ("v1", "Pod"): {"metadata": METADATA, "spec": POD},
    ("apps/v1", "Deployment"): {"metadata": METADATA, "spec": {
        "replicas?": int, "selector": SELECTOR, "template": TEMPLATE}},
    ("apps/v1", "DaemonSet"): {"metadata": METADATA, "spec": {
        "selector": SELECTOR, "template": TEMPLATE,
        "updateStrategy?": {"type": {"RollingUpdate"}, "rollingUpdate?": {"maxUnavailable": int}}}},
}


def check(node, schema, where):
    if isinstance(schema, dict):
        assert isinstance(node, dict), f"{where}: not a map"
        known = {key.rstrip("?"): key for key in schema}
        for key in node:
            assert key in known, f"{where}: no field {key}"
            check(node[key], schema[known[key]], f"{where}.{key}")
        for key in known:
            assert key in node or known[key].endswith("?"), f"{where}: {key} is missing"
    elif isinstance(schema, list):
        assert isinstance(node, list) and node, f"{where}: not a list, or empty"
        for number, item in enumerate(node):
            check(item, schema[0], f"{where}[{number}]")
    elif isinstance(schema, set):
        assert node in schema, f"{where}: {node!r} is none of {schema}"
    elif isinstance(schema, type):
        # YAML's true is an int for Python.
        assert type(node) is schema, f"{where}: {node!r} is no {schema.__name__}"
    else:
        assert schema(node), f"{where}: {node!r} is no {schema.__name__}"


def documents():
    """(file, document) of all manifests."""
    found = []
    for file in sorted(glob.glob(MANIFESTS + "/*.yaml")):
        with open(file, encoding="utf-8") as text:
            found += [(os.path.basename(file), one) for one in yaml.safe_load_all(text)]
    return found


def pods():
    """(where, the pod's specification) of all manifests."""
    for file, document in documents():
        spec = document.get("spec", {})
        spec = spec.get("template", {}).get("spec") or spec
        if "containers" in spec:
            yield f"{file} {document['kind']}", spec


def containers_of(spec):
    return spec.get("initContainers", []) + spec["containers"]


def proxy_of(spec):
    return next((c for c in containers_of(spec) if c["args"][0] == "serve"), None)


def arguments_of(container):
    """With the values of variables, as the kubelet puts them in."""
    values = {"NODE_ADDRESS": "10.0.0.1"}
    text = [re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], word) for word in container["args"]]
    declared = {variable["name"] for variable in container.get("env", [])}
    assert set(re.findall(r"\$\((\w+)\)", " ".join(container["args"]))) <= declared, container["args"]
    return text


# ---- tests ---------------------------------------------------------------------------------------


def manifests_are_what_kubernetes_understands(_):
    seen = set()
    for file, document in documents():
        kind = (document.pop("apiVersion", None), document.pop("kind", None))
        assert kind in KINDS, f"{file}: {kind}"
        seen.add(kind[1])
        check(document, KINDS[kind], f"{file} {kind[1]}")
        if "template" in document.get("spec", {}):
            template = document["spec"]["template"]
            wanted = document["spec"]["selector"]["matchLabels"].items()
            assert wanted <= template["metadata"]["labels"].items(), file
    assert {"Deployment", "DaemonSet", "Pod", "Namespace", "ServiceAccount"} <= seen, seen


def volumes_fit_their_mounts(_):
    for where, spec in pods():
        volumes = [volume["name"] for volume in spec.get("volumes", [])]
        for volume in spec.get("volumes", []):
            assert len(volume) == 2, f"{where}: {volume} is of one kind"
        mounted = {mount["name"] for c in containers_of(spec) for mount in c.get("volumeMounts", [])}
        assert mounted == set(volumes) and len(volumes) == len(mounted), where
        for container in containers_of(spec):
            for mount in container.get("volumeMounts", []):
                volume = next(v for v in spec["volumes"] if v["name"] == mount["name"])
                host = volume.get("hostPath", {}).get("path")
                assert host != "/sys/fs/cgroup" or mount["readOnly"], where


def machine_token(machine):
    """A file as a secret with mode 0400 is one."""
    path = os.path.join(machine.path("secret"), "token")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w",
              encoding="ascii") as file:
        file.write(os.urandom(32).hex() + "\n")
    return path


def the_program_has_these_options(machine):
    for where, spec in pods():
        for container in containers_of(spec):
            command, *rest = arguments_of(container)
            more = ["--check-config"] if command == "serve" else ["--server", "127.0.0.1:1"]
            if command == "serve" and "--token-file" in rest:
                at = rest.index("--token-file") + 1
                assert rest[at].startswith("/etc/xylem/")
                rest = [*rest[:at], machine_token(machine), *rest[at + 1:]]
            done = subprocess.run([XYLEM, command, *more, *rest], capture_output=True, text=True,
                                  timeout=20, check=False)
            # 2: usage. Commands find no proxy, or no token file to read.
            bad = done.returncode if command == "serve" else "no option" in done.stderr
            assert not bad, f"{where} {container['name']}: {done.stderr}"
        proxy = proxy_of(spec)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe") if proxy else ():
            program, *rest = proxy[probe]["exec"]["command"]
            assert program == "/bin/xylem"
            done = subprocess.run([XYLEM, *rest, "--instance", "nobody-has-this-name"],
                                  capture_output=True, text=True, timeout=20, check=False)
            assert done.returncode == 1, f"{where} {probe}: {done.returncode} {done.stderr}"


def nobody_may_do_more_than_needed(_):
    for where, spec in pods():
        assert spec["automountServiceAccountToken"] is False, where
        for container in containers_of(spec):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, where
            assert context["readOnlyRootFilesystem"] is True, where
            assert context["capabilities"]["drop"] == ["ALL"], where
            assert context["seccompProfile"]["type"] == "RuntimeDefault", where
            assert "privileged" not in context, where
            added = ["CAP_" + one for one in context["capabilities"].get("add", [])]
            if container is proxy_of(spec):
                assert added == PROXY_CAPABILITIES, where
                assert container["resources"]["limits"]["memory"], where
            else:
                assert not added and context["runAsNonRoot"] is True, where


class AsWritten(Container):
    """A container of a manifest: its volumes are this machine's, and its memory is limited."""

    def __init__(self, pod, spec, container, arguments):
        machine, mounts = pod.machine, []
        sources = {"/sys/fs/cgroup": CGROUP, "/sys/fs/bpf": machine.bpffs}
        for mount in container["volumeMounts"]:
            volume = next(v for v in spec["volumes"] if v["name"] == mount["name"])
            access = "ro" if mount.get("readOnly") else "rw"
            if "hostPath" in volume:
                mounts.append({"destination": mount["mountPath"], "type": "bind", "options":
                               ["rbind", access], "source": sources[volume["hostPath"]["path"]]})
            else:
                mounts.append({"destination": mount["mountPath"], "type": "tmpfs",
                               "source": "tmpfs", "options": ["nosuid", "nodev", "noexec"]})
        context, limit = container["securityContext"], container["resources"]["limits"]["memory"]
        assert limit.endswith("Mi")
        super().__init__(
            pod, *arguments, user=context["runAsUser"], memory=int(limit[:-2]) << 20, mounts=mounts,
            capabilities=["CAP_" + one for one in context["capabilities"]["add"]])
        self.probe = container["startupProbe"]["exec"]["command"]

    def ready(self):
        def probe():
            assert self.is_running(), self.output()
            return self.execute(*self.probe, check=False) is not None

        await_that("the start-up probe succeeds", probe)
        return self

    status, clients, there = Proxy.status, Proxy.clients, Proxy.there


def the_sidecar_as_it_is_written_has_lanes(machine):
    spec = next(spec for where, spec in pods() if where == "sidecar.yaml Deployment")
    pod = Pod(machine, "systemd")
    proxy = AsWritten(pod, spec, proxy_of(spec), arguments_of(proxy_of(spec))).ready()
    assert proxy.status()["kernel_path"]["cgroup"].endswith(pod.cgroup), proxy.output()
    for container in spec["containers"]:
        Container(pod, *container["args"], user=container["securityContext"]["runAsUser"])
        # Kubernetes would start one again that ends because the other is not there yet.
        await_that("it connects", lambda: all(
            c["subscriptions"] + c["topics"] for c in proxy.status()["connections"]
            or [{"subscriptions": 0, "topics": 0}]))
    clients = proxy.there("xylem-reply", "xylem-request")
    assert all(client["lane"] for client in clients), clients
    await_that("the kernel moves messages",
               lambda: proxy.there("xylem-reply", "xylem-request")[0]["kernel"]["frames"] > 10)


def the_nodes_proxy_as_it_is_written_serves_all_pods(machine):
    spec = next(spec for where, spec in pods() if where == "node.yaml DaemonSet")
    own, other = Pod(machine, "systemd"), Pod(machine, "cgroupfs")
    other.netns = own.netns
    # The address of the node is not this machine's; who says no token is refused elsewhere.
    arguments = [word.replace("10.0.0.1:", "127.0.0.1:") for word in arguments_of(proxy_of(spec))]
    at = arguments.index("--token-file")
    assert arguments[at + 1].startswith("/etc/xylem/")
    del arguments[at:at + 2]
    proxy = AsWritten(own, spec, proxy_of(spec), arguments).ready()
    assert proxy.status()["kernel_path"]["cgroup_why"] == "all of the mount", proxy.output()
    Container(other, "reply", "--echo", "demo.echo")
    await_that("the client is on a lane", lambda: proxy.there("xylem-reply")[0]["lane"])


main([manifests_are_what_kubernetes_understands, volumes_fit_their_mounts,
      the_program_has_these_options, nobody_may_do_more_than_needed,
      the_sidecar_as_it_is_written_has_lanes, the_nodes_proxy_as_it_is_written_serves_all_pods])
