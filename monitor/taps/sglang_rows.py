"""SGLang's batches as rows of requests: which of its own request objects, from which position, how many.

A `ForwardBatch` names its requests (`rids`) and holds lengths on the host; a `Req` holds its token ids there. Read by
attribute names alone, so that the arithmetic runs without SGLang.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.monitor.taps.requests import Request
from dosimeter.monitor.taps.rows import Rows
from dosimeter.monitor.taps.vllm_rows import laid_out

Piece = tuple[str, int, int]  # SGLang's id of the request, first position, number of rows

ATTRIBUTE = "dosimeter"
"""On a `Req`: what we know of it. Two of them may have one id for a moment, when a client repeats it."""

EXTENDS = ("EXTEND", "MIXED")
"""Prompts or pieces of them; MIXED has the decodes behind them, as pieces of one token."""


class NoRowMap(ValueError):
    """A forward whose rows are no positions of answers, or not known on the host."""


def pieces(batch: Any) -> list[Piece]:
    """Of a `ForwardBatch`, in packing order. Raises NoRowMap for a mode whose rows may be taken back or are split."""
    mode = batch.forward_mode.name
    if mode == "IDLE":
        return []
    if mode in EXTENDS:
        starts, counts = batch.extend_prefix_lens_cpu, batch.extend_seq_lens_cpu
    elif mode == "DECODE":
        if batch.seq_lens_cpu is None:
            raise NoRowMap("a decode without lengths on the host")
        # Beams that SGLang adds run behind all requests: their rows are nobody's.
        starts = [int(n) - 1 for n in batch.seq_lens_cpu[: len(batch.rids)]]
        counts = [1] * len(starts)
    else:
        raise NoRowMap(f"a forward of mode `{mode}`")
    if starts is None or counts is None:
        raise NoRowMap("a prompt without lengths on the host")
    return [
        (name, int(start), int(n))
        for name, start, n in zip(batch.rids, starts, counts, strict=True)
    ]


@dataclass(slots=True, eq=False)
class Running:
    """A request that the scheduler has. scored: False where its rows are served and nothing is read of them.

    over: it has ended, and a row that the scheduler had sent ahead by then is nobody's.
    """

    request: Request
    canary: bool = False
    scored: bool = True
    over: bool = False


def known(req: Any, start: int, stop: int) -> list[int]:
    """Token ids at [start, stop) as the scheduler knows them; it runs ahead of the answer's by a step."""
    prompt, answer = req.origin_input_ids, req.output_ids
    n = len(prompt)
    return [*prompt[start:stop], *answer[max(0, start - n) : max(0, stop - n)]]


def salt(req: Any) -> bytes:
    """SGLang shares cached prefixes only where this is equal."""
    return repr((req.extra_key, req.cache_salt)).encode()


def rows(
    found: Sequence[Piece], reqs: Sequence[Any]
) -> tuple[list[Rows], npt.NDArray[np.int64] | None]:
    """Rows of a step in the order they stand in it, the canary's last. reqs: the `Req` of each piece.

    Raises NoRowMap where pieces and requests are not of one batch.
    """
    if [name for name, _, _ in found] != [req.rid for req in reqs]:
        raise NoRowMap("the forward's requests are not those of its batch")
    placed: list[tuple[bool, Rows, int]] = []
    at = 0
    for (_, start, n), req in zip(found, reqs, strict=True):
        one = getattr(req, ATTRIBUTE, None)
        if one is not None and one.scored and not one.over:
            ids = None if one.canary else functools.partial(known, req)
            placed.append((one.canary, Rows(one.request, start, n, ids, salt(req)), at))
        at += n
    return laid_out(placed)
