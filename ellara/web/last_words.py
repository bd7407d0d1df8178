"""The only answer on a connection that is refused: written by hand, as none of the server's machinery is spent on it.

Used by `serve` for connections there is no room for, by `socketio` for WebSockets that are not let in.
"""

from __future__ import annotations

from http import HTTPStatus

import trio

from ellara.web.cors import Headers

HEARD_WITHIN_S = 1.0
"""For the peer to read it."""


async def refuse(stream: trio.SocketStream, status: int, body: bytes, headers: Headers) -> None:
    """Answers and says that this is all; what the peer still sends is read off, since a reset could eat the answer.

    The stream is to be closed behind it. Raises trio's resource errors: the peer is gone.
    """
    with trio.move_on_after(HEARD_WITHIN_S):
        await stream.send_all(_answer(status, body, headers))
        await stream.send_eof()
        while await stream.receive_some():
            pass


def _answer(status: int, body: bytes, headers: Headers) -> bytes:
    head = [(b"content-length", b"%d" % len(body)), (b"connection", b"close"), *headers]
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(), *(b"%s: %s" % line for line in head), b"", body]
    return b"\r\n".join(lines)
