"""What reviewers said of one alert or sample, as the reader may see it: verdicts, and the notes behind them.

Owns in which order, and that it is kept from whoever is to judge first. It writes no label.
"""

from __future__ import annotations

import json

from dosimeter.monitor.answers.asking import Asked
from dosimeter.monitor.answers.blind import is_blind
from dosimeter.monitor.answers.queue import reviewer
from dosimeter.monitor.audit.evidence.evidence_body import decode_body
from dosimeter.monitor.audit.store.box import CannotOpen
from dosimeter.monitor.history.evidence import EvidenceError
from dosimeter.monitor.pages import shown_alerts
from dosimeter.monitor.pages.source import Reader

UNSTATED = "unstated"
"""The reason code of a label without one."""


def labels_of(
    asked: Asked, reader: Reader, alert_id: str | None, request: str | None
) -> tuple[tuple[shown_alerts.LabelEntry, ...], bool]:
    """In order of time, or none and True where they are kept from the reader; notes are shown with the evidence."""
    if alert_id is not None:
        rows = asked.rows("labels_of", about=alert_id)
    else:
        rows = [
            row
            for row in asked.rows("sample_labels")
            if json.loads(row["more"] or "{}").get("request") == request
        ]
    if is_blind(asked, reader, [row["actor"] for row in rows]):
        return (), True
    each = (
        shown_alerts.LabelEntry(
            row["time_ns"],
            reviewer(asked, row["actor"]),
            row["verdict"],
            json.loads(row["more"] or "{}").get("reason_code", "").replace(UNSTATED, ""),
        )
        for row in rows
    )
    return tuple(each), False


def notes_of(asked: Asked, reader: Reader, alert_id: str) -> tuple[shown_alerts.LabelEntry, ...]:
    """What reviewers wrote, as far as it was not erased."""
    found: list[shown_alerts.LabelEntry] = []
    rows = asked.rows("labels_of", about=alert_id)
    if is_blind(asked, reader, [row["actor"] for row in rows]):
        return ()
    for row in rows:
        with asked.alone() as history:
            try:
                plain = history.plaintext(history.whole(row))
                if isinstance(plain, str):
                    continue
                note = decode_body(plain).summary
            except (CannotOpen, EvidenceError):
                continue
        who = reviewer(asked, row["actor"])
        found.append(shown_alerts.LabelEntry(row["time_ns"], who, row["verdict"], "", note))
    return tuple(found)
