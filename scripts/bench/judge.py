#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Medians of a comparison (results.jsonl of compare.py), and which target each of them meets.

    judge.py RESULTS [--table FILE] [--docs FILE]

Prints one line a target: met, MISSED, or not measured. --table writes all as Markdown; --docs puts
that between the markers of a page. Missed targets are no failure: they are told. The status is 1
when a run failed, as figures beside a wrong answer are worth nothing."""
import argparse
import collections
import json
import statistics
import sys

BROKERS = ("nats", "redis", "redis-unix", "zeromq", "mosquitto")
ORDER = ("pipe", "unix", "tcp", "xylem", "xylem-off", "xylem-off-unix", *BROKERS, "haproxy",
         "nginx")
TITLES = {"pipe": "pipe", "unix": "UNIX stream", "tcp": "loopback TCP", "xylem": "**xylem, lanes**",
          "xylem-off": "xylem, kernel path off", "xylem-off-unix": "the same, UNIX", "nats": "NATS",
          "redis": "Redis, TCP", "redis-unix": "Redis, UNIX", "zeromq": "ZeroMQ proxy",
          "mosquitto": "mosquitto", "haproxy": "haproxy", "nginx": "nginx stream"}
SIZES = (64, 1024, 16384)
PLACES = {"one": "one core", "free": "across cores"}
BEGIN, END = "<!-- comparison: begin -->", "<!-- comparison: end -->"


def size_text(size):
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB"


class Results:
    """What was measured: medians of the repetitions."""

    def __init__(self, lines):
        self.of = collections.defaultdict(list)
        self.runs = collections.defaultdict(list)
        for line in lines:
            record = json.loads(line)
            self.of[record["kind"]].append(record)
            if record["kind"] == "run":
                self.runs[record["transport"], record["case"], record["placement"],
                          record["size"]].append(record)

    def values(self, transport, case, placement, size, what):
        values = []
        for run in self.runs.get((transport, case, placement, size), ()):
            for key in what:
                run = run.get(key) if run else None
            if run is not None:
                values.append(run)
        return values

    def median(self, *where):
        values = self.values(*where)
        return statistics.median(values) if values else None

    def best(self, transports, *where, better=min):
        """(value, transport) of the best of them, or None."""
        found = [(self.median(name, *where), name) for name in transports]
        found = [one for one in found if one[0] is not None]
        return better(found) if found else None


RATE, CPU = ("messages_per_second",), ("proxy", "cpu_ns_per_message")
P50, P99 = ("latency", "p50_ns"), ("latency", "p99_ns")


class Target:
    """A ratio, or a figure with a unit, and what it must be."""

    def __init__(self, what, value, bound, at_least=False, beside="", unit="×"):
        self.what, self.value, self.bound, self.at_least = what, value, bound, at_least
        self.beside, self.unit = beside, unit

    @property
    def verdict(self):
        if self.value is None:
            return "not measured"
        good = self.value >= self.bound if self.at_least else self.value <= self.bound
        return "met" if good else "MISSED"

    @property
    def cells(self):
        digits = 0 if abs(self.bound) >= 20 else 2 if abs(self.bound) >= 0.1 else 4
        reached = "-" if self.value is None else f"{self.value:.{digits}f} {self.unit}"
        return [self.what, f"{'≥' if self.at_least else '≤'} {self.bound:g} {self.unit}", reached,
                self.verdict, self.beside]


def ratio(mine, other):
    """Mine by the other's, and who that was."""
    if mine is None or not other or not other[0]:
        return None, ""
    return mine / other[0], TITLES[other[1]].replace("*", "")


def round_trips(results):
    for placement, bound in (("one", 0.85), ("free", 0.9)):
        for size in SIZES:
            at = ("request", placement, size, P50)
            value, beside = ratio(results.median("xylem", *at), results.best(("tcp",), *at))
            yield Target(f"round trip p50, {PLACES[placement]}, {size_text(size)} / loopback TCP",
                         value, bound, beside=beside)
    for placement in PLACES:
        for name, what, bound in (("p50", P50, 0.35), ("p99", P99, 0.5)):
            at = ("request", placement, 64, what)
            value, beside = ratio(results.median("xylem", *at), results.best(BROKERS, *at))
            yield Target(f"round trip {name}, {PLACES[placement]}, 64 B / best broker", value,
                         bound, beside=beside)


