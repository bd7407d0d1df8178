"""One Socket.IO connection, whichever transport carries it: its protocol state, its outbox, its namespace sockets' identities.

The shell (web/socketio.py) tells it what came in and takes from the outbox what is to go out; the rest of Ellara sees a `Client`
for each namespace socket. A malformed packet, a crash or a full outbox ends this connection and no other. Absent: bytes, HTTP,
and any memory of a connection that is over.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from math import inf
from typing import TypeAlias

import attrs
import trio

from ellara.actors.outbox import Outbox
from ellara.errors import Conflict, EllaraError, NotFound, ProtocolError
from ellara.log import get_logger
from ellara.mailbox import Answer, Call
from ellara.metrics import SESSIONS, SESSIONS_DROPPED
from ellara.protocol import engineio, socketio
from ellara.protocol.engineio import Packet
from ellara.protocol.namespace import Join, Left, Namespaces, NoSuchNamespace, Received
from ellara.protocol.transport import Closed, Do, Event, Limits, Message, Signal, State, Transport
from ellara.settings import Socket

log = get_logger(__name__)

INBOX_SIZE = 16
"""Messages of the shell; full means that the shell reads no more from the client."""

PACKETS_PER_TURN = 100
"""Of one POST, between two turns of the loop: others are served while a body of many thousand packets is worked through."""


class Client:
    """One namespace socket, as the rest of Ellara sees it. `user_id` None: it showed no token."""

    def __init__(self, namespace: str, user_id: str | None, send: Callable[[socketio.Packet], None]) -> None:
        self.id = secrets.token_urlsafe(15)
        self.user_id = user_id
        self.connected = True
        self._namespace = namespace
        self._send = send

    def emit(self, event: str, *args: object) -> None:
        """Queues; never waits. Does nothing once the client has left. Raises `ProtocolError` for what JSON cannot say."""
        if self.connected:
            self._send(socketio.Event(self._namespace, [event, *args]))

    def answer(self, ack_id: int, args: tuple[object, ...]) -> None:
        if self.connected:
            self._send(socketio.Ack(self._namespace, list(args), ack_id))


Ack: TypeAlias = Callable[..., None]
"""Answers the client's acknowledgement callback; only the first call counts."""

OnEvent: TypeAlias = Callable[[Client, str, list[object], Ack | None], None]
"""Called in the session's task for every event; must not block."""

OnLeave: TypeAlias = Callable[[Client], None]
"""The namespace socket is gone for good; must not block, must not raise."""

Authenticate: TypeAlias = Callable[[Mapping[str, object]], str | None]
"""The handshake's auth → user id, or None without a token. Refuses with an `EllaraError`, whose text the client reads."""


@attrs.frozen
class Application:
    """What the connections are for."""

    authenticate: Authenticate
    on_event: OnEvent
    on_leave: OnLeave


@attrs.define(eq=False)
class Poll(Call[Outbox]):
    """A GET came. Answered with what to take from; `Conflict` on a WebSocket session, `ProtocolError` beside another GET."""


@attrs.define(eq=False)
class Post(Call[None]):
    """A POST came, its body is still to be read. Refused like `Poll`."""


@attrs.define(eq=False)
class Posted(Call[None]):
    """The body of the admitted POST; answered once its packets were dispatched."""

    body: str


@attrs.frozen
class Happened:
    """POLL_ANSWERED, POLL_CUT, POST_READ, POST_CUT or GARBAGE."""

    signal: Signal


@attrs.frozen(eq=False)
class SocketCame:
    """A WebSocket for a session that polls; `line` is what will go out on it."""

    line: Outbox


@attrs.frozen(eq=False)
class Frame:
    line: Outbox
    data: str | bytes


@attrs.frozen(eq=False)
class SocketWent:
    line: Outbox


@attrs.frozen
class Stop:
    """End the connection at its transport; the client comes back by itself."""

    reason: str


Told: TypeAlias = Poll | Post | Posted | Happened | SocketCame | Frame | SocketWent | Stop


