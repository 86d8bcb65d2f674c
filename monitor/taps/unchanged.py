"""Whether a loaded model is still the one its packs were bound to.

A pack is bound to weights by their digest, once, at load. What another library does to the model later (an
adapter, other weights in place, a block replaced) leaves no trace there, and would make every score a
number about something else. So modules and parameters are compared with what they were: by identity, place
in memory and torch's own count of in-place writes, never by content, which would be slow.
"""

from __future__ import annotations

import weakref

from torch import nn

Parameter = tuple[int, int, int]  # identity, address, in-place writes


class Unchanged:
    """Calling it says what has changed since it was made, or None. Holds the model weakly."""

    def __init__(self, model: nn.Module) -> None:
        self._model = weakref.ref(model)
        self._modules = _modules(model)
        self._parameters = _parameters(model)

    def __call__(self) -> str | None:
        model = self._model()
        if model is None or (
            _modules(model) == self._modules and _parameters(model) == self._parameters
        ):
            return None
        return f"{self._what(model)} changed after the tap was attached: load the model anew"

    def _what(self, model: nn.Module) -> str:
        found = _modules(model)
        if found != self._modules:
            before = set(self._modules)
            new = [name for name, module in model.named_modules() if id(module) not in before]
            return f"the model's modules (such as `{new[0]}`)" if new else "the model's modules"
        now = _parameters(model)
        for (name, _), was, is_ in zip(
            model.named_parameters(remove_duplicate=False), self._parameters, now, strict=False
        ):
            if was != is_:
                return f"the model's weights (such as `{name}`)"
        return "the model's weights"


def _modules(model: nn.Module) -> list[int]:
    return [id(module) for module in model.modules()]


def _parameters(model: nn.Module) -> list[Parameter]:
    found = []
    for _, parameter in model.named_parameters(remove_duplicate=False):
        writes = -1 if parameter.is_inference() else parameter._version
        found.append((id(parameter), parameter.data_ptr(), writes))
    return found
