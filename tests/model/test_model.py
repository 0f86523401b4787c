#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Verifies the models, and that they can fail: docs/MODEL.md.

Three kinds of runs, one TAP line each:
  holds    every state of a configuration is visited, and no property is violated
  reached  something that must be possible is possible, or the run above would say nothing
  mutant   one mechanism is taken out, and the property named is violated, by name

MODEL_FULL=1 runs the larger configurations, too (minutes, 2 GB); MODEL_ONLY=TEXT only those whose
title has it; MODEL_TRAIL=1 prints the last steps of each counterexample.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MEMORY_MB = 4000
DEPTH = 20000

TWO_LOOPS = "-DFRAMES=2 -DOTHERS=2 -DSYNCS=0 -DRECEIVERS=1"
GROUP = "-DFRAMES=2 -DOTHERS=0 -DSYNCS=1"
BYPASS = "-DFRAMES=4 -DOTHERS=0 -DSYNCS=1 -DRECEIVERS=1 -DK21"
BINDING = "-DFRAMES=2 -DOTHERS=0 -DSYNCS=0 -DBINDING"
SMALL = "-DWINDOW=2 -DLARGEST=1 -DFRAMES=3 -DOTHERS=1"
LIAR = "-DWINDOW=2 -DLARGEST=1 -DFRAMES=5 -DOTHERS=0 -DLIAR"
LIAR_LONG = "-DWINDOW=2 -DLARGEST=1 -DFRAMES=8 -DOTHERS=0 -DLIAR"
MEMORY = "-DWINDOW=2 -DLARGEST=1 -DFRAMES=3 -DOTHERS=0 -DNO_MEMORY=3"
FAILED = "-DWINDOW=2 -DLARGEST=1 -DFRAMES=3 -DOTHERS=0 -DFAILED_REDIRECT"
LOW_ACK = "-DWINDOW=2 -DLARGEST=1 -DFRAMES=3 -DOTHERS=0 -DLIAR -DLOW_ACK"
UNREAD_ACKS = "-DWINDOW=2 -DLARGEST=1 -DFRAMES=3 -DOTHERS=0 -DFRAMING_LOST"

HOLDS = [
    ("order", "two publishers, two loops", TWO_LOOPS),
    ("order", "a queue group, fan-out, SYNC", GROUP),
    ("order", "a client that sends past the verdict", BYPASS),
    ("order", "BINDING", BINDING),
    ("credit", "two publishers", SMALL),
    ("credit", "a receiver that acks without reading", LIAR),
    ("credit", "redirects that fail for want of memory", MEMORY),
    ("credit", "acks that only the loop sees", UNREAD_ACKS),
    ("credit", "clients' redirects that fail after they were counted, set right", FAILED),
    ("credit", "set right by acks that are too low", LOW_ACK),
    ("flows", "installed, removed, acknowledged; a slot changes hands", ""),
    ("flows", "two sends", "-DSENDS=2"),
    ("flows", "eight operations on flows within one verdict", "-DOPERATIONS=8"),
    ("lane", "from WELCOME to the first redirect", ""),
]

HOLDS_FULL = [
    ("order", "two publishers, two loops, SYNC", "-DFRAMES=3 -DOTHERS=2 -DSYNCS=1 -DRECEIVERS=1"),
    ("order", "a queue group, fan-out, SYNC, 3 frames", "-DFRAMES=3 -DOTHERS=0 -DSYNCS=1"),
    ("order", "BINDING, 3 frames", "-DFRAMES=3 -DOTHERS=0 -DSYNCS=0 -DBINDING"),
    ("credit", "a receiver that acks without reading, two publishers",
     "-DWINDOW=2 -DLARGEST=1 -DFRAMES=3 -DOTHERS=2 -DLIAR"),
    ("credit", "two publishers, 3 frames each", "-DWINDOW=2 -DLARGEST=1 -DFRAMES=3 -DOTHERS=3"),
    ("credit", "sends of two sizes", "-DWINDOW=4 -DFRAMES=2 -DOTHERS=2"),
    ("credit", "redirects of two publishers fail",
     "-DWINDOW=2 -DLARGEST=1 -DFRAMES=2 -DOTHERS=1 -DFAILED_REDIRECT"),
]

REACHED = [
    ("order", "by lane, and by lane again after a frame by pipe", TWO_LOOPS, "again"),
    ("order", "the loop notices a frame that the verdict has not counted", BYPASS, "noticed"),
    ("credit", "a publisher waits for SYNCED", SMALL, "waited"),
    ("credit", "a receiver has not proven to read", LIAR, "unproven"),
    ("credit", "a redirect of the proxy is tried again", MEMORY, "retried"),
    ("credit", "set right while nothing else is sent", FAILED, "set_right"),
    ("credit", "set right by a PONG that comes late", FAILED, "set_right_late"),
    ("flows", "a redirect", "", "redirected"),
    ("lane", "a redirect by another client", "", "by"),
]

