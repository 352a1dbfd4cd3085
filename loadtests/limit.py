"""How many deliveries a second the generator can take in on this machine, from a server that only sends.

`python -m loadtests.limit` starts a second process that fans one `new-message` out to its sockets, again and
again, and takes the frames in by the way of a run: link, ledger, recorder, disk. It prints one line of JSON.
The figure is per CPU-second, because that survives a machine that is busy with other things; as a loop that
is never idle is never in time, only `SHARE` of a core is counted on.

The sockets are plain. TLS costs more, and so does everything else that virtual users do.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
import msgspec
import psutil
from websockets.http11 import Request
from websockets.server import ServerProtocol

from loadtests import clock, usage
from loadtests.fanout import Ledger
from loadtests.health import every_second
from loadtests.link import Link
from loadtests.recorder import Recorder
from reports.parts import PartWriter
from talkamie.contract import Chat, Message, MessageData

SOCKETS = 100
ROUNDS = 3  # under way at a time: enough to be never idle, too few to be flooded
WARM_UP_S = 0.3
MEASURED_S = 1.2
SHARE = 0.7
_TIMEOUT_S = 10.0


class Limit(msgspec.Struct, frozen=True):
    """What was measured."""

    per_cpu_second: int  # deliveries
    trusted: int  # a second, of one process of the generator


class LimitError(Exception):
    """It could not be measured; the message says why."""


def measure() -> Limit:
    """Measure this machine, for about two seconds, in processes of its own. Raises LimitError."""
    line = [sys.executable, "-m", "loadtests.limit"]
    try:
        ended = subprocess.run(line, capture_output=True, timeout=2 * _TIMEOUT_S, check=False)
        return msgspec.json.decode(ended.stdout, type=Limit)
    except subprocess.TimeoutExpired:
        raise LimitError(f"not done after {2 * _TIMEOUT_S:g} s") from None
    except msgspec.DecodeError:
        said = ended.stderr.decode(errors="replace").strip().splitlines()
        raise LimitError(said[-1] if said else f"it ended with {ended.returncode}") from None


def _take_in() -> Limit:
    """Take frames in until the time is over."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="talkload-limit-")))
        writer = PartWriter(folder, "limit")
        stack.callback(writer.close)
        recorder = Recorder(writer)
        ledger = Ledger(recorder, "limit")
        _, text = ledger.mark("As long as what people say to one another, more or less, on most days.")
        url, server = _serve(stack, text)
        assert server.stdin is not None
        ask = server.stdin.write
        taken = 0

        def taker(me: str, number: int) -> Callable[[str, Any, int, int], None]:
            def take(action: str, push: Any, arrived: int, seen: int) -> None:
                nonlocal taken
                taken += 1
                ledger.pushed(action, push, me, number, arrived=arrived, seen=seen)
                if taken % SOCKETS == 0:
                    ask(b"+")

            return take

        for number in range(SOCKETS):
            link = Link(taker(f"user-{number}", number), lambda code, reason: None)
            link.connect(url, None, timeout=_TIMEOUT_S)
            stack.callback(link.drop)
        stack.callback(every_second(recorder.flush).kill)
        ask(b"+" * ROUNDS)
        gevent.sleep(WARM_UP_S)
        process, before = psutil.Process(), taken
        began = usage.of_process(process)
        gevent.sleep(MEASURED_S)
        ended = usage.of_process(process)
        spent = ended.user + ended.system - began.user - began.system
        rate = round((taken - before) * clock.SECOND / max(spent, 1))
    return Limit(per_cpu_second=rate, trusted=round(rate * SHARE))


def _serve(stack: ExitStack, text: str) -> tuple[str, subprocess.Popen[bytes]]:
    """Start the null server; return its address, and the process: it writes a round for each byte it gets."""
    data = MessageData(chat=Chat(id="chat-1"), message=Message(id="message-1", type="text", text=text))
    frame = msgspec.json.encode({"success": True, "action": "new-message", "data": data})
    server = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", "loadtests.limit", "serve", frame.decode()],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    )
    stack.callback(server.kill)
    assert server.stdout is not None
    return f"ws://127.0.0.1:{int(server.stdout.readline())}/", server


def _null_server(frame: str) -> None:
    """Shake hands with `SOCKETS` clients, then write the frame to each of them for every byte of stdin."""
    with socket.create_server(("127.0.0.1", 0), backlog=SOCKETS) as listener:
        print(listener.getsockname()[1], flush=True)
        connections, payload = [], b""
        for _ in range(SOCKETS):
            connections.append(listener.accept()[0])
            payload = _shake_hands(connections[-1], frame)
        while os.read(0, 1):
            for connection in connections:
                connection.sendall(payload)


def _shake_hands(connection: socket.socket, frame: str) -> bytes:
    """Answer one websocket handshake; return the frame as the server would write it."""
    protocol = ServerProtocol()
    while True:
        protocol.receive_data(connection.recv(65536))
        for event in protocol.events_received():
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
                connection.sendall(b"".join(protocol.data_to_send()))
                protocol.send_text(frame.encode())
                return b"".join(protocol.data_to_send())


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        _null_server(sys.argv[2])
    else:
        print(json.dumps(msgspec.to_builtins(_take_in())))
