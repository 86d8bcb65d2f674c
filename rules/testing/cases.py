"""The `tests:` of a rule: what came, and exactly what the rule makes of it.

Owns `RuleTest` and the reading of it out of a YAML tree. Running one is `trial.py`'s business; a stream is
`streams.py`'s. Expectations are complete: a hit of the rule that no expectation names fails the test; other rules of
the file are not looked at.

    tests:
      - name: sixteen hot tokens
        labels: {tenant: acme}                         # trusted; what nobody vouches for stands under `untrusted`
        stream: [{answer: {deception: "3.2*20"}}]
        expect: [{at: answer 16}]                      # or `end of answer`; with `exempt: true` where `unless` holds
      - name: once an hour
        requests:                                      # several, with the time since the one before
          - {stream: [{answer: {deception: "3.2*20"}}]}
          - {after: 10m, stream: [{answer: {deception: "3.2*20"}}]}
        expect: [{request: 1, decision: notified}, {request: 2, decision: deduped}]

Decisions are those that the rule would make live, whatever its status. The first request comes as an hour, a day and
every other window of a `limit` begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from dosimeter.detectors.findings import Place, hint_for, visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node
from dosimeter.rules.decide import Word
from dosimeter.rules.language.condition import MEANT
from dosimeter.rules.language.schema import Rule
from dosimeter.rules.policy import NS, UNITS_S
from dosimeter.rules.testing.streams import NAMES, Stream, read_stream

LABELS = ("tenant", "user", "route", "conversation")
REQUEST_KEYS = ("labels", "untrusted", "model", "cancelled", "stream")
TEST_KEYS = ("name", *REQUEST_KEYS, "requests", "expect")
DECISIONS = tuple(word for word in get_args(Word) if word != "shadow")
MAX_REQUESTS = 1000
MAX_TOKENS = 1_000_000
"""Of all tests of a rule."""
_MOST_AFTER_S = 400 * 86_400

_AT = re.compile(
    r"end of (?P<ended>[a-z]+)(?: (?P<nth>[1-9][0-9]{0,5}))?|(?P<scope>[a-z]+) (?P<n>[1-9][0-9]{0,6})"
)
_AFTER = re.compile(r"([0-9]{1,7})([smhd])")


@dataclass(frozen=True)
class TestRequest:
    """One request of a test. labels: all of them; trusted: those that somebody vouches for."""

    __test__ = False

    stream: Stream
    labels: Mapping[str, str]
    trusted: frozenset[str]
    model: str = ""
    cancelled: bool = False
    after_ns: int = 0


@dataclass(frozen=True, slots=True)
class Expectation:
    """One hit. at: None where the test does not say; decision: None where the test is of one stream."""

    place: Place = field(compare=False)
    request: int = 1
    at: str | None = None
    exempt: bool | None = None
    decision: str | None = None

    def __str__(self) -> str:
        parts = [self.at or "a hit", *(["exempt"] if self.exempt else [])]
        if self.decision is not None:
            parts = [f"request {self.request}", *parts[bool(not self.at) :], self.decision]
        return ", ".join(parts)


@dataclass(frozen=True)
class RuleTest:
    __test__ = False

    name: str
    place: Place
    requests: tuple[TestRequest, ...]
    expect: tuple[Expectation, ...]

    @property
    def fires(self) -> bool:
        return bool(self.expect)


def features_of(rule: Rule) -> tuple[str, ...]:
    """What the rule reads, sorted."""
    return tuple(sorted({name for c in rule.when.conditions for name in c.features}))


def read_tests(rule: Rule, reader: Reader) -> tuple[RuleTest, ...]:
    """The rule's tests that are right; complaints about the others go to `reader`. Reads the fixtures they name."""
    if rule.tests is None:
        return ()
    features, folder = features_of(rule), Path(rule.place.name).parent
    found: dict[str, RuleTest] = {}
    left = MAX_TOKENS
    for node in reader.items(rule.tests):
        test = _test(node, features, folder, reader)
        if test is None:
            continue
        if test.name in found:
            message = f"test `{visible(test.name)}` stands twice, first at {found[test.name].place}"
            reader.error(
                node.entries["name"].value, message, "rename or remove one", "duplicate-test"
            )
        found.setdefault(test.name, test)
        left -= sum(len(request.stream.scopes) for request in test.requests)
        if left < 0:
            hint = f"at most {MAX_TOKENS} tokens in the tests of a rule"
            reader.error(node, "the tests of this rule are too long", hint, "test")
            break
    return tuple(found.values())


