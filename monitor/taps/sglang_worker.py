"""The tap in SGLang's scheduler process: hooks on the loaded model, its own request objects, rows of each forward.

Scheduler and model runner are one process there, so a request is a `Req` and not an id. One `Watch` for the one
runner; the hooks that SGLang's plugin registry puts at class level look it up. Nothing here may break a step.
"""

from __future__ import annotations

import functools
import json
import weakref
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import nn

from dosimeter.detectors.bank import ProbeBank
from dosimeter.monitor.taps import sglang_modes, sglang_rows, vllm_modes, watch
from dosimeter.monitor.taps.probe_op import Residual
from dosimeter.monitor.taps.requests import End, Ticket
from dosimeter.monitor.taps.settings import TapSettings
from dosimeter.monitor.taps.sglang_model import ResidualStream
from dosimeter.monitor.taps.sglang_rows import ATTRIBUTE, Running
from dosimeter.monitor.taps.vllm_canary import CANARY_KEY
from dosimeter.monitor.taps.vllm_model import folder_of
from dosimeter.monitor.taps.vllm_session import KEY, Session

REQS = "dosimeter_reqs"
"""On a `ForwardBatch`: the `Req` objects it was made of, in its order. A forward without them is a warm-up."""


class Watch(watch.Watch):
    """config: `args`, the server's resolved options, and `model`, its model's, as `sglang_modes` reads them."""

    kind = "sglang"
    waiting = (
        "the start-up canary has not come through the server: does it serve HTTP, in one process?"
    )

    def __init__(
        self, runner: Any, settings: TapSettings, session: Session, config: Any, version: str
    ) -> None:
        self.runner = runner
        super().__init__(settings, session, config, version)

    def _replica(self) -> int:
        return 0

    def _why_not(self) -> str | None:
        refused = vllm_modes.refusals(self.config, sglang_modes.REFUSED)
        return vllm_modes.reason(refused) if refused else None

    def _folder(self) -> Path:
        revision = self.config.args.revision
        return folder_of(SimpleNamespace(model=self.config.model.model_path, revision=revision))

    def _page(self) -> int:
        return int(self.config.args.page_size or 1)

    def _salt(self, bank: ProbeBank) -> None:
        """Compiled models are refused: there is no cache of them to keep apart."""

    def _residual(self, model: nn.Module) -> Residual:
        found = ResidualStream()
        decoder: nn.Module = getattr(model, "model", model)
        decoder.register_forward_pre_hook(found.enter, with_kwargs=True)
        decoder.register_forward_hook(found.leave)
        return found

    def _follow(self, model: nn.Module) -> None:
        """Steps are seen at `ModelRunner.forward`: the model's own `forward` is called past its hooks."""

    # --- requests

    def queued(self, req: Any) -> None:
        """It goes into the scheduler's queue, for the first time or again: its prompt's ids are final."""
        if getattr(req, ATTRIBUTE, None) is not None:
            return
        found = self.session.opened(_said(req.sampling_params))
        if req.beam_group is not None:
            # Which beam a row belongs to is not known here.
            ticket = Ticket({}, frozenset(), reason="unsupported", ended=True)
            one = Running(self.requests.open(req.origin_input_ids, ticket), scored=False)
        else:
            request = self._opened(found, req.origin_input_ids, req.rid)
            if request is None:
                return
            one = Running(request, canary=request.key == CANARY_KEY)
        setattr(req, ATTRIBUTE, one)
        if not one.canary:
            one.request.ids = functools.partial(sglang_rows.known, weakref.ref(req))
            one.request.salt = sglang_rows.salt(req)
            one.request.held = 1
            weakref.finalize(req, self.requests.released, one.request).atexit = False

    def processed(self, reqs: Iterable[Any]) -> None:
        """The scheduler has taken in what a forward gave these."""
        for req in reqs:
            if req.finished():
                self.guarded(functools.partial(self.ended, req))

    def ended(self, req: Any, outcome: str | None = None) -> None:
        """The scheduler will run no more of it. outcome: where the request does not say so itself."""
        one = getattr(req, ATTRIBUTE, None)
        if one is None or one.over:
            return
        one.over = True
        reason = req.finished_reason.to_json() if req.finished_reason is not None else {}
        if outcome is None:
            outcome = "finished"
            if reason.get("type") == "abort":
                # What SGLang itself gives up has a status for the client; a client that left needs none.
                outcome = "cancelled" if reason.get("status_code") is None else "failed"
        prompt, generated = len(req.origin_input_ids), len(req.output_ids)
        served = prompt + generated - 1 if generated else 0
        if outcome != "finished":
            served = max(served, one.request.next_position)
        self._closed(one.request, End(outcome, prompt, generated, served, "scheduler"))

    # --- steps

    def made(self, forward_batch: Any, batch: Any) -> None:
        setattr(forward_batch, REQS, list(batch.reqs))

    def begin(self, forward_batch: Any) -> None:
        self.step_over()
        reqs = getattr(forward_batch, REQS, None)
        if reqs is not None and self.tap is not None:
            self._step = self.tap.begin(functools.partial(self._rows_of, forward_batch, reqs))

    def _rows_of(self, forward_batch: Any, reqs: list[Any]) -> Any:
        return sglang_rows.rows(sglang_rows.pieces(forward_batch), reqs)

    def end(self) -> None:
        step, self._step = self._step, None
        if step is not None and self.tap is not None:
            self.tap.end(step)


def _said(params: Any) -> dict[str, Any]:
    """Ours out of a request's `custom_params`, where it came as text; a logit processor of theirs need not see it."""
    theirs = params.custom_params
    if not isinstance(theirs, dict) or KEY not in theirs:
        return {}
    params.custom_params = {k: v for k, v in theirs.items() if k != KEY} or None
    try:
        return {KEY: json.loads(theirs[KEY])}
    except (TypeError, ValueError):  # a client's
        return {}
