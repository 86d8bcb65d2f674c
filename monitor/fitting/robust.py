"""The same texts in other clothes: letter case, typing errors, shorter, longer, without marks.

What a person would still read alike. Every change is made by rule from a seed, so a figure can be made again.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import replace

from dosimeter.detectors.examples import Example

Change = Callable[[str, random.Random], str]


def typos(text: str, r: random.Random, share: float = 0.06) -> str:
    """Neighbouring letters swapped, letters lost or doubled, in about one of sixteen places."""
    out: list[str] = []
    i = 0
    while i < len(text):
        if text[i].isalpha() and r.random() < share:
            kind = r.randrange(3)
            if kind == 0 and i + 1 < len(text):
                out += [text[i + 1], text[i]]
                i += 1
            elif kind == 1:
                out += [text[i], text[i]]
        else:
            out.append(text[i])
        i += 1
    return "".join(out)


def shortened(text: str, r: random.Random) -> str:
    """The first two thirds, to the end of a word."""
    words = text.split(" ")
    return " ".join(words[: max(3, 2 * len(words) // 3)])


def padded(text: str, r: random.Random) -> str:
    """Said once more after itself, as a resent message is."""
    return f"{text}\n\n{text}"


CHANGES: dict[str, Change] = {
    "capitals": lambda text, r: text.upper(),
    "lower case": lambda text, r: text.lower(),
    "typos": typos,
    "no marks": lambda text, r: text.translate(str.maketrans("", "", string.punctuation)),
    "shorter": shortened,
    "twice": padded,
    "one line": lambda text, r: re.sub(r"\s+", " ", text),
}


def variants(rows: Sequence[Example], seed: int = 0) -> dict[str, list[Example]]:
    """Every row changed in each way, by the way's name; of a conversation the last message."""
    found = {}
    for name, change in CHANGES.items():
        r = random.Random(seed)
        found[name] = [_changed(row, change, r) for row in rows]
    return found


def _changed(row: Example, change: Change, r: random.Random) -> Example:
    text = change(row.words, r)
    if not text.strip():
        return row
    if row.text is not None:
        return replace(row, text=text)
    return replace(row, messages=(*row.messages[:-1], {**row.messages[-1], "content": text}))
