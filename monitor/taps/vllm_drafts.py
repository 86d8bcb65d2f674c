"""Drafts under vLLM: a step runs tokens that may be rejected, and its rows wait until the server says what it keeps.

Two words of the server's decide, both there before its next step. Its sampler's: for each request one token more than
drafts it accepted. Its scheduler's, which cuts an answer off at its end: drafts behind that were never served. A row
of a draft that was taken back goes nowhere: it is no position of the answer, and nothing may fire on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dosimeter.monitor.taps.tap import Held
from dosimeter.monitor.taps.vllm_ends import Counted, served_of
from dosimeter.monitor.taps.vllm_rows import Alive, Pieces


@dataclass(slots=True, eq=False)
class Drafted:
    """A step with drafts in it.

    names    the engine's own ids, by key of the request
    drafts   by that id: how many of a request's rows are of drafts; they are its last
    sampled  by that id: how many tokens the sampler gave; empty until it has
    held     its rows and their scores, once it has run
    """

    names: dict[int, str]
    drafts: dict[str, int]
    sampled: dict[str, int] = field(default_factory=dict)
    held: Held | None = None

    def settle(self, alive: Alive, ends: Mapping[str, Counted]) -> tuple[list[int], dict[str, int]]:
        """What the server kept of each of the held rows; and by engine's id, up to which position requests ran.

        Token ids of drafts that were rejected are forgotten: no prefix of the request holds them.
        """
        kept: list[int] = []
        ran: dict[str, int] = {}
        for request, start, rows in () if self.held is None else self.held.rows:
            name = self.names[request.key]
            n = rows - self._rejected(name)
            ran[name] = start + n
            if n < rows and name in alive.running:
                alive.running[name].forget(start + n)
            kept.append(_until_end(start, n, ends.get(name)))
        return kept, ran

    def _rejected(self, name: str) -> int:
        """All of them where the sampler has said nothing: what they were run after is the server's own."""
        drafts = self.drafts.get(name, 0)
        return drafts - min(drafts, max(0, self.sampled.get(name, 0) - 1))

    def take(self, output: Any) -> None:
        """output: the runner's, with the tokens of each request as they were sampled."""
        pairs = zip(output.req_ids, output.sampled_token_ids, strict=True)
        self.sampled = {name: len(ids) for name, ids in pairs}


def _until_end(start: int, n: int, counted: Counted | None) -> int:
    """An answer that has ended keeps nothing behind its end; how one that was given up ended, no end says."""
    served = None if counted is None else served_of(counted)
    return n if served is None else max(0, min(n, served - start))


def of_step(pieces: Pieces, scheduled: Mapping[str, Sequence[int]], alive: Alive) -> Drafted | None:
    """scheduled: the drafts of a step by the engine's id, as its scheduler gave them out; None: it has none."""
    drafts = {name: len(ids) for name, ids in scheduled.items() if ids}
    if not drafts:
        return None
    known = {name: alive.running.get(name) for name in pieces[0]}
    names = {one.request.key: name for name, one in known.items() if one is not None}
    return Drafted(names, drafts)
