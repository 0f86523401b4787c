# SPDX-License-Identifier: BSD-2-Clause
"""Tests of a script, told in TAP."""
import sys


def main(names):
    """Runs what is named test_… in `names`, the script's globals(); ends the process."""
    tests = [(name, value) for name, value in names.items() if name.startswith("test_")]
    failed = 0
    print(f"1..{len(tests)}")
    for number, (name, run) in enumerate(tests, 1):
        try:
            run()
            print(f"ok {number} - {name}")
        except AssertionError as error:
            failed += 1
            print(f"not ok {number} - {name}")
            print("\n".join(f"# {line}" for line in str(error).splitlines()), file=sys.stderr)
    sys.exit(1 if failed else 0)
