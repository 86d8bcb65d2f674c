"""How a schema asks a YAML tree for what it expects and collects every complaint, not the first.

Owns the words of the complaints that all schemas share: unknown key (with the nearest known one),
missing key, wrong kind. It never learns what the keys mean, and reads no file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from dosimeter.detectors.findings import (
    Finding,
    InputError,
    Place,
    Severity,
    hint_for,
    suggest,
    visible,
)
from dosimeter.detectors.strict_yaml import Node

_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""What acts on a terminal, a header, a path or the order of the letters beside it. Joiners do not."""

_AFTER_COMMA = re.compile(r"[0-9]{3}(?: .*)?")


class Reader:
    """Collects findings while a schema reads a tree. A getter returns None after complaining."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def refuse_if_wrong(self) -> None:
        """Raises InputError with everything collected, if any of it is an error."""
        if any(f.severity == "error" for f in self.findings):
            raise InputError(self.findings)

    def error(
        self, at: Node | Place, message: str, hint: str | None = None, code: str = "value"
    ) -> None:
        self.report(code, "error", at, message, hint)

    def report(
        self, code: str, severity: Severity, at: Node | Place, message: str, hint: str | None = None
    ) -> None:
        place = at.place if isinstance(at, Node) else at
        self.findings.append(Finding(code, severity, place, message, hint))

    def mapping(
        self, node: Node, known: Collection[str], required: Collection[str] = ()
    ) -> Mapping[str, Node]:
        """The known keys that are present, in file order; empty if `node` is no mapping."""
        if node.kind != "map":
            self.expected(node, "a mapping", f"keys: {', '.join(f'`{k}`' for k in known)}")
            return {}
        found: dict[str, Node] = {}
        meant: set[str | None] = set()  # keys that stand there misspelt
        for key, entry in node.entries.items():
            if key in known:
                found[key] = entry.value
            else:
                left = [k for k in known if k not in node.entries] or list(known)
                meant.add(suggest(key, left))
                message = f"unknown key `{visible(key)}`"
                hint = hint_for(key, left)
                if _AFTER_COMMA.fullmatch(key):
                    hint = "write 1000 without a comma: between `{` and `}` it ends a value"
                self.error(entry.place, message, hint, "unknown-key")
        for key in required:
            if key not in node.entries and key not in meant:
                self.error(node, f"`{key}` is missing", None, "missing-key")
        return found

    def split_number(self, node: Node) -> bool:
        """Whether, after a complaint, `{above: 1 in 1,000 answers}` was split at the comma of its number."""
        before: Node | None = None
        for key, entry in node.entries.items():
            alone = entry.value.kind == "null" and not entry.value.written
            if before and before.written[-1:].isdigit() and alone and _AFTER_COMMA.fullmatch(key):
                whole = f"{before.written}{key}"
                message = f"`{visible(before.written)},{visible(key)}` is split at its comma"
                hint = f"write 1000 without a comma: `{visible(whole)[:80]}`"
                self.error(before, message, hint, "split-number")
                return True
            before = entry.value
        return False

    def items(self, node: Node) -> tuple[Node, ...]:
        """The members of a list; empty after a complaint if `node` is no list."""
        if node.kind != "list":
            self.expected(node, "a list", "start each member with `- `")
            return ()
        return node.nodes

    def text(self, node: Node, most: int = 1000) -> str | None:
        """Non-empty text of at most `most` characters, none of them for control."""
        if node.kind in ("int", "float", "bool"):
            self.expected(node, "text", f'put it in quotes: "{visible(node.written)}"')
            return None
        if node.kind != "text":
            self.expected(node, "text")
            return None
        value = str(node.value)
        if not value.strip():
            self.error(node, "empty text", "write something, or remove the key")
            return None
        if len(value) > most:
            self.error(node, f"text of {len(value)} characters", f"at most {most}")
            return None
        if not self.harmless(node, value):
            return None
        return value

    def harmless(self, at: Node | Place, value: str) -> bool:
        """False after a complaint about a control character, written as it is or as an escape."""
        found = _ACTING.search(value)
        if found is not None:
            hint = "remove it: what is written here goes to terminals, headers and paths"
            self.error(at, f"control character `{visible(found[0])}`", hint, "control")
        return found is None

    def one_of(self, node: Node, allowed: Collection[str], code: str = "value") -> str | None:
        """One word of a closed list, with the nearest one suggested."""
        other = node.kind in ("int", "float", "bool") and node.written not in allowed
        value = node.written if other else self.text(node)
        if value is None or value in allowed:
            return value
        listed = ", ".join(f"`{a}`" for a in allowed)
        hint = hint_for(value, allowed)
        if hint.startswith("did"):
            hint = f"{hint} ({listed})"
        self.error(node, f"`{visible(value)}` is not one of the allowed words", hint, code)
        return None

    def integer(self, node: Node, least: int, most: int) -> int | None:
        """A whole number in least..most."""
        if node.kind != "int" or not isinstance(node.value, int):
            self.expected(node, "a whole number")
            return None
        if not least <= node.value <= most:
            self.error(node, f"`{node.written}` is out of range", f"from {least} to {most}")
            return None
        return node.value

    def number(self, node: Node, least: float, most: float) -> float | None:
        """A number in least..most."""
        if node.kind not in ("int", "float") or not isinstance(node.value, int | float):
            self.expected(node, "a number")
            return None
        if not least <= node.value <= most:
            self.error(node, f"`{node.written}` is out of range", f"from {least} to {most}")
            return None
        return float(node.value)

    def boolean(self, node: Node) -> bool | None:
        if node.kind != "bool" or not isinstance(node.value, bool):
            hint = "YAML 1.2 has only these two: `yes`, `on`, `no` and `off` are text"
            self.expected(node, "true or false", hint)
            return None
        return node.value

    def expected(self, node: Node, what: str, hint: str | None = None) -> None:
        """Complains that a value is of another kind."""
        self.error(node, f"expected {what}, found {node.shown}", hint, "kind")
