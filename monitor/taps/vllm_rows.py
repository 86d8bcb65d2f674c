"""vLLM's batches as rows of requests: which request, from which position, how many.

Plain data only: request ids, numbers and token ids as the engine's structures hold them, so that the
arithmetic runs, and is tested, without vLLM and without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.monitor.taps.requests import Request
from dosimeter.monitor.taps.rows import Rows

Piece = tuple[str, int, int]  # the engine's own request id, first position, number of rows

UNKNOWN = -1
"""A token id that the engine had not told its host yet: with async scheduling it samples ahead."""


def v1_pieces(runner: Any, scheduled: Sequence[int]) -> list[Piece]:
    """Runner V1: its persistent batch, in packing order, each request with what is scheduled for it."""
    batch = runner.input_batch
    return [
        (name, int(batch.num_computed_tokens_cpu[i]), int(n))
        for i, (name, n) in enumerate(zip(batch.req_ids, scheduled, strict=True))
    ]


def v2_pieces(batch: Any) -> list[Piece]:
    """Runner V2: the `InputBatch` of one step, decodes first. What follows the last request is padding."""
    bounds = batch.query_start_loc_np
    return [
        (name, int(batch.num_computed_tokens_np[i]), int(bounds[i + 1] - bounds[i]))
        for i, name in enumerate(batch.req_ids)
    ]


@dataclass(slots=True, eq=False)
class Running:
    """A request alive in the engine, and the token ids it is known to run on."""

    request: Request
    ids: list[int]
    salt: bytes = b""  # the engine shares cached prefixes only where this is equal

    def known(self, start: int, stop: int) -> list[int]:
        return self.ids[start:stop]

    def learn(self, start: int, ids: Sequence[int]) -> None:
        """These ran at [start, …): the answer's ids, which no structure of the host need hold."""
        gap = start - len(self.ids)
        if gap > 0:
            self.ids.extend([UNKNOWN] * gap)
        self.ids[start : start + len(ids)] = ids

    def forget(self, start: int) -> None:
        """What ran from there on was drafts, and rejected."""
        del self.ids[start:]


@dataclass(slots=True, eq=False)
class Alive:
    """All requests alive in the engine, under the engine's whole id: a part of one is a client's to choose.

    canary: the id of ours, which is read and not reported: its rows stand last.
    """

    running: dict[str, Running] = field(default_factory=dict)
    canary: str | None = None

    def rows(
        self, pieces: Sequence[Piece], ids: Sequence[int]
    ) -> tuple[list[Rows], npt.NDArray[np.int64] | None]:
        """Rows of a step in the order they stand in it, and where, if others stand between them.

        ids: what the step ran on, one a row.
        """
        found: list[tuple[bool, Rows, int]] = []
        at = 0
        for name, start, n in pieces:
            one = self.running.get(name)
            if one is not None:
                one.learn(start, ids[at : at + n])
                canary = name == self.canary
                rows = Rows(one.request, start, n, None if canary else one.known, one.salt)
                found.append((canary, rows, at))
            at += n
        return laid_out(found)


def laid_out(
    found: list[tuple[bool, Rows, int]],
) -> tuple[list[Rows], npt.NDArray[np.int64] | None]:
    """found: of a step, in its order, whether they are the canary's, and where they begin. Rows that are nobody's may
    stand between them; the canary's come out last."""
    found.sort(key=lambda entry: entry[0])  # stable: the order of the step, then the canary
    rows = [one for _, one, _ in found]
    expected = 0
    for _, one, begins in found:
        if begins != expected:
            return rows, np.concatenate(
                [np.arange(begins, begins + one.n) for _, one, begins in found]
            )
        expected += one.n
    return rows, None
