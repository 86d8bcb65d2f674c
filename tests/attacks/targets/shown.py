"""Attacks the terminal: records, evidence and status whose every text is hostile.

The property: what is printed moves no cursor, sets no title, turns no direction, and is no wider than the
screen; with colour, the only escape codes are the screen's own.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import numpy as np

from dosimeter.detectors.findings import Finding, Place, render
from dosimeter.monitor.cli.alert_view import evidence_lines, record_lines
from dosimeter.monitor.cli.alerts import NARROW, WIDE, _row
from dosimeter.monitor.cli.screen import Screen, columns, table
from dosimeter.monitor.history.evidence import (
    Evidence,
    EvidenceError,
    decode_evidence,
    encode_evidence,
)
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.rules.canonical import canonical
from targets.rules import tame
from targets.source import Source

FIELDS = (
    "summary",
    "rule",
    "status",
    "severity",
    "decision",
    "owner",
    "feature",
    "scope",
    "level",
    "program_sha256",
)
OWN = re.compile(r"\x1b\[(?:0|1|48;5;\d{2,3}|38;5;16)m")


def attack(data: bytes) -> None:
    source = Source(data)
    if source.below(4) == 3:
        body = source.take(source.left)
        with contextlib.suppress(EvidenceError):
            decode_evidence(body)
        return
    screen = Screen(40 + source.below(160), bool(source.below(2)))
    feature = source.text()
    record: dict[str, Any] = {name: source.text() for name in FIELDS} | {"feature": feature}
    record |= {
        "time_ns": source.integer(),
        "model": {"name": source.text(), "digest": source.text()},
    }
    record["labels"] = {source.text(): source.text() for _ in range(source.below(4))}
    record |= {
        "start": source.below(9),
        "end": source.below(9),
        "value_sum": 700,
        "value_n": source.below(3),
    }
    core = canonical_or_none(record)
    if core is None:
        return  # a lone surrogate is no text that a record can hold
    alert = StoredAlert(1, f"{source.below(65536):032x}", core, True, 1)
    tokens = tuple(source.text() for _ in range(3))
    codes = np.array([[source.integer() % 65536 - 32768] for _ in range(3)], np.int16)
    kept = Evidence(source.below(9), (feature,), codes, tokens if source.below(2) else None)
    body = encode_evidence(kept)
    assert decode_evidence(body).columns == (feature,)
    lines = record_lines(alert, screen) + evidence_lines(
        alert.record, decode_evidence(body), screen
    )
    for names in (WIDE, NARROW):
        lines += table(names, [_row(alert, names)] * 2, screen.width, whole=2)
    for line in lines:
        bare = OWN.sub("", line) if screen.color else line
        assert tame(bare), repr(line)
        assert "\n" not in bare
    assert all(columns(OWN.sub("", line)) <= screen.width for line in record_lines(alert, screen))
    assert tame(render([Finding("x", "error", Place(source.text()), source.text(), source.text())]))


def canonical_or_none(record: dict[str, Any]) -> bytes | None:
    try:
        return canonical(record)
    except ValueError:
        return None
