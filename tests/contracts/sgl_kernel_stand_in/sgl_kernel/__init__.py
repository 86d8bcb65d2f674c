"""A fake: SGLang's kernel package by its names alone. Every function raises; none of them computes anything.

SGLang imports these names whatever it runs on, and for the CPU the package comes in no wheel. On a CPU without AMX it
calls none of them: it runs its own code and torch's. A run that would need a kernel ends with the name of it.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.4.10"  # SGLang 0.5.23 asks for this one


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)

    def stand_in(*_: object, **__: object) -> None:
        raise RuntimeError(f"sgl_kernel.{name} was called: only a stand-in for it is here")

    return stand_in
