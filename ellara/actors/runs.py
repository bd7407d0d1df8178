"""Runs: one task per answer being generated. It outlives the socket that asked: a client that leaves changes nothing.

The question is committed before OpenAI is asked, the answer before `bot_end` is sent; in between no database connection is held.
A chat answers one question at a time; a client's page shows one chat at a time. Sessions reach this actor by its `on_…` methods.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from math import inf

import attrs
import trio

from ellara.actors import ledger
from ellara.actors.answer import Answer, refuse
from ellara.actors.application import Ack
from ellara.actors.audience import Audience, Key, Seat
from ellara.actors.client import Client
from ellara.actors.following import Following
from ellara.actors.phrases import Language, Trouble, language_of, phrase, trouble_of
from ellara.actors.questions import Question, parse_message, parse_resume, trouble_with_user
from ellara.actors.transcripts import Transcripts
from ellara.errors import Busy, EllaraError, Refused
from ellara.llm.assistant import Assistant
from ellara.llm.faults import Fault
from ellara.llm.titles import cut_title, plain_title
from ellara.llm.transcript import BYTES_PER_TOKEN
from ellara.log import get_logger
from ellara.mailbox import Mailbox
from ellara.metrics import RUNS, RUNS_OPEN
from ellara.model import Message, Speaker
from ellara.settings import OpenAI
from ellara.storage.connection import Interrupted
from ellara.storage.pool import Pool
from ellara.supervision import contained

log = get_logger(__name__)

MAILBOX_SIZE = 1_024

WAITING_MAX = 4
"""Questions that wait in one chat for the answer before theirs; more are refused."""

KEEP_S = 3.0
"""For storing what was shown when the answer is cancelled."""

LEDGER_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)
"""A ledger that is full or without its database is asked again: an answer that was shown is worth waiting for."""


@attrs.frozen(eq=False)
class Ask:
    """A well-formed question and who asks."""

    question: Question
    seat: Seat
    ack: Ack | None

    def refuse(self, trouble: Trouble | Fault) -> None:
        refuse(self.seat.client, self.ack, trouble, language_of(self.question.text))


@attrs.define(eq=False)
class Conversation:
    """A chat with an answer coming, and the questions that wait for it."""

    waiting: deque[Ask]
    keys: list[Key]
    """A question for someone else's chat waits for nothing of theirs. None yet for a new chat."""
    answer: Answer | None = None
    """The one being generated, once its question is stored: the chat is there, and the user's."""


@attrs.define(eq=False)
class Run:
    """One answer being generated."""

    ask: Ask
    conversation: Conversation
    answer: Answer
    language: Language
    chat_id: str | None
    title: str = ""
    titled: trio.Event = attrs.field(factory=trio.Event)
    """The first chunk waits for the title no more: it has come, or not in time."""
    kept: bool = False


