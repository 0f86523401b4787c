# SPDX-License-Identifier: BSD-2-Clause
"""The judge of comparisons: medians, ratios to the best of the others, met and missed, and that
nothing is said of what was not measured."""
import contextlib
import io
import json
import os
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, "scripts", "bench"), os.path.join(TOP, "tests", "common")]
import judge  # noqa: E402
import tap  # noqa: E402

MACHINE = {"kind": "machine", "cpus": 2, "kernel": "6.1", "model": "any", "memory_kib": 4194304,
           "date": "2001-02-03", "command": "make bench", "repetitions": 3, "duration_ms": 10,
           "quick": False, "versions": {"nats": "2.9"}}


def run(transport, case, size=64, placement="free", rate=1000.0, p50=None, p99=None, cpu=None):
    return {"kind": "run", "transport": transport, "case": case, "placement": placement,
            "size": size, "messages_per_second": rate, "memory": None,
            "latency": p50 and {"p50_ns": p50, "p99_ns": p99 or 2 * p50},
            "proxy": cpu is not None and {"cpu_ns_per_message": cpu, "switches_per_message": 0.1}
            or None}


def results(*records):
    return judge.Results([json.dumps(record) for record in (MACHINE, *records)])


def target(what, *records):
    found = [one for one in judge.targets_of(results(*records)) if one.what.startswith(what)]
    assert len(found) == 1, (what, [one.what for one in found])
    return found[0]


def test_a_median_is_judged_and_not_the_best_run():
    one = target("1→1 batching, 64 B", run("nats", "batch", rate=100), run("xylem", "batch", rate=9e9),
                 run("xylem", "batch", rate=510), run("xylem", "batch", rate=1))
    assert (one.value, one.verdict) == (5.1, "met"), vars(one)
    one = target("1→1 batching, 64 B", run("nats", "batch", rate=100),
                 run("xylem", "batch", rate=490))
    assert one.verdict == "MISSED", vars(one)


def test_the_best_of_the_others_counts():
    records = [run("xylem", "batch", rate=500), run("nats", "batch", rate=10),
               run("redis-unix", "batch", rate=200), run("zeromq", "batch", rate=50)]
    one = target("1→1 batching, 64 B", *records)
    assert (one.value, one.beside) == (2.5, "Redis, UNIX"), vars(one)
    # Nobody in between is no broker, nor who knows nothing of messages.
    one = target("1→1 batching, 64 B", *records, run("unix", "batch", rate=1e9),
                 run("haproxy", "batch", rate=1e9))
    assert one.value == 2.5, vars(one)


def test_of_latencies_less_is_better():
    records = [run("xylem", "request", placement="one", p50=34, p99=60),
               run("nats", "request", placement="one", p50=100, p99=150),
               run("redis", "request", placement="one", p50=200, p99=110),
               run("tcp", "request", placement="one", p50=50)]
    assert target("round trip p50, one core, 64 B / best", *records).verdict == "met"
    p99 = target("round trip p99, one core, 64 B / best", *records)
    assert p99.verdict == "MISSED" and p99.beside == "Redis, TCP", vars(p99)
    assert target("round trip p50, one core, 64 B / loopback", *records).verdict == "met"
    records[0]["latency"]["p50_ns"] = 43
    assert target("round trip p50, one core, 64 B / best", *records).verdict == "MISSED"
    assert target("round trip p50, one core, 64 B / loopback", *records).verdict == "MISSED"


def test_what_was_not_measured_is_neither_met_nor_missed():
    for one in judge.targets_of(results(run("nats", "batch"), run("xylem-off-unix", "each"))):
        assert one.verdict == "not measured", vars(one)


def test_without_the_kernel_path_the_better_socket_counts_as_it_does_for_brokers():
    records = [run("redis-unix", "batch", rate=100), run("xylem-off", "batch", rate=70),
               run("xylem-off-unix", "batch", rate=130)]
    one = target("kernel path off: 1→1 batching, 64 B", *records)
    assert (one.value, one.verdict) == (1.3, "met"), vars(one)
    assert one.beside == "Redis, UNIX; xylem by UNIX, by TCP 0.70", vars(one)


