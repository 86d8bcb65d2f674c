"""Strict YAML 1.2 with positions: a file becomes a tree of nodes that know where they stand.

Owns the size, depth and node caps, the 1.2 core types (`no`, `on`, `12:30` and dates are text,
`1e-3` is a number) and the refusals: duplicate keys, anchors and aliases, tags, merge keys, NaN and
infinity, directives, several documents. It writes what it would read back. It never learns what a
key means: `reader.py` asks for all that a schema expects, `fields.py` for one value of a card.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from dosimeter.detectors.files import open_file
from dosimeter.detectors.findings import InputError, Place, visible

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 200_000
MAX_NUMBER = 40  # characters

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where the wheel has it

_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_THOUSANDS = re.compile("[0-9]{3}")
_SURROGATE = re.compile("[\ud800-\udfff]")  # by an escape; one of the two parsers lets it through

Kind = Literal["map", "list", "text", "int", "float", "bool", "null"]
Scalar = str | int | float | bool | None

_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_UNQUOTED: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("null", re.compile(r"null|Null|NULL|~|")),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE")),
    ("int", re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")),
    ("float", re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")),
    ("float", _NOT_FINITE),
)
"""What an unquoted scalar is, the first that fits; otherwise text."""

_BEGINS = frozenset(("", *"~nNtTfF+-.0123456789"))
"""How any of them begins: most keys need no pattern at all."""

_SHOWN: dict[Kind, str] = {
    "map": "a mapping",
    "list": "a list",
    "text": "text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}


class Entry(NamedTuple):
    """One `key: value` of a mapping; `place` is where the key stands."""

    place: Place
    value: Node


class Node(NamedTuple):
    """One value and where it stands.

    kind `map`: value is dict[str, Entry] in file order; `list`: tuple[Node, ...]; else a scalar.
    """

    kind: Kind
    place: Place
    value: dict[str, Entry] | tuple[Node, ...] | Scalar
    written: str = ""  # a scalar as it stands in the file
    style: str = ""  # of a scalar: its quote, or `|` or `>`

    @property
    def entries(self) -> dict[str, Entry]:
        return self.value if isinstance(self.value, dict) else {}

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.value if isinstance(self.value, tuple) else ()

    @property
    def shown(self) -> str:
        """Kind and value, as a complaint names them."""
        if self.kind in ("map", "list", "null"):
            return _SHOWN[self.kind]
        return f"{_SHOWN[self.kind]} `{visible(self.written)[:60]}`"

    def at(self, offset: int) -> Place:
        """The place of a character of a text, where that is written on one line; else of the text."""
        place = self.place
        if self.style in ("|", ">") or not place.line:
            return place
        return place._replace(column=place.column + offset + len(self.style))

    def plain(self) -> Any:
        """The same as dicts, lists and scalars."""
        if self.kind == "map":
            return {name: entry.value.plain() for name, entry in self.entries.items()}
        return [node.plain() for node in self.nodes] if self.kind == "list" else self.value


def load_file(path: Path, name: str | None = None) -> Node:
    """The tree of one file. Raises InputError (with a place) also where the file cannot be read."""
    shown = str(path) if name is None else name
    with open_file(path, shown, follow=True) as file:
        return load(file.read(MAX_BYTES + 1), shown)


def load(source: bytes | str, name: str) -> Node:
    """The tree of one document. Raises InputError with the first thing that is not strict YAML."""
    text = _decoded(source, name)
    end = _end(name, text)
    builder = _Builder(name, end)
    try:
        return builder.document(_events(text))
    except InputError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name) if mark is None else Place(name, mark.line + 1, mark.column + 1)
        place = min(place, end)
        problem = visible(error.problem or error.context or "not YAML")
        hint = (
            "close brackets and quotes, indent with spaces, quote text with `: `, `#`, `{` or `[`"
        )
        if place.line and "\t" in _indent(text.splitlines()[place.line - 1]):
            hint = f"line {place.line} begins with a tab: indent with spaces"
        raise InputError.at(place, problem, hint, "syntax") from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        # The last two: an escape beyond Unicode, in the parser that is written in Python.
        message = f"not YAML: {visible(str(error))[:200]}"
        raise InputError.at(name, message, code="syntax") from None


def _events(text: str) -> Iterator[yaml.Event]:
    """As `yaml.parse` gives them, without asking before each whether there is one."""
    loader = _Loader(text)
    try:
        yield from iter(loader.get_event, None)
    finally:
        loader.dispose()


def dump(data: Any) -> bytes:
    """Plain data as YAML that `load` reads back to equal data; keys keep their order."""
    # Escaped to ASCII: written raw, some of Unicode's line breaks would read back as others.
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=100)
    return str(text).encode()


class _Dumper(yaml.SafeDumper):
    """Quotes a text exactly where the loader would take it for something else."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        None: [
            (f"tag:yaml.org,2002:{kind}", re.compile(rf"(?:{pattern.pattern})\Z"))
            for kind, pattern in _UNQUOTED
        ]
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _decoded(source: bytes | str, name: str) -> str:
    data = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
    if len(data) > MAX_BYTES:
        hint = f"at most {MAX_BYTES} bytes a file: split it"
        raise InputError.at(name, f"larger than {MAX_BYTES} bytes", hint, "too-large")
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = _place_at(name, data[: error.start].decode("utf-8"))
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise InputError.at(place, message, "save the file as UTF-8", "encoding") from None
    if (bad := _FORBIDDEN.search(text)) is not None:
        place = _place_at(name, text[: bad.start()])
        message = f"control character `{visible(bad[0])}`"
        hint = "remove it, or write it as an escape in quotes"
        raise InputError.at(place, message, hint, "encoding")
    return text


