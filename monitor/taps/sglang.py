"""SGLang, attached: its general plugin, called early in every process of the server.

SGLang's own registry of hooks puts ours at a few private names of one release: in the main process, where the API is,
and in the scheduler's, where the model runs. Inert without `DOSIMETER_TAP` in the environment; the server starts
whatever goes wrong. No thread is started before there is a model or an app.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from dosimeter.monitor.taps import pack_list, refusal, sglang_modes
from dosimeter.monitor.taps.settings import ENV, TapSettings
from dosimeter.monitor.taps.vllm_session import ENV as SESSION_ENV
from dosimeter.monitor.taps.vllm_session import Session

SCHEDULER = "sglang.srt.managers.scheduler"
SEAMS: dict[str, tuple[str, ...]] = {
    "sglang.srt.model_executor.model_runner:ModelRunner.load_model": ("self",),
    "sglang.srt.model_executor.model_runner:ModelRunner.forward": ("self", "forward_batch"),
    "sglang.srt.model_executor.forward_batch_info:ForwardBatch.init_new": ("cls", "batch"),
    f"{SCHEDULER}:Scheduler._add_request_to_queue": ("self", "req"),
    f"{SCHEDULER}:Scheduler.process_batch_result": ("self", "batch"),
    f"{SCHEDULER}:Scheduler.send_abort_output": ("self", "abort_req", "req"),
    "sglang.srt.managers.tokenizer_manager:TokenizerManager._create_tokenized_object": (
        "self",
        "obj",
    ),
    "sglang.srt.entrypoints.http_server:_setup_and_run_http_server": (
        "server_args",
        "tokenizer_manager",
    ),
}
"""Every private name in use -> its first parameters."""
UPDATES = tuple(
    f"sglang.srt.model_executor.model_runner_components.weight_updater:WeightUpdater.{name}"
    for name in (
        "update_weights_from_disk",
        "load_weights_from_distributed",
        "update_weights_from_tensor",
        "update_weights_from_ipc",
    )
)
"""Ways in which other weights come into a running server."""
SEAMS |= dict.fromkeys(UPDATES, ("self",))

_watch: Any = None  # this process's, once its model is loaded


def register() -> None:
    """The entry point `sglang.srt.plugins`."""
    if not os.environ.get(ENV):
        return
    first = SESSION_ENV not in os.environ
    try:
        settings = TapSettings.from_env()
        if settings is None:
            return
        import sglang

        unsupported = sglang_modes.unsupported_release(sglang.__version__)
        if unsupported is not None:
            raise RuntimeError(unsupported)
        session = Session.shared()
        # One process reads the list of packs for all: the API's sends the canaries of those that the scheduler has.
        settings = pack_list.resolved(settings)
        os.environ.update(settings.to_env())
        if multiprocessing.parent_process() is None:
            _hook(_api_hooks())
        elif SCHEDULER in sys.modules:  # and not a process that only makes text of tokens
            _hook(_scheduler_hooks(settings, session, sglang.__version__))
    except Exception as error:
        reason = str(error) or repr(error)
        print(f"dosimeter: not attached to sglang: {reason}", file=sys.stderr, flush=True)
        if first:  # one process says it for all
            with contextlib.suppress(Exception):
                refusal.say(reason, "sglang")


Hook = tuple[str, str, Callable[..., Any]]  # seam, kind of hook, ours


def _hook(hooks: list[Hook]) -> None:
    """All, or none if a name is gone: SGLang itself would log that and go on. Raises AttributeError, ImportError."""
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    for seam, _, _ in hooks:
        module, _, name = seam.partition(":")
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    for seam, kind, ours in hooks:
        HookRegistry.register(seam.replace(":", "."), ours, HookType[kind])


def _guarded(do: Callable[[Any], None]) -> None:
    """Something of ours, if this process watches a model."""
    watch = _watch
    if watch is not None:
        watch.guarded(lambda: do(watch))


def _scheduler_hooks(settings: TapSettings, session: Session, version: str) -> list[Hook]:
    runner = "sglang.srt.model_executor.model_runner:ModelRunner"
    batch = "sglang.srt.model_executor.forward_batch_info:ForwardBatch"
    return [
        (f"{runner}.load_model", "AFTER", _loading(settings, session, version)),
        (f"{runner}.forward", "AROUND", forward),
        (f"{batch}.init_new", "AFTER", made),
        (f"{SCHEDULER}:Scheduler._add_request_to_queue", "BEFORE", queued),
        (f"{SCHEDULER}:Scheduler.process_batch_result", "AFTER", processed),
        (f"{SCHEDULER}:Scheduler.send_abort_output", "AFTER", aborted),
        *((name, "BEFORE", updating) for name in UPDATES),
    ]


def _loading(settings: TapSettings, session: Session, version: str) -> Callable[..., None]:
    def loaded(_result: None, runner: Any, *_: Any, **__: Any) -> None:
        """The weights are in, and nothing is warmed up or captured yet. A draft's model is not the server's."""
        global _watch
        if runner.is_draft_worker or _watch is not None:
            return
        try:
            from sglang.srt.arg_groups.overrides import resolved_view
            from sglang.srt.runtime_context import get_parallel

            from dosimeter.monitor.taps.sglang_worker import Watch

            if get_parallel().tp_rank or get_parallel().pp_rank:
                return  # more than one is refused: the first says so
            args = resolved_view(runner.server_args)
            config = SimpleNamespace(args=args, model=runner.model_config)
            _watch = Watch(runner, settings, session, config, version)
            _watch.loaded(runner.model)
        except Exception as error:
            with contextlib.suppress(Exception):
                refusal.say(f"the runner has other names than ours: {error!r}", "sglang")

    return loaded


def forward(
    original: Callable[..., Any], runner: Any, forward_batch: Any, *args: Any, **kwargs: Any
) -> Any:
    watch = _watch
    if watch is None or watch.runner is not runner:
        return original(runner, forward_batch, *args, **kwargs)
    watch.guarded(lambda: watch.begin(forward_batch))
    try:
        result = original(runner, forward_batch, *args, **kwargs)
    except BaseException:
        watch.guarded(watch.step_over)
        raise
    watch.guarded(watch.end)
    return result


def made(forward_batch: Any, _cls: Any, batch: Any, *_: Any, **__: Any) -> None:
    _guarded(lambda watch: watch.made(forward_batch, batch))


def queued(_scheduler: Any, req: Any, *_: Any, **__: Any) -> None:
    _guarded(lambda watch: watch.queued(req))


def processed(_result: None, _scheduler: Any, batch: Any, *_: Any, **__: Any) -> None:
    _guarded(lambda watch: watch.processed(batch.reqs))


def aborted(_result: None, _scheduler: Any, _abort: Any, req: Any, *_: Any, **__: Any) -> None:
    """It was still waiting, or put off. One that runs ends with its next step."""
    _guarded(lambda watch: watch.ended(req, "cancelled"))


def updating(*_: Any, **__: Any) -> None:
    _guarded(lambda watch: watch.reloaded())


def _api_hooks() -> list[Hook]:
    def carried(tokenized: Any, *_: Any, **__: Any) -> None:
        from dosimeter.monitor.taps import sglang_front, vllm_front

        desk = vllm_front.desk(sglang_front.Desk)
        if desk is not None:
            try:
                desk.carry(tokenized)
            except Exception as error:
                desk.failed(error)

    def starting(*_: Any, **__: Any) -> None:
        with contextlib.suppress(Exception):  # then no canary comes, and the tap says so
            from sglang.srt.entrypoints.http_server import app

            from dosimeter.monitor.taps.sglang_front import Front

            app.add_middleware(Front)

    return [
        (
            "sglang.srt.managers.tokenizer_manager:TokenizerManager._create_tokenized_object",
            "AFTER",
            carried,
        ),
        ("sglang.srt.entrypoints.http_server:_setup_and_run_http_server", "BEFORE", starting),
    ]
