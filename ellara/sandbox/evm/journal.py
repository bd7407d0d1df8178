"""The dev chain's key-value store: a dict in memory, and an append-only file of the batches that made it.

Called by engine.py, which commits once a block: a block is on disk whole or not at all. A torn or spoilt tail, as a kill in
mid-write leaves it, is cut off at opening. The bytes are handed to the kernel at each commit, not forced to the disk: the death
of the process loses nothing, that of the machine the last blocks. Absent: compaction; old states stay, as on an archive node.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from zlib import crc32

MAGIC = b"ellara journal 1\n"
UNDO_MAX = 256
"""Commits that can be taken back, since the file was opened."""

_BATCH = struct.Struct(">II")  # bytes that follow, their crc32
_ENTRY = struct.Struct(">II")  # length of the key, of the value
_DELETED = 0xFFFF_FFFF

Changes = dict[bytes, bytes | None]
"""Key → value; None deletes."""


class Journal(MutableMapping[bytes, bytes]):
    """Reads see what was written, committed or not. One writer, one thread."""

    def __init__(self, path: Path) -> None:
        """Opens or begins the file. Raises `OSError`; `ValueError` when it is not a journal."""
        self._items: dict[bytes, bytes] = {}
        self._changed: Changes = {}
        self._before: Changes = {}
        self._undo: deque[Changes] = deque(maxlen=UNDO_MAX)
        self._file = path.open("a+b")
        self._file.seek(0)
        data = self._file.read()
        if not data.startswith(MAGIC[: len(data)]):
            raise ValueError(f"{path} is not a journal of the dev chain")
        self._file.truncate(self._replay(data))
        if len(data) < len(MAGIC):
            self._file.truncate(0)
            self._write(MAGIC)

    def commit(self, *, undoable: bool = True) -> None:
        """Appends everything changed since the last commit, as one batch."""
        payload = b"".join(
            _ENTRY.pack(len(key), _DELETED if value is None else len(value)) + key + (value or b"")
            for key, value in self._changed.items()
        )
        self._write(_BATCH.pack(len(payload), crc32(payload)) + payload)
        if undoable:
            self._undo.append(self._before)
        self._changed, self._before = {}, {}

    def discard(self) -> None:
        """Takes back everything changed since the last commit."""
        self._restore(self._before)
        self._changed, self._before = {}, {}

    def undo(self, commits: int) -> None:
        """Takes back that many commits, as one new batch. Raises `ValueError` when they are older than the opening."""
        if not 0 <= commits <= len(self._undo):
            raise ValueError(f"only the last {len(self._undo)} blocks can be taken back, not {commits}")
        self.discard()
        for _ in range(commits):
            self._restore(self._undo.pop())
        self.commit(undoable=False)

    def close(self) -> None:
        self._file.close()

    def __getitem__(self, key: bytes) -> bytes:
        return self._items[key]

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._note(key)
        self._items[key] = self._changed[key] = value

    def __delitem__(self, key: bytes) -> None:
        self._note(key)
        del self._items[key]
        self._changed[key] = None

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def _note(self, key: bytes) -> None:
        if key not in self._before:
            self._before[key] = self._items.get(key)

    def _restore(self, before: Changes) -> None:
        for key, value in before.items():
            if value is not None:
                self[key] = value
            elif key in self._items:
                del self[key]

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()

    def _replay(self, data: bytes) -> int:
        """Takes up every whole batch; returns where the last of them ends."""
        end = len(MAGIC)
        while end + _BATCH.size <= len(data):
            length, checksum = _BATCH.unpack_from(data, end)
            payload = memoryview(data)[end + _BATCH.size : end + _BATCH.size + length]
            if len(payload) < length or crc32(payload) != checksum:
                break
            self._take_up(payload)
            end += _BATCH.size + length
        return min(end, len(data))

    def _take_up(self, payload: memoryview) -> None:
        at = 0
        while at < len(payload):
            key_length, value_length = _ENTRY.unpack_from(payload, at)
            at += _ENTRY.size
            key = bytes(payload[at : at + key_length])
            at += key_length
            if value_length == _DELETED:
                self._items.pop(key, None)
            else:
                self._items[key] = bytes(payload[at : at + value_length])
                at += value_length
