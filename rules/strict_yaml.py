"""Strict YAML 1.2 with positions: a file becomes a tree of nodes that know where they stand.

Owns the size, depth and node caps, the 1.2 core types (`no`, `on`, `12:30` and dates are text,
`1e-3` is a number) and the refusals: duplicate keys, anchors and aliases, tags, merge keys,
directives, several documents. It never learns what a key means; `rules/reader.py` helps a schema
to ask for what it expects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from dosimeter.rules.findings import Finding, InputError, Place, visible

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 200_000
MAX_NUMBER = 40  # characters

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where the wheel has it

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?(?:\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN")
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key: value` of a mapping; `place` is where the key stands."""

    place: Place
    value: Node


@dataclass(frozen=True, slots=True)
class Node:
    """One value and where it stands.

    kind `map`: value is dict[str, Entry] in file order; `list`: tuple[Node, ...]; else a scalar.
    """

    kind: Literal["map", "list", "text", "int", "float", "bool", "null"]
    place: Place
    value: dict[str, Entry] | tuple[Node, ...] | Scalar
    written: str = ""  # a scalar as it stands in the file

    @property
    def entries(self) -> dict[str, Entry]:
        return self.value if isinstance(self.value, dict) else {}

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.value if isinstance(self.value, tuple) else ()


def load_file(path: Path, name: str | None = None) -> Node:
    """The tree of one file. Raises InputError (with a place) also where the file cannot be read."""
    shown = str(path) if name is None else name
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _error("unreadable", Place(shown), f"cannot be read: {reason.lower()}") from None
    return load(data, shown)


def load(source: bytes | str, name: str) -> Node:
    """The tree of one document. Raises InputError with the first thing that is not strict YAML."""
    text = _decoded(source, name)
    builder = _Builder(name)
    try:
        return builder.document(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name) if mark is None else Place(name, mark.line + 1, mark.column + 1)
        problem = visible(error.problem or error.context or "not YAML")
        hint = (
            "close brackets and quotes, indent with spaces, quote text with `: `, `#`, `{` or `[`"
        )
        raise _error("syntax", place, problem, hint) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise _error("syntax", Place(name), f"not YAML: {visible(str(error))[:200]}") from None


def _error(code: str, place: Place, message: str, hint: str | None = None) -> InputError:
    return InputError([Finding(code, "error", place, message, hint)])


def _decoded(source: bytes | str, name: str) -> str:
    data = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
    if len(data) > MAX_BYTES:
        hint = f"at most {MAX_BYTES} bytes a file: split it"
        raise _error("too-large", Place(name), f"larger than {MAX_BYTES} bytes", hint)
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = _place_at(name, data[: error.start].decode("utf-8"))
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise _error("encoding", place, message, "save the file as UTF-8") from None
    if (bad := _FORBIDDEN.search(text)) is not None:
        place = _place_at(name, text[: bad.start()])
        message = f"control character `{visible(bad[0])}`"
        raise _error("encoding", place, message, "remove it, or write it as an escape in quotes")
    return text


def _place_at(name: str, before: str) -> Place:
    return Place(name, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


class _Builder:
    """Events of the parser to nodes, without ever following an alias or a tag."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes = 0

    def document(self, events: Iterator[yaml.Event]) -> Node:
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._at(event, "documents", "a second document", "one document a file")
                if event.version or event.tags:
                    raise self._at(event, "directive", "`%` directives are not used", "remove it")
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, events, 1)
        if root is None:
            raise _error("empty", Place(self._name), "the file is empty")
        return root

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._at(event, "too-large", f"more than {MAX_NODES} values", "split the file")
        if depth > MAX_DEPTH:
            raise self._at(event, "too-deep", f"nested deeper than {MAX_DEPTH}", None)
        if isinstance(event, yaml.AliasEvent):
            raise self._at(event, "alias", f"alias `*{event.anchor}`", "write the value out")
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if event.anchor is not None:
            raise self._at(event, "alias", f"anchor `&{event.anchor}`", "write the value out")
        if event.tag is not None:
            raise self._at(event, "tag", f"tag `{event.tag}`", "write the plain value, without `!`")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(child := next(events), yaml.SequenceEndEvent):
                items.append(self._node(child, events, depth + 1))
            return Node("list", self._place(event), tuple(items))
        entries: dict[str, Entry] = {}
        while not isinstance(child := next(events), yaml.MappingEndEvent):
            key = self._node(child, events, depth + 1)
            value = self._node(next(events), events, depth + 1)
            name = self._key(key)
            if name in entries:
                earlier = entries[name].place
                message = f"key `{visible(name)}` stands twice, first on line {earlier.line}"
                hint = "remove one, a mapping has each key once"
                raise _error("duplicate-key", key.place, message, hint)
            entries[name] = Entry(key.place, value)
        return Node("map", self._place(event), entries)

    def _key(self, key: Node) -> str:
        if key.kind in ("map", "list"):
            message = f"a {key.kind} as a key"
            raise _error("key", key.place, message, "`{x}` and `[x]` need quotes to be text")
        if key.kind != "text":
            message = f"key `{visible(key.written)}` is not text"
            raise _error("key", key.place, message, f'write "{visible(key.written)}"')
        name = str(key.value)
        if name == "<<":
            raise _error("merge", key.place, "merge key `<<`", "write the keys out")
        return name

    def _scalar(self, event: yaml.ScalarEvent) -> Node:
        text, place = event.value, self._place(event)
        if event.style not in (None, ""):  # quoted or block: always text
            return Node("text", place, text, text)
        if _NULL.fullmatch(text):
            return Node("null", place, None, text)
        if text in _BOOL:
            return Node("bool", place, _BOOL[text], text)
        whole = _INT.fullmatch(text) or _OCTAL.fullmatch(text) or _HEX.fullmatch(text)
        if whole or _FLOAT.fullmatch(text):
            if len(text) > MAX_NUMBER:
                raise self._at(event, "number", f"a number of {len(text)} characters", None)
            if whole:
                base = {"0o": 8, "0x": 16}.get(text[:2], 10)
                return Node("int", place, int(text, base), text)
            return Node("float", place, float(text), text)
        if _SPECIAL.fullmatch(text):
            return Node("float", place, float(text.replace(".", "")), text)
        return Node("text", place, text, text)

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        assert mark is not None  # only hand-made events have none
        return Place(self._name, mark.line + 1, mark.column + 1)

    def _at(self, event: yaml.Event, code: str, message: str, hint: str | None) -> InputError:
        return _error(code, self._place(event), message, hint)