def test_time_of_the_proxy_is_compared_per_message():
    one = target("CPU time of the proxy per message, 1→1 batching", run("xylem", "batch", cpu=3.0),
                 run("nats", "batch", cpu=400.0))
    assert one.verdict == "met", vars(one)
    one = target("CPU time of the proxy per delivery, 1→8, 64 B", run("xylem", "fan8", cpu=80.0),
                 run("nats", "fan8", cpu=400.0), run("redis", "fan8", cpu=100.0))
    assert one.verdict == "MISSED" and one.value == 0.8, vars(one)


def test_memory_pipes_and_verdicts():
    records = [
        {"kind": "idle", "server": "xylem", "memory": {"rss_kib": 9000, "pss_kib": 5000,
                                                       "maps_kib": 3000}},
        {"kind": "connections", "server": "nats", "connections": 10, "bytes_each": 25000},
        {"kind": "connections", "server": "xylem, lanes", "connections": 10, "bytes_each": 2600},
        {"kind": "stalled", "name": "xylem block", "alone": 1, "beside": 1,
         "longest_stall_ms": 1.0, "worst_latency_ms": 1.0, "lost": 0, "cut": "never",
         "peak_kib": 9000},
        {"kind": "stalled", "name": "NATS", "alone": 1, "beside": 1, "longest_stall_ms": 1.0,
         "worst_latency_ms": 1.0, "lost": 0, "cut": "1.0 s", "peak_kib": 90000},
        {"kind": "lines", "line": 64, "pipes": {"mib_s": 1.0, "cpu_ms_gib": 9.0},
         "plain": {"mib_s": 1.0, "cpu_ms_gib": 9.0}},
        {"kind": "lines", "line": 4096, "pipes": {"mib_s": 3.0, "cpu_ms_gib": 100.0},
         "plain": {"mib_s": 1.0, "cpu_ms_gib": 201.0}},
        {"kind": "verdict", "frames": 64, "ns": 3225.0},
        {"kind": "verdict", "frames": 1, "ns": 390.0},
        {"kind": "verdict", "frames": 2, "ns": 3900.0},
    ]
    assert target("memory of an idle proxy", *records).verdict == "met"
    assert target("memory per idle connection", *records).verdict == "MISSED"
    assert target("memory at its peak", *records).value == 0.1
    assert target("newline server", *records).verdict == "met"
    assert target("verdict, a send of one frame", *records).value == 390
    further = target("verdict, each further frame", *records)
    assert (further.value, further.verdict) == (45, "MISSED"), vars(further)


def test_the_page_gets_the_table_between_its_markers_and_failures_have_a_status():
    records = [MACHINE, dict(run("xylem", "batch", rate=2e6), elsewhere=0.07),
               run("nats", "batch", rate=1e5)]
    with tempfile.TemporaryDirectory() as directory:
        path, page = os.path.join(directory, "results"), os.path.join(directory, "page")
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(json.dumps(record) + "\n" for record in records))
        with open(page, "w", encoding="utf-8") as file:
            file.write(f"before\n{judge.BEGIN}\nold\n{judge.END}\nafter\n")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert judge.main([path, "--docs", page]) == 0
        assert "1→1 batching, 64 B / best broker" in printed.getvalue()
        assert "Something else took 7 %" in printed.getvalue()
        with open(page, encoding="utf-8") as file:
            text = file.read()
        assert text.startswith("before\n" + judge.BEGIN) and text.endswith(judge.END + "\nafter\n")
        assert "old" not in text and "| **xylem, lanes** | 2.00 M |" in text, text
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": "failed", "why": "corrupt"}) + "\n")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert judge.main([path]) == 1
        assert "FAILED" in printed.getvalue()


def test_a_machine_that_had_other_things_to_do_is_told():
    records = [dict(run("nats", "batch"), elsewhere=share) for share in (0.02, 0.5, 0.03)]
    text = judge.tables(results(*records))
    assert "took 3 % of the CPUs' time in the median run, 50 % in the worst" in text, text


tap.main(globals())
