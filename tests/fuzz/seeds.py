#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes the named inputs of tests/fuzz/corpus: one for each thing a parser can meet.

Files whose names are hashes were found by the fuzzers (scripts/fuzz.sh --merge) and stay.
"""

import hashlib
import json as json_module
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


def json_text(value):
    return json_module.dumps(value, indent=1).encode()


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
        "listen": ["systemd", "x"],
        "listen-tls": ["tls:127.0.0.1:1", "x"],
        "listen-tls-unix": ["tls:unix:5", "x"],
        "listen-bracket": ["[]:[::1]:5", "x"],
        "listen-zeros": ["127.0.0.1:00000000080", "x"],
        "user": ["alice", "x"],
        "user-group": ["alice:wheel", "x"],
        "user-numbers": ["1000:4294967294", "x"],
        "user-last-number": ["4294967295:0", "x"],
        "user-no-group": ["7:", "x"],
        "user-long": ["a" * 64 + ":wheel", "x"],
        "sizes": ["0,64,1K,1M,1048576", "x"],
        "sizes-large": ["2M", "x"],
        "sizes-many": ["1," * 32 + "1", "x"],
        "cpus": ["0,0-0", "x"],
        "cpus-backwards": ["1-0", "x"],
        "cpus-beyond": ["0-4000", "x"],
        "size": ["x:1", "-s", "64M", "--size", "1.5G", "-s33554432", "--size=8388608K", "x"],
        "size-small": ["x:1", "-s", "31.9M", "x"],
        "size-huge": ["x:1", "-s", "9007199254740993G", "x"],
        "size-unit": ["x:1", "-s", "64MB", "x"],
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


def configs():
    whole = json_text({
        "#": "all of it", "listen": ["127.0.0.1:7400", "unix:/run/x.sock", "tls:[::1]:7443"],
        "unix-mode": "0660", "cgroup": "pod:0d3f1c9e-8a2b-4c5d-9e6f-112233445566",
        "kernel-path": "auto", "instance": "main", "admin": "/run/a.sock", "token-file": "t",
        "tls-cert": "c", "tls-key": "k", "tls-ca": "a", "tls-min": "1.3", "anonymous": "local",
        "loops": 4, "max-connections": 1000, "lanes": 4096, "flows": 16384,
        "stuck-after": "100ms", "memory-budget": "1.5G", "user": "nobody", "confine": "on",
        "log-level": "info"})
    access = json_text({"access": {
        "#": "who", "users": [{"uid": 0, "identity": "admin"}, {"gid": 7, "identity": "shop.a"},
                              {"uid": 7, "gid": 7, "identity": "shop.b", "#": "never"}],
        "identities": {
            "admin": {"publish": [">"], "subscribe": [">"], "direct": [">"]},
            "shop.*": {"publish": {"allow": ["orders.>"], "deny": ["orders.secret.>"]},
                       "subscribe": ["prices.*"], "direct": ["shop.*"], "#": 1},
            "anonymous": {}, "#later": 5, ">": {"publish": {"deny": ["orders.secret.a"]}}}}})
    cases = {
        "whole": whole,
        "access": access,
        "empty": b"{}",
        "nothing": b"",
        "array": b"[]",
        "cut": b'{\n"listen": [',
        "twice": b'{"loops": 1,\n"loops": 2}',
        "zero": b'{"instance": "a\\u0000"}',
        "not-utf8": b'{"instance": "\xff"}',
        "deep": b'{"a":' + b"[" * 2500,
        "numbers": b'{"loops": 0, "lanes": 1e3, "flows": -1, "stuck-after": 0.01,\n'
                   b'"memory-budget": 9007199254740993, "max-connections": 9223372036854775808}',
        "numbers-right": b'{"stuck-after": 0.0105, "memory-budget": 33554432.5, "loops": 64}',
        "types": b'{"listen": {}, "loops": "4", "instance": 5,\n"kernel-path": true, "lanes": null,\n'
                 b'"stuck-after": [], "unix-mode": 660}',
        "listen-text": b'{"listen": "systemd"}',
        "listen-wrong": b'{"listen": [\n"::1:7400",\n"x:",\n5, "unix:", "tls:unix:a", "[::1:5"]}',
        "listen-empty": b'{"listen": []}',
        "listen-many": json_text({"listen": ["a:1"] * 65}),
        "unknown": b'{"lane": 4,\n"check-config": true, "config": "x",\n"": 0}',
        "escapes": b'{"\\u006coops":\n3, "in\\"st\\\\ance":\n[{"a": "}]"}, "\\n"],\n"x": 1}',
        "access-types": b'{"access": {"users": {}, "identities": [],\n"x": 1}}',
        "access-inner": b'{"access": {"users": [5, {}, {"uid": 1}, {"uid": 65534, "identity": "a"},\n'
                        b'{"uid": -1, "gid": 4294967295, "identity": 5, "x": 1}],\n'
                        b'"identities": {"a..b": {}, "a": 5, "b": {"x": 1, "publish": 5, "direct": [5,\n'
                        b'"a b"], "subscribe": {"allow": 5, "x": [], "deny": ["a*.b"]}}}}}',
        "access-no-rules": b'{"access": {"users": [{"uid": 1, "identity": "a"}]}}',
        "access-no-identity": b'{"access": {"identities": {}}}',
        "access-nobody": b'{"access": {"users": [{"uid": 1, "identity": "anonymous"}]}}',
        "access-name-long": json_text({"access": {"identities": {"a" * 300: {}, "b" * 200: {}}}}),
        "place-long": json_text({"access": {"identities": {"a" * 250: {"publish": {"c" * 600: 1}}}}}),
    }
    for name, data in cases.items():
        put("config", name, data)


def tokens():
    token, digest = b"5f1c3a0be2cd4c2f96e5d24e", b"sha256:" + b"9f86d081" * 8
    cases = {
        "alone": token,
        "alone-newline": token + b"\n",
        "alone-crlf": token + b"\r\n",
        "alone-newlines": token + b"\n" * 600,
        "alone-then-more": token + b"\n" * 600 + b"more",
        "longest-crlf": b"x" * 512 + b"\r\n",
        "longest-newlines": b"x" * 512 + b"\n\n\n",
        "named": b"# all\n\nshop.till  " + token + b"\r\nshop.backup\t" + digest + b"\n",
        "twice": token + b"\na " + token + b"\n",
        "digest-of-token": b"a " + token + b"\nb sha256:"
                           + hashlib.sha256(token).hexdigest().encode() + b"\n",
        "digest-upper": b"a " + digest.upper() + b"\na sha256:" + b"9F86D081" * 8 + b"\n",
        "digest-short": digest[:-1] + b"\n",
        "digest-long": digest + b"0\n",
        "short": b"a 123456789012345\n",
        "least": b"1234567890123456",
        "longest": b"x" * 512,
        "too-long": b"x" * 513,
        "three": b"a b " + token,
        "name-wrong": b"a..b " + token + b"\n* " + token,
        "nobody": b"anonymous " + token,
        "name-longest": b"n" * 128 + b" " + token + b"\n" + b"n" * 129 + b" " + token + b"1",
        "not-printable": token + b"\xc3\xa4\n" + token + b"\x7f\n",
        "zero": token + b"\x00\n",
        "empty": b"",
        "comment": b"#" + token,
        "blanks": b" \t " + token + b" \t\n \t\n",
    }
    for name, data in cases.items():
        put("tokens", name, data)


def cgroups():
    uid, other = "0d3f1c9e-8a2b-4c5d-9e6f-112233445566", "3f2a9b0c4d5e6f708192a3b4c5d6e7f8"
    id_ = "4be1a6c0d2f34567890abcdef0123456789abcdef0123456789abcdef0123456"
    node = "kubepods.slice/kubepods-burstable-pod" + uid.replace("-", "_") + ".slice"
    v2 = "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate"
    v1 = "35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory"
    initial, private = "cgroup:[4026531835]", "cgroup:[4026532999]"
    host = "77 31 0:38 /../.. /host rw,relatime - cgroup2 cgroup2 rw"
    own = "0::/" + node + "/cri-containerd-" + id_ + ".scope"
    cases = {
        "all": ["all", "a", "b", "", "max", initial, v2, "", "0::/system.slice"],
        "pid": ["pid:77", "pod" + uid, uid, "", "1024", initial, v2, "", "0::/" + node],
        "pid-wrong": ["pid:0x1", "", "", "", "", "", v2, "", "0::/"],
        "pid-none": ["pid:78", "/a", "/", "", "", "", v2, "", "0::/"],
        "pid-above": ["pid:77", "/a/b", "/a", "", "", private, v2, "", "0::/../x"],
        "pid-no-path": ["pid:77", "", "", "", "", "", v2, "", "0::roup2 x"],
        "mount-no-path": ["all", "", "", "", "", "", v2.replace(" / ", " x "),
                          v2.replace("/sys", "sys"), "", "0::/"],
        "pid-outside": ["pid:77", "/a b", "/a\\", "", "", private,
                        v2.replace(" / ", " /x "), "", "0::/y"],
        "pod": ["pod:" + uid, node[15:], uid, "", "5", initial, v2, "", own],
        "pod-slice": ["pod:" + uid.replace("-", "_"), "kubepods-pod" + other + ".slice", other, "",
                      "-1", initial, v2, "", "0::/"],
        "pod-wrong": ["pod:x", "xpod" + uid, uid + "0", "", " 7", initial, v2, "", "0::/"],
        "pod-none": ["pod:" + uid[::-1], "-pod" + uid, "-", "", "", "", v2, "", "0::/"],
        "container": ["container:containerd://" + id_, "docker-" + id_ + ".scope", id_[:12],
                      "memory", "99", "", v2, "", "3:memory:/a"],
        "container-two": ["container:" + id_[:13], "crio-conmon-" + id_ + ".scope", id_, "", "", "",
                          v2, "", "0::/"],
        "container-short": ["container:" + id_[:11], id_, "a://" + id_, "", "", "", v2, "", "0::/"],
        "default-pod": ["", "x" + id_, "://" + id_, "", "", initial, v2, "", own],
        "default-private": ["", "", "", "", "", private, v2, "", "0::/"],
        "default-host": ["/sys/fs/cgroup", "/h", "/", "", "", private, v2, host, "", "0::/"],
        "v1": ["all", "a", "b", "cpu", "4096", initial, v1, v2, "",
               "5:cpu,cpuacct:/kubepods/pod" + uid, "4:memory:/kubepods/pod" + uid, "0::/"],
        "v1-only": ["all", "a", "b", "cpu", "4096", initial, v1, "", "4:memory:/a"],
        "nothing": [],
        "escapes": ["all", "a b\\c", "d\te", "", "", "", v2.replace("/sys", "/\\163ys"), "", "0::/"],
        "over": ["all", "/a/b/", "/a", "", "18446744073709551616", "", v2, v2, "", "0::/", "0::/b"],
        "cut": ["all", "", "", "", "", "", "41 31 0:38 /", "41 - cgroup2", " - cgroup2 ", "", "0:", "::"],
    }
    for name, lines in cases.items():
        put("cgroup", name, "\n".join(lines).encode())


def statuses():
    connection = {"name": "a\x1b[2J", "identity": "shop.till", "endpoint": "ab", "peer": "1.2.3.4:5",
                  "lane": True, "slot": 7, "kind": "tcp", "queued_bytes": 4096, "dropped": 3,
                  "subscriptions": 2, "in": {"frames": 9}, "out": {"frames": 1 << 40},
                  "kernel": {"frames": 5, "bytes": 600, "passed": 2, "received": 1,
                             "reasons": {"no-flow": 4, "never": 0, "x" * 120: 9}}}
    plain = dict(connection, lane=False, kernel=None, tls={"version": "TLSv1.3"}, name="b\n")
    subscription = {"subject": "a.>", "group": "g", "overflow": "block", "subscriber": "ab"}
    status = {
        "instance": "main", "version": "0.1.0", "pid": 4, "uptime_ms": 8000000, "draining": True,
        "listen": ["127.0.0.1:7400", 5] + ["unix:/run/%d" % i for i in range(60)],
        "kernel_path": {"active": True, "slots": 4096, "flows": 9, "cgroup": "/sys", "untested": "x",
                        "cgroup_why": "all", "sockets_left": 2, "pins": "/sys/fs/bpf/x"},
        "confinement": {"active": True, "user": 0, "group": 0, "capabilities": ["bpf"],
                        "filter": True, "reason": ""},
        "loops": [{"name": "loop-0", "connections": 2, "stuck_count": 3, "stuck": True,
                   "stuck_longest_ms": 900}, {"name": "admin"}, 5],
        "pool_bytes": 1 << 62, "memory": {"used": 1, "budget": 2, "high": 3, "pressed": True},
        "connections": [connection, plain, 5], "subscriptions": [subscription] * 3 + [{}],
        "slow": [{"name": "a", "endpoint": "ab", "held": 1023, "waited_for": True,
                  "dropped": {"drop-oldest": {"messages": 7}}}],
        "flows": [{"from": "ab", "subject": "a", "target": "t", "members": 2},
                  {"from": "cd", "subject": "", "target": "ab"}],
        "subjects": [{"subject": "ä\u0085", "id": "1", "declared": -1, "receivers": 0}],
        "counters": {"frames": 1000, "x\ty": "z"}}
    before = dict(status, connections=[dict(connection, kernel={"frames": 1, "passed": 9})])

    def answer(value):
        return json_module.dumps(value, ensure_ascii=False).encode()
    cases = {
        "whole": answer(before) + b"\n" + answer(status),
        "first": b"\n" + answer(status),
        "empty": b"{}\n{}",
        "array": b"\n[]",
        "nothing": b"\n",
        "off": answer({"kernel_path": {"active": False, "reason": "no"}, "draining": 1,
                       "confinement": {"reason": "off"}, "listen": {}, "loops": {"a": 1}})
        .join([b"\n", b""]),
        "types": b"\n" + answer({name: {"x": [1], "y": {"name": []}} for name in status}),
        "long": b"\n" + answer({"subscriptions": [dict(subscription, subject="s" * 1100),
                                                  dict(subscription, group="ö" * 600), subscription],
                                "subjects": [{"subject": "s" * 3000}]}),
        "tabs": b"\n" + answer({"subscriptions": [dict(subscription, subject="a\tb", group="\t")]}),
        "negative": b"\n" + answer({"connections": [dict(connection, slot=-5, dropped=-1)],
                                    "uptime_ms": -1, "pool_bytes": -1}),
    }
    for name, data in cases.items():
        put("status", name, data)


def versions():
    cases = {
        "plain": ["6.1.191", "#1 SMP", ""],
        "debian": ["6.1.0-44-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.164-1 (2026-01-01)", ""],
        "ubuntu": ["5.15.0-91-generic", "#101-Ubuntu SMP",
                   "Ubuntu 5.15.0-91.101-generic 5.15.131\n5.15.999"],
        "old": ["4.19.0", "", ""],
        "oldest": ["5.9.265", "", ""],
        "two": ["6.12", "x 6.12.114", ""],
        "other-series": ["6.6.1", "16.6.200 6.6.6.6.200 6.60.7 a6.6.5 6.6.", "6.6.4.9"],
        "none": ["a.b.c", "", ""],
        "negative": ["6.-56.12", "", ""],
        "negative-elsewhere": ["6.1.1", "6.1.-5 6.1. 9 6.1.+7", ""],
        "huge": ["6.1.4294967296", "99999999999999999999.1.1", "6.1.99999999999999999999"],
        "long": ["6.1.1" + "x" * 80, "6.1.2" + "y" * 80, "z" * 126 + "6.1.3"],
    }
    for name, lines in cases.items():
        put("version", name, "\n".join(lines).encode())


def handshakes():
    def record(type_, body, length=None):
        return struct.pack(">BHH", type_, 0x303, len(body) if length is None else length) + body

    def message(length, type_=1, body=None):
        return struct.pack(">I", type_ << 24 | length) + (b"m" * length if body is None else body)
    changed = record(20, b"\x01")
    cases = {
        "hello": record(22, message(200)),
        "largest": record(22, message(16384, body=b"m" * 60)),
        "too-large": record(22, message(16385, body=b"")),
        "across": record(22, message(90)[:3]) + record(22, b"") + record(22, message(90)[3:]),
        "body-across": record(22, message(90)[:40]) + record(22, message(90)[40:]),
        "two-in-one": record(22, message(5) + message(0) + message(70000, body=b"")),
        "retried": record(22, message(9)) + changed + record(22, message(70000, body=b"")),
        "encrypted": record(22, message(9) + message(3)) + changed
        + record(22, message(70000, body=b"")),
        "changed-within": record(22, message(9)[:5]) + changed + record(22, message(9)[5:]
                                                                       + message(1 << 23, body=b"")),
        "changed-long": record(20, b"x" * 300) + record(22, message(17000, body=b"")),
        "alert": record(21, b"\x02\x28") + record(22, message(70000, body=b"")),
        "data": record(23, b"e" * 40),
        "cut": record(22, b"\x01\x00\x00", 400),
        "empty-records": record(22, b"") * 5 + record(20, b"") + record(22, message(1)),
    }
    for name, data in cases.items():
        for piece in 0, 1, 3:
            put("handshake", "%s-by-%d" % (name, piece) if piece else name,
                bytes([piece]) + data)


def environments():
    cases = {
        "many": ["PATH=/bin", "XYLEM_SERVE_LISTEN=127.0.0.1:0 unix:/run/x\ttls:[::1]:5",
                 "XYLEM_SERVE_KERNEL_PATH=off", "XYLEM_SERVE_LOOPS=4", "XYLEM_SERVE_MEMORY_BUDGET=64M",
                 "XYLEM_SERVE_STUCK_AFTER=1.5s", "XYLEM_SERVE_CONFIG=/etc/x", "XYLEM_SERVE_CONFINE=off"],
        "texts": ["XYLEM_SERVE_UNIX_MODE=0660", "XYLEM_SERVE_INSTANCE=a.b-c_d",
                  "XYLEM_SERVE_CGROUP=all", "XYLEM_SERVE_USER=nobody", "XYLEM_SERVE_TLS_MIN=1.2"],
        "wrong": ["XYLEM_SERVE_LOOPS=65", "XYLEM_SERVE_LANES=0x10", "XYLEM_SERVE_UNIX_MODE=888",
                  "XYLEM_SERVE_TLS_MIN=1", "XYLEM_SERVE_STUCK_AFTER=9ms", "XYLEM_SERVE_ADMIN="],
        "unknown": ["XYLEM_SERVE_LANE=1", "XYLEM_SERVE_=1", "XYLEM_SERVE_LOOPS", "XYLEM_SERVER=x"],
        "flag": ["XYLEM_SERVE_CHECK_CONFIG=true"],
        "empty": ["XYLEM_SERVE_LISTEN= \t", "XYLEM_SERVE_LOOPS="],
        "twice": ["XYLEM_SERVE_LOOPS=1", "XYLEM_SERVE_LOOPS=2", "XYLEM_SERVE_LISTEN=a:1",
                  "XYLEM_SERVE_LISTEN=b:1"],
        "listen-many": ["XYLEM_SERVE_LISTEN=" + "a:1 " * 65],
        "service": ["NOTIFY_SOCKET=/run/x", "WATCHDOG_USEC=3000000", "WATCHDOG_PID=@",
                    "LISTEN_PID=@", "LISTEN_FDS=1"],
        "service-abstract": ["NOTIFY_SOCKET=@x", "WATCHDOG_USEC=18446744073709551616"],
        "service-other": ["NOTIFY_SOCKET=@x", "WATCHDOG_USEC=5", "WATCHDOG_PID=1", "LISTEN_PID=1",
                          "LISTEN_FDS=1"],
        "service-many": ["LISTEN_PID=@", "LISTEN_FDS=2147483648", "NOTIFY_SOCKET=x"],
        "service-sign": ["LISTEN_PID=@", "LISTEN_FDS=+1", "NOTIFY_SOCKET=/" + "p" * 107,
                         "WATCHDOG_USEC= 5"],
    }
    for name, lines in cases.items():
        put("environment", name, "\n".join(lines).encode())


def lines():
    def line(length, byte=b"x"):
        return struct.pack(">H", length) + byte
    cases = {
        "one": line(3),
        "one-ended": line(3) + b"\n",
        "empty": b"",
        "empty-lines": line(0) * 9,
        "two": line(1, b"a") + line(2, b"b") + b"\n",
        "larger-than-a-piece": line(1, b"a") + line(20000, b"b") + line(3, b"c"),
        "many-pieces": b"".join(line(5000, bytes([65 + i])) for i in range(20)) + b"\n",
        "growing": b"".join(line(3000 * i, bytes([65 + i])) for i in range(1, 15)),
        "zeros": line(4, b"\0") + line(4, b"\n"),
    }
    for name, data in cases.items():
        put("lines", name, data)


for write_corpus in (frames, json, subjects, verdicts, pipes, clients, options, proxies,
                     configs, tokens, cgroups, statuses, versions, handshakes,
                     environments, lines):
    write_corpus()
