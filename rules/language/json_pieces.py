"""What the JSON Schema of rule files is built of: a few forms of values, and a line for people beside each key.

Owns these. What keys there are and what stands behind them is `json_schema.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

Schema = Mapping[str, Any]

NAME = {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,63}$"}

ABOUT = {
    "version": "1",
    "lists": "values by name, for `$name` under `only` and `unless`",
    "signals": "conditions by name, for `{signal: name}`",
    "rules": "the rules of this file",
    "rule": "its id: lower-case letters, digits and `-`; unique over all files, and its name for ever",
    "when": "a condition over tokens, some of them under `all`, `any`, `not` or `sequence`, or a count of hits",
    "status": "draft and retired do not run; shadow runs without notifying; live notifies",
    "severity": "how grave it is",
    "summary": "one line for people, with {fields}",
    "owner": "who answers for it; a live rule has one",
    "runbook": "a link to what to do",
    "clear": "calm, after which the rule fires again in the same request",
    "only": "for whom it is: each label has to match",
    "unless": "whose hits do not count, why, who says so and until when",
    "group-by": "what counts as one for `repeat-after` and `quiet-when`; without it the request",
    "repeat-after": "at most one notification a group in this time",
    "limit": "at most so many notifications of the whole rule; the rest is told in a digest",
    "quiet-when": "rules whose notification about the same group is enough for a day",
    "confirm": "who looks a second time before a notification goes out; a name from the sidecar's file",
    "expires": "the last day on which it runs",
    "labels": "labels of its own, for routing",
    "tests": "what comes, and exactly where it fires",
    "feature": "the name of one feature",
    "score": "an expression over features, such as max(scam, deception)",
    "in": "the scope: whose tokens",
    "above": "the level, such as 1 in 1000 answers, 20 a day or z 2",
    "below": "the level in the lower tail",
    "for": "every one of so many tokens in a row",
    "at-least": "K of the last N tokens, such as 4 of 8 tokens",
    "average": "the mean of N tokens in a row, of the last N, or of the whole scope",
    "share": "so much of the whole scope, such as 20 % of answer",
    "min-tokens": "scored tokens that a whole scope needs, to be decided",
    "coverage": "scored share that a whole scope needs, to be decided",
}
"""A line for each key of a file, a rule and a condition."""


def closed(
    keys: Mapping[str, Schema],
    order: Collection[str] | None = None,
    required: Iterable[str] | None = None,
) -> dict[str, Any]:
    """A mapping of these keys and no others. order: the reader's own list of them; required: None, the only one."""
    if order is not None and set(order) != set(keys):
        raise ValueError(f"keys without a schema: {sorted(set(order) ^ set(keys))}")
    if required is None:
        required = keys if len(keys) == 1 else ()
    properties = {
        key: {"description": ABOUT[key], **value} if key in ABOUT else value
        for key, value in keys.items()
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def by_name(value: Schema) -> Schema:
    return {"type": "object", "propertyNames": NAME, "additionalProperties": value}


def some(items: Schema) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


def any_of(*choices: Schema) -> dict[str, Any]:
    return {"anyOf": list(choices)}


def text(most: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": most}
