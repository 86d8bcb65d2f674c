"""The tap in a process of an engine: hooks on the loaded model, the canary, packs, and what is said of all that.

One `Watch` for the one model of the process; an engine's own overrides how its mode, its model and its steps are read.
It sends codes and records, and knows of a call what the API process put into the request. Nothing here may break a
step.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.frames import Codes, to_codes
from dosimeter.detectors.pack import Pack
from dosimeter.monitor.taps import reload
from dosimeter.monitor.taps.binding import TapState, fitting_packs, seed_of, self_test
from dosimeter.monitor.taps.capturing import Capturing
from dosimeter.monitor.taps.leave import let_capture
from dosimeter.monitor.taps.pack_list import PackList
from dosimeter.monitor.taps.probe_op import HookError, ProbeOp, Residual
from dosimeter.monitor.taps.requests import End, Request, Requests
from dosimeter.monitor.taps.score_cache import ScoreCache
from dosimeter.monitor.taps.sender import Sender
from dosimeter.monitor.taps.settings import TapSettings
from dosimeter.monitor.taps.tap import Step, Tap
from dosimeter.monitor.taps.unchanged import Unchanged
from dosimeter.monitor.taps.vllm_canary import CANARY_KEY, Canary
from dosimeter.monitor.taps.vllm_model import blocks
from dosimeter.monitor.taps.vllm_rows import Alive
from dosimeter.monitor.taps.vllm_session import Session, ticket_of
from dosimeter.monitor.taps.wire import Kind


class Watch:
    """All that this process does for the sidecar."""

    kind: str
    waiting: str  # why the tap is blind until its canary has come through
    lets_capture = (
        False  # whether activations may be asked for, if the server was started with leave for it
    )

    def __init__(self, settings: TapSettings, session: Session, config: Any, version: str) -> None:
        self.settings, self.session, self.config = settings, session, config
        self._version = version
        self.state = TapState()
        self.requests = Requests(self._control, time.time_ns)
        self.requests.blanket_reason = "no_pack"
        self.alive = Alive()
        self.tap: Tap | None = None
        self.canary: Canary | None = None
        self._step: Step | None = None
        self._take_off: Callable[[], None] = lambda: None
        self._list: PackList | None = None
        self._capturing: Capturing | None = None
        if settings.pack_list:
            self._list = PackList(Path(settings.pack_list), self.load, self._refused)
        epoch = session.epoch + self._replica()
        self.sender = Sender(settings.socket, epoch, self.hello, self.requests.live).start()

    def hello(self) -> dict[str, Any]:
        return self.state.greeting("tap", self.kind, self._version, self.requests)

    # --- of an engine

    def _replica(self) -> int:
        """Replicas are refused; should there be some, each is a server of its own."""
        return 0

    def _why_not(self) -> str | None:
        """Why the server's mode is not read, if it is not."""
        raise NotImplementedError

    def _folder(self) -> Path:
        """Where the weights lie."""
        raise NotImplementedError

    def _page(self) -> int:
        """Tokens of a page of its prefix cache."""
        raise NotImplementedError

    def _residual(self, model: nn.Module) -> Residual:
        """How the residual stream is found in what a block returns."""
        raise NotImplementedError

    def _salt(self, bank: ProbeBank) -> None:
        """Keep models apart that the server has compiled with other probes in them."""

    def _follow(self, model: nn.Module) -> None:
        """See the steps of a model that has its hooks."""

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
        if self.settings.capture:
            self.guarded(lambda: self._let_capture(model))
        self._follow(model)
        self._take_off = op.remove
        self.requests.blanket_reason = None
        self.say("blind", self.waiting)

    def _let_capture(self, model: nn.Module) -> None:
        """Scores do not hang on it."""
        if not self.lets_capture:
            raise HookError(f"no activations leave {self.kind}: leave to capture is not taken")
        assert self.tap is not None
        self._capturing = let_capture(
            self.settings.capture,
            self.tap,
            model,
            blocks(model),
            self.state,
            self.sender,
            self._residual(model),
        )

    def reloaded(self) -> None:
        """Other weights are in: the pack's digest says nothing of them."""
        if self._capturing is not None:
            self._capturing.end()
        self._take_off()
        self.tap, self.requests.blanket_reason = None, "unsupported"
        self.say("blind", "the weights were reloaded; restart the server to be seen again")

    def _breaker(self, reason: str | None) -> None:
        if self.canary is not None and self.canary.passed:
            self.say("live" if reason is None else "blind", reason)

    # --- requests and steps

    def _opened(self, found: Mapping[str, Any], ids: Sequence[int], name: str) -> Request | None:
        """found: what our API process said of it; None for a canary that is not wanted."""
        if "canary" not in found:
            return self.requests.open(ids, ticket_of(found) if "call" in found else None)
        if self.canary is None or self.canary.passed or self.alive.canary is not None:
            return None  # of another API process, at the same time or later: one is enough
        self.alive.canary = name
        return self.canary.begin(str(found["canary"]), len(ids))

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
            if self._capturing is not None:
                self._capturing.start()
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

    def step_over(self) -> None:
        """The server is done with a step. One that is still open here is one whose forward raised."""
        step, self._step = self._step, None
        if step is not None and self.tap is not None:
            self.tap.abandon(step)

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
