# SPDX-License-Identifier: BSD-2-Clause
"""A worker of a chaos run on the second client (tests/e2e/xylem_client.py).

python_worker.py BUILD LEDGER_FD NUMBER LIFE

Publishes its channels, takes what comes; the ledger and its checks are those of the others, by
libchaos.so. It does not reconnect: it ends, and the driver starts the next life.
"""
import ctypes
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from xylem_client import Client, XylemError  # noqa: E402

CHANNELS, SUBSCRIPTIONS = 4, 4
RUN, QUIET = 0, 1
TRY_AGAIN = 3
SYNC_EVERY = 0.3  # s
BURST = 50

build, fd, number, life = sys.argv[1], *map(int, sys.argv[2:])
lib = ctypes.CDLL(os.path.join(build, "chaos", "libchaos.so"))
for function in ("server", "name", "subject", "pattern"):
    getattr(lib, "foreign_" + function).restype = ctypes.c_char_p
lib.foreign_rate.restype = ctypes.c_uint32
lib.foreign_length.restype = ctypes.c_size_t
lib.foreign_make.restype = ctypes.c_void_p
lib.foreign_make.argtypes = [ctypes.c_uint32, ctypes.c_size_t]
lib.foreign_endpoint.argtypes = [ctypes.c_uint64]
lib.foreign_take.restype = ctypes.c_bool
lib.foreign_take.argtypes = [ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_char_p,
                             ctypes.c_size_t]


def text(value):
    return value.decode()


def take(message):
    lib.foreign_take(message.subject.encode(), message.source, message.sequence,
                     bytes(message.data), len(message.data))


def take_all(client, timeout):
    """Everything that is here; waits for the first one. Errors that answer no call are raised."""
    try:
        take(client.next(timeout))
    except TimeoutError:
        return
    while client.messages:
        take(client.next(0))


def publish(client, channel):
    length = lib.foreign_length(channel)
    data = ctypes.string_at(lib.foreign_make(channel, length), length)
    client.publish(text(lib.foreign_subject(channel)), data)


def sync(client):
    lib.foreign_sync_begin()
    client.sync(20)
    lib.foreign_sync_done()


def work(client, channels):
    due = dict.fromkeys(channels, 0.0)
    last = next_sync = time.monotonic()
    while lib.foreign_phase() == RUN:
        now = time.monotonic()
        for channel in channels:
            due[channel] = min(due[channel] + lib.foreign_rate(channel) * (now - last), BURST)
            while due[channel] >= 1:
                publish(client, channel)
                due[channel] -= 1
        last = now
        if channels and now >= next_sync:
            sync(client)
            next_sync = now + SYNC_EVERY
        take_all(client, 0.02)
        lib.foreign_turn()
    if lib.foreign_phase() == QUIET:
        sync(client)
        lib.foreign_quiet()
    while lib.foreign_phase() == QUIET:
        take_all(client, 0.05)
        lib.foreign_turn()


def main():
    channels = [c for c in range(CHANNELS) if lib.foreign_subject(c)]
    try:
        client = Client(text(lib.foreign_server()), text(lib.foreign_name()), timeout=20)
        lib.foreign_endpoint(client.endpoint)
        for channel in channels:
            client.declare(text(lib.foreign_subject(channel)))
        for subscription in range(SUBSCRIPTIONS):
            pattern = text(lib.foreign_pattern(subscription))
            if pattern:
                client.subscribe(pattern, stall_ms=10000)
                lib.foreign_subscribed(subscription)
        lib.foreign_connected()
    except (OSError, XylemError):
        return TRY_AGAIN
    try:
        work(client, channels)
        client.goodbye()
    except (OSError, XylemError) as error:  # TimeoutError and ConnectionError among them
        lib.foreign_ended(str(error).encode())
        return TRY_AGAIN
    return 0


if lib.foreign_open(fd, number, life) != 0:
    sys.exit(1)
sys.exit(main())
