"""Put a tap on a loaded model: packs bound, op installed, canary run; and the same for a script of yours.

What cannot be trusted is not installed: a pack bound to another model refuses to score, and a canary whose
scores are not the pack's known answer leaves the tap blind, which it says. The model serves on either way.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.frames import to_codes
from dosimeter.detectors.pack import Pack
from dosimeter.monitor.taps import transformers as server
from dosimeter.monitor.taps.binding import TapState, agree, fitting_packs, seed_of, self_test
from dosimeter.monitor.taps.probe_op import Array, CaptureOp, HookError, ProbeOp
from dosimeter.monitor.taps.requests import Requests
from dosimeter.monitor.taps.score_cache import ScoreCache
from dosimeter.monitor.taps.tap import Sink, Tap
from dosimeter.monitor.taps.unchanged import Unchanged


def put(
    model: nn.Module, folder: Path, named: Sequence[str | Path], sink: Sink, state: TapState
) -> Tap | None:
    """Install a tap on `model`, loaded from `folder`; None, with the reason in `state`, if it may not score.

    named: its packs, by folder or by a line of a list.
    Call it before anything compiles, warms up or captures the model.
    """
    packs = fitting_packs(model, folder, named, state)
    if not packs:
        return None
    if server.tapped(model):
        state.state, state.reason = "blind", "another tap is on this model"
        return None
    return _install(model, packs, sink, state)


def _install(model: nn.Module, packs: list[Pack], sink: Sink, state: TapState) -> Tap | None:
    bank = ProbeBank.from_packs(packs)
    state.name(bank)
    op = ProbeOp(bank, next(model.parameters()).device)

    def on_state(reason: str | None) -> None:
        state.state, state.reason = ("live", None) if reason is None else ("blind", reason)

    try:
        op.install(server.blocks(model))
        for pack in packs:
            canary(model, op, bank, pack)
    except Exception as error:
        op.remove()
        state.state, state.reason = "blind", f"start-up canary: {error}"
        return None
    tap = Tap(
        op,
        sink,
        self_test=lambda: self_test(op, bank, packs),
        on_state=on_state,
        encode=to_codes,
        cache=ScoreCache(seed_of(state.model["digest"], bank), len(bank.columns)),
        changed=Unchanged(model),
    )
    server.put_tap(model, tap)
    state.state, state.reason = "live", None
    return tap


def canary(model: nn.Module, op: ProbeOp, bank: ProbeBank, pack: Pack) -> None:
    """Run the pack's known tokens through the model and compare what the hooks left with its known answer."""
    known = pack.fingerprint
    embedding: Any = model.get_input_embeddings()
    if max(known.token_ids) >= embedding.num_embeddings:
        # On a GPU an index out of range ends the process, not this call.
        raise HookError(f"pack `{pack.name}`: its canary has tokens the model does not know")
    ids = torch.tensor([list(known.token_ids)], device=next(model.parameters()).device)
    op.begin()
    with torch.no_grad():
        model(input_ids=ids, use_cache=False)
    scores = op.read(len(known.token_ids))
    columns = [bank.features.index(feature) for feature in pack.features]
    agree(scores[:, columns], known.scores, known.tolerance, f"pack `{pack.name}`")


@dataclass(slots=True)
class Seen:
    """What a script's requests left: read after the `with`. scores[key][position] -> float32 [F]."""

    opened: dict[int, dict[str, Any]] = field(default_factory=dict)
    closed: dict[int, dict[str, Any]] = field(default_factory=dict)
    scores: dict[int, dict[int, Array]] = field(default_factory=dict)
    tap: Tap | None = None

    def control(self, kind: str, record: dict[str, Any]) -> None:
        (self.opened if kind == "OPEN" else self.closed)[record["key"]] = record

    def sink(
        self, rows: npt.NDArray[np.void], scores: Array, hook_ns: int
    ) -> tuple[int, str | None]:
        at = 0
        for key, start, n, _, _ in rows.tolist():
            mine = self.scores.setdefault(key, {})
            mine.update((start + i, scores[at + i]) for i in range(n))
            at += n
        return len(scores), None

    def rows(self, key: int) -> Array:
        """float32 [T, F] of one request, positions 0 to T-1; raises KeyError at a gap."""
        mine = self.scores[key]
        return np.stack([mine[position] for position in range(max(mine) + 1)])


@contextlib.contextmanager
def attach(model: nn.Module, packs: Sequence[Pack]) -> Iterator[Seen]:
    """Score what a script generates with `model`, by `generate` or continuous batching.

    Raises HookError if the packs' canary does not find its known answer. Hooks come off at the end.
    """
    bank = ProbeBank.from_packs(packs)
    op = ProbeOp(bank, next(model.parameters()).device)
    # The model's own digest is not asked for: the cache lives no longer than this `with`.
    cache = ScoreCache(seed_of("", bank), len(bank.columns), np.float32)
    with _watched(model, op, cache, Unchanged(model)) as seen:
        for pack in packs:
            canary(model, op, bank, pack)
        yield seen


@contextlib.contextmanager
def capture(model: nn.Module, layers: Sequence[int]) -> Iterator[Seen]:
    """The activations of what a script generates, float32 [L * D] a token, through the same row map."""
    with _watched(model, CaptureOp(layers, next(model.parameters()).device)) as seen:
        yield seen


@contextlib.contextmanager
def _watched(
    model: nn.Module,
    op: ProbeOp | CaptureOp,
    cache: ScoreCache | None = None,
    changed: Callable[[], str | None] = lambda: None,
) -> Iterator[Seen]:
    seen = Seen()
    with server.installed(Requests(seen.control, time.time_ns)):
        seen.tap = Tap(op, seen.sink, cache=cache, changed=changed)
        server.put_tap(model, seen.tap)
        try:
            op.install(server.blocks(model))
            yield seen
        finally:
            server.drop_tap(model)
            op.remove()
