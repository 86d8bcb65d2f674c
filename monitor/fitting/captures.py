"""Activations of many examples, pooled as a fit needs them, kept on disk so that a broken-off run goes on.

A part is a safetensors file of some examples, under a key made of everything the activations depend on: the
model, the layers, the tokens and what of them is read. What is found is used again; nothing is ever appended to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.artefact import canonical, dump_tensors, load_tensors
from dosimeter.detectors.files import read_file
from dosimeter.detectors.findings import InputError
from dosimeter.monitor.fitting.subject import Floats, Subject, Tokens

VERSION = 1
PART = 128  # examples
MOST_BYTES = 512 << 20
"""Of sampled tokens over all examples: fewer are sampled of each where more would be held."""
MOST_SAMPLES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """What N examples left.

    layers     [L]              blocks, as they stand in the arrays
    means      float32 [N, L, D]  over the tokens that are read
    last       float32 [N, L, D]  the last of them
    sampled    float32 [M, L, D]  up to 16 an example, evenly spaced over them
    of         int64 [M]          which example each sample is of
    embedded   float32 [N, D]     mean of the embedding layer over the same tokens: a null
    lengths    int64 [N]          tokens read
    """

    layers: tuple[int, ...]
    means: Floats
    last: Floats
    sampled: Floats
    of: npt.NDArray[np.int64]
    embedded: Floats
    lengths: npt.NDArray[np.int64]


def capture_all(
    subject: Subject,
    tokens: Sequence[Tokens],
    layers: Sequence[int],
    work: Path,
    tell: Callable[[int, int], None],
) -> Captured:
    """Every example's pooled activations, from `work` where an earlier run left them."""
    samples = _samples(len(tokens), len(layers) * subject.width)
    key = hashlib.sha256(
        canonical([VERSION, subject.identity.digest, subject.reads, list(layers), samples, PART])
    )
    for one in tokens:
        key.update(np.asarray(one.ids, "<i8").tobytes() + b"|" + np.packbits(one.read).tobytes())
    folder = work / key.hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True)
    # Parts of alike length: padding costs a decoder as much as text.
    order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i].ids))
    parts = []
    for number, low in enumerate(range(0, len(order), PART)):
        chosen = order[low : low + PART]
        path = folder / f"part-{number:05d}.safetensors"
        part = _kept(path)
        if part is None:
            part = _capture(
                subject,
                [tokens[i] for i in chosen],
                layers,
                samples,
                _after(low, len(order), tell),
            )
            _keep(path, part)
        tell(low + len(chosen), len(order))
        parts.append(part)
    return _joined(parts, order, layers)


def _after(low: int, of: int, tell: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Progress of a part as progress of the whole."""
    return lambda done, _: tell(low + done, of)


def _samples(examples: int, values: int) -> int:
    return int(np.clip(MOST_BYTES // (4 * max(1, examples) * values), 1, MOST_SAMPLES))


def _capture(
    subject: Subject,
    tokens: Sequence[Tokens],
    layers: Sequence[int],
    samples: int,
    tell: Callable[[int, int], None],
) -> dict[str, npt.NDArray[np.generic]]:
    found: dict[int, tuple[Floats, Floats, Floats]] = {}
    for index, rows in subject.activations(tokens, layers, tell):
        read = np.flatnonzero(tokens[index].read)
        at = read[np.unique(np.linspace(0, len(read) - 1, samples).round().astype(int))]
        mean = rows[read].mean(axis=0, dtype=np.float64).astype(np.float32)
        found[index] = (mean, rows[read[-1]], rows[at])
    every = [found[i] for i in range(len(tokens))]
    embedded = [subject.embedded(one)[one.read].mean(axis=0) for one in tokens]
    return {
        "means": np.stack([mean for mean, _, _ in every]),
        "last": np.stack([last for _, last, _ in every]),
        "sampled": np.concatenate([rows for _, _, rows in every]),
        "counts": np.array([len(rows) for _, _, rows in every], np.int64),
        "embedded": np.stack(embedded).astype(np.float32),
        "lengths": np.array([int(one.read.sum()) for one in tokens], np.int64),
    }


def _kept(path: Path) -> dict[str, npt.NDArray[np.generic]] | None:
    """A part of an earlier run; None where there is none that can be read."""
    try:
        return load_tensors(read_file(path, 8 << 30), path)
    except InputError:
        return None


def _keep(path: Path, part: dict[str, npt.NDArray[np.generic]]) -> None:
    whole = path.with_suffix(".part")  # a part that was broken off has another name
    whole.write_bytes(dump_tensors(part))
    whole.replace(path)


def _joined(
    parts: Sequence[dict[str, npt.NDArray[np.generic]]], order: Sequence[int], layers: Sequence[int]
) -> Captured:
    place = np.argsort(order)

    def rows(name: str) -> npt.NDArray[Any]:
        return np.concatenate([part[name] for part in parts])[place]

    counts = np.concatenate([part["counts"] for part in parts])
    of = np.repeat(np.asarray(order), counts)
    by_example = np.argsort(of, kind="stable")
    return Captured(
        tuple(layers),
        rows("means"),
        rows("last"),
        np.concatenate([part["sampled"] for part in parts])[by_example],
        of[by_example].astype(np.int64),
        rows("embedded"),
        rows("lengths").astype(np.int64),
    )
