"""The opening handshake of a WebSocket: from the request's headers to the bytes that accept it. Pure; wsproto speaks it."""

from __future__ import annotations

import re
import zlib

from wsproto.connection import Connection, ConnectionType
from wsproto.events import AcceptConnection
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol
from wsproto.handshake import H11Handshake
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from ellara.errors import ProtocolError
from ellara.web.cors import Headers

VERSION = b"13"

_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")


class BoundedDeflate(PerMessageDeflate):
    """wsproto 1.3 inflates whatever comes, all at once: a frame of 58 KB becomes 60 MB."""

    def __init__(self, message_max_bytes: int) -> None:
        super().__init__()
        self._message_max_bytes = message_max_bytes

    def frame_inbound_payload_data(self, _proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        if not self._inbound_compressed or not self._inbound_is_compressible:
            return data
        assert self._decompressor is not None
        try:
            inflated = self._decompressor.decompress(data, self._message_max_bytes)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        return CloseReason.MESSAGE_TOO_BIG if self._decompressor.unconsumed_tail else inflated


def release(ws: Connection) -> None:
    """Its parser is a generator that holds its owner, and with it the last frame and 100 KiB of zlib's: ended by hand, they need
    not wait for a full garbage collection."""
    ws._proto._parse_more.close()


def accept(headers: Headers, answer: Headers, *, inflated_max_bytes: int | None) -> tuple[bytes, Connection]:
    """The bytes that accept a WebSocket, with `answer` among their headers. Raises `ProtocolError`: the handshake is no good.

    `inflated_max_bytes`: permessage-deflate is spoken with who offers it, and a message may come to so much; None: it is not.
    Of the request's headers wsproto sees those alone that it needs: it fails on odd bytes in others.
    """
    needed = {b"sec-websocket-key", b"sec-websocket-version"} | ({b"sec-websocket-extensions"} if inflated_max_bytes else set())
    seen = [(b"host", b"x"), (b"connection", b"upgrade"), (b"upgrade", b"websocket")]
    if not all(_KEY.fullmatch(value) for name, value in headers if name == b"sec-websocket-key"):
        raise ProtocolError("Sec-WebSocket-Key is not 16 bytes in base64")
    if [value for name, value in headers if name == b"sec-websocket-version"] != [VERSION]:
        raise ProtocolError("Sec-WebSocket-Version 13 is spoken here")
    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.initiate_upgrade_connection([*seen, *((name, value) for name, value in headers if name in needed)], b"/")
        deflate: list[Extension] = [BoundedDeflate(inflated_max_bytes)] if inflated_max_bytes else []
        accepted = AcceptConnection(extensions=deflate, extra_headers=answer)
        data = handshake.send(accepted)
    except (RemoteProtocolError, LocalProtocolError, ValueError) as error:  # the last: bytes that are no text, odd window bits
        raise ProtocolError(str(error)) from None
    assert handshake.connection is not None
    return data, handshake.connection
