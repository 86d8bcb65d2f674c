"""vLLM, attached: its general plugin, called in every process of the server before it does anything.

Private names of one minor release are patched, all of them in each process, for a process does not know yet
what it will be, and may be forked later: no thread is started here. Inert without `DOSIMETER_TAP` in the
environment; the server starts whatever goes wrong.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from dosimeter.monitor.taps import pack_list, refusal, roles, vllm_ends, vllm_modes
from dosimeter.monitor.taps.settings import ENV, TapSettings
from dosimeter.monitor.taps.vllm_session import ENV as SESSION_ENV
from dosimeter.monitor.taps.vllm_session import Session

Make = Callable[[Callable[..., Any]], Callable[..., Any]]

SEAMS: dict[str, tuple[str, ...]] = {
    "vllm.v1.worker.worker_base:WorkerWrapperBase.init_device": ("self",),
    "vllm.v1.worker.gpu_model_runner:GPUModelRunner.execute_model": ("self", "scheduler_output"),
    "vllm.v1.worker.gpu_model_runner:GPUModelRunner._prepare_inputs": (
        "self",
        "scheduler_output",
        "num_scheduled_tokens",
    ),
    "vllm.v1.worker.gpu_model_runner:GPUModelRunner.load_model": ("self",),
    "vllm.v1.worker.gpu_model_runner:GPUModelRunner.sample_tokens": ("self", "grammar_output"),
    "vllm.v1.worker.gpu.model_runner:GPUModelRunner.execute_model": ("self", "scheduler_output"),
    "vllm.v1.worker.gpu.model_runner:GPUModelRunner.prepare_inputs": ("self", "scheduler_output"),
    "vllm.v1.worker.gpu.model_runner:GPUModelRunner.load_model": ("self",),
    "vllm.v1.core.sched.scheduler:Scheduler.schedule": ("self",),
    "vllm.v1.core.sched.scheduler:Scheduler._free_request": ("self", "request"),
    "vllm.v1.core.sched.scheduler:Scheduler.finish_requests": ("self", "request_ids"),
    "vllm.v1.engine.output_processor:OutputProcessor.process_outputs": ("self",),
    "vllm.v1.engine.input_processor:InputProcessor.assign_request_id": ("request",),
    "vllm.renderers.hf:HfRenderer.render_messages_async": ("self", "messages", "params"),
    "vllm.renderers.hf:safe_apply_chat_template": ("model_config", "tokenizer", "conversation"),
}
"""Every private name in use -> its first parameters."""

_registered = False


def register() -> None:
    """The entry point `vllm.general_plugins`. Called more than once, and again in processes that are spawned."""
    global _registered
    if _registered or not os.environ.get(ENV):
        return
    _registered = True
    first = SESSION_ENV not in os.environ
    try:
        settings = TapSettings.from_env()
        if settings is not None:
            session = Session.shared()
            # One process reads the list of packs for all: the API's sends the canaries of those that the worker has.
            settings = pack_list.resolved(settings)
            os.environ.update(settings.to_env())
            _patch(settings, session)
    except Exception as error:
        if first:  # one process says it for all
            reason = str(error) or repr(error)
            print(f"dosimeter: not attached to vllm: {reason}", file=sys.stderr, flush=True)
            with contextlib.suppress(Exception):
                refusal.say(reason, "vllm")


def _patch(settings: TapSettings, session: Session) -> None:
    """All seams, or none if one is missing. Raises RuntimeError for another release."""
    import vllm

    unsupported = vllm_modes.unsupported_release(vllm.__version__)
    if unsupported is not None:
        raise RuntimeError(unsupported)
    from vllm.renderers import hf
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.engine.input_processor import InputProcessor
    from vllm.v1.engine.output_processor import OutputProcessor
    from vllm.v1.worker.worker_base import WorkerWrapperBase

    seams: list[tuple[Any, str, Make]] = [
        (WorkerWrapperBase, "init_device", _watching(settings, session, vllm.__version__)),
        (Scheduler, "_free_request", vllm_ends.freeing),
        (Scheduler, "schedule", vllm_ends.scheduling),
        (Scheduler, "finish_requests", vllm_ends.finishing(session.secret)),
        (OutputProcessor, "process_outputs", vllm_ends.stopping(session.secret)),
        (InputProcessor, "assign_request_id", _carrying),
        (hf.HfRenderer, "render_messages_async", _rendering(hf.safe_apply_chat_template)),
    ]
    originals = [getattr(owner, name) for owner, name, _ in seams]
    for (owner, name, make), original in zip(seams, originals, strict=True):
        wrapper: Any = functools.wraps(original)(make(original))
        static = isinstance(vars(owner)[name], staticmethod)
        setattr(owner, name, staticmethod(wrapper) if static else wrapper)


def _watching(settings: TapSettings, session: Session, version: str) -> Make:
    """The runner is made when its worker gets its device, and loads the model after that."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def init_device(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            try:
                # All tensor-parallel ranks have the same residual stream: the first speaks for them.
                if self.worker.rank == 0:
                    from dosimeter.monitor.taps.vllm_runner import watch_runner

                    watch_runner(self.worker.model_runner, settings, session, version)
            except Exception as error:
                with contextlib.suppress(Exception):
                    refusal.say(f"the runner has other names than ours: {error!r}", "vllm")
            return result

        return init_device

    return make


def _carrying(original: Callable[..., Any]) -> Callable[..., Any]:
    """Every request gets its inner id here, with its prompt's ids final and before it is multiplied (`n`)."""

    def assign_request_id(request: Any) -> None:
        original(request)
        from dosimeter.monitor.taps import vllm_front

        found = vllm_front.desk(vllm_front.Desk)
        if found is not None:
            try:
                found.carry(request)
            except Exception as error:
                found.failed(error)

    return assign_request_id


def _rendering(apply: Callable[..., Any]) -> Make:
    """A chat's messages as the template gets them: where role spans come from."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        async def render_messages_async(self: Any, messages: Any, params: Any) -> Any:
            result = await original(self, messages, params)
            from dosimeter.monitor.taps import vllm_front

            ticket = vllm_front.current_ticket.get()
            if ticket is not None:
                with contextlib.suppress(Exception):  # the prompt is then one span, and says so
                    ticket.spans = _spans_of(self, result[0], params, apply)
            return result

        return render_messages_async

    return make


def _spans_of(
    renderer: Any, conversation: Sequence[Any], params: Any, apply: Callable[..., Any]
) -> Callable[[Sequence[int]], tuple[list[roles.Span], bool]] | None:
    """Spans by the server's own tokenizer and template; None where a message is more than text."""
    if not all(isinstance(message.get("content"), str) for message in conversation):
        return None
    tokenizer = renderer.get_tokenizer()
    options = {**params.get_apply_chat_template_kwargs(), "tokenize": False}

    def render(plain: list[dict[str, Any]]) -> str:
        return str(apply(renderer.model_config, tokenizer, plain, **options))

    return roles.by_template(conversation, render, tokenizer)
