"""A tap that could not attach still says so: one connection to the sidecar, `blind`, and why.

Used when the server's release has other private names than ours: nothing of the server or of torch is
imported here, and nothing of the server is touched.
"""

from __future__ import annotations

import os
import secrets
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dosimeter.monitor.taps.sender import Sender
from dosimeter.monitor.taps.settings import TapSettings

_told: Sender | None = None


def say(reason: str, server: str = "transformers") -> None:
    """Keep telling the sidecar that nothing of this server is seen. A second reason adds nothing."""
    global _told
    settings = TapSettings.from_env()
    if settings is None or _told is not None:
        return
    record = greeting(reason, server)
    _told = Sender(settings.socket, secrets.randbits(63) | 1, lambda: record, list).start()


def greeting(reason: str, server: str = "transformers") -> dict[str, Any]:
    """server: the name of its distribution."""
    try:
        release = version(server)
    except PackageNotFoundError:
        release = "unknown"
    return {
        "role": "tap+front",
        "pid": os.getpid(),
        "server": {"kind": server, "version": release},
        "model": {"name": "", "digest": ""},
        "columns": [],
        "state": "blind",
        "reason": f"not attached: {reason}",
        "errors": 1,
        "last_error": reason,
    }
