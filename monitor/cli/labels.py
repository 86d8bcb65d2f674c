"""`--labels CSV`: what people said of requests or alerts, a row each.

It owns the columns, the words for yes and no, and the complaints. It never learns what the first column names.
"""

from __future__ import annotations

import csv
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import TypeVar

from dosimeter.detectors.findings import InputError, Place, visible

K = TypeVar("K", bound=Hashable)

YES, NO = ("1", "yes", "true", "positive"), ("0", "no", "false", "negative")


def rows(path: Path, column: str) -> Iterator[tuple[Place, str, bool]]:
    """Place, name and label of each row, the name in lower case. Raises InputError."""
    head = f"a CSV file whose first line is `{column},label`"
    try:
        file = path.open(newline="", encoding="utf-8-sig", errors="replace")
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise InputError.at(path, f"labels cannot be read: {reason}", f"write {head}") from None
    with file:
        found = csv.DictReader(file)
        try:
            if not {column, "label"} <= set(found.fieldnames or ()):
                said = f"no columns `{column}` and `label`"
                raise InputError.at(Place(str(path), 1, 1), said, f"it is {head}")
            for row in found:
                place = Place(str(path), found.line_num, 1)
                label = (row["label"] or "").strip().lower()
                if label not in YES + NO:
                    said = f"`{visible(label)[:80]}` is no label"
                    raise InputError.at(place, said, "write `yes` or `no`")
                yield place, (row[column] or "").strip().lower(), label in YES
        except csv.Error as error:
            place = Place(str(path), found.line_num or 1, 1)
            raise InputError.at(place, f"no CSV: {error}", "is a quote not closed?") from None


def note(found: dict[K, bool], key: K, right: bool, place: Place, name: str) -> None:
    """One label more. Raises InputError where the same was labelled otherwise."""
    if found.setdefault(key, right) is not right:
        message = f"`{visible(name)[:80]}` is labelled yes and no"
        raise InputError.at(place, message, "keep one of them")
