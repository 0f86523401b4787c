#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The same work through xylem, through others and through nobody, side by side in one run.

    compare.py [--quick] [--build DIRECTORY] [--only TRANSPORT,...] [--parts PART,...]

One engine sends, checks and counts for all of them (user/cmd/bench_*.c); build/bench/peers gives it
other clients. Whoever is compared is started with the settings of servers.py, first all on one CPU
with the clients ("one": round trips), then free to use all CPUs, with the clients pinned to two
("free"). Every repetition goes through all works and sizes, and within each of them through all
transports, beginning with another one each time, so that whatever the machine does otherwise hits
all. A message that is missing, damaged or repeated fails the comparison, and so does who dies.

Left in BUILD/bench: results.jsonl, and the judgement of it (judge.py). One JSON object a line:

  kind machine   cpus, kernel, model, memory_kib, date, command, quick, repetitions, duration_ms, versions {name: text}
  kind skipped   name, why
  kind run       transport, case, size, placement, repetition, memory {rss_kib pss_kib peak_kib
                 maps_kib} or null, elsewhere (the share of these CPUs' time that neither clients
                 nor servers used, but somebody else or the host), and all that `xylem bench --json` says of the run (work, send,
                 publishers, subscribers, messages_per_second, latency {p50_ns p99_ns …}, proxy
                 {cpu_ns_per_message switches_per_message …}, lane, good …)
  kind failed    transport, case, size, placement, repetition, why
  kind idle      server, memory: just started, free to use all CPUs
  kind connections  server, connections, bytes_each
  kind syscalls  transport, case, size, calls_per_message: of the server, under strace
  kind verdict   frames, ns: of the kernel's program, for a send of so many (scale.sh)
  kind lines     line, pipes {mib_s cpu_ms_gib}, plain {the same} (lines.sh)
  kind stalled   name, alone, beside, longest_stall_ms, worst_latency_ms, lost, cut, peak_kib

transport: tcp unix pipe (nobody in between) xylem xylem-off xylem-off-unix nats redis redis-unix
zeromq mosquitto haproxy nginx. case: request; batch (one to one, as the library sends); each (one
to one, a send for each message); fan8 (one to eight, as the library sends).

