"""vLLM's batches as rows of requests: which request, from which position, how many.

Plain data only: request ids, numbers and token ids as the engine's structures hold them, so that the
arithmetic runs, and is tested, without vLLM and without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.monitor.taps.requests import Request
from dosimeter.monitor.taps.rows import Rows

Pieces = tuple[Sequence[str], list[int], list[int]]
"""Of a step, in its order: the engine's own request ids; of each the first position, and the number of rows."""

UNKNOWN = -1
"""A token id that the engine had not told its host yet: with async scheduling it samples ahead."""


def v1_pieces(runner: Any, scheduled: Sequence[int]) -> Pieces:
    """Runner V1: its persistent batch, in packing order, each request with what is scheduled for it."""
    batch = runner.input_batch
    starts = batch.num_computed_tokens_cpu[: len(batch.req_ids)].tolist()
    return batch.req_ids, starts, np.asarray(scheduled).tolist()


def v2_pieces(batch: Any) -> Pieces:
    """Runner V2: the `InputBatch` of one step, decodes first. What follows the last request is padding."""
    n = len(batch.req_ids)
    counts = np.diff(batch.query_start_loc_np[: n + 1])
    return batch.req_ids, batch.num_computed_tokens_np[:n].tolist(), counts.tolist()


@dataclass(slots=True, eq=False)
class Running:
    """A request alive in the engine, and the token ids it is known to run on."""

    request: Request
    ids: list[int]

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

    def rows(self, pieces: Pieces, ids: Sequence[int]) -> tuple[Rows, npt.NDArray[np.int64] | None]:
        """Rows of a step in the order they stand in it, and where, if others stand between them.

        ids: what the step ran on, one a row.
        """
        names, starts, counts = pieces
        running = [self.running.get(name) for name in names]
        at = 0
        for one, start, n in zip(running, starts, counts, strict=True):
            if one is not None:
                known = one.ids
                if n == 1 and start == len(known) and at < len(ids):
                    known.append(ids[at])
                else:
                    one.learn(start, ids[at : at + n])
            at += n
        requests = [None if one is None else one.request for one in running]
        canary = None if self.canary is None else self.running.get(self.canary)
        return laid_out(requests, starts, counts, None if canary is None else canary.request)


def laid_out(
    requests: Sequence[Request | None],
    starts: list[int],
    counts: list[int],
    canary: Request | None = None,
) -> tuple[Rows, npt.NDArray[np.int64] | None]:
    """Rows of a step in its order, and where they stand in it. Those of None are nobody's, and stay between the others;
    the canary's come out last."""
    if not len(requests) == len(starts) == len(counts):
        raise ValueError(f"{len(requests)} requests, {len(starts)} starts, {len(counts)} counts")
    known = [one for one in requests if one is not None]
    if len(known) == len(requests) and (canary is None or canary not in known):
        return Rows(known, starts, counts), None
    begins = [0, *accumulate(counts)]
    placed = [
        (one, starts[index], counts[index], begins[index])
        for index, one in enumerate(requests)
        if one is not None
    ]
    placed.sort(
        key=lambda rows: rows[0] is canary
    )  # stable: the order of the step, then the canary
    rows, places = Rows(), [np.empty(0, np.int64)]
    for one, start, n, at in placed:
        rows.add(one, start, n)
        places.append(np.arange(at, at + n))
    return rows, np.concatenate(places)
