# SPDX-License-Identifier: BSD-2-Clause
"""What holds without TLS holds with it: tests that know nothing of it, with all of their TCP
clients speaking it ($XY_TEST_TLS, tests/common/secure.h). There are no lanes then, so that only
their halves without the kernel path are run."""
import os
import subprocess
import sys

BUILD = os.environ.get("XY_BUILD", os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                                "..", "..", "build"))
PROGRAMS = ("protocol", "delivery", "groups", "bad_input", "block", "overflow", "overflow_policies",
            "stalled", "hangup", "last_words", "fairness", "attack_floods")


def run(program):
    environment = dict(os.environ, XY_TEST_TLS="1", XYLEM_KERNEL_PATH="off")
    path = os.path.join(BUILD, "tests", "e2e", "test_" + program)
    return subprocess.run([path], env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)


def main():
    print(f"1..{len(PROGRAMS)}", flush=True)
    failed = 0
    for number, program in enumerate(PROGRAMS, 1):
        result = run(program)
        good = result.returncode == 0
        failed += not good
        print(f"{'ok' if good else 'not ok'} {number} - test_{program}", flush=True)
        if not good:
            print("".join(f"# {line}\n" for line in result.stdout.splitlines()), flush=True)
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
