"""Socket.IO alone, behind the real HTTP server: a process that prints its URL, then `left SID` whenever a client has left.

An event is acknowledged with its own arguments, or echoed. `count N` is answered with the events `number 0` to `number N-1`,
`who` with `you SID USER`, `wait S` with `waited` after S seconds. For clients that are cut: `stream N S` is `count N`, a number
each S seconds, `write N S` the same as deltas of one text; and another one may have N numbers and a picture sent to a client that
has emitted something, wherever that is now: `tell SID N`, acknowledged.
`python -m tests.wire.echo_server PORT SETTINGS`, these as JSON for [socket]; SIGTERM stops it as it stops the daemon.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from functools import partial

import trio

from ellara.actors.application import Ack, Application
from ellara.actors.client import Client
from ellara.errors import TokenRejected
from ellara.settings import Server, Socket
from ellara.web.serve import WebSockets, serve_http
from ellara.web.socketio import SocketIO


def authenticate(auth: Mapping[str, object]) -> str | None:
    token = auth.get("token")
    if token == "bad":
        raise TokenRejected("Invalid Token")
    return None if token is None else f"user of {token}"


seen: dict[str, Client] = {}


def on_leave(client: Client) -> None:
    seen.pop(client.id, None)
    print("left", client.id, flush=True)


def count(client: Client, numbers: int) -> None:
    for number in range(numbers):
        client.emit("number", number)


def answer(client: Client, event: str, args: list[object], ack: Ack | None) -> None:
    if ack is not None:
        ack(*args)
    else:
        client.emit(event, *args)


async def wait(client: Client, seconds: float) -> None:
    await trio.sleep(seconds)
    client.emit("waited")


async def stream(client: Client, numbers: int, every_s: float) -> None:
    for number in range(numbers):
        client.emit("number", number)
        await trio.sleep(every_s)


async def write(client: Client, numbers: int, every_s: float) -> None:
    for number in range(numbers):
        client.emit_text("text", f"{number} ", payload=str)
        await trio.sleep(every_s)


def on_event(nursery: trio.Nursery, client: Client, event: str, args: list[object], ack: Ack | None) -> None:
    seen[client.id] = client
    match event, args:
        case "count", [int() as numbers]:
            count(client, numbers)
        case "who", []:
            client.emit("you", client.id, client.user_id)
        case "wait", [float() as seconds]:
            nursery.start_soon(wait, client, seconds)
        case "stream", [int() as numbers, float() as every_s]:
            nursery.start_soon(stream, client, numbers, every_s)
        case "write", [int() as numbers, float() as every_s]:
            nursery.start_soon(write, client, numbers, every_s)
        case "tell", [str() as sid, int() as numbers]:
            count(seen[sid], numbers)
            seen[sid].emit("picture", b"\x00\xff")
            answer(client, event, [], ack)
        case "ask me", _:
            client.ask(lambda *answers: client.emit("answered", *answers), "sure?", *args)
        case _:
            answer(client, event, args, ack)


async def main(port: int, settings: Socket) -> None:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        server = Server(port=port, stop_s=1.0)
        socketio = SocketIO(
            settings,
            ("*",),
            server.write_timeout_s,
            Application(authenticate, partial(on_event, nursery), lambda client, ack: client.emit("too fast"), on_leave),
        )
        await nursery.start(socketio.run)
        websockets = WebSockets(b"/socket.io/", socketio.websocket)
        print(await nursery.start(partial(serve_http, socketio, server, stop, websockets=websockets)), flush=True)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            await anext(signals)
        await socketio.close(within_s=2.0)
        stop.set()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), Socket(**json.loads(sys.argv[2])))
