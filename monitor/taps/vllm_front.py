"""The front for vLLM: ASGI middleware that puts who asks into the request itself, and says what was counted.

`vllm serve … --middleware dosimeter.monitor.taps.vllm_front.Front`. The headers of a call end in this process
and its rows begin in another; what the worker must know travels in the request. It also sends the canary,
once the engine is there. Without tap settings in the environment it does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

from dosimeter.monitor.taps import front, pack_list
from dosimeter.monitor.taps.front import Receive, Scope, Send
from dosimeter.monitor.taps.requests import Ticket
from dosimeter.monitor.taps.sender import Sender
from dosimeter.monitor.taps.settings import TapSettings
from dosimeter.monitor.taps.vllm_session import KEY, Session, described, without_ours
from dosimeter.monitor.taps.wire import Kind

CANARY_WAIT_S = 5.0
"""The server opens its port once the canary is through, or after this long without it."""


current_ticket: ContextVar[Ticket | None] = ContextVar("dosimeter_vllm_ticket", default=None)
current_canary: ContextVar[str | None] = ContextVar("dosimeter_vllm_canary", default=None)


class Desk:
    """One in an API process: the connection of its fronts, and what of theirs went wrong."""

    kind = "vllm"  # of the server: the name of its package, too

    def __init__(self, settings: TapSettings, session: Session, version: str) -> None:
        self.settings, self.session = settings, session
        self.errors = 0
        self.last_error: str | None = None
        self._version = version
        self.sender = Sender(settings.socket, session.epoch, self.hello, list).start()

    def hello(self) -> dict[str, Any]:
        return {
            "role": "front",
            "pid": os.getpid(),
            "server": {"kind": self.kind, "version": self._version},
            "model": {"name": "", "digest": ""},
            "columns": [],
            # What is said of the server until its tap has greeted: a call here proves nothing of rows there.
            "state": "blind",
            "reason": "its API process is connected, and the tap of its worker is not",
            "errors": self.errors,
            "last_error": self.last_error,
        }

    def failed(self, error: Exception) -> None:
        self.errors += 1
        self.last_error = repr(error)

    def front_ended(self, ticket: Ticket, usage: tuple[int, int] | None) -> None:
        """The reply has left. Where it counted nothing, the scheduler's own count stands."""
        if usage is not None and ticket.call is not None:
            record = {
                "call": ticket.call,
                "prompts": max(1, ticket.prompts),
                "requests": max(1, ticket.answers),
                "prompt_tokens": usage[0],
                "completion_tokens": usage[1],
            }
            self.sender.control(Kind.USAGE, record)

    def carry(self, request: Any) -> None:
        """A request on its way to the engine: ours goes in, and what a client put in our place goes out."""
        params = request.sampling_params
        if params is None:
            return
        if params.extra_args and KEY in params.extra_args:
            params.extra_args = without_ours(params.extra_args)
        what = self.for_worker(request.prompt_token_ids or (), params)
        if request.cache_salt:
            what["salt"] = (
                request.cache_salt
            )  # the engine's prefix cache is keyed by it, so is ours
        if not what:
            return
        params.extra_args = {**(params.extra_args or {}), KEY: self.session.sealed(**what)}

    def for_worker(self, prompt_ids: Sequence[int], params: Any) -> dict[str, Any]:
        """What the worker must know of a request that is made in this context; empty: nothing."""
        ticket, canary = current_ticket.get(), current_canary.get()
        if canary is not None:
            return {"canary": canary}
        if ticket is None:
            return {}
        ticket.prompts += 1  # first: the reply counts it, whatever becomes of the rest
        ticket.answers += params.n
        return described(ticket, prompt_ids)

    async def prove(self, engine: Any) -> None:
        """Send each pack's known tokens through the engine; the worker knows what must come of them."""
        for named in self.settings.packs:
            try:
                pack = pack_list.load(named)
                current_canary.set(pack.name)
                salt = secrets.token_hex(
                    16
                )  # a prefix cache has nothing under it: all of it must run
                async for _ in self.answers(engine, list(pack.fingerprint.token_ids), salt):
                    pass
            except Exception as error:  # the tap stays blind, and says that the canary is missing
                self.failed(error)

    def answers(self, engine: Any, token_ids: list[int], salt: str) -> AsyncIterator[Any]:
        """What the server's own API makes of them, one token long."""
        from vllm import SamplingParams

        prompt = {"prompt_token_ids": token_ids, "cache_salt": salt}
        params = SamplingParams(max_tokens=1, temperature=0.0, detokenize=False)
        found: AsyncIterator[Any] = engine.generate(
            prompt, params, f"dosimeter-canary-{secrets.token_hex(8)}"
        )
        return found


D = TypeVar("D", bound=Desk)
_desks: dict[type[Desk], Desk] = {}


def desk(of: type[D]) -> D | None:
    """This process's, made at the first call; None where no tap is wanted, or none could be made."""
    if of not in _desks:
        with contextlib.suppress(Exception):
            settings, session = TapSettings.from_env(), Session.from_env()
            if settings is not None and session is not None:
                version = importlib.import_module(of.kind).__version__
                _desks[of] = of(settings, session, version)
    found = _desks.get(of)
    return found if isinstance(found, of) else None


class Front(front.Front):
    """What `--middleware` names. The last of them is outermost, so ours should come last."""

    _of: type[Desk] = Desk

    def __init__(self, app: Any) -> None:
        self._desk = desk(self._of)
        self._canaries: asyncio.Task[None] | None = None
        settings = self._desk.settings if self._desk is not None else TapSettings("")
        super().__init__(app, self._desk, settings, current_ticket)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._desk is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, self._starting(scope, send))
        elif scope["type"] != "http" or front.path_of(scope) not in front.GENERATING:
            await self._app(scope, receive, send)
        else:
            self._prove(scope)
            await super().__call__(scope, receive, send)

    def _admit(self, scope: Scope) -> Ticket:
        ticket = super()._admit(scope)
        ticket.call = secrets.token_hex(16)
        return ticket

    def _starting(self, scope: Scope, send: Send) -> Send:
        async def starting(message: Scope) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._prove(scope)
                if self._canaries is not None:
                    await asyncio.wait([self._canaries], timeout=CANARY_WAIT_S)
            await send(message)

        return starting

    def _prove(self, scope: Scope) -> None:
        """Once, as soon as there is an engine."""
        engine = self._engine(scope)
        if self._canaries is None and engine is not None and self._desk is not None:
            self._canaries = asyncio.get_running_loop().create_task(self._desk.prove(engine))

    def _engine(self, scope: Scope) -> Any:
        return getattr(getattr(scope.get("app"), "state", None), "engine_client", None)
