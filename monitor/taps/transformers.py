"""The tap on transformers: its patches installed once, its taps put on models and taken off.

`continuous` and `generate` hold a row map each. Private names of transformers 5.23 are used; `install`
refuses another minor release, and models without a tap run as if nothing were there.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import transformers
from torch import nn

from dosimeter.monitor.taps import continuous, generate, seams
from dosimeter.monitor.taps.probe_op import HookError
from dosimeter.monitor.taps.requests import Requests
from dosimeter.monitor.taps.tap import Tap

SUPPORTED = (5, 23)

_hooks: weakref.WeakKeyDictionary[nn.Module, list[Any]] = weakref.WeakKeyDictionary()


class UnsupportedServer(RuntimeError):
    """The tap does not know this release; the server runs on, untouched and unseen."""


def blocks(model: nn.Module) -> Sequence[nn.Module]:
    """The decoder blocks, in order; layer 0 is the first block's output."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model.model
    layers: Sequence[nn.Module] = decoder.layers
    return layers


def put_tap(model: nn.Module, tap: Tap) -> None:
    """Raises HookError if there is one: it would go blind, and not know it."""
    if tapped(model):
        raise HookError("another tap is on this model")
    _hooks[model] = generate.watch_forward(model)
    seams.taps[model] = tap


def drop_tap(model: nn.Module) -> None:
    seams.taps.pop(model, None)
    for handle in _hooks.pop(model, ()):
        handle.remove()


def tapped(model: nn.Module) -> bool:
    return model in seams.taps


def install(requests: Requests) -> None:
    """Patch the seams; a second call replaces the registry and patches nothing twice."""
    found = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    if found != SUPPORTED:
        raise UnsupportedServer(
            f"transformers {transformers.__version__} is not {SUPPORTED[0]}.{SUPPORTED[1]}"
        )
    seams.requests = requests
    continuous.patch()
    generate.patch()


@contextlib.contextmanager
def installed(requests: Requests) -> Iterator[None]:
    """Seams patched with this registry; the one before comes back at the end."""
    before = seams.requests
    install(requests)
    try:
        yield
    finally:
        seams.requests = before
