"""Outbox: what one transport of a session has yet to send. Filled by the session, emptied by the shell's poll or pump."""

from __future__ import annotations

import trio

from ellara.protocol.engineio import Packet

PACKET_OVERHEAD_BYTES = 64
"""What a queued packet counts for beside its data."""


class Outbox:
    """Packets for one transport, in order. One taker at a time: the waiting poll, or the WebSocket's pump.

    Full once `max_bytes` wait; what a taker holds no longer counts. It means that the reader is too slow: the owner drops it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._packets: list[Packet] = []
        self._bytes = 0
        self._closed = False
        self._taker: trio.Event | None = None

    def put(self, packet: Packet) -> bool:
        """False when full; below the bound one packet of any size fits. Once closed, it lets go of what comes."""
        if self._closed:
            return True
        if self._bytes >= self._max_bytes:
            return False
        data = packet.data if isinstance(packet.data, bytes) else packet.data.encode()
        self._bytes += len(data) + PACKET_OVERHEAD_BYTES
        self._packets.append(packet)
        self._wake()
        return True

    async def take(self) -> list[Packet]:
        """Waits for something, then gives all there is; nothing only once closed and empty."""
        while not self._packets and not self._closed:
            self._taker = trio.Event()
            await self._taker.wait()
        self._bytes = 0
        packets, self._packets = self._packets, []
        return packets

    def close(self) -> None:
        self._closed = True
        self._wake()

    def discard(self) -> None:
        """Closes, and lets go of what is queued."""
        self._packets = []
        self.close()

    def move_to(self, other: Outbox) -> None:
        """At the switch of transports: what was queued leaves over the new one, and this one is closed."""
        for packet in self._packets:
            other.put(packet)
        self.discard()

    def __len__(self) -> int:
        return len(self._packets)

    def _wake(self) -> None:
        if self._taker is not None:
            self._taker.set()
            self._taker = None
