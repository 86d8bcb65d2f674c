"""What an auditor takes away: alerts in three forms with their proofs, or one alert with all that belongs to it.

Owns what is in such a zip; its form is `bundle.py`, the words that go with it are `readme.py`. It asks for nothing:
whoever calls has asked for access, and that entry is named in the manifest.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Any

from dosimeter.monitor.audit.evidence.evidence_body import Body, decode_body
from dosimeter.monitor.audit.exports import tables
from dosimeter.monitor.audit.exports.bundle import Bundle
from dosimeter.monitor.audit.exports.readme import alerts_readme, incident_readme
from dosimeter.monitor.audit.history import Found, History
from dosimeter.monitor.audit.queries.asking import Answer, Question, table_of
from dosimeter.monitor.audit.store.box import CannotOpen
from dosimeter.monitor.audit.store.columns import NAMES, row_of
from dosimeter.monitor.history.evidence import EvidenceError
from dosimeter.monitor.tlog.note import Signer
from dosimeter.monitor.tlog.reader import LogReader

PATIENCE_S, LOOK_S = 75.0, 0.5
"""A running history signs at the latest every minute."""
TRAIL = ("view", "export", "hold", "release", "erase")
Progress = Callable[[int, int], None]


class NotSigned(RuntimeError):
    """The newest entries are in no checkpoint yet, so nothing proves them; says what to do."""


class StoreDiffers(RuntimeError):
    """The store does not say what the log has signed, so nothing is exported from it."""

    def __init__(self, idx: int, what: str) -> None:
        self.idx = idx
        super().__init__(
            f"entry {idx}: the store is not as the log says: {what}\n"
            "  hint: `dosimeter audit verify` names everything that was changed"
        )


@dataclass(frozen=True, slots=True)
class Exported:
    records: int
    alerts: int
    evidence: int
    size: int  # of the log that they are proven in


@dataclass(frozen=True, slots=True)
class By:
    """Who exports, and the entry that says so. zone: of the times in words."""

    name: str
    role: str
    reason: str | None
    entry: str
    zone: tzinfo
    zone_name: str


def export_alerts(
    history: History,
    asked: Question,
    answer: Answer,
    path: Path,
    by: By,
    *,
    evidence: bool = False,
    wait: Callable[[float], None] = time.sleep,
    progress: Progress = lambda done, of: None,
) -> Exported:
    """path: a new file. Raises NotSigned, StoreDiffers, LogUnreadable, NoteError, OSError, CannotOpen."""
    ids = [row["id"] for row in answer.rows]
    about = history.about(ids)
    seen = history.seen(asked.within.from_ns, asked.within.to_ns)
    indices = sorted({*about, *(int(row["idx"]) for row in (*answer.rows, *seen))})
    log = _signed(history, max(indices, default=-1) + 1, wait)
    _as_proven(history, log, answer.rows)
    bundle = Bundle(path)
    try:
        columns, rows = table_of(answer.rows, asked.within.zone)
        _tables(bundle, columns, rows)
        _jsonl(bundle, "about.jsonl", history, about)
        _jsonl(bundle, "coverage.jsonl", history, [int(row["idx"]) for row in seen])
        blobs = _blobs(bundle, history, answer.rows)
        opened = _evidence(bundle, history, answer.rows, progress) if evidence else 0
        records = bundle.add_log(log, _vkey(history), _leaves(history, log, indices, progress))
        bundle.add("README.txt", alerts_readme(asked, answer, by.zone, opened, blobs))
        bundle.close(
            Signer.load(history.folder.signing_key),
            log.checkpoint.origin,
            _about(by, asked.what, records, answer, evidence=evidence),
        )
    except BaseException:
        bundle.abandon()
        raise
    return Exported(records, len(answer.rows), opened, log.size)


def export_incident(
    history: History,
    found: Found,
    path: Path,
    by: By,
    *,
    reproduced: Mapping[str, Any],
    calibrations: Sequence[Path] = (),
    wait: Callable[[float], None] = time.sleep,
) -> Exported:
    """One alert. reproduced: what came of deciding it again. calibrations: folders to go with it."""
    id_ = str(found.entry["id"])
    about = history.about([id_])
    trail = [idx for idx in about if json.loads(history.leaf(idx))["kind"] in TRAIL]
    indices = sorted({found.idx, *about})
    log = _signed(history, indices[-1] + 1, wait)
    bundle = Bundle(path)
    try:
        bundle.add_json("record.json", found.record)
        for sha, body in sorted(found.blobs.items()):
            bundle.add(f"blobs/{sha}.json", body)
        _jsonl(bundle, "about.jsonl", history, about)
        _jsonl(bundle, "access.jsonl", history, trail)
        scores = _opened(history, found)
        bundle.add_json("evidence.json", scores)
        bundle.add_json("reproduced.json", reproduced)
        for name, file in _files_of(calibrations):
            bundle.add_file(f"calibration/{name}", file)
        records = bundle.add_log(log, _vkey(history), _leaves(history, log, indices))
        bundle.add("README.txt", incident_readme(id_, by.zone))
        bundle.close(
            Signer.load(history.folder.signing_key),
            log.checkpoint.origin,
            {
                **_common(by, records),
                "filter": {"id": id_},
                "coverage": {},
                "redacted": [] if "none" not in scores else [str(scores["none"])],
            },
        )
    except BaseException:
        bundle.abandon()
        raise
    return Exported(records, 1, int("none" not in scores), log.size)


def _signed(history: History, size: int, wait: Callable[[float], None]) -> LogReader:
    """The log as of a checkpoint over at least `size` entries. Raises NotSigned."""
    history.settle()
    log = LogReader(history.folder.log)
    waited = 0.0
    while log.size < size:
        if waited >= PATIENCE_S:
            raise NotSigned(
                f"{history.folder.log}: {size - log.size:,} of the entries are in no checkpoint yet\n"
                "  hint: is `dosimeter history` running? it signs every minute; try again then"
            )
        wait(LOOK_S)
        waited += LOOK_S
        log.refresh()
    return log


def _as_proven(history: History, log: LogReader, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows come out of the store, proofs out of the log: an export must not show the one and prove the other."""
    for row in rows:
        leaf = json.loads(log.leaf(int(row["idx"])))
        body = history.hot.blob(leaf["terms"]) if "terms" in leaf else b"{}"
        if body is None:
            raise StoreDiffers(int(row["idx"]), "the rule's terms are not in the store")
        said = (v.hex() if isinstance(v, bytes) else v for v in row_of(leaf, json.loads(body)))
        for name, value in zip(NAMES, said, strict=True):
            if row[name] != value and name != "verdict":  # of the reviewers, beside an alert
                raise StoreDiffers(
                    int(row["idx"]), f"`{name}` is `{row[name]}`, `{value}` in the log"
                )