BENCH_SKIPS=forbid makes a peer that is missing a failure."""
import argparse
import contextlib
import datetime
import json
import os
import platform
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import judge
import servers

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FORBID = os.environ.get("BENCH_SKIPS") == "forbid"
SIZES = (64, 1024, 16384)
TO_MANY = ("haproxy", "nginx", "pipe")  # … they do not send
# One message per send is not to be had from what batches by itself.
CASES = (
    {"case": "request", "placement": "one", "arguments": ["request"], "sizes": SIZES, "not": ()},
    {"case": "request", "placement": "free", "arguments": ["request"], "sizes": SIZES, "not": ()},
    {"case": "batch", "placement": "free", "arguments": ["publish"], "sizes": SIZES, "not": ()},
    {"case": "each", "placement": "free", "arguments": ["publish", "--send", "each"],
     "sizes": (64, 1024), "not": ("zeromq",)},
    {"case": "fan8", "placement": "free", "arguments": ["publish", "--subscribers", "8"],
     "sizes": SIZES, "not": TO_MANY},
)
PARTS = ("runs", "verdict", "connections", "lines", "syscalls", "stalled")
RUN_S = 40


class Comparison:
    def __init__(self, options):
        self.options = options
        self.quick = options.quick
        self.build = os.path.abspath(options.build)
        self.peers = os.path.join(self.build, "bench", "peers")
        self.out = open(os.path.join(self.build, "bench", "results.jsonl"), "w", encoding="utf-8")
        self.work = tempfile.mkdtemp(prefix="xylem-bench-")
        self.cpus = sorted(os.sched_getaffinity(0))
        self.repetitions, self.duration, self.warmup = (1, 250, 80) if self.quick else (5, 800, 200)
        self.repetitions = options.repetitions or self.repetitions
        if options.duration:
            self.duration = self.warmup = options.duration
        self.begun, self.failed, self.skipped = time.monotonic(), False, {}
        done = subprocess.run([self.peers], stdout=subprocess.PIPE, text=True, check=True)
        self.clients = done.stdout.split()

    # ---- telling ------------------------------------------------------------------------------

    def write(self, kind, **fields):
        self.out.write(json.dumps({"kind": kind, **fields}) + "\n")
        self.out.flush()

    def say(self, text):
        elapsed = int(time.monotonic() - self.begun)
        print(f"{elapsed // 60:2}:{elapsed % 60:02}  {text}", file=sys.stderr, flush=True)

    def skip(self, name, why):
        if name not in self.skipped:
            self.skipped[name] = why
            self.write("skipped", name=name, why=why)
            self.say(f"SKIPPED {why}")
            self.failed |= FORBID

    def fail(self, why, **fields):
        self.failed = True
        self.write("failed", why=why, **fields)
        self.say(f"FAILED {fields}: {why}")

    # ---- servers ------------------------------------------------------------------------------

    def placed(self, placement):
        """CPUs of servers, and of clients."""
        if placement == "one":
            return self.cpus[:1], self.cpus[:1]
        return self.cpus, self.cpus[:2]

    def wanted(self, transport):
        return not self.options.only or transport in self.options.only

    @contextlib.contextmanager
    def running(self, placement, kinds=servers.SERVERS):
        """{transport: (client, address, server or None)} of all that can be started."""
        there, started = {}, []
        try:
            for name, (client, address) in servers.floors(self.work).items():
                there[name] = (client, address, None)
            for kind in kinds:
                server = kind(self.work, placement, self.placed(placement)[0], self.build)
                mine = {name: way for name, way in server.transports().items()
                        if self.wanted(name)}
                if not mine:
                    continue
                try:
                    if not set(way[0] for way in mine.values()) <= set(self.clients):
                        raise servers.Missing(f"{server.name}: its client's library is missing")
                    server.start()
                    started.append(server)
                except servers.Missing as missing:
                    self.skip(server.name, str(missing))
                    continue
                for name, (client, address) in mine.items():
                    there[name] = (client, address, server)
            yield {name: way for name, way in there.items() if self.wanted(name)}
            for server in started:
                server.check()
        finally:
            for server in started:
                server.stop()

    # ---- one run ------------------------------------------------------------------------------

    def processor_time(self, server):
        """Seconds since the start: of all CPUs together, of these in use, used by what is measured."""
        ticks, second = 0, os.sysconf("SC_CLK_TCK")
        with open("/proc/stat", encoding="ascii") as file:
            for line in file:
                found = re.match(r"cpu(\d+) (.*)", line)
                if found and int(found[1]) in self.cpus:
                    # user nice system idle iowait irq softirq steal
                    used = [int(word) for word in found[2].split()]
                    ticks += sum(used[:3]) + sum(used[5:8])
        ours = sum(os.times()[:4]) + (server.processor_time() if server else 0)
        return time.monotonic() * len(self.cpus), ticks / second, ours

    def bench(self, client, address, arguments, size, cpus, pid=0, duration=None):
        """What the bench says, or why it says nothing."""
        command = [self.peers, client, *arguments, "--server", address, "--size", str(size),
                   "--json", "--cpus", ",".join(map(str, cpus)), "--duration",
                   f"{duration or self.duration}ms", "--warmup", f"{self.warmup}ms"]
        if pid:
            command += ["--proxy-pid", str(pid)]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, timeout=RUN_S, check=False)
        except subprocess.TimeoutExpired:
            return None, f"no end within {RUN_S} s"
        with contextlib.suppress(ValueError):
            result = json.loads(done.stdout)
            if not done.returncode and result["good"]:
                return result, None
        return None, f"status {done.returncode}: {done.stderr.strip()} {done.stdout.strip()}"

    def run(self, name, way, case, size, repetition):
        client, address, server = way
        if server:
            server.reset_peak()
        before = self.processor_time(server)
        result, why = self.bench(client, address, case["arguments"], size,
                                 self.placed(case["placement"])[1], server and server.pids[0])
        passed, used, ours = (b - a for a, b in zip(before, self.processor_time(server)))
        about = {"transport": name, "case": case["case"], "size": size,
                 "placement": case["placement"], "repetition": repetition}
        if why:
            self.fail(why, **about)
            # Whose fault it was; who has just been killed may need a moment to be gone.
            if server:
                server.check(1)
            return None
        if name == "xylem" and not result["lane"]:
            self.fail("not on lanes", **about)
            return None
        self.write("run", **{**result, **about, "memory": server.memory() if server else None,
                             "elsewhere": max(0, used - ours) / passed})
        return result

    # ---- parts --------------------------------------------------------------------------------

    def part_runs(self):
        for placement in ("one", "free"):
            with self.running(placement) as ways:
                if placement == "free":
                    for server in {way[2] for way in ways.values() if way[2]}:
                        self.write("idle", server=server.name, memory=server.memory())
                for repetition in range(1, self.repetitions + 1):
                    for case in CASES:
                        if case["placement"] == placement:
                            self.part_case(ways, case, repetition)

    def part_case(self, ways, case, repetition):
        names = [name for name in ways if name not in case["not"]]
        for size in case["sizes"]:
            turn = (repetition - 1) % len(names) if names else 0
            figures = {}
            for name in names[turn:] + names[:turn]:
                result = self.run(name, ways[name], case, size, repetition)
                if result and result["latency"] and case["case"] == "request":
                    figures[name] = f"{result['latency']['p50_ns'] / 1000:.1f}"
                elif result:
                    figures[name] = f"{result['messages_per_second'] / 1000:.0f}"
            unit = "µs" if case["case"] == "request" else "k/s"
            self.say(f"{repetition}/{self.repetitions} {case['case']} {case['placement']} "
                     f"{size} B, {unit}: " + " ".join(f"{name} {figures[name]}"
                                                     for name in names if name in figures))

    def script(self, name, *arguments, **environment):
        """Lines of JSON that another bench leaves, which is not to overwrite what it has left before."""
        build = tempfile.mkdtemp(dir=self.work)
        for entry in os.listdir(self.build):
            if entry != "bench":
                os.symlink(os.path.join(self.build, entry), os.path.join(build, entry))
        done = subprocess.run([os.path.join(TOP, "scripts", "bench", name + ".sh"), *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                              env={**os.environ, "BUILD": build, **environment})
        if done.returncode:
            self.fail(f"{name}.sh: status {done.returncode}: {done.stderr}", transport="xylem",
                      case=name)
        with contextlib.suppress(OSError), open(f"{build}/bench/{name}.jsonl",
                                                encoding="utf-8") as file:
            return done.stdout, [json.loads(line) for line in file]
        return done.stdout, []

    def part_verdict(self):
        if os.geteuid() != 0:
            self.skip("verdict", "verdict: needs root")
            return
        for record in self.script("scale", "frames")[1]:
            if record.get("verdict_ns"):
                self.write("verdict", frames=record["x"], ns=record["verdict_ns"])
                self.say(f"verdict of {record['x']} frames: {record['verdict_ns']:.0f} ns")

    def part_syscalls(self):
        strace = shutil.which("strace")
        if self.quick:
            return
        if not strace:
            self.skip("syscalls", "system calls: there is no strace")
            return
        with self.running("free") as ways:
            for case in CASES[2:]:
                for name, (client, address, server) in ways.items():
                    if not server or name in case["not"]:
                        continue
                    counts = os.path.join(self.work, "calls")
                    tracer = subprocess.Popen(
                        [strace, "-f", "-c", "-U", "calls,name", "-o", counts]
                        + [word for pid in server.pids for word in ("-p", str(pid))],
                        stderr=subprocess.DEVNULL)
                    time.sleep(0.1)
                    result, _ = self.bench(client, address, case["arguments"], 64,
                                           self.placed("free")[1])
                    tracer.send_signal(signal.SIGINT)
                    tracer.wait()
                    with open(counts, encoding="ascii", errors="replace") as file:
                        found = re.findall(r"^\s*(\d+)\s+(\w+)$", file.read(), re.M)
                    calls = sum(int(n) for n, call in found if call != "total")
                    if result and result["done"]:
                        self.write("syscalls", transport=name, case=case["case"], size=64,
                                   calls_per_message=calls / result["done"])

    def part_connections(self):
        count = 2000 if self.quick else 4000
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
        for kind, words in ((servers.Nats, "CONNECT {{\"verbose\":false}}\r\nSUB idle.{0} 1\r\nPING\r\n"),
                            (servers.Redis, "SUBSCRIBE idle.{0}\r\n")):
            with self.running("free", (kind,)) as ways:
                found = [way[2] for way in ways.values() if way[2]]
                if found:
                    self.idle_connections(found[0], words, min(count, limit[1] - 200))
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        test = os.path.join(self.build, "tests", "e2e", "test_idle")
        if not os.path.exists(test) or os.geteuid() != 0:
            self.skip("idle", "idle connections of xylem: need root and tests")
            return
        told = self.script("idle", str(count))[0]
        for number, how, each in re.findall(r"(\d+) idle connections, (.*): (\d+) bytes each", told):
            self.write("connections", server=f"xylem, {how}", connections=int(number),
                       bytes_each=int(each))
            self.say(f"idle connections: xylem, {how}, {each} bytes each")

    def idle_connections(self, server, words, count):
        before, sockets = server.memory(), []
        for i in range(count):
            one = socket.create_connection(("127.0.0.1", server.port))
            one.sendall(words.format(i).encode())
            sockets.append(one)
            answer = b""
            # What it says last: that it has the subscription.
            while b"PONG" not in answer and not answer.endswith(b":1\r\n"):
                answer += one.recv(4096)
        after = server.memory()
        for one in sockets:
            one.close()
        each = (after["rss_kib"] - before["rss_kib"]) * 1024 // count
        self.write("connections", server=server.name, connections=count, bytes_each=each)
        self.say(f"idle connections: {server.name} {each} bytes each")

    def part_lines(self):
        for record in self.script("lines", *(["8", "3"] if self.quick else ["32", "5"]))[1]:
            self.write("lines", **{key: record[key] for key in ("line", "pipes", "plain")})
            self.say(f"newline servers, lines of {record['line']} B: CPU time of plain / pipes "
                     f"{record['plain']['cpu_ms_gib'] / record['pipes']['cpu_ms_gib']:.2f}")

    def part_stalled(self):
        if self.quick:
            return
        told = self.script("stalled", DURATION="3", PATHS="on", POLICIES="block disconnect")[0]
        for line in told.splitlines():
            row = re.match(r"(\S.*\S)\s+(\d+)\s+(\d+)\s+([\d.]+) ms\s+([\d.]+) ms\s+(-?\d+)\s+"
                           r"(never|[\d.]+ s)\s+(\d+) KiB", line)
            if row:
                self.write("stalled", name=row[1], alone=int(row[2]), beside=int(row[3]),
                           longest_stall_ms=float(row[4]), worst_latency_ms=float(row[5]),
                           lost=int(row[6]), cut=row[7], peak_kib=int(row[8]))
                self.say(f"beside one that never reads: {row[0]}")

    # ---- all ----------------------------------------------------------------------------------

    def machine(self):
        model = re.search(r"model name\s*:\s*(.*)", open("/proc/cpuinfo", encoding="utf-8").read())
        versions = {}
        for kind in servers.SERVERS:
            with contextlib.suppress(servers.Missing):
                versions[kind.name] = kind(self.work, "version", [], self.build).told_version()
        self.write("machine", cpus=len(self.cpus), kernel=platform.release(),
                   model=model.group(1) if model else platform.machine(),
                   memory_kib=servers.number_of("/proc/meminfo", "MemTotal"),
                   date=datetime.date.today().isoformat(), quick=self.quick,
                   command="make bench-quick" if self.quick else "make bench",
                   repetitions=self.repetitions, duration_ms=self.duration, versions=versions)

    def conduct(self):
        self.machine()
        try:
            for part in PARTS:
                if not self.options.parts or part in self.options.parts:
                    try:
                        getattr(self, "part_" + part)()
                    except servers.Broken as broken:
                        self.fail(str(broken))
        finally:
            self.out.close()
            shutil.rmtree(self.work, ignore_errors=True)
        return self.failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="less of everything: minutes")
    parser.add_argument("--build", default=os.path.join(TOP, "build"))
    parser.add_argument("--duration", type=int, help="ms of a run, and before it, instead")
    parser.add_argument("--repetitions", type=int, help="of every run, instead")
    parser.add_argument("--only", type=lambda text: text.split(","), help="these transports")
    parser.add_argument("--parts", type=lambda text: text.split(","),
                        help="of " + ",".join(PARTS))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    comparison = Comparison(options)
    failed = comparison.conduct()
    results = os.path.join(comparison.build, "bench", "results.jsonl")
    judge.main([results, "--table", os.path.join(comparison.build, "bench", "results.md")])
    comparison.say("FAILED" if failed else "done")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
