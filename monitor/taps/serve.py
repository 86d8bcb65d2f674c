"""`transformers serve`, attached: where the tap and the front go in, without touching the server.

`dosimeter attach -- transformers serve …` puts `site/` on the path; its finder calls the patches here right
after the server's own modules are imported. The seams are private to one release of transformers, so each
is looked up by name and a missing one leaves the server alone and the tap saying why.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import Codes
from dosimeter.detectors.pack import Pack
from dosimeter.monitor.taps import attach, pack_list, reload, roles, seams
from dosimeter.monitor.taps import transformers as tapping
from dosimeter.monitor.taps.binding import TapState
from dosimeter.monitor.taps.front import Front
from dosimeter.monitor.taps.leave import let_capture
from dosimeter.monitor.taps.pack_list import PackList
from dosimeter.monitor.taps.requests import Requests, Ticket
from dosimeter.monitor.taps.sender import Sender
from dosimeter.monitor.taps.settings import TapSettings
from dosimeter.monitor.taps.tap import Tap
from dosimeter.monitor.taps.wire import Kind

PATCHES = {
    "transformers.cli.serving.server": "patch_server",
    "transformers.cli.serving.model_manager": "patch_model_manager",
    "transformers.cli.serving.utils": "patch_generation",
    "transformers.cli.serving.chat_completion": "patch_chat",
    "transformers.cli.serving.response": "patch_response",
}
"""Module of the server -> function of this module that patches it, once, after its import."""


class Runtime:
    """One per server process: the sender, the live requests and what the tap says of itself."""

    def __init__(self, settings: TapSettings) -> None:
        self.settings = settings
        self.state = TapState()
        self.requests = Requests(self._control, time.time_ns)
        self.requests.blanket_reason = "no_pack"
        self._loading = threading.Lock()  # two models may be loaded at once, and one is scored
        self._scored: weakref.ref[Any] | None = None  # the model whose columns the greeting names
        self._reasons: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()
        self._list: PackList | None = None
        if settings.pack_list:
            self._list = PackList(Path(settings.pack_list), self.load, self._refused)
        self.sender = Sender(
            settings.socket, secrets.randbits(63) | 1, self.hello, self.requests.live
        ).start()

    def hello(self) -> dict[str, Any]:
        import transformers

        version = transformers.__version__
        return self.state.greeting("tap+front", "transformers", version, self.requests)

    def _control(self, kind: str, record: dict[str, Any]) -> None:
        self.sender.control(Kind[kind], record)

    def sink(
        self, rows: npt.NDArray[np.void], codes: Codes, hook_ns: int
    ) -> tuple[int, str | None]:
        return self.sender.step(rows, codes, hook_ns, time.time_ns())

    def loaded(self, model: Any, find_folder: Callable[[], Path]) -> None:
        """A model was loaded. From here on its tokens are scored, or the reason they are not is known."""
        with self._loading:
            self._loaded(model, find_folder)
        with contextlib.suppress(Exception):
            self.sender.greet()

    def _loaded(self, model: Any, find_folder: Callable[[], Path]) -> None:
        try:
            scored = self._scored() if self._scored is not None else None
            if scored is not None:
                if scored is not model:
                    # One bank a process: its columns are in the greeting, and its scores are on the way.
                    self._reasons[model] = "unsupported"
                return
            self._scored = None
            tapping.install(self.requests)
            tap = self._put(model, find_folder)
            if tap is not None:
                self._scored = weakref.ref(model)
                self._follow(tap)
                if self._list is not None:
                    self._list.begin(self.state.digests)
                if self.settings.capture:
                    self._let_capture(model, tap)
                weakref.finalize(model, self._unloaded).atexit = False
                self._reasons[model] = self.requests.blanket_reason = None
            else:
                reason = "unsupported" if self.state.state == "blind" else "no_pack"
                self._reasons[model] = self.requests.blanket_reason = reason
        except Exception as error:
            self.state.state, self.state.reason = "blind", str(error)
            self.requests.blanket_reason = "unsupported"

    def load(self, packs: Sequence[Pack]) -> None:
        """Score with these packs instead, from the next step on; no graph is traced again.

        Raises ValueError, HookError: the tap goes on with the packs it has.
        """
        model = self._scored() if self._scored is not None else None
        tap = None if model is None else seams.taps.get(model)
        if tap is None:
            raise reload.NotLoaded("no model is scored here\n  hint: restart the server")
        reload.load(tap, packs, self.state, self.sender.greet)

    def _refused(self, reason: str | None) -> None:
        self.sender.greet(lambda: setattr(self.state, "refused", reason))

    def _let_capture(self, model: Any, tap: Tap) -> None:
        """Look for somebody who asks for activations, as long as the model is there. Scores do not hang on it."""
        try:
            blocks = tapping.blocks(model)
            let_capture(self.settings.capture, tap, model, blocks, self.state, self.sender).start()
        except Exception as error:
            self.requests.failed(error)

    def _put(self, model: Any, find_folder: Callable[[], Path]) -> Tap | None:
        self.state.state, self.state.columns = "no-pack", []
        try:
            folder = find_folder()
        except (OSError, ValueError) as error:
            self.state.reason = f"the model's folder is not known: {error}"
            return None
        try:
            named = pack_list.resolved(self.settings).packs
        except (OSError, ValueError) as error:
            self.state.reason = str(error)
            return None
        return attach.put(model, folder, named, self.sink, self.state)

    def reason_of(self, model: Any) -> str | None:
        """Why this model is not scored; None: it is, or nothing is known of it."""
        return self._reasons.get(model)

    def _unloaded(self) -> None:
        """The scored model is gone. The collector calls this anywhere: nothing is locked or sent here."""
        if self._scored is not None and self._scored() is None:
            self.state.state, self.state.reason = "no-pack", "the model was unloaded"
            self.requests.blanket_reason = "no_pack"

    def _follow(self, tap: Tap) -> None:
        """Say so at once when the breaker opens or closes; count what is not read."""
        tap.on_unread = self.sender.failed
        tap.on_error = self.requests.failed
        told = tap.on_state

        def tell(reason: str | None) -> None:
            told(reason)
            self.sender.greet()

        tap.on_state = tell


_runtime: Runtime | None = None
_making = threading.Lock()


def runtime() -> Runtime:
    global _runtime
    with _making:
        if _runtime is None:
            settings = TapSettings.from_env()
            if settings is None:
                raise RuntimeError(
                    "no tap settings in the environment; start with `dosimeter attach`"
                )
            _runtime = Runtime(settings)
        return _runtime


def patch(module: ModuleType) -> None:
    """Called by the finder in `site/` after the server imported `module`."""
    globals()[PATCHES[module.__name__]](module)


def _around(
    owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(make(original)))


def patch_server(module: ModuleType) -> None:
    """The front goes around the app the server builds."""
    found = runtime()

    def building(original: Callable[..., Any]) -> Callable[..., Any]:
        def build_server(*args: Any, **kwargs: Any) -> Any:
            app = original(*args, **kwargs)
            try:
                app.add_middleware(
                    Front,
                    requests=found.requests,
                    settings=found.settings,
                    ticket=seams.current_ticket,
                )
            except (
                Exception
            ) as error:  # nobody's labels are known then; tokens are scored all the same
                found.requests.failed(error)
            return app

        return build_server

    _around(module, "build_server", building)


def patch_model_manager(module: ModuleType) -> None:
    """Hooks go on right after the weights are loaded, before anything compiles or warms up."""
    found = runtime()

    def loading(original: Callable[..., Any]) -> Callable[..., Any]:
        def _load_model(self: Any, model_id_and_revision: str, *args: Any, **kwargs: Any) -> Any:
            model = original(self, model_id_and_revision, *args, **kwargs)
            gguf = kwargs.get("gguf_file")
            found.loaded(model, lambda: local_folder(model_id_and_revision, gguf))
            return model

        return _load_model

    _around(module.ModelManager, "_load_model", loading)


def local_folder(model_id_and_revision: str, gguf: str | None = None) -> Path:
    """Where the weights lie on this disk: the folder itself, or the hub cache's snapshot.

    Raises ValueError for weights out of a GGUF file: a folder's digest says nothing about those.
    """
    if gguf is not None:
        raise ValueError(f"weights come out of `{gguf}`, no pack is bound to such")
    name, _, revision = model_id_and_revision.rpartition("@")
    if Path(name).is_dir():
        return Path(name)
    from transformers.utils import cached_file

    config = cached_file(name, "config.json", revision=revision, local_files_only=True)
    return Path(str(config)).parent


def patch_chat(module: ModuleType) -> None:
    _around(module.ChatCompletionHandler, "handle_request", _asked(lambda tools: tools))


def patch_response(module: ModuleType) -> None:
    handler = module.ResponseHandler
    _around(handler, "handle_request", _asked(handler._normalize_tools))


def _asked(tools: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What a call asks of the template beside its messages. tools: as the handler hands them on."""

    def handling(original: Callable[..., Any]) -> Callable[..., Any]:
        async def handle_request(self: Any, body: dict[str, Any], request_id: str) -> Any:
            ticket = seams.current_ticket.get()
            if ticket is not None:
                with contextlib.suppress(Exception):  # the handler itself will refuse such a body
                    ticket.options = {
                        **self.chat_template_kwargs,
                        **(body.get("chat_template_kwargs") or {}),
                        "tools": tools(body.get("tools")),
                    }
            return await original(self, body, request_id)

        return handle_request

    return handling


