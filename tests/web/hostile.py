"""What hostile and broken peers send, as bytes: each must end its own connection at most."""

from __future__ import annotations

import struct

PATH = "/socket.io/?EIO=4&transport=websocket"
POLLING = "/socket.io/?EIO=4&transport=polling"


def request(path: str = "/", *more: bytes) -> bytes:
    return b"".join([b"GET %s HTTP/1.1\r\nhost: a\r\n" % path.encode(), *(line + b"\r\n" for line in more), b"\r\n"])


def upgrade(path: str = PATH, *more: bytes) -> bytes:
    head = (b"upgrade: websocket", b"connection: Upgrade", b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==")
    return request(path, *head, b"sec-websocket-version: 13", *more)


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """Final, masked with zeros."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack("!H", len(payload))
    return bytes([0x80 | opcode]) + size + bytes(4) + payload


def fragment(payload: bytes, opcode: int = 0) -> bytes:
    """Of a message that goes on."""
    return bytes([opcode, 0x80 | len(payload)]) + bytes(4) + payload


POST = b"POST / HTTP/1.1\r\nhost: a\r\n"

REQUESTS = {
    "odd h2c settings": request("/", b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMA"),
    "h2c settings cut short": request("/", b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAAA"),
    "HTTP/2 over 1.1": b"PRI * HTTP/1.1\r\nhost: a\r\n\r\nSM\r\n\r\n" + bytes(9),
    "HTTP/2 at once": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "HTTP/3": request().replace(b"HTTP/1.1", b"HTTP/3.0"),
    "garbage": bytes(range(256)) * 4,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(509),
    "NUL and bytes in the path": request("/%ff%00"),
    "non-ASCII target": request("/").replace(b"/ ", b"/\xff ", 1),
    "non-ASCII query": request("/?a").replace(b"?a", b"?\xff", 1),
    "no target": request(""),
    "absolute target": request("http://b/"),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": request("/", b"host: b"),
    "odd host": request().replace(b"host: a", b"host: \xff\xfe"),
    "a line behind the head": b"\r\n" + request(),
    "space before the colon": request("/", b"a : b"),
    "NUL in a header": request("/", b"a: \x00"),
    "non-ASCII connection": request("/", b"connection: \xff"),
    "folded header": request("/", b"a: b", b" c", b"\td"),
    "lines without CR": request("/", b"a: b").replace(b"\r\n", b"\n"),
    "thousand headers": request("/", *[b"a: b"] * 1_000),
    "long method": b"A" * 9_000 + b" / HTTP/1.1\r\nhost: a\r\n\r\n",
    "long head": request("/", *[b"a: b"] * 20_000),
    "endless head": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
    "length and chunks": POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + request("/smuggled"),
    "two lengths": POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "two equal lengths": POST + b"content-length: 5\r\n" * 2 + b"\r\nhello" + request("/smuggled"),
    "signed length": POST + b"content-length: +5\r\n\r\nhello",
    "negative length": POST + b"content-length: -5\r\n\r\nhello",
    "huge length": POST + b"content-length: 99999999999999999999\r\n\r\nhello",
    "unknown coding": POST + b"transfer-encoding: gzip, chunked\r\n\r\nhello",
    "unknown coding alone": POST + b"transfer-encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "asks before its body": POST + b"expect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
    "asks and sends nothing": POST + b"expect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    "bad chunk": POST + b"transfer-encoding: chunked\r\n\r\n5\r\nhelloXX",
    "huge chunk": POST + b"transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nhello",
    "half a body": POST + b"content-length: 5\r\n\r\nhel",
    "thousand requests at once": request() * 1_000,
    "HEAD for a session": request(POLLING).replace(b"GET", b"HEAD"),
    "DELETE for a session": request(POLLING).replace(b"GET", b"DELETE"),
    "session below the path": request(POLLING.replace("?", "x/y?")),
}
"""Requests."""

UPGRADES = {
    "bytes behind it": upgrade(PATH, b"connection: close") + b"x",
    "with a length": upgrade(PATH, b"content-length: 5") + b"hello",
    "with chunks": upgrade(PATH, b"transfer-encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
    "of HTTP/1.0": upgrade().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "without a key": request(PATH, b"upgrade: websocket", b"connection: upgrade"),
    "bad key": upgrade().replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"\xff"),
    "old version": upgrade().replace(b"version: 13", b"version: 12"),
    "odd version": upgrade().replace(b"version: 13", b"version: \xff"),
    "non-ASCII subprotocol": upgrade(PATH, b"sec-websocket-protocol: \xff\xfe"),
    "non-ASCII extension": upgrade(PATH, b"sec-websocket-extensions: \xff"),
    "non-ASCII connection": upgrade(PATH, b"connection: \xff"),
    "odd server deflate bits": upgrade(PATH, b"sec-websocket-extensions: permessage-deflate; server_max_window_bits=abc"),
    "odd client deflate bits": upgrade(PATH, b"sec-websocket-extensions: permessage-deflate; client_max_window_bits=x"),
    "odd origin": upgrade(PATH, b"origin: \xff\x01"),
    "session unknown": upgrade(PATH + "&sid=__proto__"),
    "transport unknown": upgrade("/socket.io/?EIO=4&transport=smoke"),
    "old revision": upgrade("/socket.io/?EIO=3&transport=websocket"),
    "below the path": upgrade(PATH.replace("?", "x/y?")),
    "odd query": upgrade("/socket.io/?%ff&=&&EIO=4&transport=websocket&sid=%00"),
}
"""Requests for a WebSocket."""

FRAMES = {
    "unknown opcode": frame(b"", 0xB),
    "reserved bits": b"\xf1\x80" + bytes(4),
    "unmasked": b"\x81\x02hi",
    "bad UTF-8": frame(b"\xff\xfe"),
    "bad close code": frame(b"\x00\x01", 8),
    "close of one byte": frame(b"\x03", 8),
    "close with bad UTF-8": frame(b"\x03\xe8\xff", 8),
    "oversized ping": frame(bytes(200), 9),
    "fragmented ping": b"\x09\x80" + bytes(4),
    "continuation of nothing": frame(b"x", 0),
    "text within a text": b"\x01\x81" + bytes(4) + b"x" + frame(b"y"),
    "huge length": b"\x81\xff" + b"\x7f" + b"\xff" * 7 + bytes(4) + b"x",
    "negative length": b"\x81\xff" + b"\xff" * 8 + bytes(4) + b"x",
    "long length for a short frame": b"\x81\xff" + struct.pack("!Q", 1) + bytes(4) + b"x",
    "behind the close": frame(b"", 8) + frame(b"late"),
    "endless fragments": b"\x01\x81" + bytes(4) + b"4" + (b"\x00\x81" + bytes(4) + b"x") * 5_000,
    "thousand pings": frame(b"x", 9) * 1_000,
    "half a frame": frame(b"hello")[:-2],
    "garbage": bytes(range(256)) * 4,
}
"""What may come behind such a request."""
