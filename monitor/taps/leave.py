"""Leave to capture, as the start of a server gave it: a hook on every block, and a look for whoever asks.

What a tap of any server needs for it. Each capture is in the greeting, and so on record with the sidecar, before its
first row leaves; where no sidecar hears it, none begins.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from dosimeter.monitor.taps.binding import TapState
from dosimeter.monitor.taps.capture_steps import Place
from dosimeter.monitor.taps.capturing import Capturing
from dosimeter.monitor.taps.probe_op import Residual, first
from dosimeter.monitor.taps.sender import Sender
from dosimeter.monitor.taps.tap import Tap

HEAR_S = 3.0
"""For the sidecar to take the word that a capture begins."""


def let_capture(
    path: str,
    tap: Tap,
    model: nn.Module,
    blocks: Sequence[nn.Module],
    state: TapState,
    sender: Sender,
    residual: Residual = first,
) -> Capturing:
    """Put the hooks on, before anything compiles the model. Nobody is looked for before `start`.

    path: where an asker may listen.
    """
    identity = state.identity
    assert identity is not None  # there is a tap
    about = {
        "epoch": f"{sender.epoch:016x}",
        "model": {**state.model, "dtype": identity.dtype},
        "width": identity.hidden_size,
        "blocks": len(blocks),
    }
    tap.captures = Place(blocks, residual)
    return Capturing(
        path,
        tap.captures,
        model,
        lambda: about,
        functools.partial(on_record, sender, state),
        lambda: bool(getattr(tap.op, "compiled", False)),
    )


def on_record(sender: Sender, state: TapState, said: Mapping[str, Any]) -> bool:
    """Say it in the greeting; False: there is no sidecar that a beginning could be told to."""
    if said["state"] == "began" and not sender.connected:
        return False
    sender.greet(lambda: setattr(state, "capture", dict(said)))
    if said["state"] == "ended" or _heard(sender):
        return True
    why = "the sidecar did not take the word of it: nothing has left"
    over = {**said, "state": "ended", "why": why, "ended_ns": time.time_ns()}
    sender.greet(lambda: setattr(state, "capture", over))
    return False


def _heard(sender: Sender) -> bool:
    """Whether the sidecar has been sent all, the greeting too; its queue may be full. Not for a server's thread."""
    until_s = time.monotonic() + HEAR_S
    while not (heard := sender.all_said) and time.monotonic() < until_s:
        time.sleep(0.05)
    return heard
