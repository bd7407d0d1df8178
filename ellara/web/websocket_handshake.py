"""The opening handshake of a WebSocket: from the request's headers to the bytes that accept it. Pure; wsproto speaks it."""

from __future__ import annotations

import re

from wsproto.connection import Connection, ConnectionType
from wsproto.events import AcceptConnection
from wsproto.extensions import PerMessageDeflate
from wsproto.handshake import H11Handshake
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from ellara.errors import ProtocolError
from ellara.web.cors import Headers

VERSION = b"13"

_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")


def accept(headers: Headers, answer: Headers, *, compress: bool) -> tuple[bytes, Connection]:
    """The bytes that accept a WebSocket, with `answer` among their headers. Raises `ProtocolError`: the handshake is no good.

    Of the request's headers wsproto sees those alone that it needs: it fails on odd bytes in others.
    """
    needed = {b"sec-websocket-key", b"sec-websocket-version"} | ({b"sec-websocket-extensions"} if compress else set())
    seen = [(b"host", b"x"), (b"connection", b"upgrade"), (b"upgrade", b"websocket")]
    if not all(_KEY.fullmatch(value) for name, value in headers if name == b"sec-websocket-key"):
        raise ProtocolError("Sec-WebSocket-Key is not 16 bytes in base64")
    if [value for name, value in headers if name == b"sec-websocket-version"] != [VERSION]:
        raise ProtocolError("Sec-WebSocket-Version 13 is spoken here")
    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.initiate_upgrade_connection([*seen, *((name, value) for name, value in headers if name in needed)], b"/")
        accepted = AcceptConnection(extensions=[PerMessageDeflate()] if compress else [], extra_headers=answer)
        data = handshake.send(accepted)
    except (RemoteProtocolError, LocalProtocolError, ValueError) as error:  # the last: bytes that are no text, odd window bits
        raise ProtocolError(str(error)) from None
    assert handshake.connection is not None
    return data, handshake.connection
