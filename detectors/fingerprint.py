"""A pack's known answer: a prompt as token ids, and what scoring it must give on the model of the pack.

Taken once when the pack is made, checked by the tap whenever it starts: names and digests can agree
while hooks sit on the wrong layer. It never learns how activations are obtained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dosimeter.detectors.bank import Column, Floats, Probe, ProbeBank
from dosimeter.detectors.frames import ActivationFrame


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """Run these tokens, and these scores must come out, or the tap is blind.

    token_ids    [T]
    scores       float32 [T, F]  columns in the order of the pack's probes
    layer_means  float32 [L, D]  mean activation over the T tokens, layers in `Pack.layers` order
    tolerance    largest allowed |score - expected|, in benign sd
    """

    token_ids: tuple[int, ...]
    scores: Floats
    layer_means: Floats
    tolerance: float

    @classmethod
    def take(
        cls,
        probes: Sequence[Probe],
        token_ids: Sequence[int],
        frame: ActivationFrame,
        tolerance: float,
    ) -> Fingerprint:
        """From the activations of the known prompt, captured on the model that the probes were fitted on.

        Raises LayerMissing, and ValueError where frame and tokens differ in length or a value is
        not finite.
        """
        bank = ProbeBank((Column(p.feature, "", ""), p) for p in probes)
        scores = bank.score(frame)
        if len(scores) != len(token_ids) or not np.isfinite(scores).all():
            raise ValueError(
                f"{len(token_ids)} tokens, {len(scores)} rows of activations, all to be finite"
            )
        read = [frame.layers.index(n) for n in bank.layers]
        means = frame.hidden[read].mean(axis=1, dtype=np.float64)
        return cls(tuple(token_ids), scores, means.astype(np.float32), tolerance)
