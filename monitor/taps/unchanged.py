"""Whether a loaded model is still the one its packs were bound to.

A pack is bound to weights by their digest, once, at load. What another library does to the model later (an
adapter, other weights in place, a block replaced) leaves no trace there, and would make every score a
number about something else. So modules and parameters are compared with what they were: by identity, place
in memory and torch's own count of in-place writes. Writes through `.data`, as adapters are merged into weights, are in
none of these: of one parameter at a time, in turn, a few values are looked at too. All of them would be slow.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import nn

Named = tuple[str, nn.Parameter]
Parameter = tuple[int, int, int]  # identity, address, in-place writes
SAMPLE = 64
"""Values of a parameter that are compared, evenly spread."""


class Unchanged:
    """Calling it says what has changed since it was made, or None. Holds the model weakly."""

    def __init__(self, model: nn.Module) -> None:
        self._model = weakref.ref(model)
        self._modules = _modules(model)
        named = _named(model)
        self._parameters = [_parameter(one) for _, one in named]
        self._values = [_values(one) for _, one in named]
        self._next = 0  # whose values are looked at
        self._was_other = False  # modules or parameters, when last asked

    def __call__(self) -> str | None:
        model = self._model()
        if model is None:
            return None
        what = self._what(model, _named(model))
        return what and f"{what} changed after the tap was attached: load the model anew"

    def _what(self, model: nn.Module, named: Sequence[Named]) -> str | None:
        found = _modules(model)
        now = [_parameter(one) for _, one in named]
        if found == self._modules and now == self._parameters:
            # What came and went may have left something in the weights: then all of them are looked at.
            name = self._written(named, len(named) if self._was_other else 1)
            self._was_other = self._was_other and name is not None
            return name and f"the model's weights (such as `{name}`)"
        self._was_other = True
        if found != self._modules:
            before = set(self._modules)
            new = [name for name, module in model.named_modules() if id(module) not in before]
            return f"the model's modules (such as `{new[0]}`)" if new else "the model's modules"
        for (name, _), was, is_ in zip(named, self._parameters, now, strict=False):
            if was != is_:
                return f"the model's weights (such as `{name}`)"
        return "the model's weights"

    def _written(self, named: Sequence[Named], most: int) -> str | None:
        """Which of the next `most` parameters has other values; the one that has stays the next."""
        for _ in range(most if named else 0):
            name, parameter = named[self._next]
            if _values(parameter) != self._values[self._next]:
                return name
            self._next = (self._next + 1) % len(named)
        return None


def _modules(model: nn.Module) -> list[int]:
    return [id(module) for module in model.modules()]


def _named(model: nn.Module) -> list[Named]:
    return list(model.named_parameters(remove_duplicate=False))


def _values(parameter: nn.Parameter) -> bytes:
    """Some, bit for bit. Of one that lies in no order, or nowhere (`meta`), none."""
    tensor = parameter.detach()
    step = max(1, tensor.numel() // SAMPLE)
    try:
        taken = tensor.view(-1)[::step].contiguous().view(torch.uint8)
        return bytes(taken.cpu().numpy())
    except (RuntimeError, NotImplementedError, TypeError):  # what torch says of such
        return b""


def _parameter(parameter: nn.Parameter) -> Parameter:
    writes = -1 if parameter.is_inference() else parameter._version
    return id(parameter), parameter.data_ptr(), writes
