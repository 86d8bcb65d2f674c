"""The JSON Schema (2020-12) of a rule file, with which an editor completes keys and marks what cannot be.

Owns the translation: keys and words are those that the readers use, a line for people stands beside each key. It says
less than `dosimeter rules lint`, which knows what names mean; whatever that accepts is accepted here.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from dosimeter.rules.atoms import MAX_CONDITIONS, MAX_STAGES, SEVERITIES, STATUSES
from dosimeter.rules.language.condition import KEYS as CONDITION
from dosimeter.rules.language.condition import MAX_LEAST, SCOPES, SHAPE_KEYS
from dosimeter.rules.language.counting import COUNT_KEYS, COUNTED, MOST_MORE_THAN, MOST_OF_RULES
from dosimeter.rules.language.json_pieces import NAME, Schema, any_of, by_name, closed, some, text
from dosimeter.rules.language.policy_keys import WHO
from dosimeter.rules.language.schema import FILE_KEYS, REQUIRED, RULE_KEYS, VERSION
from dosimeter.rules.language.watching import ABSENT_KEYS, SHIFT_KEYS, WHILE
from dosimeter.rules.occurrence import GROUPED
from dosimeter.rules.policy import MATCHED, WINDOWS_S
from dosimeter.rules.testing.cases import DECISIONS, LABELS, REQUEST_KEYS
from dosimeter.rules.testing.streams import NAMES

_DATE = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
_SPAN = {"type": "string", "pattern": "^[0-9]{1,9}[smhd]$"}
_TOKENS = "[0-9]{1,9} tokens?"
_PER_CENT = "[0-9]{1,3} ?%"
_SCOPE = f"({'|'.join(SCOPES)})"


def json_schema() -> dict[str, Any]:
    """The schema, as JSON has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Dosimeter rules",
        **closed(
            {
                "version": {"const": VERSION},
                "lists": by_name(some(text(256))),
                "signals": by_name({"$ref": "#/$defs/condition"}),
                "rules": {"type": "array", "items": {"$ref": "#/$defs/rule"}},
            },
            FILE_KEYS,
            ("version", "rules"),
        ),
        "$defs": {
            "rule": _rule(),
            "when": _when(),
            "condition": _condition(),
            "part": any_of(
                {"$ref": "#/$defs/stage"}, closed({"not": {"$ref": "#/$defs/part"}}, ("not",))
            ),
            "stage": any_of({"$ref": "#/$defs/condition"}, closed({"signal": NAME}), _group()),
            "test": _test(),
            "stream": _stream(),
        },
    }


def _rule() -> Schema:
    matched = {name: any_of(text(256), some(text(256))) for name in MATCHED}
    who = {"reason": text(300), "by": text(100), "until": _DATE}
    length = {"type": "string", "pattern": f"^{_TOKENS}$"}
    keys: dict[str, Schema] = {
        "rule": NAME,
        "when": {"$ref": "#/$defs/when"},
        "status": {"enum": list(STATUSES)},
        "severity": {"enum": list(SEVERITIES)},
        "summary": text(300),
        "owner": text(100),
        "runbook": {"type": "string", "pattern": "^https?://[^ ]+$"},
        "clear": any_of(
            *(
                closed({side: _level(), "for": length}, required=(side, "for"))
                for side in ("below", "above")
            )
        ),
        "only": {**closed(matched), "minProperties": 1},
        "unless": some(closed(matched | who, required=WHO)),
        "group-by": {**some({"enum": list(GROUPED)}), "uniqueItems": True},
        "repeat-after": _SPAN,
        "limit": {"type": "string", "pattern": f"^[0-9]{{1,9}} per ({'|'.join(WINDOWS_S)})$"},
        "quiet-when": some(NAME),
        "confirm": NAME,
        "expires": _DATE,
        "labels": {"type": "object", "additionalProperties": text(120), "minProperties": 1},
        "tests": {"type": "array", "items": {"$ref": "#/$defs/test"}},
    }
    live = {"properties": {"status": {"const": "live"}}, "required": ["status"]}
    return {**closed(keys, RULE_KEYS, REQUIRED), "if": live, "then": {"required": ["owner"]}}


