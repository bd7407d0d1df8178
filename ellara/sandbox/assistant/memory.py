"""What the stand-in remembers: conversations, stored responses, and counts of what it did. Owned by assistant/server.py.

Everything is bounded: of conversations and responses the newest are kept, as the real service keeps them for a time.
"""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

import attrs
from msgspec import Struct, field

from ellara.sandbox.assistant.checks import check_items, check_items_max
from ellara.sandbox.assistant.events import Json, new_id
from ellara.sandbox.assistant.requests import ConversationRequest, Item, ItemsRequest, Refusal, ResponseRequest, read_value

KEPT_MAX = 1_000

Kept = TypeVar("Kept")


@attrs.define
class Conversation:
    id: str
    created_at: int
    metadata: dict[str, str]
    items: list[Item]
    locked: bool = False
    """While a response is generated into it."""

    def shown(self) -> Json:
        return {"id": self.id, "object": "conversation", "created_at": self.created_at, "metadata": self.metadata}


@attrs.frozen
class Stored:
    response: Json
    context: list[Item]
    """The conversation up to and with the response."""


class Stats(Struct, rename="camel"):
    """Counts since the start, or since `/_stats?reset`; in JSON the names are the independent fake's, where it has them."""

    requests: Counter[str] = field(default_factory=Counter)
    """By method and route."""
    statuses: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    """Requests that the SDK says it sends again."""
    deprecated: Counter[str] = field(default_factory=Counter)
    """Parameters that still work, but not for long."""
    streams: int = 0
    streams_done: int = 0
    """Their terminal event was sent."""
    streams_aborted: int = 0
    """The client left before."""
    streams_failed: int = 0
    """Ended by a fault without a terminal event."""
    chunks: int = 0

    def end_stream(self, *, told: bool, left: bool) -> None:
        """`told`: the terminal event was sent. `left`: the client went away."""
        if told:
            self.streams_done += 1
        elif left:
            self.streams_aborted += 1
        else:
            self.streams_failed += 1


class Memory:
    def __init__(self) -> None:
        self.conversations: dict[str, Conversation] = {}
        self.responses: dict[str, Stored] = {}

    def create(self, request: ConversationRequest, now_s: int) -> Conversation:
        if request.items:
            check_items(request.items, "items")
            check_items_max(request.items, "items")
        made = Conversation(new_id("conv"), now_s, request.metadata or {}, request.items or [])
        _keep(self.conversations, made.id, made)
        return made

    def conversation(self, conversation_id: str) -> Conversation:
        try:
            return self.conversations[conversation_id]
        except KeyError:
            raise Refusal(404, f"Conversation with id '{conversation_id}' not found.") from None

    def append(self, conversation_id: str, request: ItemsRequest) -> list[Item]:
        conversation = self.conversation(conversation_id)
        check_items(request.items, "items")
        check_items_max(request.items, "items")
        conversation.items += request.items
        return request.items

    def stored(self, response_id: str) -> Stored:
        try:
            return self.responses[response_id]
        except KeyError:
            raise Refusal(404, f"Response with id '{response_id}' not found.") from None

    def before(self, request: ResponseRequest) -> list[Item]:
        """The items that go before the request's own. Raises `Refusal`, also while its conversation is locked."""
        if request.conversation_id is not None:
            conversation = self.conversation(request.conversation_id)
            check_items_max(request.items, "input")
            if conversation.locked:
                message = "Another process is currently operating on this conversation. Please retry in a few seconds."
                raise Refusal(400, message, param="conversation", code="conversation_locked")
            return conversation.items
        if request.previous_response_id is None:
            return []
        if request.previous_response_id not in self.responses:
            message = f"Previous response with id '{request.previous_response_id}' not found."
            raise Refusal(400, message, param="previous_response_id", code="previous_response_not_found")
        return self.responses[request.previous_response_id].context

    def lock(self, request: ResponseRequest, *, locked: bool) -> None:
        if request.conversation_id in self.conversations:
            self.conversations[request.conversation_id].locked = locked

    def complete(self, request: ResponseRequest, response: Json, context: list[Item], items: list[Json]) -> None:
        """Only now the conversation grows, by what was asked and what was answered."""
        answered = read_value({"items": items}, ItemsRequest).items
        if request.conversation_id in self.conversations:
            self.conversations[request.conversation_id].items += [*request.items, *answered]
        if request.store is not False:
            _keep(self.responses, str(response["id"]), Stored(response, [*context, *answered]))

    def keeps(self, item_id: str) -> bool:
        contexts = [
            *(stored.context for stored in self.responses.values()),
            *(each.items for each in self.conversations.values()),
        ]
        return any(item.id == item_id for context in contexts for item in context)


def _keep(kept: dict[str, Kept], name: str, value: Kept) -> None:
    kept[name] = value
    if len(kept) > KEPT_MAX:
        del kept[next(iter(kept))]
