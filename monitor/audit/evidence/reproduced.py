"""What came of deciding a stored record again, and the comparison of the two, named down to the field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["same", "differs", "cannot"]

GIVEN = frozenset(
    ("v", "decision", "reason", "would_act", "time_ns", "epoch", "key", "model", "labels", "trusted", "coverage")
)  # fmt: skip
"""Taken from the record and not found again; `event_id` is made of some of them."""


@dataclass(frozen=True, slots=True)
class Reproduced:
    """same: every field in `compared` came out as stored. because: what differs, or why nothing can be said."""

    status: Status
    by: str = ""
    because: str = ""
    compared: tuple[str, ...] = ()


def cannot(because: str) -> Reproduced:
    return Reproduced("cannot", because=because)


def compared(stored: Mapping[str, Any], again: Mapping[str, Any], by: str) -> Reproduced:
    """Every field of `again` that is stored and was not given."""
    names = tuple(name for name in sorted(again) if name in stored and name not in GIVEN)
    differ = [one for name in names for one in differences(name, stored[name], again[name])]
    return Reproduced("differs" if differ else "same", by, "; ".join(differ[:5]), names)


def differences(name: str, stored: Any, again: Any) -> Iterator[str]:
    if stored == again:
        return
    if isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        for index, (one, other) in enumerate(zip(stored, again, strict=True)):
            yield from differences(f"{name}[{index}]", one, other)
    elif (
        isinstance(stored, Mapping) and isinstance(again, Mapping) and stored.keys() == again.keys()
    ):
        for key in sorted(stored):
            yield from differences(f"{name}.{key}", stored[key], again[key])
    else:
        yield said(name, stored, again)


def said(name: str, stored: object, again: object) -> str:
    return f"{name}: stored is `{str(stored)[:80]}`, decided again it is `{str(again)[:80]}`"
