# SPDX-License-Identifier: BSD-2-Clause
"""Publish, subscribe, request and reply with xylem_client, for tests between implementations.

Standard output, one line each, flushed at once:
    ready lane|no-lane                              connected (and subscribed)
    message SUBJECT SEQUENCE LENGTH TEXT|-          by sub and reply; - when it is not plain text
    reply LENGTH TEXT|-                             by request
    verified COUNT                                  by sub --verify, after the last message
    stats NAME=VALUE ...                            at the end
    error CODE                                      an ERROR of the proxy; the exit status is 3

--size generates messages: an 8-byte index, then bytes that follow from it; --verify checks order and
content of such messages from one publisher.
"""
import argparse
import sys

import xylem_client as xylem


def say(*words):
    print(*words, flush=True)


def text(data):
    plain = all(0x20 <= byte < 0x7F for byte in data) and 0 < len(data) <= 200
    return data.decode() if plain else "-"


def generated(index, size):
    pattern = bytes((index * 31 + at * 7) & 0xFF for at in range(251))
    return (index.to_bytes(8, "big") + pattern * (size // 251 + 1))[:size]


def publish(client, arguments):
    say("ready", "lane" if client.lane else "no-lane")
    if arguments.size is None:
        messages = [word.encode() for word in arguments.data] * arguments.count
    else:
        messages = (generated(index, arguments.size) for index in range(arguments.count))
    if arguments.bundle > 1:
        messages = list(messages)
        for at in range(0, len(messages), arguments.bundle):
            client.publish_bundle(arguments.subject, messages[at:at + arguments.bundle])
    else:
        for message in messages:
            client.publish(arguments.subject, message)
    client.sync(arguments.timeout)


def subscribe(client, arguments):
    client.subscribe(arguments.subject, arguments.group, arguments.overflow)
    say("ready", "lane" if client.lane else "no-lane")
    for index in range(arguments.count):
        message = client.next(arguments.timeout)
        if not arguments.verify:
            say("message", message.subject, message.sequence, len(message.data), text(message.data))
        elif message.data != generated(index, len(message.data)):
            sys.exit(f"message {index} differs: {message.data[:16].hex()}")
    if arguments.verify:
        say("verified", arguments.count)


def request(client, arguments):
    say("ready", "lane" if client.lane else "no-lane")
    for word in arguments.data:
        answer = client.request(arguments.subject, word.encode(), arguments.timeout)
        say("reply", len(answer.data), text(answer.data))


def reply(client, arguments):
    client.subscribe(arguments.subject, arguments.group)
    say("ready", "lane" if client.lane else "no-lane")
    for _ in range(arguments.count):
        message = client.next(arguments.timeout)
        say("message", message.subject, message.sequence, len(message.data), text(message.data))
        client.reply(message, arguments.prefix.encode() + message.data)
        client.flush(arguments.timeout)


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="127.0.0.1:7400")
    parser.add_argument("--token")
    parser.add_argument("--no-lane", action="store_true")
    parser.add_argument("--crc", action="store_true")
    parser.add_argument("--timeout", type=float, default=30.0, help="of each wait, in seconds")
    commands = parser.add_subparsers(required=True)
    for name, run in (("pub", publish), ("sub", subscribe), ("request", request), ("reply", reply)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("subject")
        command.add_argument("--count", type=int, default=1)
        if run in (publish, request):
            command.add_argument("data", nargs="*", default=[])
        if run is publish:
            command.add_argument("--size", type=int)
            command.add_argument("--bundle", type=int, default=1, help="messages a frame")
        if run in (subscribe, reply):
            command.add_argument("--group")
        if run is subscribe:
            command.add_argument("--overflow")
            command.add_argument("--verify", action="store_true")
        if run is reply:
            command.add_argument("--prefix", default="")
    return parser.parse_args()


def main():
    arguments = options()
    try:
        with xylem.Client(arguments.server, token=arguments.token, ack=not arguments.no_lane,
                          crc=arguments.crc, timeout=arguments.timeout) as client:
            arguments.run(client, arguments)
            client.goodbye(arguments.timeout)
            say("stats", *(f"{name}={value}" for name, value in sorted(client.stats.items())))
    except xylem.XylemError as error:
        say("error", error.code)
        sys.exit(3)


if __name__ == "__main__":
    main()