def throughput(results):
    for title, case, against, bounds in (
            ("1→1 batching", "batch", BROKERS, {64: 5, 1024: 1.5, 16384: 1.4}),
            ("1→1 one message a send", "each", ("nats",), {64: 1}),
            ("1→8 deliveries, batching", "fan8", BROKERS, {64: 3, 1024: 1.5, 16384: 1.3})):
        for size, bound in bounds.items():
            at = (case, "free", size, RATE)
            value, beside = ratio(results.median("xylem", *at),
                                  results.best(against, *at, better=max))
            yield Target(f"{title}, {size_text(size)} / "
                         f"{'NATS' if case == 'each' else 'best broker'}", value, bound, True,
                         beside)


OFF = ("xylem-off", "xylem-off-unix")


def off(results, others, *at, better=min):
    """Where a broker may come by UNIX sockets, so may xylem; by TCP it stands beside."""
    theirs = results.best(others, *at, better=better)
    mine = results.best(OFF, *at, better=better)
    value, beside = ratio(mine and mine[0], theirs)
    if value is None:
        return None, ""
    return value, (f"{beside}; xylem by {'UNIX' if mine[1] == OFF[1] else 'TCP'}, by TCP "
                   f"{ratio(results.median(OFF[0], *at), theirs)[0] or 0:.2f}")


def without_kernel(results):
    for placement in PLACES:
        for size in SIZES:
            value, beside = off(results, BROKERS, "request", placement, size, P50)
            yield Target(f"kernel path off: round trip p50, {PLACES[placement]}, "
                         f"{size_text(size)} / best broker", value, 1, beside=beside)
    for title, case, sizes in (("1→1 batching", "batch", SIZES),
                               ("1→1 one message a send", "each", (64,)),
                               ("1→8 deliveries", "fan8", SIZES)):
        for size in sizes:
            against = ("nats",) if case == "each" else BROKERS
            value, beside = off(results, against, case, "free", size, RATE, better=max)
            yield Target(f"kernel path off: {title}, {size_text(size)} / "
                         f"{'NATS' if case == 'each' else 'best broker'}", value, 1, True, beside)


def processor_time(results):
    for case, title in (("batch", "1→1 batching"), ("each", "1→1 one message a send")):
        at = (case, "free", 64, CPU)
        value, beside = ratio(results.median("xylem", *at), results.best(("nats",), *at))
        yield Target(f"CPU time of the proxy per message, {title}, 64 B / NATS", value, 0.01,
                     beside=beside)
    for size in SIZES:
        at = ("fan8", "free", size, CPU)
        value, beside = ratio(results.median("xylem", *at), results.best(BROKERS, *at))
        yield Target(f"CPU time of the proxy per delivery, 1→8, {size_text(size)} / best broker",
                     value, 0.7, beside=beside)


def memory(results):
    idle = {record["server"]: record["memory"] for record in results.of["idle"]}
    each = {record["server"]: record["bytes_each"] for record in results.of["connections"]}
    stalled = {record["name"]: record["peak_kib"] for record in results.of["stalled"]}
    whole = idle.get("xylem")
    yield Target("memory of an idle proxy, PSS and maps",
                 whole and (whole["pss_kib"] + whole["maps_kib"]) / 1024, 8, unit="MiB")
    nats = each.get("nats")
    for name in sorted(each):
        if name.startswith("xylem"):
            yield Target(f"memory per idle connection, {name.split(', ', 1)[-1]} / NATS",
                         each[name] / nats if nats else None, 0.1,
                         beside=f"{each[name]} B, {nats} B")
    if not any(name.startswith("xylem") for name in each):
        yield Target("memory per idle connection / NATS", None, 0.1)
    peers = [peak for name, peak in stalled.items() if not name.startswith("xylem")]
    mine = [peak for name, peak in stalled.items() if name.startswith("xylem")]
    yield Target("memory at its peak beside one that never reads / best broker",
                 max(mine) / min(peers) if mine and peers else None, 1,
                 beside=", ".join(f"{name} {peak // 1024} MiB" for name, peak in stalled.items()))