def _test(node: Node, features: tuple[str, ...], folder: Path, reader: Reader) -> RuleTest | None:
    before = len(reader.findings)
    several = "requests" in node.entries
    known = ("name", "requests", "expect") if several else TEST_KEYS
    required = ("name", "requests" if several else "stream", "expect")
    keys = _keys(node, known, required, reader)
    name = reader.text(keys["name"], 200) if "name" in keys else None
    requests: list[TestRequest | None] = []
    if "requests" in keys:
        requests = [
            _request(item, features, folder, reader) for item in reader.items(keys["requests"])
        ]
        if not 1 <= len(requests) <= MAX_REQUESTS and keys["requests"].kind == "list":
            reader.error(
                keys["requests"], f"{len(requests)} requests", f"from 1 to {MAX_REQUESTS}", "test"
            )
    elif "stream" in keys:
        requests = [_of_stream(keys, features, folder, reader)]
    expect: list[Expectation | None] = []
    if "expect" in keys:
        hint = "`[]` where the rule must not fire; else one `- at: answer 16` for each hit"
        if keys["expect"].kind != "list":
            reader.expected(keys["expect"], "a list", hint)
        read = _decision if several else _hit
        expect = [read(item, len(requests), reader) for item in keys["expect"].nodes]
    if len(reader.findings) > before or name is None:
        return None
    return RuleTest(
        name, keys["name"].place,
        tuple(r for r in requests if r is not None), tuple(e for e in expect if e is not None),
    )  # fmt: skip


def _keys(
    node: Node, known: Sequence[str], required: Sequence[str], reader: Reader
) -> Mapping[str, Node]:
    """Keys of a test; what belongs into each of its requests is complained about as that."""
    moved = [key for key in REQUEST_KEYS if key in node.entries and key not in known]
    for key in moved:
        hint = "write it in each of the `requests`"
        reader.error(node.entries[key].place, f"`{key}` beside `requests`", hint, "test")
    return reader.mapping(node, (*known, *moved), required)


def _request(
    node: Node, features: tuple[str, ...], folder: Path, reader: Reader
) -> TestRequest | None:
    keys = reader.mapping(node, ("after", *REQUEST_KEYS), required=("stream",))
    return _of_stream(keys, features, folder, reader) if "stream" in keys else None


def _of_stream(
    keys: Mapping[str, Node], features: tuple[str, ...], folder: Path, reader: Reader
) -> TestRequest | None:
    before = len(reader.findings)
    trusted = _labels(keys["labels"], reader) if "labels" in keys else {}
    others = _labels(keys["untrusted"], reader) if "untrusted" in keys else {}
    for name in sorted(set(trusted) & set(others)):
        place = keys["untrusted"].entries[name].place
        reader.error(place, f"label `{name}` is trusted and untrusted", "keep one", "test")
    model = reader.text(keys["model"], 256) if "model" in keys else ""
    cancelled = reader.boolean(keys["cancelled"]) if "cancelled" in keys else False
    after_ns = _after(keys["after"], reader) if "after" in keys else 0
    stream = read_stream(keys["stream"], features, folder, reader)
    if len(reader.findings) > before or stream is None:
        return None
    return TestRequest(
        stream, trusted | others, frozenset(trusted), model or "", bool(cancelled), after_ns or 0
    )


def _labels(node: Node, reader: Reader) -> dict[str, str]:
    keys = reader.mapping(node, LABELS)
    values = {name: reader.text(value, 256) for name, value in keys.items()}
    return {name: value for name, value in values.items() if value is not None}


def _after(node: Node, reader: Reader) -> int | None:
    """In nanoseconds."""
    match = _AFTER.fullmatch(node.written)
    if match is None:
        hint = "write `90s`, `10m`, `2h` or `1d`, since the request before"
        reader.error(node, f"`{visible(node.written)[:80]}` is no length of time", hint, "duration")
        return None
    seconds = int(match[1]) * UNITS_S[match[2]]
    if seconds > _MOST_AFTER_S:
        reader.error(node, f"`{node.written}` is out of range", "at most 400d", "duration")
        return None
    return seconds * NS


def _hit(node: Node, _: int, reader: Reader) -> Expectation | None:
    keys = reader.mapping(node, ("at", "exempt"), required=("at",))
    exempt = reader.boolean(keys["exempt"]) if "exempt" in keys else False
    at = _at(keys["at"], reader) if "at" in keys else None
    return None if at is None else Expectation(node.place, 1, at, exempt)


def _decision(node: Node, requests: int, reader: Reader) -> Expectation | None:
    keys = reader.mapping(node, ("request", "at", "decision"), required=("request", "decision"))
    request = reader.integer(keys["request"], 1, max(1, requests)) if "request" in keys else None
    decision = (
        reader.one_of(keys["decision"], DECISIONS, "decision") if "decision" in keys else None
    )
    at = _at(keys["at"], reader) if "at" in keys else None
    if request is None or decision is None:
        return None
    return Expectation(node.place, request, at, None, decision)


def _at(node: Node, reader: Reader) -> str | None:
    """`answer 16`, `end of answer`, `end of answer 2`; None after complaining."""
    if node.kind == "int":
        hint = f"write `answer {node.written}`, or `message {node.written}`: whose token it is"
        reader.error(node, f"`{node.written}` is no place in a stream", hint, "at")
        return None
    text = reader.text(node, 80)
    if text is None:
        return None
    match = _AT.fullmatch(text)
    if match is None:
        hint = "write `answer 16` for the 16th token of the request's answers, or `end of answer`"
        reader.error(node, f"`{visible(text)}` is no place in a stream", hint, "at")
        return None
    scope = match["ended"] or match["scope"]
    if scope not in NAMES:
        hint = MEANT.get(scope) or hint_for(scope, NAMES)
        reader.error(node, f"`{scope}` is no scope", hint, "at")
        return None
    return text.removesuffix(" 1") if match["ended"] else text
