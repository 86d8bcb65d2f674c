"""Who is speaking, in OpenTelemetry's words: the same on metrics and on log events.

Without the instance (the pod, or the host), two sidecars would write one series, each undoing the other's, and no log
event would say where it comes from.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version


def service(extra: Mapping[str, str]) -> dict[str, str]:
    """extra: what the configuration says, which holds where both say something."""
    return {**_own(), **extra}


@cache
def _own() -> dict[str, str]:
    return {
        "service.name": "dosimeter",
        "service.version": version("dosimeter"),
        "service.instance.id": socket.gethostname(),
    }