MUTANTS = [
    ("order", "NO_BARRIER", TWO_LOOPS, "ORDER"),
    ("order", "NO_QUEUED", TWO_LOOPS, "ORDER"),
    ("order", "EARLY_QUEUED", TWO_LOOPS, "ORDER"),
    ("order", "QUEUED_AFTER_POST", TWO_LOOPS, "ORDER"),
    ("order", "QUEUED_AFTER_BARRIER", TWO_LOOPS, "ORDER"),
    ("order", "QUEUED_SUB_EARLY", TWO_LOOPS, "ORDER"),
    ("order", "NO_EPOCH", BYPASS, "ORDER"),
    ("order", "NO_LOST", BYPASS, "SAFE_DEFAULT"),
    ("order", "BINDING_UNCOUNTED", BINDING, "ANNOUNCED"),
    ("order", "FLOW_BEFORE_BINDING", BINDING, "ANNOUNCED"),
    ("credit", "NO_CREDIT", "-DWINDOW=2 -DLARGEST=1 -DFRAMES=6 -DOTHERS=0", "BOUNDED"),
    ("credit", "NO_PROOF", LIAR_LONG, "BOUNDED"),
    ("credit", "PROOF_LATE", LIAR_LONG, "BOUNDED"),
    ("credit", "NO_UNSEND", MEMORY, "PROGRESS"),
    ("credit", "NEVER_RIGHTED", FAILED, "CREDIT"),
    ("credit", "RIGHTED_AMID_SENDS", FAILED, "CREDIT"),
    ("credit", "RIGHTED_WITHOUT_PROOF", LOW_ACK, "BOUNDED"),
    ("flows", "ACK_BEFORE_REMOVE", "", "AUTHORIZED"),
    ("flows", "NO_GRACE", "", "AUTHORIZED"),
    ("flows", "NO_GRACE_RECYCLE", "", "AUTHORIZED"),
    ("flows", "NO_CHECK", "", "AUTHORIZED"),
    ("flows", "TWO_COPIES", "-DOPERATIONS=7", "AUTHORIZED"),
    ("lane", "TCP_WRITER", "", "ONE_WRITER"),
    ("lane", "EARLY_WRITER", "", "WHOLE"),
]


class Broken(Exception):
    """The tools failed, not a property."""


def run(command, where):
    done = subprocess.run(command, cwd=where, text=True, capture_output=True, check=False)
    return done.returncode, done.stdout + done.stderr


def verify(model, defines, optimize):
    """(name of the violated property or None, what the verifier says, last steps)"""
    where = tempfile.mkdtemp(prefix="xylem-model-")
    try:
        for name in os.listdir(HERE):
            if name.endswith((".pml", ".pmh")):
                shutil.copy(os.path.join(HERE, name), where)
        status, text = run(["spin", *defines, "-a", model + ".pml"], where)
        if status or not os.path.exists(os.path.join(where, "pan.c")):
            raise Broken(text)
        status, text = run([os.environ.get("CC", "gcc"), optimize, "-w", "-DSAFETY", "-DCOLLAPSE",
                            "-DNOFAIR", f"-DMEMLIM={MEMORY_MB}", "-o", "pan", "pan.c"], where)
        if status:
            raise Broken(text)
        # -E: a stuck process is a matter of PROGRESS, which the model judges when all has come
        # to rest. -b: a bounded search is no proof.
        _, text = run(["./pan", "-E", "-b", f"-m{DEPTH}"], where)
        violated = re.search(r"assertion violated (\w+)", text)
        trail = ""
        if violated and os.environ.get("MODEL_TRAIL"):
            trail = run(["./pan", "-r"], where)[1]
        if not violated and not re.search(r"errors: 0$", text, re.M):
            raise Broken(text)
        if "Search not completed" in text and not violated:
            raise Broken(text)
        return violated and violated.group(1), text, trail
    finally:
        shutil.rmtree(where)


def figures(text, seconds):
    states = re.search(r"(\d+) states, stored", text)
    depth = re.search(r"depth reached (\d+)", text)
    return f"{states.group(1) if states else '?'} states, depth {depth.group(1)}, {seconds:.1f} s"


def plan():
    for model, title, defines in HOLDS + (HOLDS_FULL if os.environ.get("MODEL_FULL") else []):
        yield f"{model} holds: {title}", model, defines, None
    for model, title, defines, expression in REACHED:
        yield f"{model} reached: {title}", model, f"{defines} -DREACH={expression}", "NOT_REACHED"
    for model, name, defines, wanted in MUTANTS:
        yield f"{model} mutant {name} violates {wanted}", model, f"{defines} -DMUTANT_{name}", wanted


def main():
    runs = [r for r in plan() if os.environ.get("MODEL_ONLY", "") in r[0]]
    failed = 0
    print(f"1..{len(runs)}")
    for number, (title, model, defines, wanted) in enumerate(runs, 1):
        began = time.monotonic()
        try:
            # Most runs are over before a better compiled verifier were ready.
            violated, text, trail = verify(model, defines.split(), "-O0" if wanted else "-O1")
            good = violated == wanted
            says = figures(text, time.monotonic() - began)
        except Broken as broken:
            good, violated, says, trail = False, None, "", str(broken)
        print(f"{'ok' if good else 'not ok'} {number} - {title}", flush=True)
        print(f"# {says}{'' if good else f'; violated: {violated}, expected: {wanted}'}")
        for line in trail.splitlines()[-40:]:
            print(f"#   {line}")
        failed += not good
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
