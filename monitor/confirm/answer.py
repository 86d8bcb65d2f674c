"""What a confirmer may answer, and what counts as no answer: anything else.

Owns the fields and their limits. It never learns how the question was put.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from dosimeter.rules.summary import printable

MAX_REASON = 400
MAX_COST = 1e6
ANSWER = '`{"confirm": true, "reason": "...", "cost": 0.002}`'


class NoAnswer(ValueError):
    """Nothing that could be taken for an answer; its text says why, for people."""


@dataclass(frozen=True, slots=True)
class Answer:
    confirm: bool
    reason: str = ""  # printable, on one line
    cost: float = 0.0  # in whatever unit the confirmer counts


def parse_answer(body: bytes) -> Answer:
    """Raises NoAnswer."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NoAnswer(f"not JSON ({error}): expected {ANSWER}") from None
    if not isinstance(found, dict):  # `true` alone is no answer of a service
        raise NoAnswer(f"a JSON {type(found).__name__}: expected {ANSWER}")
    return read_answer(found)


def read_answer(found: object) -> Answer:
    """From a dict, or True or False alone. Keys that we do not know are left to the future. Raises NoAnswer."""
    if isinstance(found, bool):
        return Answer(found)
    if not isinstance(found, Mapping):
        raise NoAnswer(f"a {type(found).__name__}: expected True, False or {ANSWER}")
    confirm, reason, cost = (found.get(key) for key in ("confirm", "reason", "cost"))
    if not isinstance(confirm, bool):
        raise NoAnswer(f"`confirm` is {_shown(confirm)}: expected true or false")
    if reason is not None and not isinstance(reason, str):
        raise NoAnswer(f"`reason` is {_shown(reason)}: expected text")
    if cost is not None and (
        isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost <= MAX_COST
    ):
        raise NoAnswer(f"`cost` is {_shown(cost)}: expected a number from 0 to {MAX_COST:.0f}")
    return Answer(confirm, printable(reason or "", MAX_REASON), float(cost or 0))


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool | float):
        return str(value).lower()
    return f"a {type(value).__name__}"
