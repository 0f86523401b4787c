# SPDX-License-Identifier: BSD-2-Clause
"""What guests left becomes red when it must: failed tests, silence, kernels that complain or are
missing, skips where none are allowed."""
import os
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "common"))
import tap  # noqa: E402

REPORT = os.path.join(TOP, "scripts", "vm", "report.py")
GOOD = {
    "planned": "kernel/test_slots\nchaos\n",
    "console": "[    0.1] Linux version\n[    9.9] reboot: Power down\n",
    "results": "release 5.10.0-cloud\nseconds 7 kernel/test_slots\nok kernel/test_slots: one\n"
               "ok kernel/test_slots: two\nok chaos\nended ok\n",
}


def report(files, forbid=False, host="", known=None):
    """Exit status and output for one guest, 5.10, that left these files; `known` instead of what
    scripts/vm/known lists."""
    environment = {key: value for key, value in os.environ.items() if key != "CHECK_SKIPS"}
    if forbid:
        environment["CHECK_SKIPS"] = "forbid"
    with tempfile.TemporaryDirectory() as directory:
        os.mkdir(os.path.join(directory, "5.10"))
        for name, text in files.items():
            with open(os.path.join(directory, "5.10", name), "w", encoding="utf-8") as file:
                file.write(text)
        results = os.path.join(directory, "host")
        if host:
            with open(results, "w", encoding="utf-8") as file:
                file.write(host)
        program = REPORT
        if known is not None:
            program = shutil.copy(REPORT, directory)
            with open(os.path.join(directory, "known"), "w", encoding="utf-8") as file:
                file.write(known)
        done = subprocess.run([sys.executable, program, directory, results, "5.10"], text=True,
                              stdout=subprocess.PIPE, env=environment, check=False)
    return done.returncode, done.stdout


def changed(name, old, new):
    assert old in GOOD[name]
    return dict(GOOD, **{name: GOOD[name].replace(old, new)})


def test_good():
    status, output = report(GOOD, forbid=True, host="ok kernel/test_slots: one\nok unit/test_x: y\n")
    assert status == 0, output
    lines = output.splitlines()
    assert lines[0].split() == ["this", "host", "5.10"], output
    assert lines[2].split() == ["kernel/test_slots", "1", "ok", "2", "ok", "7", "s"], output
    assert lines[-1] == "4 passed, 0 failed, 0 skipped", output
    assert "unit/test_x" not in output


def test_a_failed_test_is_told_with_the_output():
    files = changed("results", "ok kernel/test_slots: two", "fail kernel/test_slots: two")
    said = "FAILED kernel/test_slots: two\n    | not ok 2 - two\n    | # slots.c:7: 1 != 2\n"
    status, output = report(dict(files, output=said))
    assert status == 1 and "FAILED 5.10: kernel/test_slots: two" in output, output
    assert "slots.c:7: 1 != 2" in output and "1 FAILED" in output, output


def test_what_chaos_says_is_told_first():
    """Not pushed out by what a run says at its end."""
    said = "    1.234 UNACCOUNTED: fan-sub-1: 3 missing\n" + "    9.9 - stop fan\n" * 999 + \
        "".join(f"    {i}.0 FAILED: x\n" for i in range(200)) + "---- end of proxy-on.log ----\n"
    files = changed("results", "ok chaos", "fail chaos")
    status, output = report(dict(files, output=said, chaos="==== run.log\n"))
    assert status == 1 and "5.10 |     1.234 UNACCOUNTED: fan-sub-1: 3 missing" in output, output
    assert "stop fan" not in output and "lines more" in output, output
    assert "5.10/{output,console,chaos}" in output, output


def test_the_seconds_of_each_guest():
    status, output = report(dict(GOOD, seconds="217\n"))
    assert status == 0 and output.splitlines()[-2].split() == ["seconds", "217"], output


def test_silence_is_a_failure():
    status, output = report(changed("results", "ok chaos\n", ""))
    assert status == 1 and "FAILED 5.10: chaos gave no verdict" in output, output
    status, output = report(changed("results", "ended ok\n", ""))
    assert status == 1 and "did not come to its end" in output, output
    assert "reboot: Power down" in output, output


def test_a_kernel_that_complains_is_a_failure():
    for line in ("WARNING: CPU: 1 PID: 77 at net/core/stream.c:208 sk_stream_kill_queues+0x4d",
                 "BUG: unable to handle page fault", "rcu: INFO: rcu_sched self-detected stall on CPU",
                 "watchdog: BUG: soft lockup", "WARNING: possible circular locking dependency",
                 "BUG: KFENCE: use-after-free read", "Oops: 0000 [#1] SMP", "Kernel panic - not syncing"):
        status, output = report(changed("console", "reboot:", f"{line}\n[ 10.0] reboot:"))
        assert status == 1 and "its kernel complains" in output and line in output, output


def test_a_warning_of_a_known_bug_is_told_by_name():
    """Of that series, and nothing else that its kernel says."""
    line = "WARNING: CPU: 1 PID: 77 at net/core/stream.c:208 sk_stream_kill_queues+0x4d"
    files = changed("console", "reboot:", f"{line}\n[ 10.0] reboot:")
    known = r"warning 5.10 stream\.c:\d+ sk_stream_kill_queues # repaired in 5.10.999" + "\n"
    status, output = report(files, forbid=True, known=known)
    assert status == 0 and f"{line}: repaired in 5.10.999" in output, output
    assert "\nKNOWN 5.10: " in "\n" + output, output
    for other in (known.replace("5.10 ", "6.1 "), known.replace("warning ", "skip "), "# none\n"):
        status, output = report(files, forbid=True, known=other)
        assert status == 1 and "its kernel complains" in output, output
    files = changed("console", "reboot:", f"{line}\nBUG: KFENCE: use-after-free\n[ 10.0] reboot:")
    status, output = report(files, forbid=True, known=known)
    assert status == 1 and "BUG: KFENCE: use-after-free" in output, output


def test_skips():
    files = changed("results", "ok kernel/test_slots: two", "skip kernel/test_slots: two")
    status, output = report(files)
    assert status == 0 and "SKIPPED 5.10: kernel/test_slots: two" in output, output
    assert output.splitlines()[-1] == "3 passed, 0 failed, 1 skipped", output
    status, output = report(files, forbid=True)
    assert status == 1 and "kernel/test_slots: two: skips" in output, output


def test_a_missing_kernel():
    status, output = report({"missing": "no kernel\n"})
    assert status == 0 and "SKIPPED 5.10: no kernel could be fetched" in output, output
    status, output = report({"missing": "no kernel\n"}, forbid=True)
    assert status == 1 and "FAILED 5.10: no kernel could be fetched" in output, output


tap.main(globals())
