"""What a test of a rule lets the engine see: the tokens of one request, each with its scope and scores.

Owns `Stream` and the reading of it out of a YAML tree: a list of one-key mappings, in order.

    - answer: {scam: "3.2*20 2.4*40", deception: "0*60"}    a scope, and runs of scores by feature (`runs.py`)
    - gap: 5                                                five positions that never came
    - fixture: incident.safetensors                         tokens that were recorded (`fixture.py`)

A feature that is not named is 0, one that ends early is 0 up to the longest; two entries of one scope in a row are one
answer, or message. It never learns what is expected of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.findings import InputError, hint_for, visible
from dosimeter.detectors.frames import SEGMENTS, Codes, Scope, ScoreFrame
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node
from dosimeter.rules.language.condition import MEANT
from dosimeter.rules.testing.fixture import read_fixture
from dosimeter.rules.testing.runs import MAX_TOKENS, RunError, read_runs

NAMES = {scope.name.lower(): scope for scope in Scope}
OTHERS = ("gap", "fixture")
Scopes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """codes int16 [T, F], columns as `features`; scopes uint8 [T]; positions int64 [T], ascending."""

    features: tuple[str, ...]
    codes: Codes
    scopes: Scopes
    positions: Positions

    def frame(self, key: int, columns: Sequence[str]) -> ScoreFrame:
        """All of it in one step, with these columns; what is not in it is 0."""
        codes = np.zeros((len(self.codes), len(columns)), np.int16)
        for at, name in enumerate(columns):
            if name in self.features:
                codes[:, at] = self.codes[:, self.features.index(name)]
        first = np.flatnonzero(self.new_scope | (np.diff(self.positions, prepend=-1) != 1))
        segments = np.zeros(len(first), SEGMENTS)
        segments["key"] = key
        segments["start"] = self.positions[first]
        segments["n"] = np.diff(first, append=len(self.scopes))
        segments["scope"] = self.scopes[first]
        return ScoreFrame(segments, codes, hook_ns=0, time_ns=0)

    def label(self, position: int, ended: bool) -> str:
        """`answer 16`: the 16th token of the request's answers; `end of answer`, of its second `end of answer 2`."""
        row = int(np.searchsorted(self.positions, position))
        mine = self.scopes[: row + 1] == self.scopes[row]
        scope = Scope(int(self.scopes[row])).name.lower()
        if not ended:
            return f"{scope} {int(mine.sum())}"
        stretch = int((mine & self.new_scope[: row + 1]).sum())
        return f"end of {scope}" if stretch == 1 else f"end of {scope} {stretch}"

    @cached_property
    def new_scope(self) -> npt.NDArray[np.bool_]:
        """bool [T]: the first token of an answer, of a message."""
        return np.asarray(np.diff(self.scopes.astype(np.int64), prepend=-1) != 0)


@dataclass(frozen=True)
class Piece:
    """One entry. gap: positions that never came before it."""

    codes: Codes
    scopes: Scopes
    gap: int = 0


def joined(features: tuple[str, ...], pieces: Sequence[Piece]) -> Stream:
    steps = [
        np.concatenate(([piece.gap + 1], np.ones(len(piece.scopes) - 1, np.int64)))
        for piece in pieces
        if len(piece.scopes)
    ]
    return Stream(
        features,
        np.concatenate([np.zeros((0, len(features)), np.int16), *(p.codes for p in pieces)]),
        np.concatenate([np.zeros(0, np.uint8), *(p.scopes for p in pieces)]),
        np.cumsum(np.concatenate([np.zeros(0, np.int64), *steps])) - 1,
    )


def read_stream(
    node: Node, features: tuple[str, ...], folder: Path, reader: Reader
) -> Stream | None:
    """The stream, or None after complaining. features: that the rule reads; folder: where fixtures are."""
    before = len(reader.findings)
    pieces: list[Piece] = []
    gap = tokens = 0
    for item in reader.items(node):
        found = _entry(item, features, folder, reader)
        if isinstance(found, int):
            gap += found
        elif found is not None and len(found.scopes):
            pieces.append(replace(found, gap=gap))
            gap, tokens = 0, tokens + len(found.scopes)
        if max(tokens, gap) > MAX_TOKENS:
            reader.error(
                item, "the stream becomes too long", f"at most {MAX_TOKENS} tokens", "stream"
            )
            return None
    if len(reader.findings) > before:
        return None
    if not pieces:
        hint = f'write what came, such as `- answer: {{{features[0]}: "0*30"}}`'
        reader.error(node, "a stream without a token", hint, "stream")
        return None
    return joined(features, pieces)