class Session:
    """The actor of one connection. Its first transport takes from `outbox`, as it is before `run`."""

    def __init__(self, settings: Socket, application: Application, *, websocket: bool) -> None:
        self.sid = secrets.token_urlsafe(15)
        self.outbox = Outbox(settings.outbox_max_bytes)
        limits = Limits(
            ping_interval_s=settings.ping_interval_s,
            ping_timeout_s=settings.ping_timeout_s,
            upgrade_timeout_s=settings.upgrade_timeout_s,
            payload_max_bytes=settings.payload_max_bytes,
        )
        self._application = application
        self._transport = Transport(limits, trio.current_time(), websocket=websocket)
        self._namespaces = Namespaces(settings.namespaces)
        self._clients: dict[str, Client] = {}
        self._probe: Outbox | None = None
        self._join_by = trio.current_time() + settings.connect_timeout_s
        self._life = trio.CancelScope()
        self._send, self._inbox = trio.open_memory_channel[Told](INBOX_SIZE)
        self._queue(self._transport.open_packet(self.sid))

    async def tell(self, message: Told) -> None:
        """Waits for room. Raises `NotFound` once the session is over."""
        try:
            await self._send.send(message)
        except trio.BrokenResourceError:
            raise NotFound("Session ID unknown") from None

    def cut(self) -> None:
        """Ends it here and now: the deadline behind `Stop`."""
        self._life.cancel()

    async def run(self) -> None:
        """Until the connection is over."""
        SESSIONS.inc()
        try:
            with self._life:
                while self._transport.state is not State.CLOSED:
                    await self._turn()
        finally:
            SESSIONS.dec()
            self._clean_up()

    async def _turn(self) -> None:
        message = None
        with trio.move_on_at(min(self._transport.deadline, self._join_by)):
            message = await self._inbox.receive()
        try:
            if message is not None:
                await self._hear(message)
            self._carry_out(self._transport.tick(trio.current_time()))
            if self._join_by <= trio.current_time():
                self._close("connect timeout")
        except ProtocolError as error:
            log.debug("malformed packet", error=error.message)
            self._close("parse error")

    async def _hear(self, message: Told) -> None:
        match message:
            case Frame():
                self._hear_frame(message)
            case Poll():
                self._admit(message, Signal.POLL, self.outbox)
            case Post():
                self._admit(message, Signal.POST, None)
            case Posted():
                await self._hear_post(message)
            case Happened():
                self._signal(message.signal)
            case SocketCame():
                self._hear_socket(message.line)
            case SocketWent() if message.line in (self.outbox, self._probe):
                self._signal(Signal.SOCKET_CUT)
            case Stop():
                self._close(message.reason)

    def _hear_frame(self, frame: Frame) -> None:
        if frame.line is self.outbox:
            self._hear_packet(frame.data)
        elif frame.line is self._probe:
            try:
                self._carry_out(self._transport.on_probe(engineio.decode_frame(frame.data), trio.current_time()))
            except ProtocolError:
                self._signal(Signal.ODD_FRAME)

    def _hear_packet(self, data: str | bytes) -> None:
        try:
            packet = engineio.decode_frame(data)
        except ProtocolError as error:
            log.debug("malformed packet", error=error.message)
            self._signal(Signal.GARBAGE)
        else:
            self._carry_out(self._transport.receive(packet, trio.current_time()))

    def _admit(self, call: Call[Answer], signal: Signal, answer: Answer) -> None:
        events = self._transport.signal(signal, trio.current_time())
        if Do.REFUSE in events:
            call.refuse(Conflict("Bad request"))
        elif Do.REFUSE_OVERLAP in events:
            call.refuse(ProtocolError("One GET and one POST at a time"))
        else:
            call.answer(answer)
        self._carry_out(events)

    async def _hear_post(self, post: Posted) -> None:
        self._signal(Signal.POST_READ)
        try:
            for number, packet in enumerate(engineio.split_payload(post.body), start=1):
                self._hear_packet(packet)
                if number % PACKETS_PER_TURN == 0:
                    await trio.lowlevel.checkpoint()
        finally:
            post.answer(None)

    def _hear_socket(self, line: Outbox) -> None:
        if Do.REFUSE_SOCKET in self._transport.signal(Signal.SOCKET, trio.current_time()):
            line.close()
        else:
            self._probe = line

    def _signal(self, signal: Signal) -> None:
        self._carry_out(self._transport.signal(signal, trio.current_time()))

    def _carry_out(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Message():
                    self._hear_message(event.data)
                case Closed():
                    self._end(event)
                case Do.PING:
                    self._queue(engineio.PING)
                case Do.RELEASE_POLL:
                    self._queue(engineio.NOOP)
                case Do.ANSWER_PROBE if self._probe is not None:
                    self._probe.put(engineio.PROBE_ANSWER)
                case Do.END_PROBE if self._probe is not None:
                    self._probe.close()
                    self._probe = None
                case Do.SWITCH if self._probe is not None:
                    self.outbox.move_to(self._probe)
                    self.outbox, self._probe = self._probe, None

    def _hear_message(self, data: str | bytes) -> None:
        for event in self._namespaces.receive(data):
            match event:
                case Received():
                    client = self._clients[event.namespace]
                    self._application.on_event(client, event.name, event.args, _ack(client, event.ack_id))
                case Join():
                    self._let_in(event)
                case NoSuchNamespace():
                    self._say(self._namespaces.refuse(event.namespace, "Invalid namespace"))
                case Left():
                    self._leave(event.namespace)

    def _let_in(self, join: Join) -> None:
        try:
            user_id = self._application.authenticate(join.auth)
        except EllaraError as error:
            self._say(self._namespaces.refuse(join.namespace, error.message))
            return
        client = self._clients[join.namespace] = Client(join.namespace, user_id, self._say)
        self._join_by = inf
        self._say(self._namespaces.accept(join.namespace, client.id))

    def _leave(self, namespace: str) -> None:
        client = self._clients.pop(namespace)
        client.connected = False
        self._application.on_leave(client)

    def _say(self, packet: socketio.Packet) -> None:
        for data in socketio.encode(packet):
            self._queue(Packet(engineio.Type.MESSAGE, data))

    def _queue(self, packet: Packet) -> None:
        if not self.outbox.put(packet):
            log.warning("slow reader dropped", packets=len(self.outbox))
            SESSIONS_DROPPED.labels(reason="outbox full").inc()
            for client in self._clients.values():
                client.connected = False
            self.outbox.discard()
            self._life.cancel()  # whoever emitted is not made to wait; `run` tells of the leaving

    def _close(self, reason: str) -> None:
        self._carry_out(self._transport.close(reason, trio.current_time()))

    def _end(self, closed: Closed) -> None:
        """The protocol is over; CLOSING still waits for a poll to be told."""
        if closed.reason not in ("transport close", "transport error"):
            SESSIONS_DROPPED.labels(reason=closed.reason).inc()
        self._join_by = inf
        if closed.by_client or (self._transport.state is State.CLOSING and not len(self.outbox)):
            self.outbox.put(engineio.NOOP)
        if self._transport.state is State.CLOSING:
            self.outbox.put(engineio.CLOSE)
        self._hang_up()

    def _hang_up(self) -> None:
        for namespace in list(self._clients):
            self._leave(namespace)
        for line in (self.outbox, self._probe):
            if line is not None:
                line.close()

    def _clean_up(self) -> None:
        """Nobody may wait for ever on a session that is over, however it ended."""
        self._hang_up()
        while True:
            try:
                message = self._inbox.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                break
            match message:
                case Poll() | Post() | Posted():
                    message.refuse(NotFound("Session ID unknown"))
                case SocketCame():
                    message.line.close()
        self._inbox.close()


def _ack(client: Client, ack_id: int | None) -> Ack | None:
    if ack_id is None:
        return None
    waiting = [ack_id]

    def ack(*args: object) -> None:
        if waiting:
            client.answer(waiting.pop(), args)

    return ack
