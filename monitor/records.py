"""Control records as the sidecar understands them: checked once, at the border, then typed.

Whoever can open the socket can write anything, so every field is checked here and a wrong one
raises WireError, which costs the writer its connection. Nothing behind this looks into raw JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dosimeter.detectors.frames import Scope
from dosimeter.monitor.coverage import SOURCES
from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.wire import WireError

MAX_TOKENS = 1 << 31
MAX_LABEL = 1024  # characters; longer labels are cut: they are other people's text
MAX_LABELS = 32
MAX_COLUMNS = 4096
ROLES = ("tap", "front", "tap+front")
STATES = ("live", "blind", "no-pack")
OUTCOMES = ("finished", "cancelled", "failed")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Column:
    feature: str
    pack: str  # digest, hex
    pack_name: str


@dataclass(frozen=True, slots=True)
class Capture:
    """That activations leave a server, or left it: what was asked, by whom, and what became of it."""

    id: str
    state: str  # began | ended
    reason: str
    by_uid: int
    since_ns: int  # wall clock of the server, as all times here
    until_ns: int
    layers: tuple[int, ...]
    sample_ppm: int  # requests in a million
    max_bytes: int
    max_requests: int
    out: str  # folder, as the asker calls it
    ended_ns: int = 0
    why: str = ""  # it ended
    requests: int = 0
    rows: int = 0
    bytes: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)  # requests that miss a row, by why

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Capture:
        layers, lost = _get(body, "layers", list), _get(body, "lost", dict, {})
        if len(layers) > MAX_LABELS * 2 or not all(
            type(n) is int and 0 <= n < 1 << 16 for n in layers
        ):
            raise WireError("`layers` of a capture are no numbers of blocks")
        return cls(
            id=_text(body, "id")[:32],
            state=_choice(body, "state", ("began", "ended")),
            reason=_text(body, "reason"),
            by_uid=_count(body, "by_uid", limit=1 << 32),
            since_ns=_count(body, "since_ns", limit=1 << 62),
            until_ns=_count(body, "until_ns", limit=1 << 62),
            layers=tuple(layers),
            sample_ppm=_count(body, "sample_ppm"),
            max_bytes=_count(body, "max_bytes", limit=1 << 62),
            max_requests=_count(body, "max_requests", limit=1 << 62),
            out=_text(body, "out", ""),
            ended_ns=_count(body, "ended_ns", 0, limit=1 << 62),
            why=_text(body, "why", ""),
            requests=_count(body, "requests", 0, limit=1 << 62),
            rows=_count(body, "rows", 0, limit=1 << 62),
            bytes=_count(body, "bytes", 0, limit=1 << 62),
            lost={_cut(name): _count(lost, name) for name in list(lost)[:MAX_LABELS]},
        )


@dataclass(frozen=True, slots=True)
class Hello:
    """Who speaks: the first record on every connection, and again whenever its state changes."""

    role: str
    pid: int
    server: Mapping[str, str]
    model: Mapping[str, str]
    columns: tuple[Column, ...]
    state: str  # live | blind | no-pack
    reason: str | None
    errors: int  # times its own bookkeeping failed
    last_error: str | None
    packs_refused: str | None = None  # why packs that were listed since are not loaded
    capture: Capture | None = None  # that runs, or was the last

    @property
    def model_name(self) -> str:
        return self.model.get("name", "")

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Hello:
        columns = _get(body, "columns", list, [])
        if len(columns) > MAX_COLUMNS:
            raise WireError(f"{len(columns)} columns, at most {MAX_COLUMNS} are allowed")
        return cls(
            role=_choice(body, "role", ROLES, "tap"),
            pid=_count(body, "pid", 0),
            server=_labels(body, "server"),
            model=_labels(body, "model"),
            columns=tuple(_column(column) for column in columns),
            state=_choice(body, "state", STATES),
            reason=_text_or_none(body, "reason"),
            errors=_count(body, "errors", 0),
            last_error=_text_or_none(body, "last_error"),
            packs_refused=_text_or_none(body, "packs_refused"),
            capture=Capture.parse(_get(body, "capture", dict))
            if body.get("capture") is not None
            else None,
        )


@dataclass(frozen=True, slots=True)
class Open:
    """A request begins, or is announced again after a connect (`again`)."""

    key: int
    prompt_len: int
    labels: Mapping[str, str]
    trusted: frozenset[str]
    spans: tuple[tuple[int, int, int], ...]  # scope, start, end; contiguous over the prompt
    spans_exact: bool
    opened_ns: int
    again: bool
    cut: bool  # part of it was too large to send
    call: str = ""  # joins it with the USAGE of a front in another process

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Open:
        prompt_len = _count(body, "prompt_len")
        spans = _spans(_get(body, "spans", list, []), prompt_len)
        exact = _get(body, "spans_exact", bool, False) and bool(spans)
        if not spans and prompt_len:  # none sent, or too many to send: all of it is message
            spans = ((int(Scope.MESSAGE), 0, prompt_len),)
        trusted = _get(body, "trusted", list, [])
        return cls(
            key=_count(body, "key", limit=1 << 64),
            prompt_len=prompt_len,
            labels=_labels(body, "labels"),
            trusted=frozenset(name for name in trusted if isinstance(name, str)),
            spans=spans,
            spans_exact=exact,
            opened_ns=_count(body, "opened_ns", 0, limit=1 << 63),
            again=_get(body, "again", bool, False),
            cut="cut" in body,
            call=_text(body, "call", ""),
        )


@dataclass(frozen=True, slots=True)
class Close:
    """A request ends: the server's own count beside what the tap says, in distinct positions."""

    key: int
    outcome: str
    served: int
    served_source: str  # one of SOURCES
    emitted: int  # positions the tap handed to the socket
    cached: int  # positions the server never ran, and no score is known of
    errors: Mapping[str, int]  # positions by the reason why they were not handed over
    closed_ns: int
    cut: bool  # part of it was too large to send
    reused: int = 0  # of `emitted`: never run, with the scores the same tokens had before
    content: Mapping[str, Any] = field(default_factory=dict)  # only where a tenant chose it

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Close:
        errors = _get(body, "errors", dict, {})
        return cls(
            key=_count(body, "key", limit=1 << 64),
            outcome=_choice(body, "outcome", OUTCOMES),
            served=min(wire.served(body), MAX_TOKENS),
            served_source=_choice(body, "served_source", SOURCES, "tap"),
            emitted=_count(body, "emitted", 0),
            cached=_count(body, "cached", 0),
            errors={_cut(name): _count(errors, name) for name in errors},
            closed_ns=_count(body, "closed_ns", 0, limit=1 << 63),
            cut="cut" in body,
            reused=_count(body, "reused", 0),
            content={name: body[name] for name in wire.TEXTS if name in body},
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """What the server's reply to one call counted, for all of the call's requests.

    Both counts are None where the reply was cut off, or carried none. prompts: how many the call had; a reply
    counts each once, however many answers it gets. requests: how many answers that makes.
    """

    call: str
    prompt_tokens: int | None
    completion_tokens: int | None
    prompts: int = 1
    requests: int = 1

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Usage:
        counted = any(body.get(name) is not None for name in ("prompt_tokens", "completion_tokens"))
        return cls(
            call=_text(body, "call"),
            prompt_tokens=_count(body, "prompt_tokens") if counted else None,
            completion_tokens=_count(body, "completion_tokens") if counted else None,
            prompts=max(1, _count(body, "prompts", 1)),
            requests=max(1, _count(body, "requests", 1)),
        )


def _get(body: Mapping[str, Any], name: str, kind: type[T], default: T | None = None) -> T:
    value = body.get(name, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise WireError(f"`{name}` is {type(value).__name__}, expected {kind.__name__}")
    return value


def _count(
    body: Mapping[str, Any], name: str, default: int | None = None, limit: int = MAX_TOKENS
) -> int:
    value = _get(body, name, int, default)
    if not 0 <= value < limit:
        raise WireError(f"`{name}` is out of range")
    return value


def _text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    return _cut(_get(body, name, str, default))


def _text_or_none(body: Mapping[str, Any], name: str) -> str | None:
    return None if body.get(name) is None else _text(body, name)


def _choice(
    body: Mapping[str, Any], name: str, choices: tuple[str, ...], default: str | None = None
) -> str:
    value = _text(body, name, default)
    if value not in choices:
        raise WireError(f"`{name}` is `{value[:40]}`, expected one of {', '.join(choices)}")
    return value


def _labels(body: Mapping[str, Any], name: str) -> dict[str, str]:
    found = _get(body, name, dict, {})
    kept = list(found.items())[:MAX_LABELS]
    return {_cut(key): _cut(value) for key, value in kept if isinstance(value, str)}


def _cut(text: str) -> str:
    """Bounded, and writable as UTF-8: JSON can smuggle in a lone surrogate."""
    return text[:MAX_LABEL].encode("utf-8", "replace").decode("utf-8")


def _column(body: Any) -> Column:
    if not isinstance(body, dict):
        raise WireError("a column is not an object")
    return Column(_text(body, "feature"), _text(body, "pack", ""), _text(body, "packName", ""))


def _spans(found: list[Any], prompt_len: int) -> tuple[tuple[int, int, int], ...]:
    spans, at = [], 0
    for span in found:
        if not (isinstance(span, list) and len(span) == 3 and all(type(n) is int for n in span)):
            raise WireError("a span is not [scope, start, end]")
        scope, start, end = span
        if scope not in Scope._value2member_map_ or start != at or end < start:
            raise WireError(f"span {span} does not continue the prompt at {at}")
        if end > start:
            spans.append((scope, start, end))
        at = end
    if found and at != prompt_len:
        raise WireError(f"spans end at {at}, the prompt at {prompt_len}")
    return tuple(spans)
