"""Socket.IO alone, behind the real HTTP server: a process that prints its URL, then `left SID` whenever a client has left.

An event is acknowledged with its own arguments, or echoed. `count N` is answered with the events `number 0` to `number N-1`,
`who` with `you SID USER`, `wait S` with `waited` after S seconds.
`python -m tests.wire.echo_server PORT PING_INTERVAL_S`; SIGTERM stops it as it stops the daemon.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from functools import partial

import trio

from ellara.actors.session import Ack, Client
from ellara.errors import TokenRejected
from ellara.settings import Server, Socket
from ellara.web.serve import WebSockets, serve_http
from ellara.web.socketio import SocketIO


def authenticate(auth: Mapping[str, object]) -> str | None:
    token = auth.get("token")
    if token == "bad":
        raise TokenRejected("Invalid Token")
    return None if token is None else f"user of {token}"


def on_leave(client: Client) -> None:
    print("left", client.id, flush=True)


async def main(port: int, ping_interval_s: float) -> None:
    settings, stop = Socket(ping_interval_s=ping_interval_s, recovery_s=0), trio.Event()  # what comes back is what was said
    async with trio.open_nursery() as nursery:

        async def wait(client: Client, seconds: float) -> None:
            await trio.sleep(seconds)
            client.emit("waited")

        def on_event(client: Client, event: str, args: list[object], ack: Ack | None) -> None:
            match event, args:
                case "count", [int() as numbers]:
                    for number in range(numbers):
                        client.emit("number", number)
                case "who", []:
                    client.emit("you", client.id, client.user_id)
                case "wait", [float() as seconds]:
                    nursery.start_soon(wait, client, seconds)
                case _ if ack is not None:
                    ack(*args)
                case _:
                    client.emit(event, *args)

        server = Server(port=port, stop_s=1.0)
        socketio = SocketIO(
            settings,
            ("*",),
            server.write_timeout_s,
            authenticate=authenticate,
            on_event=on_event,
            on_excess=lambda client, ack: client.emit("too fast"),
            on_leave=on_leave,
        )
        await nursery.start(socketio.run)
        websockets = WebSockets(b"/socket.io/", socketio.websocket)
        print(await nursery.start(partial(serve_http, socketio, server, stop, websockets=websockets)), flush=True)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            await anext(signals)
        await socketio.close()
        stop.set()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), float(sys.argv[2]))
