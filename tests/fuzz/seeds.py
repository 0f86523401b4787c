#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes the named inputs of tests/fuzz/corpus: one for each thing a parser can meet.

Files whose names are hashes were found by the fuzzers (scripts/fuzz.sh --merge) and stay.
"""

import os
import struct

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
HELLO, WELCOME, SYNC, SYNCED, SYNC_WANTED, DECLARE, BINDING, SUBSCRIBE, UNSUBSCRIBE = range(1, 10)
OK, ERROR, DATA, ACK, PING, PONG, GOODBYE = range(10, 17)
DIRECT, REPLY_WANTED, CRC, LANE, BUNDLE = 1, 2, 4, 8, 16
ENDPOINT = 0x42


def put(fuzzer, name, data):
    os.makedirs(os.path.join(CORPUS, fuzzer), exist_ok=True)
    with open(os.path.join(CORPUS, fuzzer, name), "wb") as file:
        file.write(data)


def header(type_, payload=0, version=1, flags=0, target=0, source=ENDPOINT, sequence=0, ack=0,
           correlation=0, fragment=0, fragments=0, length=None):
    return struct.pack(">IBBHQQQQQQHH", 60 + payload if length is None else length, version, type_,
                       flags, target, source, sequence, 0, ack, correlation, fragment, fragments)


def bundle(*messages):
    return b"".join(struct.pack(">I", len(m)) + m for m in messages)


def frames():
    endpoint = 0x0102030405060742
    cases = {
        "hello": header(HELLO, 0, source=0),
        "sync": header(SYNC, source=endpoint, correlation=1),
        "data": header(DATA, 5, source=endpoint, target=9, sequence=1),
        "too-short": header(DATA, source=endpoint, length=59),
        "largest": header(DATA, source=endpoint, length=65536),
        "too-long": header(DATA, source=endpoint, length=65537),
        "version-2": header(DATA, version=2, source=endpoint),
        "type-0": header(0, source=endpoint),
        "type-17": header(17, source=endpoint),
        "welcome": header(WELCOME, source=endpoint),
        "other-source": header(DATA, source=1),
        "all-flags": header(DATA, 9, flags=31, source=endpoint),
        "unknown-flag": header(DATA, flags=32, source=endpoint),
        "bundle-reply": header(DATA, flags=BUNDLE | REPLY_WANTED, source=endpoint),
        "crc-without-room": header(DATA, 3, flags=CRC, source=endpoint),
        "last-fragment": header(DATA, 1, source=endpoint, sequence=1, fragment=2, fragments=3),
        "fragment-beyond": header(DATA, 1, source=endpoint, sequence=1, fragment=3, fragments=3),
        "fragment-of-one": header(DATA, 1, source=endpoint, sequence=1, fragment=1, fragments=1),
        "fragment-uncounted": header(DATA, 1, source=endpoint, fragments=3),
        "fragment-bundle": header(DATA, 1, flags=BUNDLE, source=endpoint, sequence=1, fragments=3),
        "too-many-fragments": header(DATA, source=endpoint, sequence=1, fragments=65535),
    }
    for name, data in cases.items():
        put("frame", name, struct.pack(">IBB", 64 << 20, 0x42, 30) + data + b"payload")


def json():
    long_text = b"x" * 129
    cases = {
        "hello": b'h{"name":"a","token":"t","library":"l","ack":true,"other":[1,{}]}',
        "hello-least": b'h{"name":"a","ack":false}',
        "hello-twice": b'h{"name":"a","name":"b","ack":true}',
        "hello-no-ack": b'h{"name":"a"}',
        "hello-long": b'h{"name":"' + long_text + b'","ack":true}',
        "hello-escapes": b'h{"name":"\\u00e4\\ud83d\\ude00\\n","ack":true}',
        "hello-zero": b'h{"name":"\\u0000","ack":true}',
        "hello-surrogate": b'h{"name":"\\ud800","ack":true}',
        "hello-not-utf8": b'h{"name":"\xff\xc0\x80","ack":true}',
        "deep": b"h" + b"[" * 3000,
        "array": b"h[]",
        "empty": b"h",
        "welcome": b'w{"endpoint":"00000000000000ff","server":"s","version":"1","max_frame":65536,'
                   b'"max_message":67108864,"window":1048576,"heartbeat_ms":10000,"lane":true}',
        "welcome-upper": b'w{"endpoint":"00000000000000FF","server":"s","version":"1"}',
        "welcome-zero": b'w{"endpoint":"0000000000000000"}',
        "welcome-number": b'w{"endpoint":"00000000000000ff","server":"s","version":"1",'
                          b'"max_frame":9223372036854775808}',
        "welcome-real": b'w{"endpoint":"00000000000000ff","server":"s","version":"1","max_frame":1e3}',
        "subscribe": b's{"subject":"a.*.>","group":"g","overflow":"drop-oldest","stall_ms":5,'
                     b'"echo":false}',
        "subscribe-least": b's{"subject":"a"}',
        "subscribe-stall": b's{"subject":"a","stall_ms":3600001}',
        "subscribe-overflow": b's{"subject":"a","overflow":"none"}',
        "error": b'e{"code":"bad-json","message":"why \xc3\xa4 not"}',
        "error-unknown": b'e{"code":"new","message":""}',
        "error-long": b'e{"code":"bad-json","message":"' + "ä".encode() * 200 + b'"}',
    }
    for name, data in cases.items():
        put("json", name, data)


def subjects():
    cases = {
        "plain": b"a\na.b\na.b.c\n*\n>\na.*\na.>\n*.b\n\n*.*.c\na.b.>\n",
        "inside": b"a*\n*a\n>>\na.>.b\na.*b\n.>\n>.\n",
        "empty-tokens": b".\na.\n.a\na..b\n..\n",
        "long": b"a" * 255 + b"\n" + b"a" * 256 + b"\n" + b".".join([b"a"] * 128) + b"\n"
                + b".".join([b"*"] * 128) + b"\n",
        "spaces": "a b\na\tb\na\u00a0b\na\u2003b\na\u3000b\na\u0085b\na\u200bb\n".encode(),
        "unicode": "ä.ö\n😀.*\n\ufeffa\n*.ö\n\n😀.>\n".encode(),
        "not-utf8": b"\xc0\x80\n\xed\xa0\x80\n\xf4\x90\x80\x80\n\xe2\x82\n\x80\n\xff\n",
        "same": b"a.b\na.b\na.b\n*.b\n*.b\n\na.b\n\n",
        "zero": b"a\x00b\n\x7f\n\x1f\n",
    }
    for name, data in cases.items():
        put("subject", name, data)


def verdict_record(type_=DATA, flags=0, target=1, source=ENDPOINT, sequence=1, ack=0, correlation=0,
                   fragment=0, fragments=0, payload=0, at=0, value=0):
    return struct.pack(">BHBBBBBBBHBB", type_, flags, target, source, sequence, ack, correlation,
                       fragment, fragments, payload, at, value)


def verdicts():
    def send(*records, elements=(0, 0, 0, 0), max_message=65535, way=0):
        return struct.pack(">BBH4B", way, ENDPOINT, max_message, *elements) + b"".join(records)

    one = verdict_record(payload=10)
    cases = {
        "one": send(one),
        "sync": send(verdict_record(SYNC, correlation=1)),
        "sync-in-company": send(verdict_record(SYNC), verdict_record(ACK)),
        "64": send(*[one] * 64),
        "65": send(*[one] * 65),
        "64-kib": send(verdict_record(payload=65476)),
        "64-kib-in-two": send(verdict_record(payload=65386), verdict_record(payload=30)),
        "above-64-kib": send(verdict_record(payload=65477)),
        "far-header": send(verdict_record(payload=65410), verdict_record(payload=5)),
        "pieces": send(*[verdict_record(payload=100)] * 8, elements=(1, 2, 3, 200)),
        "header-across": send(one, one, one, elements=(2, 1, 1, 1)),
        "targets": send(one, verdict_record(target=2)),
        "kinds": send(one, verdict_record(flags=DIRECT)),
        "mixed": send(one, verdict_record(PING)),
        "refused": send(one, verdict_record(flags=LANE)),
        "source": send(one, verdict_record(source=1, ack=9)),
        "acks": send(verdict_record(ack=5), verdict_record(ack=9), verdict_record(ack=7)),
        "fragments": send(*[verdict_record(fragment=i, fragments=3) for i in range(3)]),
        "too-large": send(verdict_record(fragments=200), max_message=12),
        "wrong-length": send(one, verdict_record(at=3, value=1)),
        "wrong-version": send(one, verdict_record(at=4, value=2)),
        "not-a-clients": send(one, verdict_record(WELCOME)),
        "bytes-behind": send(header(DATA, target=1) + b"x", way=1),
        "short": send(header(DATA, target=1)[:59], way=1),
    }
    for name, data in cases.items():
        put("verdict", name, data)


def pipes():
    def op(number, side=0, *arguments):
        return bytes([number << 1 | side]) + b"".join(arguments)

    two = lambda n: struct.pack(">H", n)
    write = lambda n, side=0: op(1, side, two(n)) + op(3, side)
    read = lambda at, used, side=0: op(15, side, two(at), two(used), b"\x05\x00\x03", two(200),
                                       b"\x08", two(90), b"\x00")
    cases = {
        "write-read": write(10) + read(0, 10),
        "over-segments": write(300) + read(63, 64) + read(0, 1) + read(100, 400),
        "reserve": op(2, 0, b"\x40\x10") + op(2, 0, b"\x01\xff") + op(3) + read(0, 5),
        "share": write(200) + op(7, 0, two(10), two(120)) + op(5, 1) + op(3, 1) + read(0, 120, 1),
        "share-twice": write(200) + op(7, 0, two(0), two(200)) + op(6, 1) + op(6, 1) + op(3, 1)
        + read(150, 300, 1) + op(6) + op(3) + read(0, 200),
        "share-joined": write(64) + op(7, 0, two(0), two(10)) + op(7, 0, two(10), two(20)) + op(5, 1)
        + op(3, 1) + read(0, 5, 1),
        "append-behind-commit": write(100) + op(7, 0, two(0), two(90)) + op(2, 1, b"\x05\x05")
        + op(6, 1) + op(2, 1, b"\x05\x05") + op(3, 1) + read(0, 100, 1),
        "copy-to-pipe": write(500) + op(8, 0, two(70)) + op(8, 0, two(1000)) + read(0, 500, 1),
        "copy-to-fd": write(500) + op(9, 0, two(70)) + op(9, 0, two(1000)),
        "chain": write(300) + op(7, 0, two(0), two(300)) + op(10, 0, b"\x00") + op(10, 0, b"\x01")
        + op(6, 1) + op(11) + op(3, 1) + read(0, 300, 1),
        "trim": write(4000) + read(0, 4000) + op(12, 0, b"\x00") + write(100),
    }
    for name, data in cases.items():
        put("pipe", name, data)


def client_record(type_=DATA, flags=0, target=1, source=5, sequence=1, correlation=0, fragment=0,
                  fragments=0, payload=b"", crc=False, at=0, value=0, claimed=None):
    length = len(payload) if claimed is None else claimed
    return struct.pack(">8BHBB", type_, flags, target, source, sequence, correlation, fragment,
                       fragments, length | (0x8000 if crc else 0), at, value) + payload


def clients():
    bind = b"".join(client_record(BINDING, target=t) for t in (1, 2, 3, 4))
    fragment = lambda i, n=3, payload=b"part", **more: client_record(
        fragment=i, fragments=n, payload=payload, sequence=7, **more)
    error = b'{"code":"%s","message":"m"}'
    cases = {
        "plain": bind + client_record(payload=b"hello") + client_record(target=4, payload=b"x"),
        "unbound": client_record(payload=b"hello"),
        "empty": bind + client_record(),
        "bundle": bind + client_record(flags=BUNDLE, payload=bundle(b"a", b"", b"ccc")),
        "bundle-short": bind + client_record(flags=BUNDLE, payload=bundle(b"a", b"b")[:-1]),
        "bundle-empty": bind + client_record(flags=BUNDLE),
        "bundle-huge": bind + client_record(flags=BUNDLE, payload=b"\xff\xff\xff\xffaaaa"),
        "bundle-crc": bind + client_record(flags=BUNDLE, payload=bundle(b"a", b"b"), crc=True),
        "crc": bind + client_record(payload=b"sum", crc=True),
        "crc-wrong": bind + client_record(flags=CRC, payload=b"summ"),
        "crc-short": bind + client_record(flags=CRC, payload=b"s"),
        "crc-alone": bind + client_record(crc=True),
        "fragments": bind + fragment(0) + fragment(1) + fragment(2),
        "fragments-large": bind + fragment(0, claimed=30000) + fragment(1, claimed=30000)
        + fragment(2, claimed=30000),
        "fragments-gap": bind + fragment(0) + fragment(2) + fragment(1),
        "fragments-restart": bind + fragment(0) + fragment(0) + fragment(1) + fragment(2),
        "fragments-interleaved": bind + fragment(0) + fragment(0, source=6) + fragment(1)
        + fragment(1, source=6) + fragment(2, source=6) + fragment(2),
        "fragments-control": bind + fragment(0) + client_record(PING, payload=b"p") + fragment(1)
        + client_record(SYNC_WANTED) + fragment(2),
        "fragments-broken": bind + fragment(0) + client_record(payload=b"whole") + fragment(1),
        "fragments-bundle": bind + fragment(0, n=2, flags=BUNDLE, payload=bundle(b"a"))
        + fragment(1, n=2, flags=BUNDLE, payload=bundle(b"b")),
        "fragments-crc": bind + fragment(0, n=2, crc=True) + fragment(1, n=2, crc=True),
        "direct": client_record(flags=DIRECT, target=77, payload=b"d")
        + client_record(flags=DIRECT | BUNDLE, target=77, payload=bundle(b"a", b"b")),
        "reply-unasked": client_record(flags=DIRECT, target=77, correlation=9, payload=b"r"),
        "request": bind + client_record(flags=REPLY_WANTED, correlation=9, payload=b"r"),
        "binding-bad": client_record(BINDING, target=6),
        "binding-zero": client_record(BINDING, target=0),
        "binding-again": bind + client_record(BINDING, target=1, payload=b"other") + client_record(),
        "control": client_record(SYNCED) + client_record(OK) + client_record(PONG)
        + client_record(GOODBYE) + bind + client_record(payload=b"after"),
        "error": client_record(ERROR, payload=error % b"overloaded") + bind + client_record(),
        "error-closes": client_record(ERROR, payload=error % b"slow-consumer") + bind,
        "error-unreadable": client_record(ERROR, payload=b"{}"),
        "welcome-again": client_record(WELCOME, payload=b"{}"),
        "type-dead": bind + client_record(0xf0) + client_record(0xf1),
        "wrong-length": bind + client_record(at=1, value=7),
        "wrong-version": bind + client_record(at=4, value=3),
    }
    for name, data in cases.items():
        put("client", name, b"\x00" + data)
        put("client", name + "-next-in-pieces", b"\x03" + data)
    put("client", "little-memory", b"\x04" + bind + fragment(0, claimed=30000) * 9)
    put("client", "raw", b"\x08" + header(PING, 2) + b"hi" + header(GOODBYE) + header(DATA, 9))


def options():
    cases = {
        "plain": ["127.0.0.1:80", "-f", "--text=t", "--texts", "a", "--texts=b", "-n", "9", "x"],
        "durations": ["[::1]:1", "-d", "250ms", "--duration=2s", "-d1.5m", "-d", ".1h", "x"],
        "durations-bad": ["x:1", "-d", "1e400s", "x"],
        "duration-huge": ["x:1", "-d", "1e300h", "x"],
        "duration-hex": ["x:1", "-d", "0x10s", "x"],
        "duration-tiny": ["x:1", "-d", "0.0001ms", "x"],
        "rate": ["unix:/run/x", "-r", "1e3", "--rate", ".5", "x"],
        "rate-bad": ["unix:", "-r", "0", "x"],
        "rate-nan": ["unix:x", "-r", "nan", "x"],
        "number-optional": ["1.2.3.4:99999", "--number", "x"],
        "number-bad": ["1.2.3.4:", "--number=4", "x"],
        "number-large": [":1", "--large", "18446744073709551615", "x"],
        "number-overflow": ["[::1", "--large=18446744073709551616", "x"],
        "number-sign": ["[::]:1", "--large=-1", "x"],
        "choice": ["[fe80::1%1]:1", "-c", "off", "x"],
        "choice-part": ["a:b:1", "-c", "o", "x"],
        "choice-many": ["a", "-c", "on|off", "x"],
        "help": ["", "-h"],
        "unknown": ["", "--nothing=1", "x"],
        "unknown-letter": ["", "-q", "x"],
        "ambiguous": ["", "--te", "x"],
        "argument-missing": ["", "x", "--text"],
        "argument-unwanted": ["", "--flag=1", "x"],
        "empty-text": ["", "--text=", "x"],
        "too-many": ["", "a", "b", "c", "d"],
        "dashes": ["", "--", "-f", "-"],
        "many-texts": [""] + ["--texts=a"] * 20 + ["x"],
        "long-host": ["a" * 1100 + ":1", "x"],
        "long-path": ["unix:" + "p" * 200, "x"],
    }
    for name, lines in cases.items():
        put("options", name, "\n".join(lines).encode())


def proxy_record(type_=DATA, flags=0, target=1, sequence=1, correlation=0, fragment=0, fragments=0,
                 payload=b"", at=0, value=0, claimed=None):
    return struct.pack(">7BHBB", type_, flags, target, sequence, correlation, fragment, fragments,
                       len(payload) if claimed is None else claimed, at, value) + payload


def proxies():
    hello = b'{"name":"a","ack":true}'
    first = {
        "nothing": b"",
        "hello": header(HELLO, len(hello), source=0) + hello,
        "hello-cut": header(HELLO, len(hello), source=0) + hello[:5],
        "hello-large": header(HELLO, 5000, source=0) + b" " * 5000,
        "hello-bad-json": header(HELLO, 2, source=0) + b"{]",
        "hello-with-source": header(HELLO, len(hello), source=1) + hello,
        "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 60,
        "data-first": header(DATA, 5) + b"hello",
    }
    for name, data in first.items():
        put("proxy", "first-" + name, b"\x00" + data)
    lines = {
        "status": b'{"request":"status"}\n{"request":"ready"}\n',
        "unknown": b'{"request":"stop"}\n{"request":5}\n[]\n\n{\n',
        "cut": b'{"request":"status"}\n{"request":"rea',
        "long": b"x" * 5000 + b"\n",
        "zero": b'{"request":"sta\x00tus"}\n\x00\n',
    }
    for name, data in lines.items():
        put("proxy", "admin-" + name, b"\x01" + data)
    client = {
        "publish": proxy_record(payload=b"hello") + proxy_record(target=2, payload=b"x"),
        "direct": proxy_record(flags=DIRECT, target=0, payload=b"me"),
        "direct-to-nobody": proxy_record(flags=DIRECT, target=9, payload=b"me"),
        "sync": proxy_record(SYNC, target=9, correlation=1) + proxy_record(),
        "sync-between": proxy_record(payload=b"a") + proxy_record(SYNC, correlation=1)
        + proxy_record(payload=b"b") + proxy_record(SYNC, correlation=2),
        "declare": proxy_record(DECLARE, payload=b"fuzz.c") + proxy_record(DECLARE, payload=b"*"),
        "subscribe": proxy_record(SUBSCRIBE, payload=b'{"subject":">","group":"g"}')
        + proxy_record(SUBSCRIBE, payload=b'{"subject":"a..b"}') + proxy_record(payload=b"x"),
        "subscribe-drop": proxy_record(SUBSCRIBE,
                                       payload=b'{"subject":"fuzz.a","overflow":"drop-newest"}')
        + proxy_record(claimed=60000) * 3,
        "unsubscribe": proxy_record(UNSUBSCRIBE, target=3) + proxy_record(payload=b"x")
        + proxy_record(UNSUBSCRIBE, target=3),
        "fragments": b"".join(proxy_record(fragment=i, fragments=3, payload=b"p") for i in range(3)),
        "fragment-bad": proxy_record(fragment=3, fragments=3) + proxy_record(payload=b"x"),
        "bundle": proxy_record(flags=BUNDLE, payload=bundle(b"a", b"b")),
        "flags-bad": proxy_record(flags=LANE) + proxy_record(payload=b"x"),
        "request": proxy_record(flags=REPLY_WANTED, target=9, correlation=1)
        + proxy_record(flags=REPLY_WANTED, correlation=1),
        "ping": proxy_record(PING, payload=b"p" * 64) + proxy_record(PING, payload=b"p" * 65)
        + proxy_record(PONG) + proxy_record(ACK),
        "goodbye": proxy_record(GOODBYE) + proxy_record(payload=b"after"),
        "source": proxy_record(payload=b"x") + proxy_record(at=16, value=1, payload=b"y"),
        "length": proxy_record(payload=b"x") + proxy_record(at=0, value=1, payload=b"y"),
        "type": proxy_record(WELCOME),
        "hello-again": proxy_record(HELLO, payload=hello),
        "large": proxy_record(claimed=65476) * 3,
    }
    for name, data in client.items():
        put("proxy", "client-" + name, b"\x02" + data)


for write_corpus in (frames, json, subjects, verdicts, pipes, clients, options, proxies):
    write_corpus()
