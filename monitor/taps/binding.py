"""Which packs may read a loaded model, and what the tap says of itself: the same for every server.

A pack bound to another model refuses to score, never to serve. Nothing of any server is imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.frames import ActivationFrame
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import Pack, bind
from dosimeter.monitor.taps import pack_list, wire
from dosimeter.monitor.taps.probe_op import Array, HookError, ProbeOp
from dosimeter.monitor.taps.requests import Requests

MAX_COLUMNS_BYTES = 96 << 10
"""Of a greeting, which is one message of the wire: about 700 columns."""


@dataclass(slots=True)
class TapState:
    """What the tap says of itself, in HELLO. state: live · blind · no-pack.

    refused: why packs that were asked for since were not loaded; those of `columns` go on.
    capture: of activations, that runs or was the last: for the record.
    identity: of the loaded model, as its packs were held against it; not said.
    """

    state: str = "no-pack"
    reason: str | None = "no model is loaded yet"
    model: dict[str, str] = field(default_factory=lambda: {"name": "", "digest": ""})
    columns: list[dict[str, str]] = field(default_factory=list)
    refused: str | None = None
    capture: dict[str, Any] | None = None
    identity: ModelIdentity | None = None

    def name(self, bank: ProbeBank) -> None:
        """Say which columns are scored, in the order of the codes. Raises HookError: a greeting cannot hold them."""
        columns = [
            {"feature": c.feature, "pack": c.pack, "packName": c.pack_name} for c in bank.columns
        ]
        size = len(wire.control_body({"columns": columns}))
        if size > MAX_COLUMNS_BYTES:
            raise HookError(
                f"the names of {len(columns)} columns take {size} bytes, a greeting has {MAX_COLUMNS_BYTES} for them\n"
                "  hint: serve packs of fewer features, or of shorter names"
            )
        self.columns = columns

    @property
    def digests(self) -> tuple[str, ...]:
        """Of the packs that are scored, in the order of their columns."""
        return tuple(dict.fromkeys(column["pack"] for column in self.columns))

    def greeting(self, role: str, kind: str, version: str, requests: Requests) -> dict[str, Any]:
        """HELLO of the process that loaded the model. kind, version: the server."""
        return {
            "role": role,
            "pid": os.getpid(),
            "server": {"kind": kind, "version": version},
            "model": self.model,
            "columns": self.columns,
            "state": self.state,
            "reason": self.reason,
            "packs_refused": self.refused,
            "capture": self.capture,
            "errors": requests.errors,
            "last_error": requests.last_error,
        }


def fitting_packs(
    model: nn.Module, folder: Path, named: Sequence[str | Path], state: TapState
) -> list[Pack]:
    """Of the packs named by folder or by a line of a list, those bound to `model`, loaded from `folder`.

    Where there is none, `state` says why.
    """
    state.columns = []
    try:
        # The folder says what was saved; what runs may have been loaded as another type.
        running = str(next(model.parameters()).dtype).removeprefix("torch.")
        identity = replace(ModelIdentity.from_folder(folder), dtype=running)
        state.identity = identity
        state.model = {"name": identity.name, "digest": identity.digest}
        packs = [pack_list.load(one) for one in named]
    except (OSError, ValueError) as error:
        state.state, state.reason = "no-pack", str(error)
        return []
    changed = ["its weights are quantised"] if getattr(model, "is_quantized", False) else []
    wrong = {p.name: found for p in packs if (found := bind(p, identity) + changed)}
    fitting = [pack for pack in packs if pack.name not in wrong]
    if not fitting:
        state.state = "no-pack"
        state.reason = (
            "; ".join(
                f"pack `{name}` is bound to another model: {', '.join(found)}"
                for name, found in wrong.items()
            )
            or "no pack is configured for this model"
        )
        return []
    return fitting


def self_test(op: ProbeOp, bank: ProbeBank, packs: Sequence[Pack]) -> None:
    """The op alone, on stored activations, against the numpy reference: safe between two steps of a server."""
    for pack in packs:
        hidden = np.zeros((len(op.layers), 1, bank.hidden_size), np.float32)  # [L, 1, D]
        hidden[[op.layers.index(n) for n in pack.layers], 0] = pack.fingerprint.layer_means
        op.begin()
        for index, row in enumerate(hidden):
            op.feed(index, torch.from_numpy(row))
        expected = bank.score(ActivationFrame(hidden, op.layers))
        agree(op.read(1), expected, pack.fingerprint.tolerance, "self-test")


def seed_of(model_digest: str, bank: ProbeBank) -> bytes:
    """What every score of this tap depends on: the model's revision and the packs, column by column."""
    columns = [f"{column.pack}/{column.feature}" for column in bank.columns]
    return "\n".join([model_digest, *columns]).encode()


def agree(found: Array, expected: Array, tolerance: float, what: str) -> None:
    worst = float(np.abs(found - expected).max()) if found.size else 0.0
    if not worst <= tolerance:  # NaN is not agreement
        raise HookError(f"{what}: scores differ from the known answer by {worst:.3g} sd")
