# SPDX-License-Identifier: BSD-2-Clause
"""A second client, written from docs/PROTOCOL.md alone: a check that the page is enough.

Python's standard library only. One thread per Client. Nothing happens in the background: frames are
read, acked and answered while a method waits. Errors of the proxy are raised as XylemError, by the
call that caused them where the protocol tells, else by the next call that waits.
"""
import collections
import json
import os
import select
import socket
import struct
import time

HEADER = struct.Struct(">IBBHQQQQQQHH")
HEADER_SIZE = 60
FRAME_MAX = 65536
SEND_FRAMES, SEND_BYTES = 64, 65536
OUTBOUND_MAX = 4 << 20
INBOUND_MAX = 65 << 20
assert HEADER.size == HEADER_SIZE

(HELLO, WELCOME, SYNC, SYNCED, SYNC_WANTED, DECLARE, BINDING, SUBSCRIBE, UNSUBSCRIBE, OK, ERROR, DATA,
 ACK, PING, PONG, GOODBYE) = range(1, 17)
DIRECT, REPLY_WANTED, CRC, LANE, BUNDLE = 1, 2, 4, 8, 16
CLOSING = {"bad-frame", "bad-version", "bad-type", "bad-source", "hello-timeout", "unauthorized",
           "slow-consumer", "shutting-down"}

Frame = collections.namedtuple(
    "Frame", "length version type flags target source sequence timestamp ack correlation fragment "
    "fragments payload")
Message = collections.namedtuple(
    "Message", "subject data source sequence timestamp correlation reply_wanted direct")


class XylemError(Exception):
    """An ERROR of the proxy."""

    def __init__(self, code, message, target=0, sequence=0, correlation=0):
        super().__init__(f"{code}: {message}")
        self.code, self.target, self.sequence = code, target, sequence
        self.correlation = correlation


class ProtocolError(Exception):
    """The proxy broke a rule of the protocol."""


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def encode(type_, payload=b"", flags=0, target=0, source=0, sequence=0, timestamp=0, ack=0,
           correlation=0, fragment=0, fragments=0):
    return bytearray(HEADER.pack(HEADER_SIZE + len(payload), 1, type_, flags, target, source,
                                 sequence, timestamp, ack, correlation, fragment,
                                 fragments) + payload)


def unbundle(payload):
    """The messages of a bundle, or None when it is malformed."""
    messages, at = [], 0
    while at < len(payload):
        if len(payload) - at < 4:
            return None
        size = int.from_bytes(payload[at:at + 4], "big")
        at += 4
        if size > len(payload) - at:
            return None
        messages.append(payload[at:at + size])
        at += size
    return messages