def _entry(
    node: Node, features: tuple[str, ...], folder: Path, reader: Reader
) -> Piece | int | None:
    """What came, or how many positions did not; None after complaining."""
    before = len(reader.findings)
    for key, entry in node.entries.items():
        if key.lower() in MEANT:
            reader.error(entry.place, f"`{key}` is no scope", MEANT[key.lower()], "scope")
            return None
    keys = reader.mapping(node, (*NAMES, *OTHERS))
    if len(reader.findings) > before:
        return None
    if len(keys) != 1:
        listed = ", ".join(f"`{key}`" for key in keys) or "nothing"
        hint = "one scope an entry, in the order in which they came: start the next one with `- `"
        reader.error(node, f"an entry of {listed}", hint, "stream")
        return None
    ((key, value),) = keys.items()
    if key == "gap":
        return reader.integer(value, 1, MAX_TOKENS)
    if key == "fixture":
        return _recorded(value, features, folder, reader)
    return _scored(value, NAMES[key], features, reader)


def _scored(node: Node, scope: Scope, features: tuple[str, ...], reader: Reader) -> Piece | None:
    if node.kind != "map" or not node.entries:
        form = f'{{{features[0]}: "3.2*20"}}'
        reader.expected(node, "runs of scores by feature", f"write `{form}`")
        return None
    before = len(reader.findings)
    found: dict[str, Codes] = {}
    for name, entry in node.entries.items():
        if name not in features:
            message = f"the rule does not read `{visible(name)[:80]}`"
            reader.error(entry.place, message, hint_for(name, features), "unknown-feature")
            continue
        runs = _runs(entry.value, reader)
        if runs is not None:
            found[name] = runs
    if len(reader.findings) > before:
        return None
    codes = np.zeros((max(map(len, found.values())), len(features)), np.int16)
    for name, runs in found.items():
        codes[: len(runs), features.index(name)] = runs
    return Piece(codes, np.full(len(codes), int(scope), np.uint8))


def _runs(node: Node, reader: Reader) -> Codes | None:
    numeric = node.kind in ("int", "float")
    text = node.written if numeric else reader.text(node, 100_000)
    if text is None:
        return None
    try:
        return read_runs(text)
    except RunError as error:
        reader.error(node.at(error.offset), visible(error.message), error.hint, "runs")
        return None


def _recorded(node: Node, features: tuple[str, ...], folder: Path, reader: Reader) -> Piece | None:
    name = reader.text(node)
    if name is None:
        return None
    if Path(name).is_absolute() or ".." in Path(name).parts:
        hint = "keep it beside the rule file, or in a folder there"
        reader.error(node, f"`{name[:80]}` lies elsewhere", hint, "fixture")
        return None
    try:
        return Piece(*read_fixture(folder / name, features))
    except InputError as error:
        for finding in error.findings:
            message = f"`{visible(name)[:80]}`: {finding.message}"
            reader.error(node, message, finding.hint, "fixture")
        return None


def written(stream: Stream) -> list[dict[str, dict[str, list[int]] | int]]:
    """The way back from `read_stream`: entries with codes in place of runs, without features that are 0 throughout."""
    found: list[dict[str, dict[str, list[int]] | int]] = []
    gaps = np.diff(stream.positions, prepend=-1) - 1
    part = np.cumsum(stream.new_scope | (gaps > 0))
    for _, rows in groupby(range(len(part)), key=lambda row: int(part[row])):
        at = list(rows)
        if gaps[at[0]]:
            found.append({"gap": int(gaps[at[0]])})
        codes = stream.codes[at]
        used = [i for i in range(len(stream.features)) if codes[:, i].any()] or [0]
        scope = Scope(int(stream.scopes[at[0]])).name.lower()
        found.append({scope: {stream.features[i]: codes[:, i].tolist() for i in used}})
    return found
