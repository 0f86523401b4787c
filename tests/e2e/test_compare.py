# SPDX-License-Identifier: BSD-2-Clause
"""`make bench` without anybody to compare with: every work goes through every transport that needs no
other program, all is recorded and judged; and a wrong answer, a dead server and a dead bench fail it."""
import json
import os
import stat
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "common"))
import tap  # noqa: E402

BUILD = os.environ.get("XY_BUILD", os.path.join(TOP, "build"))
COMPARE = os.path.join(TOP, "scripts", "bench", "compare.py")


class Copy:
    """A directory that looks like the build, for results of its own and programs that are others."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory()
        self.path = self.directory.name
        os.mkdir(os.path.join(self.path, "bench"))
        os.symlink(os.path.join(BUILD, "xylem"), os.path.join(self.path, "xylem"))
        self.peers = os.path.join(self.path, "bench", "peers")
        os.symlink(os.path.join(BUILD, "bench", "peers"), self.peers)

    def instead(self, path, script):
        os.unlink(path)
        with open(path, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\n" + script)
        os.chmod(path, stat.S_IRWXU)

    def compare(self, only):
        done = subprocess.run([sys.executable, COMPARE, "--quick", "--duration", "10", "--build",
                               self.path, "--parts", "runs", "--only", only],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        with open(os.path.join(self.path, "bench", "results.jsonl"), encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
        return done.returncode, done.stdout, records


def test_every_work_goes_through_every_transport():
    copy = Copy()
    only = "tcp,unix,pipe,xylem-off,xylem-off-unix"
    status, output, records = copy.compare(only)
    assert status == 0, output
    runs = {(record["transport"], record["case"], record["placement"], record["size"]): record
            for record in records if record["kind"] == "run"}
    for name in only.split(","):
        for case, placement, sizes in (("request", "one", 3), ("request", "free", 3),
                                       ("batch", "free", 3), ("each", "free", 2),
                                       ("fan8", "free", 0 if name == "pipe" else 3)):
            found = [run for key, run in runs.items() if key[:3] == (name, case, placement)]
            assert len(found) == sizes, (name, case, placement, output)
            assert all(run["good"] and run["done"] == run["begun"] for run in found), found
            assert all((run["memory"] is not None) == name.startswith("xylem") for run in found)
    # One alone may have ended before it began, where the machine had no time for it.
    assert sum(run["done"] for run in runs.values()) > 1000, output
    assert records[0]["kind"] == "machine" and records[0]["versions"]["xylem"], records[0]
    with open(os.path.join(copy.path, "bench", "results.md"), encoding="utf-8") as file:
        table = file.read()
    assert "| xylem, kernel path off |" in table and "| loopback TCP |" in table, table
    assert "targets met" in output, output


def test_a_bench_that_fails_fails_the_comparison():
    copy = Copy()
    copy.instead(copy.peers, "[ $# != 0 ] || { echo stream; exit; }\n"
                 "echo '{\"good\": false, \"latency\": null}'\nexit 1\n")
    status, output, records = copy.compare("tcp")
    assert status == 1 and "FAILED" in output, output
    assert not [record for record in records if record["kind"] == "run"], records
    assert [record for record in records if record["kind"] == "failed"], records


def test_a_wrong_answer_with_a_good_status_fails_it_too():
    copy = Copy()
    copy.instead(copy.peers, "[ $# != 0 ] || { echo stream; exit; }\n"
                 "echo '{\"good\": false, \"latency\": null}'\n")
    status, output, _ = copy.compare("tcp")
    assert status == 1 and "FAILED" in output, output


def test_a_server_that_does_not_come_up_fails_it():
    copy = Copy()
    copy.instead(os.path.join(copy.path, "xylem"), "[ $1 = serve ] && exit 7\nexit 1\n")
    status, output, _ = copy.compare("xylem-off")
    assert status == 1 and "xylem-off has ended with 7" in output, output


def test_a_server_that_dies_fails_it():
    copy = Copy()
    copy.instead(copy.peers, "[ $# != 0 ] || { echo xylem; exit; }\n"
                 "while [ $1 != --proxy-pid ]; do shift; done\nkill -KILL $2\nexit 1\n")
    status, output, _ = copy.compare("xylem-off")
    assert status == 1 and "xylem-off has ended with -9" in output, output


def test_a_client_that_is_not_built_is_told():
    copy = Copy()
    copy.instead(copy.peers, "[ $# != 0 ] || { echo stream; exit; }\nexit 1\n")
    status, output, records = copy.compare("xylem-off")
    assert status == 0 and "SKIPPED xylem-off" in output, output
    assert [record for record in records if record["kind"] == "skipped"], records


tap.main(globals())