def _tables(bundle: Bundle, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    kinds = tables.kinds_of(columns, rows)
    with bundle.text("alerts.csv") as file:
        tables.write_csv(columns, rows, file)
    with bundle.text("alerts.jsonl") as file:
        tables.write_jsonl(columns, rows, file)
    with tempfile.TemporaryDirectory(prefix="dosimeter-export-") as folder:
        parquet = Path(folder) / "alerts.parquet"
        tables.write_parquet(columns, rows, kinds, parquet)
        bundle.add_file("alerts.parquet", parquet)
    bundle.add_json("columns.json", [{"name": n, "type": kinds[n]} for n in columns])


def _jsonl(bundle: Bundle, name: str, history: History, indices: Iterable[int]) -> None:
    """The entries themselves, in the order of the log."""
    with bundle.text(name) as file:
        for idx in sorted(set(indices)):
            leaf = json.loads(history.leaf(idx))
            file.write(tables.json_line({"idx": idx, **leaf}) + "\n")


def _blobs(bundle: Bundle, history: History, rows: Iterable[Mapping[str, Any]]) -> int:
    """Terms, rules and programs that the alerts name, each once."""
    wanted = {row["terms"] for row in rows if row["terms"]}
    for sha in list(wanted):
        terms = json.loads(history.hot.blob(sha) or b"{}")
        wanted |= {terms[n] for n in ("rule_sha256", "program_sha256") if terms.get(n)}
    there = [(sha, body) for sha in sorted(wanted) if (body := history.hot.blob(sha)) is not None]
    for sha, body in there:
        bundle.add(f"blobs/{sha}.json", body)
    return len(there)


def _evidence(
    bundle: Bundle, history: History, rows: Sequence[Mapping[str, Any]], progress: Progress
) -> int:
    """How many were opened."""
    opened = 0
    with bundle.text("evidence.jsonl") as file:
        for n, row in enumerate(rows, 1):
            found = _opened(history, history.whole(row))
            opened += "none" not in found
            file.write(tables.json_line({"id": row["id"], **found}) + "\n")
            progress(n, len(rows))
    return opened


def _files_of(folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Each under its folder's name, as `verify.py` takes names, and under no name twice."""
    taken: set[str] = set()
    for n, folder in enumerate(folders):
        for file in sorted(one for one in folder.iterdir() if one.is_file()):
            parts = (folder.resolve().name, file.name)
            name = "/".join(re.sub(r"[^\w.-]|\.$", "_", part, flags=re.ASCII) for part in parts)
            while name in taken:
                name = f"{n}-{name}"
            taken.add(name)
            yield name, file


def _opened(history: History, found: Found) -> dict[str, Any]:
    try:
        plain = history.plaintext(found)
        return {"none": plain} if isinstance(plain, str) else shown_body(decode_body(plain))
    except (
        CannotOpen,
        EvidenceError,
    ) as error:  # a finding of its own; the rest is still worth having
        return {"none": f"cannot be opened: {error}"}


def shown_body(body: Body) -> dict[str, Any]:
    """Evidence as plain data."""
    return {
        "labels": dict(body.labels),
        "summary": body.summary,
        "coverage": body.coverage,
        "first": body.first,
        "columns": list(body.columns),
        "codes": body.codes.tolist(),
        "at": body.at,
        "vector": {name: int(code) for name, code in body.vector.items()},
        "tokens": None if body.tokens is None else list(body.tokens),
    }


def _leaves(
    history: History,
    log: LogReader,
    indices: Sequence[int],
    progress: Progress = lambda done, of: None,
) -> Iterator[tuple[int, bytes]]:
    for n, index in enumerate(indices, 1):
        yield index, log.leaf(index)
        progress(n, len(indices))


def _vkey(history: History) -> str:
    return Signer.load(history.folder.signing_key).verifier.vkey


def _common(by: By, records: int) -> dict[str, Any]:
    return {
        "made_ns": time.time_ns(),
        "timezone": by.zone_name,
        "by": {"name": by.name, "role": by.role, "reason": by.reason, "entry": by.entry},
        "records": records,
    }


def _about(
    by: By, what: Mapping[str, Any], records: int, answer: Answer, *, evidence: bool
) -> dict[str, Any]:
    return {
        **_common(by, records),
        "filter": dict(what),
        "alerts": answer.total,
        "coverage": answer.watched.as_json(),
        "redacted": [] if evidence else ["labels, summaries and scores: encrypted, not exported"],
    }
