"""The tap in vLLM's worker: hooks on the loaded model, and which rows of a step are whose.

One `Watch` for the one runner of rank 0; it wraps methods of that object and of no class. It sends codes and
records, and knows of a call what the API process put into the request. Nothing here may break a step.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.frames import Codes, to_codes
from dosimeter.detectors.pack import Pack
from dosimeter.monitor.taps import reload, vllm_ends, vllm_modes, vllm_rows
from dosimeter.monitor.taps.binding import TapState, fitting_packs, seed_of, self_test
from dosimeter.monitor.taps.pack_list import PackList
from dosimeter.monitor.taps.probe_op import HookError, ProbeOp, Residual
from dosimeter.monitor.taps.requests import End, Request, Requests
from dosimeter.monitor.taps.score_cache import ScoreCache
from dosimeter.monitor.taps.sender import Sender
from dosimeter.monitor.taps.settings import TapSettings
from dosimeter.monitor.taps.tap import Step, Tap
from dosimeter.monitor.taps.unchanged import Unchanged
from dosimeter.monitor.taps.vllm_canary import CANARY_KEY, WAITING, Canary
from dosimeter.monitor.taps.vllm_model import blocks, folder_of, residual
from dosimeter.monitor.taps.vllm_session import Session, ticket_of
from dosimeter.monitor.taps.wire import Kind

Pieces = Callable[[], list[vllm_rows.Piece]]


class Watch:
    """All that this process does for the sidecar. Another server with an engine of its own overrides what is vLLM's."""

    kind = "vllm"
    waiting = WAITING

    def __init__(self, settings: TapSettings, session: Session, config: Any, version: str) -> None:
        self.settings, self.session, self.config = settings, session, config
        self._version = version
        self.state = TapState()
        self.requests = Requests(self._control, time.time_ns)
        self.requests.blanket_reason = "no_pack"
        self.alive = vllm_rows.Alive()
        self.tap: Tap | None = None
        self.canary: Canary | None = None
        self._pieces: Pieces | None = None  # of the step whose forward is next
        self._step: Step | None = None
        self._take_off: Callable[[], None] = lambda: None
        self._list: PackList | None = None
        if settings.pack_list:
            self._list = PackList(Path(settings.pack_list), self.load, self._refused)
        epoch = session.epoch + self._replica()
        self.sender = Sender(settings.socket, epoch, self.hello, self.requests.live).start()

    def hello(self) -> dict[str, Any]:
        return self.state.greeting("tap", self.kind, self._version, self.requests)

    # --- of this server

    def _replica(self) -> int:
        """Replicas are refused; should there be some, each is a server of its own."""
        return int(self.config.parallel_config.data_parallel_rank)

    def _why_not(self) -> str | None:
        """Why the server's mode is not read, if it is not."""
        refused = vllm_modes.refusals(self.config)
        return vllm_modes.reason(refused) if refused else None

    def _folder(self) -> Path:
        return folder_of(self.config.model_config)

    def _page(self) -> int:
        """Tokens of a page of its prefix cache."""
        return int(self.config.cache_config.block_size)

    def _residual(self, model: nn.Module) -> Residual:
        """How the residual stream is found in what a block returns."""
        return residual

    def _follow(self, model: nn.Module) -> None:
        """See the steps of a model that has its hooks."""
        model.register_forward_pre_hook(self._before, with_kwargs=True)
        model.register_forward_hook(self._after)

    # ---

    def _control(self, kind: str, record: dict[str, Any]) -> None:
        self.sender.control(Kind[kind], record)

    def guarded(self, do: Callable[[], None]) -> None:
        """An error of ours costs a request its account, never the server its step."""
        try:
            do()
        except Exception as error:
            self.requests.failed(error)

    def say(self, state: str, reason: str | None) -> None:
        """Set what the tap says of itself, and say it at once; what another thread changes is never said back."""

        def change() -> None:
            self.state.state, self.state.reason = state, reason

        self.sender.greet(change)

    # --- once, when the weights are in and before anything is profiled, compiled or warmed up

    def loaded(self, model: nn.Module) -> None:
        try:
            self._load(model)
        except Exception as error:
            self.requests.blanket_reason = "unsupported"
            self.say("blind", str(error) or repr(error))

    def _load(self, model: nn.Module) -> None:
        why_not = self._why_not()
        if why_not is not None:
            raise HookError(why_not)
        packs = fitting_packs(model, self._folder(), self.settings.packs, self.state)
        if not packs:
            self.say(self.state.state, self.state.reason)
            return
        bank = ProbeBank.from_packs(packs)
        self.state.name(bank)
        op = ProbeOp(bank, next(model.parameters()).device, self._residual(model))
        op.install(blocks(model))
        try:
            self._salt(bank)
            self_test(op, bank, packs)
            self._arm(model, op, bank, packs)
        except BaseException:
            op.remove()
            self.tap = self.canary = None
            raise

    def _salt(self, bank: ProbeBank) -> None:
        """vLLM keeps compiled models by its configuration: one that was compiled without a tap must not be found."""
        seed = seed_of(self.state.model["digest"], bank)
        known = self.config.additional_config
        if not isinstance(known, dict):
            raise HookError(
                "`additional_config` is no table: a compiled model may have no tap in it"
            )
        self.config.additional_config = known | {"dosimeter": hashlib.sha256(seed).hexdigest()}

    def _arm(self, model: nn.Module, op: ProbeOp, bank: ProbeBank, packs: Sequence[Pack]) -> None:
        """Hooks are on. Nothing is reported before a request of ours has come through the server itself."""
        self.canary = Canary(bank, packs)
        cache = ScoreCache(seed_of(self.state.model["digest"], bank), len(bank.columns))
        cache.fit(self._page())
        self.tap = Tap(
            op,
            self.sink,
            self_test=lambda: self_test(op, bank, packs),
            on_state=self._breaker,
            on_unread=self.sender.failed,
            on_error=self.requests.failed,
            encode=to_codes,
            cache=cache,
            changed=Unchanged(model),
        )
        # What a trainer sends a running server goes in here, and past torch's own count of writes.
        first(model, "load_weights", lambda: self.guarded(self.reloaded))
        self._follow(model)
        self._take_off = op.remove
        self.requests.blanket_reason = None
        self.say("blind", self.waiting)

    def reloaded(self) -> None:
        """Other weights are in: the pack's digest says nothing of them."""
        self._take_off()
        self.tap, self.requests.blanket_reason = None, "unsupported"
        self.say("blind", "the weights were reloaded; restart the server to be seen again")

    def _breaker(self, reason: str | None) -> None:
        if self.canary is not None and self.canary.passed:
            self.say("live" if reason is None else "blind", reason)

    # --- every step

    def scheduled(self, output: Any) -> None:
        """Before the runner takes in what the scheduler decided: ends first, for an id may come again."""
        ends = getattr(output, vllm_ends.ATTRIBUTE, {})
        for name in output.finished_req_ids:
            self.guarded(functools.partial(self._ended, name, ends.get(name)))
        for new in output.scheduled_new_reqs:
            self.guarded(functools.partial(self._began, new))

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
            salt = str(found.get("salt", "")).encode()
            self.alive.running[new.req_id] = vllm_rows.Running(request, list(ids), salt)

    def _opened(self, found: Mapping[str, Any], ids: Sequence[int], name: str) -> Request | None:
        """found: what our API process said of it; None for a canary that is not wanted."""
        if "canary" not in found:
            return self.requests.open(ids, ticket_of(found) if "call" in found else None)
        if self.canary is None or self.canary.passed or self.alive.canary is not None:
            return None  # of another API process, at the same time or later: one is enough
        self.alive.canary = name
        return self.canary.begin(str(found["canary"]), len(ids))

    def _ended(self, name: str, counted: vllm_ends.Counted | None) -> None:
        one = self.alive.running.pop(name, None)
        if one is None:
            return
        self._closed(one.request, vllm_ends.end_of(one.request, counted))

    def _closed(self, request: Request, end: End) -> None:
        if request.key != CANARY_KEY:
            self.requests.tap_ended(request, end)
            return
        self.alive.canary = None
        if end.outcome == "finished":
            self._proven()

    def _proven(self) -> None:
        """A canary has run to its end: if it was the last pack's, the path is proven, or never to be trusted."""
        if self.canary is None or self.tap is None:
            return
        failure = self.canary.verdict()
        if failure is not None:
            self._take_off()
            self.tap, self.requests.blanket_reason = None, "unsupported"
            self.say("blind", f"start-up canary: {failure}")
        elif self.canary.passed:
            self.say("live", None)
            if self._list is not None:
                self._list.begin(self.state.digests)

    def load(self, packs: Sequence[Pack]) -> None:
        """Score with these packs instead, from the next step on; no graph is traced again.

        Raises ValueError, HookError: the tap goes on with the packs it has.
        """
        if self.tap is None:
            raise reload.NotLoaded("no model is scored here\n  hint: restart the server")
        reload.load(self.tap, packs, self.state, self.sender.greet)

    def _refused(self, reason: str | None) -> None:
        self.sender.greet(lambda: setattr(self.state, "refused", reason))

    def next_step(self, pieces: Pieces) -> None:
        """The batch is final; the next forward of the model is this step."""
        self._pieces = pieces

    def step_over(self) -> None:
        """Back from the runner. A step still open here is one whose forward raised."""
        self._pieces = None
        step, self._step = self._step, None
        if step is not None and self.tap is not None:
            self.tap.abandon(step)

    def _before(self, _model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        pieces, self._pieces = self._pieces, None
        if pieces is None or self.tap is None:  # a dummy run, of profiling or warm-up
            return
        ids = args[0] if args else kwargs.get("input_ids")
        self._step = self.tap.begin(functools.partial(self._rows, pieces, ids))

    def _rows(self, pieces: Pieces, ids: torch.Tensor | None) -> Any:
        found = pieces()
        total = sum(n for _, _, n in found)
        return self.alive.rows(found, [] if ids is None else ids[:total].tolist())

    def _after(self, _model: nn.Module, _args: Any, _output: Any) -> None:
        step, self._step = self._step, None
        if step is not None and self.tap is not None:
            self.tap.end(step)

    def sink(
        self, rows: npt.NDArray[np.void], codes: Codes, hook_ns: int
    ) -> tuple[int, str | None]:
        """The canary's rows stand last: they are compared, and all others go out."""
        total = len(codes)
        canary = self.canary
        if canary is None:
            return 0, None
        if len(rows) and rows["key"][-1] == CANARY_KEY:
            mine = rows["key"] == CANARY_KEY
            kept = total - int(rows["n"][mine].sum())
            canary.take(rows[mine], codes[kept:])
            rows, codes = rows[~mine], codes[:kept]
        if not len(rows):
            return total, None
        if not canary.passed:
            return 0, None  # a path that is not proven reports nothing
        sent, reason = self.sender.step(rows, codes, hook_ns, time.time_ns())
        return (total if sent == len(codes) else sent), reason


def watch_runner(runner: Any, settings: TapSettings, session: Session, version: str) -> Watch:
    """Wrap one runner's methods, before it loads the model."""
    watch = Watch(settings, session, runner.vllm_config, version)
    load_model, execute_model = runner.load_model, runner.execute_model

    @functools.wraps(load_model)
    def loading(*args: Any, **kwargs: Any) -> Any:
        result = load_model(*args, **kwargs)
        watch.loaded(runner.get_model())
        return result

    @functools.wraps(execute_model)
    def executing(scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("dummy_run"):
            watch.guarded(lambda: watch.scheduled(scheduler_output))
        try:
            return execute_model(scheduler_output, *args, **kwargs)
        finally:
            watch.guarded(watch.step_over)

    runner.load_model, runner.execute_model = loading, executing
    first(runner, "reload_weights", lambda: watch.guarded(watch.reloaded))
    _follow_batches(runner, watch)
    return watch


def first(owner: Any, name: str, do: Callable[[], None]) -> None:
    """Before this object runs that method, if it has it."""
    original = getattr(owner, name, None)
    if original is None:
        return

    @functools.wraps(original)
    def method(*args: Any, **kwargs: Any) -> Any:
        do()
        return original(*args, **kwargs)

    setattr(owner, name, method)


def _follow_batches(runner: Any, watch: Watch) -> None:
    """When a batch is final: requests join and leave it, and are reordered, inside `execute_model`.

    V1 fills its persistent batch and then prepares the inputs from it; V2 makes a batch of each step, which
    is what its method returns. Neither is called in a dummy run.
    """
    if hasattr(runner, "_prepare_inputs"):
        prepare_v1 = runner._prepare_inputs

        @functools.wraps(prepare_v1)
        def _prepare_inputs(
            scheduler_output: Any, scheduled: Any, *args: Any, **kwargs: Any
        ) -> Any:
            result = prepare_v1(scheduler_output, scheduled, *args, **kwargs)
            watch.next_step(functools.partial(vllm_rows.v1_pieces, runner, scheduled))
            return result

        runner._prepare_inputs = _prepare_inputs
        return
    prepare_v2 = runner.prepare_inputs

    @functools.wraps(prepare_v2)
    def prepare_inputs(*args: Any, **kwargs: Any) -> Any:
        batch = prepare_v2(*args, **kwargs)
        watch.next_step(functools.partial(vllm_rows.v2_pieces, batch))
        return batch

    runner.prepare_inputs = prepare_inputs
