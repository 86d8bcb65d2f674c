"""What a tap says to whoever asked for a capture, checked once, at the border, then relied on.

Root may ask in the place of another user, whose process then speaks: a wrong field raises CaptureError, which ends the
capture, and fields that nobody asked for are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from dosimeter.detectors.frames import Scope
from dosimeter.monitor.taps.capture_wire import CaptureError, Floats, rows_of

MAX_TEXT = 1024
MAX_NAMES = 64
"""Labels, reasons, what is said of a model."""
POSITIONS = 1 << 24
"""Of one request: no model has so long a context."""
NUMBER = 1 << 63
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Over:
    """why: it ended; lost: requests that miss a row, by why."""

    why: str
    lost: Mapping[str, int]


def about(body: Mapping[str, Any]) -> dict[str, Any]:
    """Of a `hello`: server and model, for the manifest."""
    epoch = _text(body, "epoch")
    if re.fullmatch("[0-9a-f]{16}", epoch) is None:
        raise CaptureError("`epoch` is not 16 hex characters")
    return {
        "epoch": epoch,
        "model": _texts(body, "model"),
        "width": _number(body, "width", 1 << 20, least=1),
        "blocks": _number(body, "blocks", 1 << 16, least=1),
        "by_uid": _number(body, "by_uid", 1 << 32),
        "since_ns": _number(body, "since_ns"),
        "until_ns": _number(body, "until_ns"),
    }


def rows(body: bytes, width: int) -> tuple[int, int, Floats]:
    """(key, start, [n, width]), n at least 1."""
    key, start, values = rows_of(body, width)
    if not len(values) or key >= NUMBER or start >= POSITIONS:
        raise CaptureError(f"{len(values)} rows of request {key} from {start} on")
    return key, start, values


def request(body: Mapping[str, Any]) -> dict[str, Any]:
    """Of a `request`: what is known of one. `ids` only where the tap gives them."""
    lost = body.get("lost")
    found: dict[str, Any] = {
        "key": _number(body, "key"),
        "first": _number(body, "first", POSITIONS),
        "rows": _number(body, "rows", POSITIONS),
        "served": _number(body, "served", POSITIONS),
        "outcome": _text(body, "outcome"),
        "lost": None if lost is None else _text(body, "lost"),
        "whole": _is(body, "whole", bool),
        "prompt_len": _number(body, "prompt_len", POSITIONS),
        "spans": [_span(one) for one in _is(body, "spans", list)],
        "spans_exact": _is(body, "spans_exact", bool),
        "labels": _texts(body, "labels"),
        "trusted": [_cut(one) for one in _is(body, "trusted", list) if isinstance(one, str)],
        "opened_ns": _number(body, "opened_ns"),
    }
    if "ids" in body:
        found["ids"] = ids = _is(body, "ids", list)
        if not all(type(one) is int and 0 <= one < 1 << 32 for one in ids):
            raise CaptureError("`ids` are no numbers of tokens")
    return found


def over(body: Mapping[str, Any]) -> Over:
    """Of `done`."""
    lost = _is(body, "lost", dict)
    return Over(_text(body, "why"), {_cut(why): _number(lost, why) for why in [*lost][:MAX_NAMES]})


def _is(body: Mapping[str, Any], name: str, kind: type[T]) -> T:
    found = body.get(name)
    if not isinstance(found, kind):
        raise CaptureError(f"`{name}` is {type(found).__name__}, expected {kind.__name__}")
    return found


def _number(body: Mapping[str, Any], name: str, most: int = NUMBER, least: int = 0) -> int:
    found = body.get(name)
    if type(found) is not int or not least <= found < most:
        raise CaptureError(f"`{_cut(name)}` is no number from {least} to below {most}")
    return found


def _text(body: Mapping[str, Any], name: str) -> str:
    return _cut(_is(body, name, str))


def _texts(body: Mapping[str, Any], name: str) -> dict[str, str]:
    found = [*_is(body, name, dict).items()][:MAX_NAMES]
    return {_cut(key): _cut(value) for key, value in found if isinstance(value, str)}


def _span(found: Any) -> list[int]:
    good = isinstance(found, list) and len(found) == 3 and all(type(n) is int for n in found)
    if not good or not 0 <= found[0] <= max(Scope) or not 0 <= found[1] <= found[2] < POSITIONS:
        raise CaptureError("a span is not [scope, start, end]")
    return [*found]


def _cut(text: str) -> str:
    """Bounded, and writable as UTF-8: JSON can smuggle in a lone surrogate."""
    return text[:MAX_TEXT].encode("utf-8", "replace").decode()
