"""State shared by the patches of a server: which models carry a tap, and whose requests are kept.

The patches are at class level and made once; what they look up is here. Nothing of the server is
imported, so that this says nothing about any release of it.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from torch import nn

from dosimeter.monitor.taps.requests import Requests, Ticket
from dosimeter.monitor.taps.tap import Tap

current_ticket: ContextVar[Ticket | None] = ContextVar("dosimeter_ticket", default=None)
"""The HTTP call being served on this context; None outside one."""

taps: weakref.WeakKeyDictionary[nn.Module, Tap] = weakref.WeakKeyDictionary()
requests: Requests | None = None
"""Who is told of every request; None while nothing is watched."""


def wrap(owner: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a method of the server by `make(original)`."""
    original = getattr(owner, name)
    wrapper = functools.wraps(original)(make(original))
    wrapper._dosimeter = True  # type: ignore[attr-defined]
    setattr(owner, name, wrapper)


def wrapped(owner: type, name: str) -> bool:
    return hasattr(getattr(owner, name), "_dosimeter")


def guarded(do: Callable[[], None]) -> None:
    """Our bookkeeping beside a call of the server: an error here costs us a request, never the server.

    It is counted, and the request comes up short against the server's own count.
    """
    try:
        do()
    except Exception as error:
        if requests is not None:
            requests.failed(error)
