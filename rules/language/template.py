"""Rules to begin from: files with names left open, which `fill` closes.

Owns the list of templates and their words in capitals. What a template becomes is a rule file like any other, tests
included; it never learns which features have packs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from dosimeter.detectors.findings import hint_for, visible
from dosimeter.detectors.frames import Scope

FOLDER = Path(__file__).parent / "templates"
OPEN = ("NAME", "FEATURE", "OTHER", "OF", "SCOPE", "NOUN", "OWNER", "UNTIL")
_WORD = re.compile(rf"\b({'|'.join(OPEN)})\b")


class TemplateError(ValueError):
    """No such template, or a name that it leaves open was not given."""


def templates() -> dict[str, str]:
    """By name the line that says what it is for."""
    found = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        found[path.stem] = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    return found


def source(name: str) -> str:
    """The template as it stands in its file. Raises TemplateError."""
    known = templates()
    if name not in known:
        raise TemplateError(f"no template `{visible(name)[:80]}`\n  hint: {hint_for(name, known)}")
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def left_open(text: str) -> list[str]:
    """The words that a template needs, in the order of OPEN."""
    found = set(_WORD.findall(text))
    return [word for word in OPEN if word in found]


def noun(scope: Scope) -> str:
    """What a level counts there."""
    return "messages" if scope is Scope.MESSAGE else "answers"


def fill(text: str, words: Mapping[str, str]) -> str:
    """The rule file. Raises TemplateError where a word is missing."""
    missing = [word for word in left_open(text) if word not in words]
    if missing:
        options = ", ".join(f"`--{word.lower()}`" for word in missing)
        raise TemplateError(f"this template needs {options}")
    return _WORD.sub(lambda match: words[match[1]], text)
