"""A receiver that sends its answer a byte at a time, each when it is told to: for deadlines, without a wait."""

from __future__ import annotations

import contextlib
import socket
import threading


class Dripping:
    """`look()` is the client's clock: it goes on by a second, and the receiver by a byte."""

    def __init__(self, answer: bytes) -> None:
        self._answer, self._due, self._now = answer, threading.Semaphore(0), 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._over = False

    def look(self) -> float:
        self._due.release()
        self._now += 1.0
        return self._now

    def __enter__(self) -> Dripping:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._due.release(len(self._answer))
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            here, _ = self._listener.accept()
            with here:
                here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(len(self._answer)):
                    self._due.acquire()
                    if self._over:
                        return
                    here.sendall(self._answer[at : at + 1])
