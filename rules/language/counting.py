"""`count`: a rule over the hits of other rules, more of them than so many within a length of time.

Owns `Count` and the reading of it out of a YAML tree. What counts, and when it fires, is `correlate.py`; it never
learns about codes, tokens or labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from dosimeter.detectors.findings import Place, visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node
from dosimeter.rules.language.written import is_name
from dosimeter.rules.policy import NS, span_seconds, span_text

What = Literal["hits", "conversations", "users"]
COUNTED: tuple[What, ...] = get_args(What)
COUNT_KEYS = ("count", "of", "more-than", "within")
COUNT_FIELDS = ("rule", "severity", "count", "counted", "within")
"""What a `summary` may say, and `GROUP_FIELDS` as far as they are grouped by."""
GROUP_FIELDS = ("tenant", "route", "model")
MOST_MORE_THAN = 1000
MOST_OF_RULES = 64
SPAN_HINT = "a number with its unit, `90s`, `30m`, `1h` or `7d`, from `30s` to `30d`"


@dataclass(frozen=True, slots=True)
class Count:
    """More than `more_than` hits of these rules, or distinct conversations or users with one, within `within_s`.

    of: sorted; of_places: where each stands.
    """

    what: What
    of: tuple[str, ...]
    more_than: int
    within_s: int
    of_places: tuple[Place, ...] = field(default=(), compare=False)
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, hash=False)

    @property
    def within_ns(self) -> int:
        return self.within_s * NS

    def as_json(self) -> dict[str, Any]:
        return {
            "count": self.what,
            "of": list(self.of),
            "more-than": self.more_than,
            "within": span_text(self.within_s),
        }


def read_count(node: Node, own: str | None, reader: Reader) -> Count | None:
    """The count, or None after complaining. own: the rule's id, which it cannot count."""
    before = len(reader.findings)
    keys = reader.mapping(node, COUNT_KEYS, required=COUNT_KEYS)
    what = reader.one_of(keys["count"], COUNTED, "count") if "count" in keys else None
    of = _of(keys["of"], own, reader) if "of" in keys else ()
    more_than = (
        reader.integer(keys["more-than"], 1, MOST_MORE_THAN) if "more-than" in keys else None
    )
    within = read_span(keys["within"], reader) if "within" in keys else None
    if len(reader.findings) > before or more_than is None or within is None:
        return None
    places = {name: value.place for name, value in keys.items()}
    word = next(word for word in COUNTED if word == what)
    names, at = zip(*of, strict=True)
    return Count(word, names, more_than, within, at, places)


def read_span(node: Node, reader: Reader) -> int | None:
    """A length of time in seconds, or None after complaining."""
    if node.kind in ("map", "list", "null"):
        reader.expected(node, "text", SPAN_HINT)
        return None
    try:
        return span_seconds(node.written)
    except ValueError as error:
        reader.error(node, f"`{visible(node.written)[:80]}` {error}", SPAN_HINT, "span")
        return None


def _of(node: Node, own: str | None, reader: Reader) -> Sequence[tuple[str, Place]]:
    members = reader.items(node)
    if node.kind == "list" and not 1 <= len(members) <= MOST_OF_RULES:
        hint = f"name from 1 to {MOST_OF_RULES} rules"
        reader.error(node, f"`of` {len(members)} rules", hint, "count")
    found: dict[str, Place] = {}
    for member in members:
        name = reader.text(member, 64)
        if name is None:
            continue
        if not is_name(name):
            reader.error(member, f"`{visible(name)}` is not a rule id", None, "rule-id")
        elif name == own:
            reader.error(member, f"`{name}` cannot count itself", "name other rules", "count")
        elif name in found:
            reader.error(member, f"`{name}` stands twice", "remove one", "duplicate")
        else:
            found[name] = member.place
    return sorted(found.items())