def pipes(results):
    found = sorted(results.of["lines"], key=lambda record: record["line"])
    for record in [one for one in found if one["line"] >= 4096] or [None]:
        yield Target("newline server, plain / pipes, CPU time per GiB"
                     + (f", lines of {size_text(record['line'])}" if record else ""),
                     record and record["plain"]["cpu_ms_gib"] / record["pipes"]["cpu_ms_gib"], 2, True,
                     record and f"{record['pipes']['mib_s'] / record['plain']['mib_s']:.2f} × as many "
                     "bytes a second" or "")


def verdict(results):
    found = {record["frames"]: record["ns"] for record in results.of["verdict"]}
    one, most = found.get(1), max(found, default=1)
    yield Target("verdict, a send of one frame", one, 400, unit="ns")
    yield Target("verdict, each further frame", (found[most] - one) / (most - 1)
                 if one is not None and most > 1 else None, 40, unit="ns",
                 beside=f"up to {most} frames a send" if most > 1 else "")


GROUPS = (round_trips, throughput, without_kernel, processor_time, memory, pipes, verdict)


def targets_of(results):
    return [target for group in GROUPS for target in group(results)]


# ---- tables ---------------------------------------------------------------------------------------

def row(cells):
    return "| " + " | ".join(cells) + " |"


def table(heading, rows):
    return [row(heading), row(["---"] * len(heading)), *[row(cells) for cells in rows], ""]


def figure(results, where, form):
    """The median, and how far the repetitions lie apart."""
    values = results.values(*where)
    if not values:
        return "-"
    middle = statistics.median(values)
    text = form(middle)
    if len(values) > 2 and middle:
        text += f" ±{(max(values) - min(values)) / 2 / middle * 100:.0f} %"
    return text


def microseconds(ns):
    return f"{ns / 1000:.1f}"


def count(value):
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    return f"{value / 1e3:.0f} k" if value >= 1e4 else f"{value / 1e3:.1f} k"


def case_table(results, case, placement, cell):
    sizes = sorted({key[3] for key in results.runs if key[1:3] == (case, placement)})
    rows = []
    for name in ORDER:
        cells = [cell(name, size) for size in sizes]
        if any(text.strip("- /") for text in cells):
            rows.append([TITLES[name], *cells])
    return table(["", *[size_text(size) for size in sizes]], rows) if rows else []


def disturbance(results):
    """A quiet machine shows some hundredths, of the kernel's own work."""
    shares = sorted(run["elsewhere"] for runs in results.runs.values() for run in runs
                    if "elsewhere" in run)
    if not shares:
        return ""
    return (f" Something else took {statistics.median(shares) * 100:.0f} % of the CPUs' time in the "
            f"median run, {shares[-1] * 100:.0f} % in the worst.")


def tables(results):
    machine = results.of["machine"][0]
    versions = ", ".join(f"{name} {text}" for name, text in machine["versions"].items())
    out = [f"`{machine['command']}`, {machine['date']}: {machine['cpus']} CPUs "
           f"({machine['model']}), {machine['memory_kib'] // 1048576} GiB, kernel "
           f"{machine['kernel']}; {versions}. Medians of {machine['repetitions']} "
           f"({machine['duration_ms']} ms each), ± half the distance between the extremes."
           + disturbance(results), ""]
    for skipped in results.of["skipped"]:
        out += [f"Left out: {skipped['why']}.", ""]
    for placement, text in PLACES.items():
        def trips(name, size, placement=placement):
            return " / ".join(figure(results, (name, "request", placement, size, what),
                                     microseconds) for what in (P50, P99))
        out += [f"**Round trip, {text}, µs (p50 / p99)**", "",
                *case_table(results, "request", placement, trips)]
    for case, title in (("batch", "One publisher, one subscriber, batching, messages/s"),
                        ("each", "One publisher, one subscriber, one message a send, messages/s"),
                        ("fan8", "One publisher, eight subscribers, batching, deliveries/s")):
        def rates(name, size, case=case):
            return figure(results, (name, case, "free", size, RATE), count)
        out += [f"**{title}**", "", *case_table(results, case, "free", rates)]
    out += spent(results) + others(results)
    out += ["**Targets**", "", *table(["what", "target", "reached", "", "beside"],
                                      [target.cells for target in targets_of(results)])]
    return "\n".join(out)