def _when() -> Schema:
    within = {"type": "string", "pattern": f"^{_TOKENS}$"}
    parts = {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/part"}}
    stages = {
        "type": "array", "minItems": 2, "maxItems": MAX_STAGES, "items": {"$ref": "#/$defs/stage"},
    }  # fmt: skip
    count = {
        "count": {"enum": list(COUNTED)},
        "of": {**some(NAME), "maxItems": MOST_OF_RULES},
        "more-than": {"type": "integer", "minimum": 1, "maximum": MOST_MORE_THAN},
        "within": _SPAN,
    }
    absent = {"absent": text(64), "for": _SPAN, "while": {"enum": list(WHILE)}}
    shift = {"shift": text(64), "in": {"enum": list(SCOPES)}}
    return any_of(
        {"$ref": "#/$defs/stage"},
        closed({"all": parts, "within": within}, required=("all",)),
        closed({"sequence": stages, "within": within}, required=("sequence", "within")),
        closed(count, COUNT_KEYS, COUNT_KEYS),
        closed(absent, ABSENT_KEYS, ABSENT_KEYS),
        closed(shift, SHIFT_KEYS, SHIFT_KEYS),
    )


def _condition() -> Schema:
    average = f"^({_TOKENS}|last {_TOKENS}|{_SCOPE})$"
    keys: dict[str, Schema] = {
        "feature": text(64),
        "score": text(500),
        "in": {"enum": list(SCOPES)},
        "above": _level(),
        "below": _level(),
        "for": {"type": "string", "pattern": f"^{_TOKENS}$"},
        "at-least": {"type": "string", "pattern": f"^[0-9]{{1,9}} of {_TOKENS}$"},
        "average": {"type": "string", "pattern": average},
        "share": {"type": "string", "pattern": f"^{_PER_CENT} of {_SCOPE}$"},
        "min-tokens": {"type": "integer", "minimum": 1, "maximum": MAX_LEAST},
        "coverage": {"type": "string", "pattern": f"^{_PER_CENT}$"},
    }
    return {
        **closed(keys, CONDITION, ("in",)),
        "allOf": [
            {"oneOf": [{"required": [key]} for key in ("feature", "score")]},
            {"oneOf": [{"required": [key]} for key in ("above", "below")]},
            {"not": {"anyOf": [{"required": list(two)} for two in combinations(SHAPE_KEYS, 2)]}},
        ],
    }


def _group() -> Schema:
    member = any_of({"$ref": "#/$defs/condition"}, closed({"signal": NAME}))
    members = {"type": "array", "minItems": 2, "maxItems": MAX_CONDITIONS, "items": member}
    return closed({"any": members})


def _level() -> Schema:
    count = "1 +in +[0-9][0-9,]* +(answers?|messages?|tokens?)"
    return {
        "type": "string",
        "pattern": rf"^ *({count}|[0-9]{{1,9}} +(a|per) +day|z +[-+]?[0-9]{{1,3}}(\.[0-9]+)?) *$",
    }


def _test() -> Schema:
    name, at = text(200), text(80)
    labels = closed({name: text(256) for name in LABELS})
    keys: dict[str, Schema] = {
        "labels": labels,
        "untrusted": labels,
        "model": text(256),
        "cancelled": {"type": "boolean"},
        "stream": {"$ref": "#/$defs/stream"},
    }
    request = closed(keys, REQUEST_KEYS)["properties"]
    hit = closed({"at": at, "exempt": {"type": "boolean"}}, required=("at",))
    one = {"name": name, **request, "expect": {"type": "array", "items": hit}}
    decision: dict[str, Schema] = {
        "request": {"type": "integer", "minimum": 1},
        "decision": {"enum": list(DECISIONS)},
    }
    decided = closed({**decision, "at": at}, required=tuple(decision))
    after = {"after": {"type": "string", "pattern": "^[0-9]{1,7}[smhd]$"}}
    several = {
        "name": name,
        "requests": some(closed(after | request, required=("stream",))),
        "expect": {"type": "array", "items": decided},
    }
    return any_of(
        closed(one, required=("name", "stream", "expect")),
        closed(several, required=tuple(several)),
    )


def _stream() -> Schema:
    runs = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
    entry: dict[str, Schema] = {name: {**runs, "minProperties": 1} for name in NAMES}
    entry |= {"gap": {"type": "integer", "minimum": 1}, "fixture": text(1000)}
    return some({**closed(entry), "minProperties": 1, "maxProperties": 1})
