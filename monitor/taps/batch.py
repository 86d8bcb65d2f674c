"""One call of `generate` as a batch: which rows of a step are whose, from the columns that ran.

What a row is follows from the columns that ran, the prompt's padding, and the server's own word on which rows are over.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers.generation.stopping_criteria import StoppingCriteriaList

from dosimeter.monitor.taps.probe_op import HookError
from dosimeter.monitor.taps.requests import End, Requests
from dosimeter.monitor.taps.rows import Rows
from dosimeter.monitor.taps.seams import current_ticket, guarded
from dosimeter.monitor.taps.tap import Step, Tap


class _Running(threading.local):
    """The batch that this thread's forwards belong to."""

    batch: Batch | None = None


running = _Running()


def inputs_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[torch.Tensor | None, Any]:
    """Token ids and cache of one forward; a forward on embeddings has no ids."""
    ids = args[0] if args else kwargs.get("input_ids")
    return ids, kwargs.get("past_key_values")


def sequences_of(output: Any) -> torch.Tensor:
    found: torch.Tensor = output if isinstance(output, torch.Tensor) else output.sequences
    return found


def as_set(eos: Any) -> set[int]:
    return set(eos) if isinstance(eos, (list, tuple)) else {eos}


def up_to_end(generated: list[int], eos: set[int]) -> list[int]:
    """Generated tokens up to and with the first end-of-sequence token; padding follows it."""
    stop = next((i + 1 for i, token in enumerate(generated) if token in eos), len(generated))
    return generated[:stop]


class _Noted(StoppingCriteriaList):  # type: ignore[misc]
    """The server's criteria, whose word on each row is passed on. note: told which rows are over, and the columns."""

    def __init__(self, criteria: Any, note: Callable[[list[bool], int], None]) -> None:
        super().__init__(criteria)
        self._criteria, self._note = criteria, note

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> Any:
        over = self._criteria(input_ids, scores, **kwargs)
        # No wait of ours: the loop reads the same flags next, to see whether any row goes on.
        guarded(lambda: self._note(over.tolist(), input_ids.shape[1]))
        return over


class Batch:
    """One call of `_sample`: B rows, left-padded prompts, one column a step after the prompt."""

    def __init__(
        self, tap: Tap, requests: Requests, input_ids: torch.Tensor, kwargs: dict[str, Any]
    ) -> None:
        self.tap, self.requests = tap, requests
        criteria = kwargs["stopping_criteria"]
        mask = kwargs.get("attention_mask")
        if mask is None or mask.dim() != 2:
            mask = torch.ones_like(input_ids)
        past = kwargs.get("past_key_values")
        self.mask = mask.cpu().numpy().astype(bool)  # [B, prompt columns]
        self.prompt_columns = input_ids.shape[1]
        self.use_cache = bool(kwargs.get("use_cache", True))
        self.eos = as_set(kwargs["generation_config"].eos_token_id)
        # The loop's own cache. A forward on another, or on none, is no step of this loop.
        self._cache = past if self.use_cache else None
        # Columns of the batch that ran; a cache that the caller brought holds the first ones.
        self.column = int(past.get_seq_length()) if past is not None and self.use_cache else 0
        self.step: Step | None = None
        self.lost = False  # the row map failed: where the rows stand is not known any more
        ids = input_ids.tolist()
        ticket = current_ticket.get()
        self.rows = [
            requests.open(
                [token for token, real in zip(ids[b], self.mask[b], strict=True) if real], ticket
            )
            for b in range(len(ids))
        ]
        self.stops: list[int | None] = [None] * len(ids)  # behind how many columns a row is padding
        # The loop pads rows that are over, by an end token or a stop string, only where there is an end token.
        if len(ids) > 1 and any(hasattr(one, "eos_token_id") for one in criteria):
            kwargs["stopping_criteria"] = _Noted(criteria, self._stopped)

    def _stopped(self, over: list[bool], columns: int) -> None:
        for b, is_over in enumerate(over):
            if is_over and self.stops[b] is None:
                self.stops[b] = columns

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Steps are forwards of the top module. On an error of the server, the rows end as cancelled."""
        outer, running.batch = running.batch, self
        try:
            yield
        except BaseException:
            guarded(self._cancel)
            raise
        finally:
            running.batch = outer

    def _cancel(self) -> None:
        if self.step is not None:
            self.tap.abandon(self.step)
        self._end_all("cancelled")

    def _end_all(self, outcome: str) -> None:
        """By our own count; those that have ended by the server's keep that."""
        for request in self.rows:
            end = End(outcome, request.prompt_len, 0, request.next_position, "tap")
            self.requests.tap_ended(request, end)

    def around(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """A forward that the compiler runs: the top module's hooks are in its graph, where they do nothing."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.before(*inputs_of(args, kwargs))
            output = forward(*args, **kwargs)
            self.after()
            return output

        return watched

    def is_step(self, past: Any) -> bool:
        """Whether a forward on this cache is one of the loop, and none of a logits processor's (guidance)."""
        return self._cache is None or past is self._cache

    def before(self, ids: torch.Tensor | None, past: Any) -> None:
        """past: the cache as this forward finds it, or None."""
        begun = self.step is not None  # around this forward, which is compiled
        if self.lost or begun or not self.is_step(past):
            return
        self.step = self.tap.begin(functools.partial(self._mapped, ids))

    def after(self) -> None:
        step, self.step = self.step, None
        if step is not None:
            self.tap.end(step)

    def _mapped(self, ids: torch.Tensor | None) -> tuple[Rows, npt.NDArray[np.int64] | None]:
        self.lost = True
        if ids is None:
            raise HookError("a step of `generate` ran on embeddings")
        found = self.row_map(ids)
        self.lost = False
        return found

    def row_map(self, ids: torch.Tensor) -> tuple[Rows, npt.NDArray[np.int64] | None]:
        columns = int(ids.shape[1])
        first = self.column if self.use_cache else 0
        self.column = first + columns
        rows, select = Rows(), []
        for b, request in enumerate(self.rows):
            if self.stops[b] is not None:
                continue
            real = self._real(b, first, columns)
            if len(real):
                before = int(self.mask[b, :first].sum()) + max(0, first - self.prompt_columns)
                rows.add(request, before, len(real))
                select.append(b * columns + real)
        if not select:
            return rows, None
        return rows, np.concatenate(select)

    def _real(self, b: int, first: int, columns: int) -> npt.NDArray[np.int64]:
        """Columns of this step that hold a token of row b; the prompt is padded on the left."""
        real = np.ones(columns, bool)
        stop = min(self.prompt_columns, first + columns)
        if first < stop:
            real[: stop - first] = self.mask[b, first:stop]
        return np.flatnonzero(real)

    def finish(self, output: Any) -> Any:
        guarded(lambda: self._finish(sequences_of(output).tolist()))
        guarded(lambda: self._end_all("finished"))  # where that failed: none may stay open for ever
        return output

    def _finish(self, sequences: list[list[int]]) -> None:
        unwatched = (
            max(map(len, sequences), default=0) - 1 > self.column
        )  # forwards that no hook met
        for request, sequence, stop in zip(self.rows, sequences, self.stops, strict=True):
            generated = up_to_end(sequence[self.prompt_columns : stop], self.eos)
            served = max(0, request.prompt_len + len(generated) - 1)
            if self.lost or unwatched:
                seen = request.emitted + request.cached + sum(request.unscored.values())
                request.miss("tap_error" if self.lost else "unsupported", max(0, served - seen))
            end = End("finished", request.prompt_len, len(generated), served, "output", generated)
            self.requests.tap_ended(request, end)
