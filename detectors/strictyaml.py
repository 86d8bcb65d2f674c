"""YAML for cards: one document of plain data, every key once, and where each value stood.

Core schema of YAML 1.2 (`no` is a string, `1e-3` a number), no aliases, no tags beyond the plain
types, no NaN. It owns the reading and writing of text; it never learns what a card means, nor about
rules, whose language has a loader of its own.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 1 << 20
MAX_DEPTH = 16

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_RESOLVERS: list[tuple[str, re.Pattern[str], str]] = [
    ("null", re.compile(r"~|null|Null|NULL|"), "~nN\0"),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("float", _NOT_FINITE, "-+."),
]


class DataError(ValueError):
    """`{place}: {message}`, then a hint line: something from outside that was refused."""

    def __init__(self, place: str, message: str, hint: str = "") -> None:
        super().__init__(f"{place}: {message}" + (f"\n  hint: {hint}" if hint else ""))
        self.place = place
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Document:
    """data: dicts, lists and scalars. marks: dotted key -> (line, column), both from 1."""

    data: Any
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)


def _resolver_table() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for kind, pattern, firsts in _RESOLVERS:
        whole = re.compile(rf"(?:{pattern.pattern})\Z")
        for first in firsts:
            table.setdefault("" if first == "\0" else first, []).append((_TAG + kind, whole))
    return table


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _resolver_table()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # a few lines of aliases can unfold to gigabytes
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(None, None, "aliases are not read here", mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = _resolver_table()

    def ignore_aliases(self, data: Any) -> bool:
        return True


def parse(raw: bytes, place: str) -> Document:
    """Text of one file to plain data. Raises DataError with `place:line:column`."""
    if len(raw) > MAX_BYTES:
        raise DataError(place, f"{len(raw)} bytes of YAML, at most {MAX_BYTES} are read")
    try:
        loader = _Loader(raw.decode("utf-8"))
        node = loader.get_single_node()
    except UnicodeDecodeError as error:
        raise DataError(place, f"not UTF-8 at byte {error.start}") from None
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark
        where = f"{place}:{at.line + 1}:{at.column + 1}" if at else place
        raise DataError(where, str(error.problem).replace("\n", " ")) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(place, f"not readable as YAML ({type(error).__name__})") from None
    if node is None:
        raise DataError(place, "empty document")
    marks: dict[str, tuple[int, int]] = {}
    return Document(_plain(node, "", place, marks, 0), marks)


def dump(data: Any) -> bytes:
    """Plain data as YAML that `parse` reads back to equal data; keys keep their order."""
    # Escaped to ASCII: written raw, some of Unicode's line breaks would read back as others.
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=100)
    return str(text).encode()


def _plain(
    node: yaml.Node, key: str, place: str, marks: dict[str, tuple[int, int]], depth: int
) -> Any:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    marks[key] = (line, column)
    where = f"{place}:{line}:{column}"
    if depth > MAX_DEPTH:
        raise DataError(where, f"nested deeper than {MAX_DEPTH}")
    if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
        return _mapping(node, key, place, marks, depth)
    if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
        return [
            _plain(item, f"{key}[{i}]", place, marks, depth + 1)
            for i, item in enumerate(node.value)
        ]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, where)
    raise DataError(where, f"tag `{node.tag}` is not plain data")


def _mapping(
    node: yaml.MappingNode, key: str, place: str, marks: dict[str, tuple[int, int]], depth: int
) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name_node, value_node in node.value:
        at = f"{place}:{name_node.start_mark.line + 1}:{name_node.start_mark.column + 1}"
        if not isinstance(name_node, yaml.ScalarNode) or name_node.tag != _TAG + "str":
            raise DataError(at, "a key must be text", "put it in quotes")
        name = name_node.value
        if name in data:
            raise DataError(at, f"key `{name}` is given twice")
        data[name] = _plain(value_node, f"{key}.{name}" if key else name, place, marks, depth + 1)
    return data


def _scalar(node: yaml.ScalarNode, where: str) -> Any:
    kind, text = node.tag.removeprefix(_TAG), node.value
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind == "int" and _INT.fullmatch(text) and len(text) <= 40:
        return int(text, 16 if text[:2] == "0x" else 8 if text[:2] == "0o" else 10)
    if kind == "float" and _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    raise DataError(where, f"`{text[:40]}` is not a finite plain value")
