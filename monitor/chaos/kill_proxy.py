"""A TCP proxy that fails as networks do: for `chaos kill`, between delivery and whom it sends to.

It owns the connections and how they fail, and knows no protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Literal

Mode = Literal["ok", "cut", "stall", "lost-ack"]
"""cut: connections are reset, new ones too. stall: nothing moves, either way. lost-ack: what is sent arrives, and the
connection is reset in the place of the answer."""
PIECE = 1 << 16


class FaultProxy:
    """Listens on 127.0.0.1 from `start` to `stop`, for a port of this machine."""

    def __init__(self, target: int = 0) -> None:
        """target may be set later, before anybody connects."""
        self.target, self.port = target, 0
        self._mode: Mode = "ok"
        self._moves = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> FaultProxy:
        self._thread.start()
        self._do(self._listen())
        return self

    def stop(self) -> None:
        self.set("cut")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def set(self, mode: Mode) -> None:
        self._do(self._set(mode))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    async def _listen(self) -> None:
        self._moves.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    async def _set(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "stall":
            self._moves.clear()
        else:
            self._moves.set()
        if mode == "cut":
            self._reset()

    def _reset(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self._mode == "cut":
                return
            inner, outer = await asyncio.open_connection("127.0.0.1", self.target)
            self._open.add(outer)
            try:
                await asyncio.gather(
                    self._pump(reader, outer, answers=False),
                    self._pump(inner, writer, answers=True),
                )
            finally:
                self._open.discard(outer)
                outer.transport.abort()
        except OSError:
            pass  # whom it stands in front of is away
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE):
                await self._moves.wait()
                if answers and self._mode == "lost-ack":
                    self._reset()
                    return
                writer.write(piece)
                await writer.drain()
        writer.transport.abort() if answers else writer.close()