def _place_at(name: str, before: str) -> Place:
    return Place(name, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _end(name: str, text: str) -> Place:
    """One of the two parsers places what is missing a line below this, where no editor can go."""
    lines = text.splitlines() or [""]
    return Place(name, len(lines), len(lines[-1]) + 1)


class _Builder:
    """Events of the parser to nodes, without ever following an alias or a tag."""

    def __init__(self, name: str, end: Place) -> None:
        self._name, self._end = name, end
        self._nodes = 0

    def document(self, events: Iterator[yaml.Event]) -> Node:
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._at(event, "a second document", "one document a file", "documents")
                if event.version or event.tags:
                    raise self._at(event, "`%` directives are not used", "remove it", "directive")
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, events, 1)
        if root is None:
            raise InputError.at(self._name, "the file is empty", code="empty")
        return root

    def _node(self, event: Any, events: Iterator[yaml.Event], depth: int) -> Node:
        """event: a yaml.NodeEvent, of any kind."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._at(event, f"more than {MAX_NODES} values", "split the file", "too-large")
        if depth > MAX_DEPTH:
            raise self._at(event, f"nested deeper than {MAX_DEPTH}", None, "too-deep")
        if event.anchor is not None:
            what = "alias `*" if isinstance(event, yaml.AliasEvent) else "anchor `&"
            raise self._at(event, f"{what}{event.anchor}`", "write the value out", "alias")
        if event.tag is not None:
            raise self._at(event, f"tag `{event.tag}`", "write the plain value, without `!`", "tag")
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
                raise InputError.at(key.place, message, hint, "duplicate-key")
            entries[name] = Entry(key.place, value)
        return Node("map", self._place(event), entries)

    def _key(self, key: Node) -> str:
        if key.kind in ("map", "list"):
            message = f"a {key.kind} as a key"
            raise InputError.at(key.place, message, "`{x}` and `[x]` need quotes to be text", "key")
        if key.kind != "text":
            message = f"key `{visible(key.written)}` is not text"
            hint = f'write "{visible(key.written)}"'
            if _THOUSANDS.fullmatch(key.written):
                hint += "; or, behind the comma of a number, write 1000 without a comma"
            elif key.kind == "int":
                hint += "; or, in a number, a point in place of the comma: `2.5`"
            raise InputError.at(key.place, message, hint, "key")
        name = str(key.value)
        if name == "<<":
            raise InputError.at(key.place, "merge key `<<`", "write the keys out", "merge")
        return name

    def _scalar(self, event: yaml.ScalarEvent) -> Node:
        text = event.value
        if not text.isascii() and (lone := _SURROGATE.search(text)) is not None:
            hint = "write the character itself"
            raise self._at(event, f"`{visible(lone[0])}` is half a character", hint, "encoding")
        kind: Kind = "text"
        if event.style in (None, "") and text[:1] in _BEGINS:  # quoted or block: always text
            kind = next((k for k, pattern in _UNQUOTED if pattern.fullmatch(text)), "text")
        value: Scalar = text
        if kind == "null":
            value = None
        elif kind == "bool":
            value = text.lower() == "true"
        elif kind in ("int", "float") and len(text) > MAX_NUMBER:
            raise self._at(event, f"a number of {len(text)} characters", None, "number")
        elif kind == "int":
            value = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        elif kind == "float" and (_NOT_FINITE.fullmatch(text) or math.isinf(float(text))):
            hint = "put it in quotes if it is text"
            raise self._at(event, f"`{text}` is not a finite number", hint, "number")
        elif kind == "float":
            value = float(text)
        return Node(kind, self._place(event), value, text, event.style or "")

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        assert mark is not None  # only hand-made events have none
        if mark.line >= self._end.line:
            return self._end
        return Place(self._name, mark.line + 1, mark.column + 1)

    def _at(self, event: yaml.Event, message: str, hint: str | None, code: str) -> InputError:
        return InputError.at(self._place(event), message, hint, code)