class Runs:
    """Mailbox: questions; full, or with `runs_max` of them accepted, means a clear `bot_error`."""

    def __init__(
        self,
        mailbox: Mailbox[Ask],
        ledger_mailbox: Mailbox[ledger.Request],
        pool: Pool,
        assistant: Assistant,
        settings: OpenAI,
        *,
        require_token: bool,
    ) -> None:
        self._mailbox = mailbox
        self._ledger = ledger_mailbox
        self._transcripts = Transcripts(pool, settings.transcript_max_tokens * BYTES_PER_TOKEN)
        self._assistant = assistant
        self._settings = settings
        self._require_token = require_token
        self._audience = Audience()
        self._following = Following(pool, self._audience, self._answer_in)
        self._reset()

    def on_event(self, client: Client, name: str, args: list[object], ack: Ack | None) -> None:
        """For the sessions: takes `message` and `resume`, ignores every other event. Never raises, never waits."""
        match name:
            case "message":
                self._on_message(client, args, ack)
            case "resume":
                self._on_resume(client, args, ack)

    def on_excess(self, client: Client, ack: Ack | None) -> None:
        """For the sessions: an event came too fast, and was not let through."""
        refuse(client, ack, Trouble.TOO_FAST, Language.INDONESIAN)

    def on_leave(self, client: Client) -> None:
        """For the sessions: it is gone for good. What was asked goes on, unheard."""
        self._audience.leave(client)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until the mailbox is closed and every accepted question has its end."""
        self._reset()
        async with trio.open_nursery() as beside:
            beside.start_soon(self._transcripts.run)
            beside.start_soon(self._following.run)
            async with trio.open_nursery() as nursery:
                task_status.started()
                async for ask in self._mailbox:
                    self._accept(ask, nursery)
            self._following.close()
            self._transcripts.close()

    def _reset(self) -> None:
        self._accepted = 0
        self._conversations: dict[Key, Conversation] = {}

    def _answer_in(self, key: Key) -> Answer | None:
        conversation = self._conversations.get(key)
        return conversation.answer if conversation is not None else None

    def _on_message(self, client: Client, args: list[object], ack: Ack | None) -> None:
        question = parse_message(args)
        if isinstance(question, Trouble):
            refuse(client, ack, question, Language.INDONESIAN)
        elif trouble := self._trouble_with(question, client):
            refuse(client, ack, trouble, language_of(question.text))
        else:
            ask = Ask(question, self._audience.show(client, _key(question)), ack)
            try:
                self._mailbox.post(ask)
            except EllaraError as error:
                ask.refuse(trouble_of(error))

    def _on_resume(self, client: Client, args: list[object], ack: Ack | None) -> None:
        resume = parse_resume(args)
        if isinstance(resume, Trouble):
            refuse(client, ack, resume, Language.INDONESIAN)
        elif trouble := trouble_with_user(client.user_id, resume.user_id, require_token=self._require_token):
            refuse(client, ack, trouble, Language.INDONESIAN)
        elif user_id := client.user_id or resume.user_id:
            self._following.ask(client, user_id, resume, ack)
        else:
            refuse(client, ack, Trouble.CHAT_MISSING, Language.INDONESIAN)

    def _trouble_with(self, question: Question, client: Client) -> Trouble | None:
        if len(question.text) > self._settings.question_max_chars:
            return Trouble.QUESTION_TOO_LONG
        return trouble_with_user(client.user_id, question.user_id, require_token=self._require_token)

    def _accept(self, ask: Ask, nursery: trio.Nursery) -> None:
        key = _key(ask.question)
        conversation = self._conversations.get(key) if key is not None else None
        if self._accepted >= self._settings.runs_max:
            ask.refuse(Trouble.BUSY)
            return
        if conversation is None:
            conversation = Conversation(deque(), [])
            self._enter(conversation, key)
            nursery.start_soon(self._converse, conversation, nursery)
        elif len(conversation.waiting) >= WAITING_MAX:
            ask.refuse(Trouble.CHAT_BUSY)
            return
        self._accepted += 1
        conversation.waiting.append(ask)

    def _enter(self, conversation: Conversation, key: Key | None) -> None:
        """Under its key, which a new chat has not yet."""
        if key is not None:
            conversation.keys.append(key)
            self._conversations[key] = conversation

    async def _converse(self, conversation: Conversation, nursery: trio.Nursery) -> None:
        try:
            while conversation.waiting:
                run = self._new_run(conversation.waiting.popleft(), conversation)
                with contained("run"):
                    await self._run(run, nursery)
                conversation.answer = None
                self._accepted -= 1
        finally:
            for key in conversation.keys:
                del self._conversations[key]
            for ask in conversation.waiting:
                ask.refuse(Trouble.STOPPING)

    def _new_run(self, ask: Ask, conversation: Conversation) -> Run:
        answer = Answer(partial(self._audience.hearing, ask.seat))
        run = Run(ask, conversation, answer, language_of(ask.question.text), ask.question.chat_id)
        if run.chat_id is not None:
            run.answer.announce()  # an old chat's page knows its title and id
            run.titled.set()
        return run

    async def _run(self, run: Run, nursery: trio.Nursery) -> None:
        started = trio.current_time()
        outcome: Trouble | Fault | None = None
        with RUNS_OPEN.track_inprogress():
            try:
                await self._answer(run, nursery)
            except EllaraError as error:
                outcome = Trouble.UNKNOWN_USER if isinstance(error, Refused) and run.chat_id is None else trouble_of(error)
                log.warning("answer failed", kind=outcome, chat=run.chat_id, reason=error.message)
                if run.chat_id is not None:
                    await run.titled.wait()
            finally:
                if not run.answer.ended:
                    cancelled = trio.current_effective_deadline() == -inf
                    outcome = outcome or (Trouble.STOPPING if cancelled else Trouble.BROKEN)
                    await self._fail(run, outcome)
                RUNS.labels(outcome=outcome or "completed").inc()
        log.info(
            "answer ended", outcome=outcome or "completed", chat=run.chat_id, seconds=round(trio.current_time() - started, 3)
        )

    async def _answer(self, run: Run, nursery: trio.Nursery) -> None:
        messages = await self._open_chat(run, nursery) if run.chat_id is None else await self._ask_in(run, run.chat_id)
        run.conversation.answer = run.answer
        if run.ask.ack is not None:
            run.ask.ack({"ok": True, "chatId": run.chat_id, "messageId": messages[-1].id})
        await self._assistant.answer(messages, run.ask.question.user_id, partial(self._hear, run))
        await self._keep(run)
        await run.titled.wait()
        self._announce(run)
        run.answer.end(messages[-1].chat_id, run.ask.question.chat_id is None)

    async def _open_chat(self, run: Run, nursery: trio.Nursery) -> Sequence[Message]:
        question = run.ask.question
        title = plain_title(question.text)
        run.title = title or cut_title(question.text)
        chat, message = await ledger.open_chat(self._ledger, question.user_id, run.title, question.text)
        run.chat_id = chat.id
        self._enter(run.conversation, (question.user_id, chat.id))
        self._audience.opened(run.ask.seat, (question.user_id, chat.id))
        if title is not None:
            self._announce(run)
        else:
            nursery.start_soon(self._entitle, run, chat.id)
        return [message]

    async def _ask_in(self, run: Run, chat_id: str) -> Sequence[Message]:
        question = run.ask.question
        messages = await self._transcripts.newest(chat_id, question.user_id)
        asked = [message.content for message in messages if message.role is Speaker.USER]
        run.language = language_of(question.text, *reversed(asked))
        message = await ledger.append(self._ledger, chat_id, Speaker.USER, question.text)
        return [*messages, message]

    async def _entitle(self, run: Run, chat_id: str) -> None:
        """Beside the answer, which waits for it a while and does without."""
        with contained("title", run.titled.set):
            await self._ask_for_title(run, chat_id)

    async def _ask_for_title(self, run: Run, chat_id: str) -> None:
        """The model's title, stored before it is told."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_for_title, run)
            title = await self._assistant.title(run.ask.question.text)
            if title is not None:
                try:
                    await ledger.retitle(self._ledger, chat_id, title)
                    run.title = title
                except EllaraError as error:  # the chat keeps the title it has
                    log.warning("title not stored", chat=chat_id, reason=error.message)
            nursery.cancel_scope.cancel()
        if run.answer.announced and run.title == title:
            run.answer.retitle(title)
        self._announce(run)

    async def _wait_for_title(self, run: Run) -> None:
        await trio.sleep(self._settings.title_wait_ms / 1000)
        run.titled.set()
        if run.answer.waiting:
            self._announce(run)

    def _announce(self, run: Run) -> None:
        run.titled.set()
        run.answer.announce(run.chat_id, run.title)

    def _hear(self, run: Run, text: str) -> None:
        run.answer.add(text)
        if run.titled.is_set():
            self._announce(run)

    async def _keep(self, run: Run) -> None:
        """Stores what came of the answer, once."""
        if run.kept or run.chat_id is None or not run.answer.text:
            return
        for pause_s in (*LEDGER_PAUSES_S, None):
            try:
                run.kept = True  # once it is posted it is stored, also if this wait is cancelled
                await ledger.append(self._ledger, run.chat_id, Speaker.ASSISTANT, run.answer.text)
                return
            except (Busy, Interrupted):  # nothing of it stands
                run.kept = False
                if pause_s is None:
                    raise
            await trio.sleep(pause_s)

    async def _fail(self, run: Run, trouble: Trouble | Fault) -> None:
        """What was shown stays, as the answer; then the one `bot_error`."""
        with trio.move_on_after(KEEP_S, shield=True):
            try:
                await self._keep(run)
            except EllaraError as error:
                log.error("partial answer lost", chat=run.chat_id, reason=error.message)
        if run.chat_id is not None:
            self._announce(run)
        sentence = phrase(trouble, run.language)
        if run.ask.ack is not None:
            run.ask.ack({"ok": False, "message": sentence})
        run.answer.fail(sentence)


def _key(question: Question) -> Key | None:
    return None if question.chat_id is None else (question.user_id, question.chat_id)
