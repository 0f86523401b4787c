#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What came of guests: one table, and of each failure the output.

    report.py DIRECTORY HOST_RESULTS GUEST...

DIRECTORY/GUEST has what scripts/vm/check.sh left: planned, console, output, results, seconds, and
in `chaos` the logs of a chaos run that failed.
HOST_RESULTS are those of the last `make check` here, or nothing. The exit status is 0 when nothing
failed; the last line is the totals."""
import os
import re
import sys

WARNING = re.compile(
    r"WARNING:|BUG:|kernel BUG|Oops|Kernel panic|general protection|KFENCE:|UBSAN|KASAN|"
    r"self-detected stall|detected stalls|rcu_\w+ kthread starved|soft lockup|hard LOCKUP|"
    r"blocked for more than|possible (circular|recursive) locking|refcount_t:|"
    r"suspicious RCU usage|sleeping function called|scheduling while atomic|"
    r"unregister_netdevice: waiting|TCP: .*(underflow|leak)|Attempt to release alive")
# Of a guest's output, what tells why something is red.
TELLING = re.compile(
    r"FAILED |not ok |    [|!] |KILLED|"
    r" *[0-9.]+ (CORRUPT|REORDERED|DUPLICATED|UNACCOUNTED|FAILED):|[0-9]+ corrupt, ")
TELLING_MAX = 80
FORBID = os.environ.get("CHECK_SKIPS") == "forbid"


def lines_of(path):
    try:
        with open(path, errors="replace") as file:
            return [line.rstrip("\r\n") for line in file]
    except OSError:
        return []


def known_of(path):
    """(kind, series, pattern, reason) of each line."""
    known = []
    for line in lines_of(path):
        if line and not line.startswith("#"):
            rule, reason = line.split(" # ", 1)
            kind, series, pattern = rule.split(" ", 2)
            known.append((kind, series, re.compile(pattern), reason))
    return known


class Column:
    def __init__(self, name):
        self.name = self.release = name
        self.series = name.split(":")[0]
        self.cells = {}  # program: [ok, fail, skip]
        self.seconds = {}
        self.notes = []
        self.whole = ""  # seconds of all of it

    def count(self, program, verdict):
        cell = self.cells.setdefault(program, [0, 0, 0])
        cell[("ok", "fail", "skip").index(verdict)] += 1

    def fail(self, program, what):
        self.count(program, "fail")
        self.notes.append(f"FAILED {self.name}: {what}")

    def read(self, path, known):
        """The verdicts; True if the end was reached."""
        ended = False
        for line in lines_of(path):
            kind, _, title = line.partition(" ")
            program = title.split(":")[0]
            if kind == "release":
                self.release = title
            elif kind == "ended":
                ended = True
            elif kind == "seconds":
                seconds, program = title.split(" ", 1)
                self.seconds[program] = int(seconds)
            elif kind == "fail":
                self.fail(program, title)
            elif kind == "skip":
                self.skip(program, title, known)
            elif kind == "ok":
                self.count(program, "ok")
        return ended

    def skip(self, program, title, known):
        reasons = [k[3] for k in known
                   if k[:2] == ("skip", self.series) and k[2].search(title)]
        if FORBID and not reasons:
            self.fail(program, f"{title}: skips")
            return
        self.count(program, "skip")
        self.notes.append(f"SKIPPED {self.name}: {title}" +
                          (f": {reasons[0]}" if reasons else ""))

    def kernel_log(self, lines, known):
        bad = 0
        for number, line in enumerate(lines):
            if not WARNING.search(line):
                continue
            reasons = [k[3] for k in known
                       if k[:2] == ("warning", self.series) and k[2].search(line)]
            if reasons:
                self.notes.append(f"KNOWN {self.name}: {line.strip()}: {reasons[0]}")
                continue
            bad += 1
            if bad == 1:
                self.notes += [f"FAILED {self.name}: its kernel complains"]
                self.notes += ["    | " + text for text in lines[max(0, number - 2):number + 40]]
        self.cells["kernel's log"] = [0, bad, 0] if bad else [1, 0, 0]


def guest(name, directory, known):
    """A column, or None when its kernel could not be fetched."""
    column = Column(name)
    if os.path.exists(os.path.join(directory, "missing")):
        return None
    ended = column.read(os.path.join(directory, "results"), known)
    console = lines_of(os.path.join(directory, "console"))
    column.whole = "".join(lines_of(os.path.join(directory, "seconds"))[:1])
    for program in lines_of(os.path.join(directory, "planned")):
        if program not in column.cells:
            column.fail(program, f"{program} gave no verdict")
    if not ended:
        column.fail("the end", "the guest did not come to its end")
        qemu = lines_of(os.path.join(directory, "qemu"))
        column.notes += ["    | " + line for line in console[-15:] + qemu[-5:]]
    column.kernel_log(console, known)
    if any(cell[1] for cell in column.cells.values()):
        telling = [line for line in lines_of(os.path.join(directory, "output"))
                   if TELLING.match(line)]
        column.notes += [f"    {name} | {line}" for line in telling[:TELLING_MAX]]
        if len(telling) > TELLING_MAX:
            column.notes.append(f"    {name} | … {len(telling) - TELLING_MAX} lines more")
        logs = [file for file in ("output", "console", "chaos")
                if lines_of(os.path.join(directory, file))]
        column.notes.append(f"    {name} | all of it: {directory}/{{{','.join(logs)}}}")
    return column


def text_of(cell, seconds):
    if cell is None:
        return "-"
    ok, fail, skip = cell
    if fail:
        return f"{fail} FAILED"
    text = f"{ok} ok" if ok or not skip else ""
    if skip:
        text += f"{' ' if text else ''}{skip} skip"
    return text + (f" {seconds} s" if seconds is not None else "")


def print_table(columns):
    programs = []
    for column in columns[::-1]:
        programs += [p for p in column.cells if p not in programs]
    last = ["chaos", "doctor", "the end", "kernel's log"]
    programs.sort(key=lambda p: (last.index(p) + 1 if p in last else 0, p))
    table = [[""] + [c.name for c in columns], [""] + [c.release for c in columns]]
    for program in programs:
        table.append([program] + [text_of(c.cells.get(program), c.seconds.get(program))
                                  for c in columns])
    if any(column.whole for column in columns):
        table.append(["seconds"] + [column.whole or "-" for column in columns])
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for row in table:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def main():
    directory, host, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    known = known_of(os.path.join(os.path.dirname(os.path.abspath(__file__)), "known"))
    passed = failed = skipped = 0
    columns = []
    for name in names:
        column = guest(name, os.path.join(directory, name), known)
        if column is not None:
            columns.append(column)
        elif FORBID:
            print(f"FAILED {name}: no kernel could be fetched")
            failed += 1
        else:
            print(f"SKIPPED {name}: no kernel could be fetched")
            skipped += 1
    for column in columns:
        print("\n".join(column.notes), end="\n" if column.notes else "")
        for ok, fail, skip in column.cells.values():
            passed, failed, skipped = passed + ok, failed + fail, skipped + skip
    if columns:
        if os.path.exists(host):
            here = Column("this host")
            here.release = os.uname().release
            here.read(host, [])
            shown = {p for c in columns for p in c.cells}
            here.cells = {p: cell for p, cell in here.cells.items() if p in shown}
            columns.insert(0, here)
        print_table(columns)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if failed == 0 and passed + skipped > 0 else 1


sys.exit(main())