def patch_generation(module: ModuleType) -> None:
    """Both generate managers get the tokenizer's view of the call; the inference thread gets its context."""
    found = runtime()

    def prepared(original: Callable[..., Any]) -> Callable[..., Any]:
        def generate(self: Any, model: Any, processor: Any, *args: Any, **kwargs: Any) -> Any:
            ticket = seams.current_ticket.get()
            if ticket is not None:
                try:
                    ticket.reason = found.reason_of(model)
                    prepare(ticket, processor)
                except Exception as error:
                    found.requests.failed(error)
            return original(self, model, processor, *args, **kwargs)

        return generate

    def in_context(original: Callable[..., Any]) -> Callable[..., Any]:
        def submit(self: Any, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            return original(self, contextvars.copy_context().run, fn, *args, **kwargs)

        return submit

    converted = module.BaseHandler.get_processor_inputs_from_messages

    def get_processor_inputs_from_messages(messages: Any, modality: Any) -> Any:
        """The messages as the template will get them: where role spans come from."""
        inputs = converted(messages, modality)
        ticket = seams.current_ticket.get()
        if ticket is not None:
            ticket.messages = inputs
        return inputs

    module.BaseHandler.get_processor_inputs_from_messages = staticmethod(
        get_processor_inputs_from_messages
    )
    for manager in (module.GenerateManager, module.CBGenerateManager):
        _around(manager, "generate_streaming", prepared)
        _around(manager, "generate_non_streaming", prepared)
    _around(module.InferenceThread, "submit", in_context)
    _around(module.InferenceThread, "async_submit", in_context)


def decoder(tokenizer: Any) -> Callable[[int], str]:
    """Token -> text. Each is decoded once: a server's event loop stands still while the text of an answer is made."""
    known: dict[int, str] = vars(tokenizer).setdefault("_dosimeter_text", {})

    def decode(token: int) -> str:
        text = known.get(token)
        if text is None:
            text = known[token] = str(tokenizer.decode([token]))
        return text

    return decode


def prepare(ticket: Ticket, processor: Any) -> None:
    """Let the ticket answer for role spans and text with the server's own tokenizer and template."""
    tokenizer = getattr(processor, "tokenizer", processor)
    if ticket.content:
        ticket.decode = decoder(tokenizer)
    messages = ticket.messages
    if not messages or not all(isinstance(m.get("content"), str) for m in messages):
        return

    def render(plain: list[dict[str, Any]]) -> str:
        text = tokenizer.apply_chat_template(
            plain, add_generation_prompt=True, tokenize=False, **ticket.options
        )
        return str(text)

    ticket.spans = roles.by_template(messages, render, tokenizer)
