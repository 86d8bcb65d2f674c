"""Labelled texts on disk: rows of JSON Lines, the sets of a folder, and what makes them unfit to learn from.

Owns the row format (`text` or `messages`, `label`), the directory convention (`<feature>_<set>.jsonl`,
`benign_<set>.jsonl`) and the checks that come before any fit. Files are strangers': sizes are capped, every
complaint names file and line. It never learns how a text becomes activations.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dosimeter.detectors.files import read_file
from dosimeter.detectors.findings import Finding, InputError, Place

MAX_FILE_BYTES = 256 << 20
MAX_ROWS = 200_000
MAX_CHARACTERS = 200_000
ROLES = ("system", "developer", "user", "assistant", "tool")
BENIGN = "benign"
FIT, CALIBRATE = "fit", "calibrate"
"""Sets with a purpose by their name; every other set is only ever measured on."""

Message = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Example:
    """One row. Exactly one of `text` and `messages` is there.

    label   has the feature; None: nobody has said
    group   rows of one source (a pair, a prompt, an entity): never on both sides of a split
    kind    what sort of row it is, for slices and routes: `advice`, `call`, `language:es` …; empty: no sort
    """

    label: bool | None
    group: str
    text: str | None = None
    messages: tuple[Message, ...] = ()
    kind: str = ""
    place: Place = field(default=Place(""), compare=False)

    @property
    def words(self) -> str:
        """What a reader of text sees that may carry the feature: the text, or the last message."""
        return self.text if self.text is not None else self.messages[-1]["content"]

    @property
    def read(self) -> str:
        """All that a model has read by the end of the row."""
        return (
            self.text if self.text is not None else "\n".join(m["content"] for m in self.messages)
        )

    @property
    def identity(self) -> str:
        """Equal for rows that say the same: case, width, spacing and invisible characters aside.

        Letters of another script are other letters, however alike they look.
        """
        told = [self.text or "", *(m["content"] for m in self.messages)]
        return "\n".join(_said(text) for text in told)


def load_examples(path: Path) -> list[Example]:
    """Every row of a JSON Lines file. Raises InputError with each row that is wrong (the first 20)."""
    raw = read_file(path, MAX_FILE_BYTES, follow=True)
    ends = raw.count(b"\n")  # before there is an object a line
    if ends > MAX_ROWS:
        raise InputError.at(path, f"{ends} rows, at most {MAX_ROWS} are read")
    try:
        lines = raw.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError.at(path, f"is not UTF-8 (byte {error.start})") from None
    found: list[Example] = []
    wrong: list[Finding] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.extend(_rows(line, Place(str(path), number, 1)))
        except InputError as error:
            wrong += error.findings
        if len(wrong) >= 20:
            break
    if wrong:
        raise InputError(wrong)
    if not found:
        raise InputError.at(path, "holds no row")
    return found


def sets_of(folder: Path, feature: str, known: Iterable[str] = ()) -> dict[str, list[Example]]:
    """`<feature>_<set>.jsonl` of a folder by set, and `benign_<set>.jsonl` as `benign_<set>`.

    known: features, so that a file of `scam_warning` is none of `scam`. Rows of a benign set count as
    `label: 0` when they have none. Raises InputError if there is neither.
    """
    longer = tuple(f"{name}_" for name in known if name.startswith(f"{feature}_"))
    if not folder.is_dir():
        raise InputError.at(folder, "is not a folder", "give the folder that holds the sets")
    found: dict[str, list[Example]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for name in (feature, BENIGN):
            if path.name.startswith(f"{name}_") and not path.name.startswith(longer):
                key = path.stem.removeprefix(f"{feature}_") if name == feature else path.stem
                if key in found:
                    raise InputError.at(path, f"is a second set `{key}`", "rename one of the two")
                found[key] = load_examples(path)
    for key, rows in found.items():
        if key.startswith(f"{BENIGN}_") and (bad := [r for r in rows if r.label]):
            raise InputError.at(bad[0].place, f"a row of `{key}` is labelled 1")
    if not found:
        raise InputError.at(
            folder,
            f"holds neither `{feature}_<set>.jsonl` nor `benign_<set>.jsonl`",
            "rows are `{text | messages, label}`, one a line",
        )
    return found


def check_fit(rows: Sequence[Example], least: int = 20) -> list[Finding]:
    """What makes rows unfit to learn from: too few, one class, a text under both labels, twins."""
    place = Place(rows[0].place.name) if rows else Place("data")
    findings: list[Finding] = []

    def say(code: str, message: str, hint: str, at: Place = place, error: bool = True) -> None:
        findings.append(Finding(code, "error" if error else "warning", at, message, hint))

    labels = Counter(row.label for row in rows)
    if labels[None]:
        say("label", f"{labels[None]} rows have no label", "give `label` 0 or 1")
    for label, what in ((True, "with the feature"), (False, "without it")):
        groups = {row.group for row in rows if row.label is label}
        if not groups:
            say("one-class", f"no row {what}", "a fit needs rows of both classes")
        elif len(groups) < least:
            hint = f"write {least - len(groups)} more; from about 40, variety counts and not number"
            say("few", f"{len(groups)} groups {what}, at least {least} are needed", hint)
    ends = {
        label: {
            row.messages[-1]["role"] if row.messages else "text"
            for row in rows
            if row.label is label
        }
        for label in (True, False)
    }
    if ends[True] and ends[False] and ends[True] != ends[False]:
        shown = " against ".join(", ".join(sorted(ends[label])) for label in (True, False))
        say("roles", f"risky rows end otherwise than the others: {shown}",
            "end both with the same role, else the place in the template gives the label away")  # fmt: skip
    by_text: dict[str, list[Example]] = defaultdict(list)
    for row in rows:
        by_text[row.identity].append(row)
    twins = [same for same in by_text.values() if len(same) > 1]
    both = [same for same in twins if len({row.label for row in same}) > 1]
    if both:
        hint = "one of the two labels is wrong"
        say("both-labels", f"{len(both)} texts stand under both labels", hint, both[0][1].place)
    spare = sum(len(same) - 1 for same in twins)
    if spare and not both:
        hard = spare > len(rows) // 10
        say("duplicate", f"{spare} of {len(rows)} rows repeat another", "remove them",
            twins[0][1].place, hard)  # fmt: skip
    return findings


def leaks(fit: Iterable[Example], held_out: Sequence[Example]) -> list[Example]:
    """Rows of `held_out` that say what a row of `fit` says: measured on them, a figure is a memory."""
    known = {row.identity for row in fit}
    return [row for row in held_out if row.identity in known]


def _rows(line: str, place: Place) -> list[Example]:
    """One example, or the two of a pair (`risky` and `benign`, text or `…_messages`)."""
    try:
        row = json.loads(line, object_pairs_hook=partial(_once, place))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError.at(place, f"is not JSON ({error!s:.80})") from None
    if not isinstance(row, dict):
        raise InputError.at(place, "is not a JSON object", "write `{text | messages, label}`")
    group = _name(row, ("group", "pair", "id"), place)[:200] or f"row-{place.line}"
    kind = _name(row, ("kind", "route", "format", "type"), place)[:100]
    if "risky" in row or "risky_messages" in row:
        return [
            Example(label, group, *_content(row, side, place), kind=kind, place=place)
            for label, side in ((True, "risky"), (False, "benign"))
        ]
    text, messages = _content(row, "", place)
    return [Example(_label(row, place), group, text, messages, kind=kind, place=place)]


def _once(place: Place, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values under one key readers take different ones: what was reviewed is not what is learned."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InputError.at(place, "names something twice")
    return found


def _name(row: Mapping[str, Any], keys: Sequence[str], place: Place) -> str:
    """The first of the keys that says something; empty where none does."""
    for key in keys:
        value = row.get(key)
        if value is None or value == "":
            continue
        if type(value) not in (str, int):
            raise InputError.at(place, f"`{key}` is neither text nor a number")
        return _text(str(value), key, place)
    return ""


def _label(row: Mapping[str, Any], place: Place) -> bool | None:
    value = row.get("label")
    if value is None or (type(value) in (int, bool) and value in (0, 1)):
        return None if value is None else bool(value)
    raise InputError.at(place, f"`label` is `{value!r:.40}`", "0, 1, or no `label` at all")


def _content(
    row: Mapping[str, Any], side: str, place: Place
) -> tuple[str | None, tuple[Message, ...]]:
    text_key, messages_key = side or "text", f"{side}_messages".lstrip("_")
    text, messages = row.get(text_key), row.get(messages_key)
    if (text is None) == (messages is None):
        raise InputError.at(place, f"needs one of `{text_key}` and `{messages_key}`")
    if text is not None:
        return _text(text, text_key, place), ()
    if not isinstance(messages, list) or not messages:
        raise InputError.at(place, f"`{messages_key}` is not a list of messages")
    return None, tuple(_message(m, messages_key, place) for m in messages)


def _message(message: Any, key: str, place: Place) -> Message:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        hint = f"`{{role, content}}`, role one of {', '.join(ROLES)}"
        raise InputError.at(place, f"a member of `{key}` is no message", hint)
    content = message.get("content")
    return {"role": message["role"], "content": _text(content, "content", place)}


def _text(value: Any, key: str, place: Place) -> str:
    if not isinstance(value, str):
        raise InputError.at(place, f"`{key}` is not text")
    if not value.strip():
        raise InputError.at(place, f"`{key}` is empty")
    if len(value) > MAX_CHARACTERS:
        raise InputError.at(
            place, f"`{key}` has {len(value)} characters, at most {MAX_CHARACTERS} are read"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError.at(place, f"`{key}` holds half a surrogate pair") from None
    return value


def _said(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    invisible = {ord(c): None for c in set(folded) if unicodedata.category(c) == "Cf"}
    return " ".join((folded.translate(invisible) if invisible else folded).split())
