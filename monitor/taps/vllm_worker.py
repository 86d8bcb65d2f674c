"""The tap in vLLM's worker: its requests and steps, as its scheduler and its runner say them.

Nothing here may break a step.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dosimeter.detectors.bank import ProbeBank
from dosimeter.monitor.taps import vllm_drafts, vllm_ends, vllm_modes, vllm_rows, watch
from dosimeter.monitor.taps.binding import seed_of
from dosimeter.monitor.taps.probe_op import HookError, Residual
from dosimeter.monitor.taps.settings import TapSettings
from dosimeter.monitor.taps.vllm_canary import CANARY_KEY, WAITING
from dosimeter.monitor.taps.vllm_model import folder_of, residual
from dosimeter.monitor.taps.vllm_session import Session

Pieces = Callable[[], vllm_rows.Pieces]
Drafts = Callable[[], Mapping[str, Sequence[int]]]
"""Of a step: the drafts it runs, by the engine's own request id."""


class Watch(watch.Watch):
    """Of the one runner of rank 0. config: a `VllmConfig`."""

    kind = "vllm"
    waiting = WAITING
    lets_capture = True

    def __init__(self, settings: TapSettings, session: Session, config: Any, version: str) -> None:
        super().__init__(settings, session, config, version)
        self._next: tuple[Pieces, Drafts] | None = None  # of the step whose forward is next
        self._drafted: vllm_drafts.Drafted | None = None  # of the step whose rows wait

    def _replica(self) -> int:
        return int(self.config.parallel_config.data_parallel_rank)

    def _why_not(self) -> str | None:
        refused = vllm_modes.refusals(self.config)
        return vllm_modes.reason(refused) if refused else None

    def _folder(self) -> Path:
        return folder_of(self.config.model_config)

    def _page(self) -> int:
        return int(self.config.cache_config.block_size)

    def _residual(self, model: nn.Module) -> Residual:
        return residual

    def _salt(self, bank: ProbeBank) -> None:
        """vLLM keeps compiled models by its configuration: one that was compiled without a tap must not be found."""
        seed = seed_of(self.state.model["digest"], bank)
        known = self.config.additional_config
        if not isinstance(known, dict):
            raise HookError(
                "`additional_config` is no table: a compiled model may have no tap in it"
            )
        self.config.additional_config = known | {"dosimeter": hashlib.sha256(seed).hexdigest()}

    def _follow(self, model: nn.Module) -> None:
        model.register_forward_pre_hook(self._before, with_kwargs=True)
        model.register_forward_hook(self._after)

    # --- requests

    def scheduled(self, output: Any) -> None:
        """Before the runner takes in what the scheduler decided: what it kept of the step before, then ends, for an
        id may come again."""
        ends = getattr(output, vllm_ends.ATTRIBUTE, {})
        ran: dict[str, int] = {}
        self.guarded(lambda: ran.update(self._settled(ends)))
        for name in output.finished_req_ids:
            self.guarded(functools.partial(self._ended, name, ends.get(name), ran.get(name)))
        for new in output.scheduled_new_reqs:
            self.guarded(functools.partial(self._began, new))

    def _settled(self, ends: Mapping[str, vllm_ends.Counted]) -> Mapping[str, int]:
        """Rows that waited go out; up to which position their requests ran."""
        drafted, self._drafted = self._drafted, None
        if drafted is None:
            return {}
        try:
            kept, ran = drafted.settle(self.alive, ends)
        except Exception:
            if self.tap is not None:
                self.tap.lost()  # rows ran that go nowhere: what is passed over later may be theirs
            raise
        if self.tap is not None and drafted.held is not None:
            if not drafted.sampled:
                self.tap.lost()  # accepted drafts go nowhere as well
            self.tap.release(drafted.held, kept)
        return ran

    def _began(self, new: Any) -> None:
        ids = new.prompt_token_ids or [vllm_rows.UNKNOWN] * new.prompt_len
        known = self.alive.running.get(new.req_id)
        if known is not None:  # a session that goes on: its prompt now holds what it answered
            known.learn(0, ids)
            return
        args = new.sampling_params.extra_args if new.sampling_params is not None else None
        found = self.session.opened(args)
        request = self._opened(found, ids, new.req_id)
        if request is not None:
            one = self.alive.running[new.req_id] = vllm_rows.Running(request, list(ids))
            if request.key != CANARY_KEY:
                request.ids, request.salt = one.known, str(found.get("salt", "")).encode()

    def _ended(self, name: str, counted: vllm_ends.Counted | None, ran: int | None = None) -> None:
        one = self.alive.running.pop(name, None)
        if one is None:
            return
        self._closed(one.request, vllm_ends.end_of(one.request, counted, ran))

    # --- steps

    def next_step(self, pieces: Pieces, drafts: Drafts = dict) -> None:
        """The batch is final; the next forward of the model is this step."""
        self._next = pieces, drafts

    def step_over(self) -> None:
        self._next = None
        super().step_over()

    def _before(self, _model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        following, self._next = self._next, None
        if following is None or self.tap is None:  # a dummy run, of profiling or warm-up
            return
        ids = args[0] if args else kwargs.get("input_ids")
        self._step = self.tap.begin(functools.partial(self._rows, *following, ids))

    def _rows(self, pieces: Pieces, drafts: Drafts, ids: torch.Tensor | None) -> Any:
        found = pieces()
        total = sum(found[2])
        self._drafted = vllm_drafts.of_step(found, drafts(), self.alive)
        return self.alive.rows(found, [] if ids is None else ids[:total].tolist())

    def _after(self, _model: nn.Module, _args: Any, _output: Any) -> None:
        step, self._step = self._step, None
        if step is None or self.tap is None:
            return
        if self._drafted is None:
            self.tap.end(step)
        else:
            self._drafted.held = self.tap.hold(step)

    def sampled(self, output: Any) -> None:
        """The runner has sampled from the step before: so many tokens for each request."""
        if self._drafted is not None:
            self._drafted.take(output)