def spent(results):
    """Of the process in the middle."""
    calls = {(record["transport"], record["case"]): record["calls_per_message"]
             for record in results.of["syscalls"]}
    rows = []
    for name in ORDER:
        cells = [TITLES[name]]
        for case in ("batch", "each", "fan8"):
            cpu = results.median(name, case, "free", 64, CPU)
            switches = results.median(name, case, "free", 64, ("proxy", "switches_per_message"))
            called = calls.get((name, case))
            cells.append("-" if cpu is None else f"{cpu:.0f} / {switches:.3f} / "
                         + ("-" if called is None else f"{called:.3f}"))
        peak = results.median(name, "fan8", "free", 16384, ("memory", "peak_kib"))
        maps = results.median(name, "fan8", "free", 16384, ("memory", "maps_kib"))
        cells.append("-" if peak is None else f"{(peak + maps) / 1024:.1f}")
        if any(cell != "-" for cell in cells[1:]):
            rows.append(cells)
    return ["**The process in the middle, 64 B: CPU ns / context switches / system calls per message "
            "received; memory at its peak with 1→8 of 16 KiB, MiB, maps included**", "",
            *table(["", "1→1 batching", "1→1 one a send", "1→8 batching", "memory"], rows)]


def others(results):
    out = []
    if results.of["idle"]:
        rows = [[record["server"], f"{record['memory']['rss_kib'] / 1024:.1f}",
                 f"{record['memory']['pss_kib'] / 1024:.1f}",
                 f"{record['memory']['maps_kib'] / 1024:.1f}"] for record in results.of["idle"]]
        out += ["**Memory when idle, MiB**", "",
                *table(["", "resident", "proportional", "maps"], sorted(rows))]
    if results.of["connections"]:
        out += ["**Memory per idle connection**", "", *table(
            ["", "connections", "bytes each"],
            [[record["server"], str(record["connections"]), str(record["bytes_each"])]
             for record in results.of["connections"]])]
    if results.of["stalled"]:
        out += ["**Beside a subscriber that never reads, 20,000 messages/s of 1 KiB**", "", *table(
            ["", "sent in time, without", "with it", "longest stall, ms", "worst latency, ms",
             "lost", "cut after", "memory at its peak, MiB"],
            [[record["name"], str(record["alone"]), str(record["beside"]),
              f"{record['longest_stall_ms']:.1f}", f"{record['worst_latency_ms']:.1f}",
              str(record["lost"]), record["cut"], f"{record['peak_kib'] / 1024:.1f}"]
             for record in results.of["stalled"]])]
    if results.of["lines"]:
        out += ["**Newline servers: MiB/s and CPU ms per GiB**", "", *table(
            ["lines of", "pipes", "plain"],
            [[size_text(record["line"]),
              *[f"{record[who]['mib_s']:.0f} / {record[who]['cpu_ms_gib']:.0f}"
                for who in ("pipes", "plain")]] for record in results.of["lines"]])]
    return out


def replace_between(path, text):
    with open(path, encoding="utf-8") as file:
        page = file.read()
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results")
    parser.add_argument("--table")
    parser.add_argument("--docs")
    options = parser.parse_args(arguments)
    with open(options.results, encoding="utf-8") as file:
        results = Results(file)
    targets = targets_of(results)
    widths = [max(len(target.cells[i]) for target in targets) for i in range(4)]
    for target in targets:
        print("  ".join(cell.ljust(width) for cell, width in
                        zip(target.cells, [*widths, 0])).rstrip())
    totals = collections.Counter(target.verdict for target in targets)
    print(f"{totals['met']} targets met, {totals['MISSED']} missed, "
          f"{totals['not measured']} not measured." + disturbance(results))
    for failure in results.of["failed"]:
        print(f"FAILED: {json.dumps(failure)}")
    if options.table:
        with open(options.table, "w", encoding="utf-8") as file:
            file.write(tables(results))
    if options.docs:
        replace_between(options.docs, tables(results))
    return 1 if results.of["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
