"""A pack that fits any model: random directions, so that every row of codes is unlike every other.

With this many columns a row of another token agrees by chance less than once in 10^9, even where the
arithmetic is coarse. The pack says nothing about what the model does; it is made, used and thrown away.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dosimeter.detectors.bank import Probe, fold
from dosimeter.detectors.fingerprint import Fingerprint
from dosimeter.detectors.frames import ActivationFrame
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import Pack, ProbeNote, save_pack
from dosimeter.monitor.conformance.reference import Reference

COLUMNS = 16
SEQUENCES, LENGTH = 8, 32
TOLERANCE = {"float32": 0.02}
"""Of the canary, in sd; half precision gets COARSE."""
COARSE = 1.0


def plant(reference: Reference, model: Path, folder: Path, seed: int = 0) -> Pack:
    """Write the pack for the model in `model` to `folder`, and let `reference` score by it."""
    rng = np.random.default_rng(seed)
    last = reference.layers - 1
    layers = tuple(sorted({last // 4, last // 2, last}))
    prompts = rng.integers(0, reference.vocabulary, (SEQUENCES, LENGTH)).tolist()
    read = [reference.hidden(ids, layers) for ids in prompts]
    # A first token often has activations far out of all others'; it must not set the scale.
    usual = np.concatenate([hidden[:, 1:] for hidden in read], axis=1).astype(np.float64)
    mean, spread = usual.mean(axis=1), usual.std(axis=1) + 1e-6  # [L, D]
    probes, notes = [], []
    for number in range(COLUMNS):
        direction = rng.standard_normal(mean.shape) / spread
        raw = np.einsum("ltd,ld->t", usual - mean[:, None], direction)
        sd = float(np.subtract(*np.percentile(raw, [84, 16])) / 2)
        weights, bias = fold(direction, mean, sd)
        probes.append(Probe(f"direction_{number:02d}", layers, weights, bias))
        notes.append(ProbeNote("T0", float(np.vdot(direction, mean)), sd, usual.shape[1]))
    reference.probes = tuple(probes)
    known = Fingerprint.take(
        probes,
        prompts[0],
        ActivationFrame(read[0], layers),
        TOLERANCE.get(reference.dtype, COARSE),
    )
    pack = Pack(
        "dosimeter/conformance",
        "random directions: for conformance alone",
        ModelIdentity.from_folder(model),
        tuple(probes),
        tuple(notes),
        known,
    )
    save_pack(pack, folder)
    return pack
