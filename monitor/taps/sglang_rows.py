"""SGLang's batches as rows of requests: which of its own request objects, from which position, how many.

A `ForwardBatch` names its requests (`rids`) and holds lengths on the host; a `Req` holds its token ids there. Read by
attribute names alone, so that the arithmetic runs without SGLang.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.monitor.taps.requests import Request
from dosimeter.monitor.taps.rows import Rows
from dosimeter.monitor.taps.vllm_rows import Pieces, laid_out

ATTRIBUTE = "dosimeter"
"""On a `Req`: what we know of it. Two of them may have one id for a moment, when a client repeats it."""

EXTENDS = ("EXTEND", "MIXED")
"""Prompts or pieces of them; MIXED has the decodes behind them, as pieces of one token."""


class NoRowMap(ValueError):
    """A forward whose rows are no positions of answers, or not known on the host."""


def pieces(batch: Any) -> Pieces:
    """Of a `ForwardBatch`, in packing order. Raises NoRowMap for a mode whose rows may be taken back or are split."""
    mode = batch.forward_mode.name
    if mode == "IDLE":
        return [], [], []
    if mode in EXTENDS:
        starts, counts = batch.extend_prefix_lens_cpu, batch.extend_seq_lens_cpu
    elif mode == "DECODE":
        if batch.seq_lens_cpu is None:
            raise NoRowMap("a decode without lengths on the host")
        # Beams that SGLang adds run behind all requests: their rows are nobody's.
        lengths = np.asarray(batch.seq_lens_cpu)[: len(batch.rids)].tolist()
        starts, counts = [n - 1 for n in lengths], [1] * len(lengths)
    else:
        raise NoRowMap(f"a forward of mode `{mode}`")
    if starts is None or counts is None:
        raise NoRowMap("a prompt without lengths on the host")
    return batch.rids, [*map(int, starts)], [*map(int, counts)]


@dataclass(slots=True, eq=False)
class Running:
    """A request that the scheduler has. scored: False where its rows are served and nothing is read of them.

    over: it has ended, and a row that the scheduler had sent ahead by then is nobody's.
    """

    request: Request
    canary: bool = False
    scored: bool = True
    over: bool = False


def known(of: Callable[[], Any], start: int, stop: int) -> list[int]:
    """Token ids at [start, stop) as the scheduler knows them; it runs ahead of the answer's by a step.

    of: the `Req`, which must not live on for this; none are known when it is gone.
    """
    req = of()
    if req is None:
        return []
    prompt, answer = req.origin_input_ids, req.output_ids
    n = len(prompt)
    return [*prompt[start:stop], *answer[max(0, start - n) : max(0, stop - n)]]


def salt(req: Any) -> bytes:
    """SGLang shares cached prefixes only where this is equal."""
    return repr((req.extra_key, req.cache_salt)).encode()


def rows(pieces: Pieces, reqs: Sequence[Any]) -> tuple[Rows, npt.NDArray[np.int64] | None]:
    """Rows of a step in the order they stand in it, the canary's last. reqs: the `Req` of each piece.

    Raises NoRowMap where pieces and requests are not of one batch.
    """
    names, starts, counts = pieces
    if list(names) != [req.rid for req in reqs]:
        raise NoRowMap("the forward's requests are not those of its batch")
    running = [getattr(req, ATTRIBUTE, None) for req in reqs]
    scored = [one if one and one.scored and not one.over else None for one in running]
    canary = next((one.request for one in scored if one and one.canary), None)
    return laid_out([one and one.request for one in scored], starts, counts, canary)
