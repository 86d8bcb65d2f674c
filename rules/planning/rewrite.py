"""Other levels in a rule file, and nothing else of it changed: comments, order and quotes stay as they are.

Owns the edit of a text at the places where levels stand. What comes out is read again and has to say what was meant, so
that an edit that hit something else is an error and never a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from dosimeter.detectors.findings import InputError, Place
from dosimeter.detectors.levels import Level
from dosimeter.rules.language.schema import Rule, parse_rules

Edit = tuple[Place, Level, Level]
"""Where a level stands, what it says there, and what it is to say."""

_LEVEL = re.compile(
    r"(?P<quote>[\"']?)(?P<level>1 +in +[0-9,]+ +[a-z]+|[0-9]+ +(?:a|per) +day|z +[-+]?[0-9.]+)(?P=quote)"
)
_BOM = "\ufeff"


def rewritten(text: str, name: str, edits: Iterable[Edit], meant: Mapping[str, Rule]) -> str:
    """The text with these levels in it. meant: the rules that changed, as they have to read now. Raises InputError."""
    mark = _BOM if text.startswith(_BOM) else ""
    lines = text.removeprefix(_BOM).splitlines(keepends=True)
    # From behind, so that a change of length moves no place that is still to come.
    for place, before, after in sorted(set(edits), key=lambda e: e[0], reverse=True):
        line = lines[place.line - 1]
        found = _LEVEL.match(line, place.column - 1)
        if found is None or " ".join(found["level"].split()) != before.text:
            hint = "write it on one line, without line breaks or escapes"
            raise InputError.at(place, f"`{before.text}` cannot be found to change it", hint)
        start, end = found.span("level")
        lines[place.line - 1] = line[:start] + after.text + line[end:]
    changed = mark + "".join(lines)
    for rule in parse_rules(changed, name).rules:
        if rule.id in meant and rule.as_json() != meant[rule.id].as_json():
            message = f"rule `{rule.id}` would not read as planned"
            raise InputError.at(rule.place, message, "change its levels by hand")
    return changed
