"""Faults that begin and end while a model server runs: what another library or a defect of ours would do to it.

Each says what it stands for; none is reachable in a server that `dosimeter chaos` did not start. What a model
is from the beginning is in `at_load`.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from dosimeter.monitor.chaos.inside import hand
from dosimeter.monitor.chaos.inside.at_load import AT_LOAD, RELEASE

Undo = Callable[[], None]


def arm(modeling: ModuleType, path: str, fault: str | None) -> None:
    """Called once `transformers.modeling_utils` is there."""
    hand.listen(Path(path), FAULTS)
    if fault in AT_LOAD:
        owner, change = modeling.PreTrainedModel, AT_LOAD[fault]
        original = owner.from_pretrained.__func__

        @functools.wraps(original)
        def from_pretrained(cls: type, *args: Any, **kwargs: Any) -> Any:
            model = original(cls, *args, **kwargs)
            change(model)
            return model

        owner.from_pretrained = classmethod(from_pretrained)
    elif fault is not None:
        RELEASE[fault]()


def _model() -> Any:
    from dosimeter.monitor.taps import seams

    return next(iter(seams.taps))


def hooks_cleared(_: str) -> Undo:
    """Another library removes all forward hooks of every block, ours with its own."""
    blocks = list(_model().get_decoder().layers)
    kept = [dict(block._forward_hooks) for block in blocks]
    for block in blocks:
        block._forward_hooks.clear()

    def undo() -> None:
        for block, hooks in zip(blocks, kept, strict=True):
            block._forward_hooks.update(hooks)

    return undo


def compiled_after(_: str) -> Undo:
    """The model is compiled after the tap has hooked in: the trace leaves its hooks out."""
    decoder = _model().get_decoder()
    original = decoder.forward
    decoder.forward = torch.compile(original, backend="eager", dynamic=True)

    def undo() -> None:
        decoder.forward = original

    return undo


def weights_changed(how: str) -> Undo:
    """Somebody trains on, or loads other weights into the model that serves: a little, in place.

    how: `quietly`, past torch's own count of writes. There is no way back but to load the model anew.
    """
    for name, parameter in _model().named_parameters():
        if "mlp" in name:
            with torch.no_grad():
                (parameter.data if how == "quietly" else parameter).mul_(1.01)
    return lambda: None


class Adapter(nn.Module):  # type: ignore[misc]
    """A low-rank adapter beside a linear layer, as adapter libraries put one in."""

    def __init__(self, base: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.base(x) + 0.01 * self.up(self.down(x))
        return found


def adapter_loaded(_: str) -> Undo:
    """An adapter goes in front of the projections of every block; the weights underneath are untouched."""
    attentions = [block.self_attn for block in _model().get_decoder().layers]
    kept = [attention.q_proj for attention in attentions]
    for attention in attentions:
        attention.q_proj = Adapter(attention.q_proj)

    def undo() -> None:
        for attention, base in zip(attentions, kept, strict=True):
            attention.q_proj = base

    return undo


def poisoned(tenant: str) -> Undo:
    """A defect of ours that only this tenant's requests bring out: noting their rows raises, at every step."""
    from dosimeter.monitor.taps.requests import Request

    original = Request.advance

    def advance(self: Request, *args: Any, **kwargs: Any) -> Any:
        if self.ticket is not None and self.ticket.labels.get("tenant") == tenant:
            raise RuntimeError("a defect that one request brings out")
        return original(self, *args, **kwargs)

    Request.advance = advance  # type: ignore[method-assign]

    def undo() -> None:
        Request.advance = original  # type: ignore[method-assign]

    return undo


def not_finite(token: str) -> Undo:
    """Activations of one token id come out of the last block as NaN; nothing else reads those rows."""
    decoder, wanted = _model().get_decoder(), int(token)
    rows: list[torch.Tensor] = []

    def note(_module: Any, args: tuple[Any, ...]) -> None:
        rows[:] = [args[0] == wanted]

    def spoil(_module: Any, _args: Any, output: Any) -> Any:
        if not rows or not bool(rows[0].any()):
            return None
        spoilt = output.clone()
        spoilt[rows[0]] = torch.nan
        return spoilt

    handles = [
        decoder.embed_tokens.register_forward_pre_hook(note),
        decoder.layers[-1].register_forward_hook(spoil, prepend=True),
    ]

    def undo() -> None:
        for handle in handles:
            handle.remove()

    return undo


def second_tap(_: str) -> Undo:
    """A second monitor attaches to the same model, by the same seams, and would keep what it reads to itself."""
    from dosimeter.monitor.taps import seams
    from dosimeter.monitor.taps import transformers as tapping
    from dosimeter.monitor.taps.tap import Tap

    model = _model()
    ours = seams.taps[model]
    tapping.put_tap(model, Tap(ours.op, lambda rows, values, hook_ns: (len(values), None)))

    def undo() -> None:
        tapping.put_tap(model, ours)

    return undo


def connection_cut(_: str) -> Undo:
    """The tap's connection breaks; it has to come back by itself."""
    from dosimeter.monitor.taps import serve

    sender = serve.runtime().sender
    with sender._lock:
        sender._disconnect()
    return lambda: None


def small_buffer(_: str) -> Undo:
    """What the tap's socket holds for a reader that is behind: little, so that minutes become seconds."""
    from dosimeter.monitor.taps import sender, serve

    def resize(size: int) -> None:
        here = serve.runtime().sender._socket
        if here is not None:
            here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    resize(1 << 12)
    return lambda: resize(sender.SEND_BUFFER)


def sender_ended(_: str) -> Undo:
    """The tap's own thread dies and its connection breaks: nothing connects again."""
    from dosimeter.monitor.taps import serve

    sender = serve.runtime().sender
    sender._stop.set()
    if sender._thread is not None:
        sender._thread.join(5)
    connection_cut("")

    def undo() -> None:
        sender._stop.clear()
        sender.start()

    return undo


def front_passed_by(tenant: str) -> Undo:
    """This tenant's calls come in by a way that our middleware is not on."""
    from dosimeter.monitor.taps.front import Front

    original = Front.__call__

    async def __call__(self: Front, scope: Any, receive: Any, send: Any) -> None:  # noqa: N807
        past = (b"x-tenant-id", tenant.encode()) in scope.get("headers", ())
        await (self._app if past else functools.partial(original, self))(scope, receive, send)

    Front.__call__ = __call__  # type: ignore[method-assign]

    def undo() -> None:
        Front.__call__ = original  # type: ignore[method-assign]

    return undo


FAULTS: dict[str, Callable[[str], Undo]] = {
    "hooks-cleared": hooks_cleared,
    "compiled-after": compiled_after,
    "weights-changed": weights_changed,
    "adapter-loaded": adapter_loaded,
    "poisoned": poisoned,
    "not-finite": not_finite,
    "second-tap": second_tap,
    "connection-cut": connection_cut,
    "sender-ended": sender_ended,
    "small-buffer": small_buffer,
    "front-passed-by": front_passed_by,
}
