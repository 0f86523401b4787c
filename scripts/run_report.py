#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Helper of run.sh: input files, and readings of `xylem status --json` and of bpftool."""
import json
import random
import re
import subprocess
import sys


def make_text(path, seed, megabytes):
    """Numbered lines of 0 to 400 bytes, the same for the same seed."""
    rng = random.Random(seed)
    words = "xylem phloem cambium root leaf water sap lumen vessel tracheid stoma bark".split()
    pool = [" ".join(rng.choices(words, k=rng.randrange(1, 60))) for _ in range(4096)]
    size, number = 0, 0
    with open(path, "w") as file:
        while size < megabytes << 20:
            block = []
            for _ in range(4096):
                number += 1
                block.append("" if number % 97 == 0 else f"{number} {pool[rng.randrange(4096)]}")
            text = "\n".join(block) + "\n"
            file.write(text)
            size += len(text)
    print(number)


def make_binary(path, seed, megabytes):
    rng = random.Random(seed)
    with open(path, "wb") as file:
        for _ in range(megabytes):
            file.write(rng.randbytes(1 << 20))


def slowly(bytes_a_second):
    """Standard input to standard output, no faster than asked."""
    import time
    step = bytes_a_second // 100
    while block := sys.stdin.buffer.read(step):
        sys.stdout.buffer.write(block)
        time.sleep(len(block) / bytes_a_second)


def subscribed(status, subject, count):
    """Exit status 0 when so many connections subscribe to the subject."""
    have = sum(s["subject"] == subject for s in status["subscriptions"])
    return 0 if have >= count else 1


def share(status, title, required, totals, *prefixes):
    """What connections with these name prefixes sent. With `required` "counts" the totals go to a
    file, and the exit status is 2 when the kernel moved less than 99 %."""
    chosen = [c for c in status["connections"] if c["name"].startswith(tuple(prefixes))]
    redirected = passed = 0
    reasons = {}
    for connection in chosen:
        kernel = connection["kernel"] or {"frames": 0, "passed": connection["in"]["frames"]}
        redirected += kernel["frames"]
        passed += kernel["passed"]
        for name, count in kernel.get("reasons", {}).items():
            # CONTROL counts sends without DATA; they are no part of the share.
            if count and name != "control":
                reasons[name] = reasons.get(name, 0) + count
        if not connection["lane"]:
            reasons["no lane"] = reasons.get("no lane", 0) + 1
    all_frames = redirected + passed
    percent = 100 * redirected / all_frames if all_frames else 0
    rest = ", ".join(f"{n} {c:,}" for n, c in sorted(reasons.items(), key=lambda i: -i[1]))
    print(f"  {title}: {all_frames:,} DATA frames, {redirected:,} moved by the kernel "
          f"= {percent:.2f} %; the rest: {rest or 'none'}")
    if required == "counts":
        with open(totals, "a") as file:
            file.write(f"{redirected} {passed}\n")
    if not chosen:
        return 1
    return 2 if required == "counts" and percent < 99 else 0


def total(path):
    """Sums up what share() wrote."""
    with open(path) as file:
        rows = [tuple(map(int, line.split())) for line in file]
    redirected, passed = (sum(column) for column in zip(*rows))
    percent = 100 * redirected / (redirected + passed)
    print(f"  all frames with exactly one lane as receiver: {redirected:,} of "
          f"{redirected + passed:,} moved by the kernel = {percent:.2f} %")
    return 0


def round_trips(on, off, out=sys.stdout):
    on, off = json.loads(on), json.loads(off)
    for name, row in (("kernel path on", on), ("kernel path off", off)):
        print(f"  {name:16s} median {row['p50_ns'] / 1000:7.1f} µs, 99th percentile "
              f"{row['p99_ns'] / 1000:7.1f} µs, {row['replies']:,} requests"
              f"{'' if row['lane'] else ', no lane'}", file=out)
    print(f"  ratio of the medians: {on['p50_ns'] / off['p50_ns']:.2f}", file=out)


def dump(directory, name):
    text = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", f"{directory}/{name}"],
                          check=True, capture_output=True, text=True).stdout
    return [entry.get("formatted", entry) for entry in json.loads(text)]


def reason_names():
    """Texts of XY_REASONS, in order, from the header that the kernel programs are built with."""
    with open("include/xylem/maps.h") as file:
        return re.findall(r'^\s*X\([A-Z_]+, "([a-z-]+)"', file.read(), re.M)


def shown(record, reasons):
    """Fields that hold something, without the reserved ones; ids and reasons readable."""
    fields = {}
    for key, value in record.items():
        if key.startswith("reserved") or key == "listener" or value in (0, [], None):
            continue
        if key == "reasons":
            value = {reasons[i]: n for i, n in enumerate(value) if n}
        elif key in ("endpoint", "target"):
            value = f"{value:016x}"
        elif key == "key":
            value = shown(value, reasons)
        elif key == "member":
            value = [m for m in value if m["generation"]]
        fields[key] = value
    return fields


def maps(directory, limit=4):
    """The pinned maps in short: what `bpftool map dump` says, without what is zero."""
    reasons = reason_names()
    for name in ("control", "sessions", "flows"):
        entries = [shown(e["value"], reasons) for e in dump(directory, name)]
        used = [e for e in entries if name != "sessions" or e.get("state") == 2]
        used.sort(key=lambda e: -e.get("frames", 0))
        print(f"  bpftool map dump pinned {directory}/{name}: {len(used)} in use")
        for entry in used[:limit]:
            print("    " + json.dumps(entry).replace('"', ""))
        if len(used) > limit:
            print(f"    … {len(used) - limit} more")
    return 0


def main():
    verb, arguments = sys.argv[1], sys.argv[2:]
    if verb == "text":
        make_text(arguments[0], int(arguments[1]), int(arguments[2]))
    elif verb == "binary":
        make_binary(arguments[0], int(arguments[1]), int(arguments[2]))
    elif verb == "slowly":
        slowly(int(arguments[0]))
    elif verb == "subscribed":
        return subscribed(json.load(sys.stdin), arguments[0], int(arguments[1]))
    elif verb == "share":
        return share(json.load(sys.stdin), *arguments)
    elif verb == "total":
        return total(arguments[0])
    elif verb == "pins":
        print(json.load(sys.stdin)["kernel_path"]["pins"] or "")
    elif verb == "kernel":
        path = json.load(sys.stdin)["kernel_path"]
        print(path["reason"] or "")
        return 0 if path["active"] else 1
    elif verb == "maps":
        return maps(arguments[0])
    elif verb == "round-trips":
        round_trips(*arguments)
    elif verb == "port":
        import socket
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            print(sock.getsockname()[1])
    else:
        raise SystemExit(f"run_report: no verb {verb}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except json.JSONDecodeError:
        sys.exit("run_report: no status to read")
