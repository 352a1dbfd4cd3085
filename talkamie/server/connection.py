"""uvicorn's two protocol classes, each with the little that a load target needs more.

`HttpConnection` stamps a request when its first byte is here, bounds its head, and does not wait for ever
for it. `SocketConnection` is handed to the application as an ASGI extension, because the hub writes frames
it has encoded once, looks at the write buffer, and cuts off whom it must: ASGI's `send` can do none of these.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.protocol import State
from websockets.server import ServerProtocol

from talkamie.contract import MAX_FRAME_BYTES, MAX_MESSAGE_BYTES
from talkamie.server import clock

EXTENSION = "talkamie.connection"
MAX_HEAD_BYTES = 32 * 1024
HEAD_DEADLINE_S = 30.0
LINGER_S = 1.0
UNLIMITED_BYTES = 64 << 20


class HttpConnection(HttpToolsProtocol):
    """One https connection."""

    head_bytes = 0
    deadline: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Because nothing else ends a connection whose first request never completes.
        self.deadline = self.loop.call_later(HEAD_DEADLINE_S, self._expect_a_request)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.head_bytes = 0
        self.scope["extensions"] = {"talkamie.received": {"ns": clock.monotonic()}}

    def on_url(self, url: bytes) -> None:
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value))
        super().on_header(name, value)

    def handle_websocket_upgrade(self) -> None:
        self.deadline.cancel()  # else it would keep this object for as long
        super().handle_websocket_upgrade()

    def _grow(self, size: int) -> None:
        self.head_bytes += size
        if self.head_bytes > MAX_HEAD_BYTES:
            raise ValueError("the head is too long")  # the parser turns this into a 400 and a close

    def _expect_a_request(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class SocketConnection(WebSocketsSansIOProtocol):
    """One wss connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        limited = config.ws_max_size <= MAX_MESSAGE_BYTES
        self.conn = ServerProtocol(
            max_size=(MAX_MESSAGE_BYTES, MAX_FRAME_BYTES) if limited else UNLIMITED_BYTES, logger=self.logger
        )
        self.received = 0  # monotonic ns of the last bytes

    def data_received(self, data: bytes) -> None:
        self.received = clock.monotonic()
        if self.conn.parser_exc is None:
            super().data_received(data)
        # Else the connection has failed: what still comes is thrown away until the peer has read our close.

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[EXTENSION] = self
        await super().run_asgi()

    def handle_parser_exception(self) -> None:
        """Send the close frame and linger: a close on unread data is a reset, which eats the close frame."""
        close = self.conn.close_sent
        code, reason = (close.code, close.reason) if close is not None else (1006, "")
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._resume()
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.close)

    def write_frame(self, frame: bytes) -> None:
        """Put a frame made by `hub.text_frame` into the write buffer."""
        self.transport.write(frame)

    def unread(self) -> int:
        """Return the bytes that the peer has not taken yet."""
        return self.transport.get_write_buffer_size()

    def is_open(self) -> bool:
        return not self.close_sent and not self.transport.is_closing() and self.conn.state is State.OPEN

    def close_with(self, code: int, reason: str) -> None:
        """Send a close frame and end the application's loop; the peer has ten seconds to answer."""
        if not self.is_open():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._resume()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    def abort(self) -> None:
        """Cut the connection: no close frame, nothing flushed."""
        self.transport.abort()

    def _resume(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
