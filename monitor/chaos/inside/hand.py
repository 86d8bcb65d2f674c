"""A hand inside a model server on the stage, to make the faults that cannot be made from outside.

It is never part of the shipped tap: only `dosimeter chaos` puts `site/` on the path of a server of its own. It
takes the name of a fault from a fixed list over a unix socket, and no code. The faults are in `faults`.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

ENV = "DOSIMETER_CHAOS"
TIMEOUT_S = 10.0


class HandError(RuntimeError):
    """The fault could not be made, or ended."""


def settings() -> dict[str, str]:
    """What the arena told this process; empty where it told nothing."""
    text = os.environ.get(ENV)
    found: dict[str, str] = json.loads(text) if text else {}
    return found


def ask(path: Path, do: str, fault: str, argument: str = "") -> None:
    """Have a fault begun or ended, and wait until it is. Raises HandError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as here:
            here.settimeout(TIMEOUT_S)
            here.connect(str(path))
            here.send(json.dumps([do, fault, argument]).encode())
            answer = here.recv(4096).decode()
    except OSError as error:
        raise HandError(f"{path}: no hand there: {error}") from error
    if answer != "done":
        raise HandError(f"fault `{fault}`: {answer}")


def listen(path: Path, faults: dict[str, Callable[[str], Callable[[], None]]]) -> None:
    """Serve `ask` on a thread. faults: name -> begins it, and returns how to end it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()
    undo: dict[str, Callable[[], None]] = {}

    def handle(message: bytes) -> str:
        do, name, argument = json.loads(message)
        if do == "end":
            undo.pop(name)()
        else:
            undo[name] = faults[name](argument)
        return "done"

    def serve() -> None:
        while True:
            here, _ = listener.accept()
            with here:
                try:
                    answer = handle(here.recv(4096))
                except Exception as error:
                    answer = repr(error)
                here.send(answer.encode()[:4096])

    threading.Thread(target=serve, name="chaos-hand", daemon=True).start()
