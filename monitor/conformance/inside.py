"""A model in the kit's own process, with the tap on it just as `transformers serve` gets it.

Calls carry a label in the same place where a front puts the client's; tap, sender, socket and line are the
real ones. What is not shown this way is the front.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from dosimeter.monitor.conformance.asked import Asked
from dosimeter.monitor.conformance.case import CannotRun
from dosimeter.monitor.conformance.ear import Ear
from dosimeter.monitor.conformance.ear import Sequence as Told
from dosimeter.monitor.conformance.reference import Reference
from dosimeter.monitor.taps import seams
from dosimeter.monitor.taps import transformers as tapping
from dosimeter.monitor.taps.probe_op import ProbeOp
from dosimeter.monitor.taps.requests import Ticket
from dosimeter.monitor.taps.serve import Runtime
from dosimeter.monitor.taps.settings import TapSettings

LIVE_S = 30.0


class Inside:
    """model: the one that is watched. special: ids that no made-up prompt holds unless it means to."""

    def __init__(self, runtime: Runtime, model: Any, reference: Reference, seed: int) -> None:
        self._runtime = runtime
        self.model = model
        self.context = min(reference.context, 2048)
        self.rng = np.random.default_rng(seed)
        end = model.generation_config.eos_token_id
        self.ends: list[int] = [end] if isinstance(end, int) else list(end or [])
        special = {*self.ends, model.config.bos_token_id, model.config.pad_token_id}
        self._plain = [n for n in range(reference.vocabulary) if n not in special]
        self.pad = int(model.config.pad_token_id or 0)
        self._calls = 0

    def prompt(self, length: int) -> list[int]:
        """Made-up tokens, none of them special."""
        return [int(token) for token in self.rng.choice(self._plain, length)]

    def label(self, name: str) -> str:
        """One that no call has carried yet."""
        self._calls += 1
        return f"{name}-{self._calls}"

    @contextlib.contextmanager
    def call(self, label: str) -> Iterator[Ticket]:
        """What runs inside is asked under this label. Its reply is said by `replied`."""
        ticket = Ticket({"conversation": label}, frozenset(), content=True, decode=str)
        token = seams.current_ticket.set(ticket)
        try:
            yield ticket
        finally:
            seams.current_ticket.reset(token)

    def replied(self, ticket: Ticket, usage: tuple[int, int] | None = None) -> None:
        """The client has its reply, with these token counts in it; None: it was cut off, or has none."""
        self._runtime.requests.front_ended(ticket, usage)

    @property
    def bookkeeping_errors(self) -> str | None:
        requests = self._runtime.requests
        return requests.last_error if requests.errors else None


def read(asked: Asked, told: Told) -> Sequence[int] | None:
    """Ids out of a CLOSE: inside, a token's text is its id."""
    tokens = (told.closed or {}).get("tokens")
    return None if tokens is None else [int(token) for token in tokens]


@contextlib.contextmanager
def watched(
    folder: Path, pack: Path, ear: Ear, reference: Reference, seed: int
) -> Iterator[Inside]:
    """Load the model, put the tap on it, and wait until it is live. Raises CannotRun saying why it is not."""
    before = seams.requests
    runtime = Runtime(TapSettings(str(ear.path), (str(pack),)))
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", local_files_only=True
    ).eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    runtime.loaded(model, lambda: folder)
    try:
        why_not = ear.wait_live(LIVE_S)
        if why_not is not None:
            raise CannotRun(f"the tap does not score this model: {why_not}")
        yield Inside(runtime, model, reference, seed)
    finally:
        tap = seams.taps.get(model)
        tapping.drop_tap(model)
        if tap is not None and isinstance(tap.op, ProbeOp):
            tap.op.remove()
        runtime.sender.close()
        seams.requests = before
