"""Call: a request that carries its own reply; Mailbox: the bounded queue that an actor reads them from.

The daemon makes the mailboxes, so they outlive an actor's crash and the next incarnation reads on. A caller that goes away never
cancels work that was accepted: `Call.reply` only waits. Full means `Busy`, closed means `Stopping`; nothing waits to get in.
"""

from __future__ import annotations

from types import TracebackType
from typing import Generic, Self, TypeVar

import attrs
import trio

from ellara.errors import Busy, Crashed, EllaraError, Stopping

Answer = TypeVar("Answer")


@attrs.define(eq=False, kw_only=True)
class Call(Generic[Answer]):
    """One request to an actor; subclasses add its fields. Answered exactly once; the first answer counts.

    In the actor, as a context manager: an `EllaraError` becomes the answer; a crash becomes `Crashed`, then goes on up.
    """

    _done: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)
    _value: Answer = attrs.field(init=False, repr=False)
    _error: EllaraError | None = attrs.field(default=None, init=False, repr=False)

    def answer(self, value: Answer) -> None:
        if not self._done.is_set():
            self._value = value
            self._done.set()

    def refuse(self, error: EllaraError) -> None:
        if not self._done.is_set():
            self._error = error
            self._done.set()

    @property
    def answered(self) -> bool:
        return self._done.is_set()

    async def reply(self) -> Answer:
        """Waits for the answer. Raises the `EllaraError` that the actor refused with. Cancelling it cancels the waiting alone."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if isinstance(error, EllaraError):
            self.refuse(error)
            return True
        self.refuse(Crashed("The request was interrupted by an internal error; please try again"))
        return False


Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """A bounded queue with one reader. `async for` ends once it is closed and empty: that is how an actor drains at shutdown."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self._send, self._receive = trio.open_memory_channel[Item](size)

    def post(self, item: Item) -> None:
        """Queues without waiting. Raises `Busy` when full and `Stopping` when closed."""
        try:
            self._send.send_nowait(item)
        except trio.WouldBlock:
            raise Busy("Too many requests at once; please try again in a moment") from None
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise Stopping("The server is restarting; please try again in a moment", retry_after_s=5.0) from None

    def take(self) -> Item | None:
        """What is queued next, or None."""
        try:
            return self._receive.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return None

    def with_more(self, first: Item, most: int) -> list[Item]:
        """`first` and what is queued behind it, at most `most` in all: for an actor that answers many at a time."""
        batch = [first]
        while len(batch) < most and (item := self.take()) is not None:
            batch.append(item)
        return batch

    def close(self) -> None:
        self._send.close()

    def __len__(self) -> int:
        return self._receive.statistics().current_buffer_used

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None


class Bell:
    """A mailbox of size one without content, for one listener: rung often before it listens, it is heard once."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def heard(self) -> None:
        await self._rung.wait()
        self._rung = trio.Event()