def _connect(server, timeout):
    if server.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.connect(server[5:])
    else:
        host, _, port = server.rpartition(":")
        sock = socket.create_connection((host.strip("[]"), int(port)), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    return sock


class Client:
    def __init__(self, server="127.0.0.1:7400", name=None, token=None, ack=True, crc=False,
                 timeout=5.0):
        self.timeout, self.crc = timeout, crc
        self.endpoint, self.lane, self.window = 0, False, 0
        self.max_frame, self.max_message = FRAME_MAX, 64 << 20
        self.stats = collections.Counter()
        self.topics, self.subjects = {}, {}  # subject -> id of ours, id -> subject
        self.messages, self._messages_size = collections.deque(), 0
        self.errors = collections.deque()
        self.peer_goodbye = self.closed = False
        self._answers, self._waiting = {}, set()  # by correlation
        self._correlation = 0
        self._sequences = collections.Counter()
        self._partial, self._partial_size = {}, 0
        self._buffer = bytearray()
        self._consumed = self._acked = 0
        self._control = collections.deque()
        self._data, self._data_size = collections.deque(), 0
        self._rest = None  # of a short send: goes out before anything else
        self._syncs = self._synced = 0
        self._sync_unsent = self._sync_wanted = False
        self._heartbeat, self._pinged = None, 0.0
        self._heard = self._spoke = time.monotonic()
        self._send_failed = False
        self.sock = _connect(server, timeout)
        self._poll = select.poll()
        hello = {"name": name or f"python-{os.getpid()}", "library": "xylem-python/1", "ack": ack}
        if token is not None:
            hello["token"] = token
        self._queue(encode(HELLO, json.dumps(hello).encode()))
        self._wait(lambda: self.endpoint)
        self.sync()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Drops what is unsent."""
        self.closed = True
        self.sock.close()

    # ---- out -------------------------------------------------------------------------------------

    def _queue(self, frame):
        self._control.append(frame)

    def _request(self, type_, payload=b"", target=0):
        """Sends a request and returns its OK."""
        self._correlation += 1
        correlation = self._correlation
        self._waiting.add(correlation)
        self._queue(encode(type_, payload, target=target, source=self.endpoint,
                           correlation=correlation))
        return self._answer(correlation, self.timeout)

    def _answer(self, correlation, timeout):
        try:
            self._wait(lambda: correlation in self._answers, timeout)
        finally:
            self._waiting.discard(correlation)
        answer = self._answers.pop(correlation)
        if isinstance(answer, XylemError):
            raise answer
        return answer

    def declare(self, subject):
        self.topics[subject] = self._request(DECLARE, subject.encode()).target
        self.subjects[self.topics[subject]] = subject
        return self.topics[subject]

    def subscribe(self, subject, group=None, overflow=None, stall_ms=None, echo=None):
        members = {"subject": subject, "group": group, "overflow": overflow, "stall_ms": stall_ms,
                   "echo": echo}
        given = {key: value for key, value in members.items() if value is not None}
        return self._request(SUBSCRIBE, json.dumps(given).encode()).target

    def unsubscribe(self, subscription):
        self._request(UNSUBSCRIBE, target=subscription)

    def _queue_data(self, target, data, flags=0, correlation=0, count=1):
        if self.crc:
            flags |= CRC
        room = self.max_frame - HEADER_SIZE - (4 if self.crc else 0)
        pieces = [data[at:at + room] for at in range(0, len(data), room)] or [b""]
        if len(data) > self.max_message:
            raise ValueError("longer than max_message")
        sequence = self._sequences[target] + 1
        self._sequences[target] += count
        for index, piece in enumerate(pieces):
            if self.crc:
                piece = bytes(piece) + crc32c(piece).to_bytes(4, "big")
            frame = encode(DATA, piece, flags, target, self.endpoint, sequence, time.time_ns(), 0,
                           correlation, index, len(pieces) if len(pieces) > 1 else 0)
            self._data.append(frame)
            self._data_size += len(frame)
        if self._data_size > OUTBOUND_MAX:
            self._wait(lambda: self._data_size <= OUTBOUND_MAX // 2)

    def _topic(self, subject):
        return self.topics.get(subject) or self.declare(subject)

    def publish(self, subject, data):
        self._queue_data(self._topic(subject), data)

    def publish_bundle(self, subject, messages):
        """Small messages in one frame."""
        payload = b"".join(len(m).to_bytes(4, "big") + m for m in messages)
        if len(payload) + HEADER_SIZE + 4 > self.max_frame:
            raise ValueError("bundle longer than a frame")
        self._queue_data(self._topic(subject), payload, BUNDLE, count=len(messages))

    def send(self, endpoint, data, correlation=0):
        self._queue_data(endpoint, data, DIRECT, correlation)

    def request(self, subject, data, timeout=None):
        topic = self._topic(subject)
        self._correlation += 1
        correlation = self._correlation
        self._waiting.add(correlation)
        self._queue_data(topic, data, REPLY_WANTED, correlation)
        return self._answer(correlation, timeout or self.timeout)

    def reply(self, request, data):
        self.send(request.source, data, request.correlation)

    def flush(self, timeout=None):
        """Until everything queued is with the kernel."""
        self._wait(lambda: not (self._control or self._data or self._rest), timeout)

    def sync(self, timeout=None):
        """Until the proxy has handed on everything sent before."""
        self.flush(timeout)
        self._send_sync()
        mine = self._syncs
        self._wait(lambda: self._synced >= mine, timeout)

    def ping(self, payload=b""):
        self._correlation += 1
        self._waiting.add(self._correlation)
        self._queue(encode(PING, payload, source=self.endpoint, correlation=self._correlation))
        if self._answer(self._correlation, self.timeout).payload != payload:
            raise ProtocolError("PONG without the payload of its PING")

    def goodbye(self, timeout=10.0):
        """Sends what is queued, says GOODBYE; what still comes is kept for next()."""
        self.flush(timeout)
        self._queue(encode(GOODBYE, source=self.endpoint))
        deadline = time.monotonic() + timeout
        while not self.closed:
            self._turn(deadline)
            if time.monotonic() >= deadline:
                raise TimeoutError("the proxy did not close")

    def _send_sync(self):
        if self._syncs == self._synced:
            self._syncs += 1
            self._sync_unsent = True
            self.stats["syncs"] += 1
            self._queue(encode(SYNC, source=self.endpoint, correlation=self._syncs))

    def _next_send(self):
        """The bytes of one send call: a control frame, or whole DATA frames of one target."""
        if self._control:
            frames = [self._control.popleft()]
        elif self._data and self._syncs == self._synced and self._is_writable():
            frames, size, target = [], 0, self._data[0][8:16]
            while (self._data and len(frames) < SEND_FRAMES and self._data[0][8:16] == target
                   and size + len(self._data[0]) <= SEND_BYTES):
                frames.append(self._data.popleft())
                size += len(frames[-1])
            self._data_size -= size
            self.stats["frames_out"] += len(frames)
            self.stats["sends"] += 1
        else:
            return None
        for frame in frames:
            if frame[5] != HELLO:
                frame[40:48] = self._consumed.to_bytes(8, "big")
            if frame[5] == SYNC:
                self._sync_unsent = self._sync_wanted = False
        self._acked = self._consumed
        return memoryview(b"".join(frames))

    def _is_writable(self):
        # With a full socket buffer an ACK could not be sent any more, and credit would never return.
        self._poll.register(self.sock, select.POLLOUT)
        return any(event & select.POLLOUT for _, event in self._poll.poll(0))

    def _write(self):
        while True:
            if self._rest is None:
                self._rest = self._next_send()
            if self._rest is None:
                return
            try:
                sent = self.sock.send(self._rest, socket.MSG_NOSIGNAL)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # Of that send only, says the protocol; the same bytes are tried again, and whether
                # the connection has ended is for the read to say.
                self.stats["send_errors"] += 1
                self._send_failed = True
                return
            self._spoke = time.monotonic()
            self._rest = self._rest[sent:] if sent < len(self._rest) else None

    # ---- in --------------------------------------------------------------------------------------

    def _read(self):
        try:
            data = self.sock.recv(FRAME_MAX)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
            return
        self._heard = time.monotonic()
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= HEADER_SIZE:
            header = HEADER.unpack_from(self._buffer, at)
            length = header[0]
            if not HEADER_SIZE <= length <= FRAME_MAX or header[1] != 1:
                raise ProtocolError(f"no header of a frame: {bytes(self._buffer[at:at + 8]).hex()}")
            if len(self._buffer) - at < length:
                break
            payload = bytes(self._buffer[at + HEADER_SIZE:at + length])
            at += length
            if header[2] != WELCOME:
                self._consumed += length
            self._take(Frame(*header, payload))
        del self._buffer[:at]
        if self._consumed - self._acked >= self.window // 8 and \
                not any(frame[5] == ACK for frame in self._control):
            self._queue(encode(ACK, source=self.endpoint))

    def _take(self, frame):
        self.stats["frames_in"] += 1
        if self._heartbeat is None and frame.type not in (WELCOME, ERROR):
            raise ProtocolError(f"type {frame.type} before WELCOME")
        if frame.type == DATA:
            self._take_data(frame)
        elif frame.type == WELCOME:
            self._take_welcome(frame)
        elif frame.type == SYNCED:
            if self._synced == self._syncs or frame.correlation != self._syncs:
                raise ProtocolError("SYNCED answers no SYNC")
            self._synced = frame.correlation
            self.lane = bool(frame.flags & LANE)
        elif frame.type == SYNC_WANTED:
            if self._sync_wanted:
                raise ProtocolError("a second SYNC_WANTED before the answer to the first")
            self.stats["sync_wanted"] += 1
            self._send_sync()
            self._sync_wanted = self._sync_unsent
        elif frame.type == BINDING:
            self.subjects[frame.target] = frame.payload.decode()
        elif frame.type in (OK, PONG):
            if frame.correlation in self._waiting:
                self._answers[frame.correlation] = frame
        elif frame.type == ERROR:
            self._take_error(frame)
        elif frame.type == PING:
            self._queue(encode(PONG, frame.payload, source=self.endpoint,
                               correlation=frame.correlation))
        elif frame.type == GOODBYE:
            self.peer_goodbye = True
        else:
            raise ProtocolError(f"type {frame.type} is not the proxy's to send")

    def _take_welcome(self, frame):
        welcome = json.loads(frame.payload)
        self.endpoint = int(welcome["endpoint"], 16)
        if self.endpoint != frame.target or welcome["endpoint"] != f"{self.endpoint:016x}":
            raise ProtocolError("WELCOME names two endpoints")
        self.max_frame, self.max_message = welcome["max_frame"], welcome["max_message"]
        self.window, self._heartbeat = welcome["window"], welcome["heartbeat_ms"] / 1000

    def _take_error(self, frame):
        body = json.loads(frame.payload)
        error = XylemError(body["code"], body["message"], frame.target, frame.sequence,
                           frame.correlation)
        if frame.correlation in self._waiting:
            self._answers[frame.correlation] = error
        else:
            self.errors.append(error)

    def _discard_partial(self, source):
        pieces = self._partial.pop(source, None)
        if pieces is not None:
            self._partial_size -= sum(len(piece) for piece in pieces[1])
            self.stats["corrupt"] += 1

    def _reassemble(self, frame, payload):
        """The whole message, or None while fragments are missing."""
        key = (frame.target, frame.flags & DIRECT, frame.sequence, frame.fragments)
        pieces = self._partial.get(frame.source)
        expected = len(pieces[1]) if pieces is not None and pieces[0] == key else 0
        if frame.fragments <= 1 or frame.fragment != expected or expected == 0:
            self._discard_partial(frame.source)
            expected = 0
        if frame.fragments <= 1:
            return payload
        if frame.fragment != expected:
            self.stats["corrupt"] += 1
            return None
        pieces = self._partial.setdefault(frame.source, (key, []))
        pieces[1].append(payload)
        self._partial_size += len(payload)
        while self._partial_size > INBOUND_MAX:
            self._discard_partial(next(iter(self._partial)))
        if len(pieces[1]) < frame.fragments:
            return None
        del self._partial[frame.source]
        self._partial_size -= sum(len(piece) for piece in pieces[1])
        return b"".join(pieces[1])

    def _take_data(self, frame):
        payload = frame.payload
        if frame.flags & CRC:
            if len(payload) < 4 or crc32c(payload[:-4]) != int.from_bytes(payload[-4:], "big"):
                self._discard_partial(frame.source)
                self.stats["corrupt"] += 1
                return
            payload = payload[:-4]
        direct = bool(frame.flags & DIRECT)
        if direct and frame.target != self.endpoint:
            raise ProtocolError("DIRECT to another endpoint")
        if not direct and frame.target not in self.subjects:
            raise ProtocolError("DATA of a topic without BINDING")
        payload = self._reassemble(frame, payload)
        if payload is None:
            return
        messages = unbundle(payload) if frame.flags & BUNDLE else [payload]
        if messages is None:
            self.stats["corrupt"] += 1
            return
        for index, data in enumerate(messages):
            self._deliver(Message("" if direct else self.subjects[frame.target], data, frame.source,
                                  frame.sequence + index if frame.sequence else 0, frame.timestamp,
                                  frame.correlation, bool(frame.flags & REPLY_WANTED), direct))

    def _deliver(self, message):
        self.stats["messages_in"] += 1
        if message.direct and message.correlation in self._waiting:
            self._answers[message.correlation] = message
            return
        self.messages.append(message)
        self._messages_size += len(message.data)

    # ---- waiting ---------------------------------------------------------------------------------

    def _turn(self, deadline, reads=True):
        """One round of writing and reading, waiting for a chance of either until the deadline."""
        now = time.monotonic()
        if self._heartbeat is not None:
            if now - self._heard > 3 * self._heartbeat:
                raise ConnectionError("the proxy is silent")
            if now - max(min(self._heard, self._spoke), self._pinged) > self._heartbeat:
                self._pinged = now
                self._queue(encode(PING, source=self.endpoint))
            deadline = min(deadline, now + self._heartbeat / 2)
        self._write()
        events = select.POLLIN if reads else 0
        if self._send_failed:
            self._send_failed, deadline = False, min(deadline, now + 0.001)
        elif self._rest is not None or (self._data and self._syncs == self._synced):
            events |= select.POLLOUT
        self._poll.register(self.sock, events)
        ready = self._poll.poll(max(0, (deadline - now) * 1000))
        if reads and any(event & ~select.POLLOUT for _, event in ready):
            self._read()
            self._write()

    def _wait(self, condition, timeout=None):
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            self._write()
            if condition():
                return
            if self.closed:
                raise self.errors.popleft() if self.errors else ConnectionError("closed")
            self._turn(deadline, self._messages_size < INBOUND_MAX)
            if self.errors and self.errors[0].code in CLOSING:
                raise self.errors.popleft()
            if not condition() and time.monotonic() >= deadline:
                raise TimeoutError("not within the time given")

    def next(self, timeout=None):
        """The next message. Raises errors that answer no call."""
        self._wait(lambda: self.messages or self.errors, timeout)
        if self.errors:
            raise self.errors.popleft()
        message = self.messages.popleft()
        self._messages_size -= len(message.data)
        return message
