"""`Subject`: a model that texts can be put through, and what its blocks leave of every token.

Two kinds share it: a decoder, read by the same tap as in a server, and a reader, an encoder that reads text.
What is done with the activations is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import Pack

Floats = npt.NDArray[np.float32]

MAX_TOKENS = 2048
"""Of one example; what is longer is read up to here, and counted."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """One example as the model takes it.

    ids      [T]
    scopes   uint8 [T]  whose token each is
    read     bool [T]   what a probe is fitted on: tokens of the row's own scope, no special ones
    cut      True if the example is longer than that
    """

    ids: tuple[int, ...]
    scopes: npt.NDArray[np.uint8]
    read: npt.NDArray[np.bool_]
    cut: bool = False


Tell = Callable[[int, int], None]
"""Progress: (done, all)."""


class Subject(Protocol):
    """A loaded model. blocks: how many; width: D; reads: `model` (its own activations) or `reader`.

    window: tokens whose mean score speaks for a text, the largest of them; None: the mean of all.
    """

    identity: ModelIdentity
    blocks: int
    width: int
    reads: str
    window: int | None

    def tokens(self, example: Example, scope: Scope) -> Tokens:
        """Raises InputError at the example's place if it leaves nothing to read."""
        ...

    def pieces(self, tokens: Tokens) -> list[str]:
        """The text of every token, for people."""
        ...

    def activations(
        self, tokens: Sequence[Tokens], layers: Sequence[int], tell: Tell
    ) -> Iterator[tuple[int, Floats]]:
        """(index, float32 [T, L, D]) of every example, in any order."""
        ...

    def scores(
        self, tokens: Sequence[Tokens], packs: Sequence[Pack], tell: Tell
    ) -> Iterator[tuple[int, Floats]]:
        """(index, float32 [T, F]) through the packs' own op, as in a server."""
        ...

    def embedded(self, tokens: Tokens) -> Floats:
        """float32 [T, D]: the embedding layer, which has read no other token."""
        ...


def batches(tokens: Sequence[Tokens], most_tokens: int, most_rows: int = 64) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first; padded, none is above `most_tokens`."""
    order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i].ids))
    batch: list[int] = []
    for index in order:
        width = len(tokens[(batch or [index])[0]].ids)
        if batch and ((len(batch) + 1) * width > most_tokens or len(batch) == most_rows):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def statistic(
    scores: Floats, read: npt.NDArray[np.bool_], window: int | None
) -> npt.NDArray[np.float64]:
    """float64 [F]: what speaks for a text: the largest mean of `window` read tokens in a row, or of all.

    scores float32 [T, F]; a text shorter than the window is averaged whole.
    """
    kept = scores[read].astype(np.float64)
    if window is None or len(kept) <= window:
        return np.asarray(kept.mean(axis=0))
    total = np.concatenate([np.zeros((1, kept.shape[1])), kept.cumsum(axis=0)])
    return np.asarray(((total[window:] - total[:-window]) / window).max(axis=0))


def whole(folder: Path, missing: Iterable[str], blocks: int) -> None:
    """Raises InputError where weights were not there, and are random numbers now."""
    names = sorted(missing)
    if names or not blocks:
        what = (
            f"{len(names)} weights are missing, such as `{names[0]}`" if names else "has no block"
        )
        raise InputError.at(folder, what, "give the whole folder of the model, as it was saved")
