"""`Contrast`: opposite system prompts and the questions asked under both, from one file.

And the labels that a person gave to the replies, from another. What is done with either is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dosimeter.detectors.fields import NAME, Fields
from dosimeter.detectors.files import read_file
from dosimeter.detectors.findings import InputError, Place
from dosimeter.detectors.strict_yaml import load_file

MOST_PROMPTS, LEAST_QUESTIONS, MOST_QUESTIONS = 50, 4, 500
MAX_JUDGED_BYTES = 64 << 20
FOR, AGAINST, NEITHER = "for", "against", "neither"
"""Sides: under a prompt for the trait, under one against it, under none."""

Key = tuple[str, int, int, int]
"""(side, prompt, question, sample), each from 0."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """trait: becomes the feature's name · prompts for and against it · questions asked under each."""

    trait: str
    for_prompts: tuple[str, ...]
    against_prompts: tuple[str, ...]
    questions: tuple[str, ...]
    place: str

    def prompts(self, side: str) -> tuple[str, ...]:
        """System prompts of a side; the empty one for none."""
        return {FOR: self.for_prompts, AGAINST: self.against_prompts, NEITHER: ("",)}[side]


def load_contrast(path: Path) -> Contrast:
    """From `{trait, for: [..], against: [..], questions: [..]}`. Raises InputError."""
    fields = Fields(load_file(path))
    found = Contrast(
        fields.text("trait", pattern=NAME),
        fields.texts("for"),
        fields.texts("against"),
        fields.texts("questions"),
        str(path),
    )
    fields.done()
    for name, texts, least, most in (
        ("for", found.for_prompts, 1, MOST_PROMPTS),
        ("against", found.against_prompts, 1, MOST_PROMPTS),
        ("questions", found.questions, LEAST_QUESTIONS, MOST_QUESTIONS),
    ):
        place = fields.at(name)
        if not least <= len(texts) <= most:
            raise InputError.at(place, f"`{name}` has {len(texts)} members, {least} to {most}")
        if len({text.strip() for text in texts}) < len(texts):
            raise InputError.at(place, f"a member of `{name}` stands twice")
    if {text.strip() for text in found.for_prompts} & {t.strip() for t in found.against_prompts}:
        raise InputError.at(fields.at("against"), "a prompt stands under `for` and under `against`")
    return found


@dataclass(frozen=True, slots=True)
class Said:
    """One reply: what it answers, under which prompt, and whether it speaks for its side."""

    key: Key
    text: str
    kept: bool = True

    def as_json(self) -> dict[str, object]:
        side, prompt, question, sample = self.key
        return {"side": side, "prompt": prompt, "question": question, "sample": sample,
                "text": self.text, "label": None}  # fmt: skip


def load_judged(path: Path) -> dict[Key, tuple[str, bool]]:
    """(text, has the trait) by key: the file of replies, with `label` 0 or 1 filled in. Raises InputError."""
    found: dict[Key, tuple[str, bool]] = {}
    try:
        lines = read_file(path, MAX_JUDGED_BYTES, follow=True).decode().split("\n")
    except UnicodeDecodeError as error:
        raise InputError.at(path, f"is not UTF-8 (byte {error.start})") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = Place(str(path), number, 1)
        try:
            row = json.loads(line)
            key = (row["side"], row["prompt"], row["question"], row["sample"])
            text, label = row["text"], row["label"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError.at(place, "is no reply with a label",
                                "take the file that `--replies` wrote and fill in `label`") from None  # fmt: skip
        if type(label) is not int or label not in (0, 1):
            raise InputError.at(place, f"`label` is `{label!r:.40}`", "0 or 1: has it the trait")
        if not isinstance(text, str) or not all(isinstance(part, int | str) for part in key):
            raise InputError.at(place, "is no reply with a label")
        if key in found:
            raise InputError.at(place, "labels a reply for the second time")
        found[key] = (text, bool(label))
    return found


def judge(said: Said, judged: Mapping[Key, tuple[str, bool]]) -> Said:
    """Kept if its label is the one that its side is to show. Raises InputError where it was not labelled."""
    place = "reply {} to question {} under prompt {} of `{}`".format(*reversed(said.key))
    if said.key not in judged:
        raise InputError.at(place, "has no label", "label every reply that `--replies` wrote")
    text, label = judged[said.key]
    if text != said.text:
        raise InputError.at(
            place, "is not what was labelled: the model says something else now",
            "label the replies of this model, seed, temperature and length",
        )  # fmt: skip
    return Said(said.key, said.text, label == (said.key[0] == FOR))
