"""What an auditor takes away: three forms of the same rows, proofs that hold, and what they do not show in words."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dosimeter.monitor.audit.exports import exporting, tables
from dosimeter.monitor.audit.exports.exporting import (
    By,
    NotSigned,
    StoreDiffers,
    export_alerts,
    export_incident,
)
from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.people.access import Actor
from dosimeter.monitor.audit.people.labels import About, label
from dosimeter.monitor.audit.queries.asking import ask, question
from dosimeter.monitor.audit.queries.times import range_of
from dosimeter.monitor.tlog import standalone
from dosimeter.monitor.tlog.note import Signer
from dosimeter.monitor.tlog.writer import LogWriter
from tests.monitor.audit.audit_scene import T0
from tests.monitor.audit.whole_scene import RULE, Whole, whole

AUDITOR = Actor("aldo", "auditor")
MARCH = range_of("2026-03-01", "2026-03-01T03:00", "Europe/Berlin", T0)


@pytest.fixture
def scene(tmp_path: Path) -> Whole:
    return whole(tmp_path / "data")


@pytest.fixture
def history(scene: Whole) -> Iterator[History]:
    with History.open(scene.folder.root) as found:
        yield found


def by(entry: str, reason: str | None = None) -> By:
    return By("aldo", "auditor", reason, entry, MARCH.zone, "Europe/Berlin")


def exported(
    history: History, path: Path, *, evidence: bool = False, **filters: str
) -> dict[str, bytes]:
    one = question(history, filters, MARCH, AUDITOR)
    answer = ask(history, one, AUDITOR, limit=None, kind="export", reason="ticket 1", text=evidence)
    export_alerts(history, one, answer, path, by(answer.entry), evidence=evidence)
    with zipfile.ZipFile(path) as found:
        return {name: found.read(name) for name in found.namelist()}


def test_csv_json_and_parquet_hold_equal_rows(history: History, tmp_path: Path) -> None:
    files = exported(history, tmp_path / "x.zip")
    kinds = {one["name"]: one["type"] for one in json.loads(files["columns.json"])}
    columns, rows = tables.read_csv(io.StringIO(files["alerts.csv"].decode(), newline=""), kinds)
    assert len(rows) == 11
    jsonl = tables.read_jsonl(io.StringIO(files["alerts.jsonl"].decode()))
    assert [tuple(one[c] for c in columns) for one in jsonl] == rows
    (tmp_path / "a.parquet").write_bytes(files["alerts.parquet"])
    parquet = pq.read_table(tmp_path / "a.parquet")
    assert parquet.column_names == columns
    assert list(zip(*(parquet[c].to_pylist() for c in columns), strict=True)) == rows


def test_every_row_label_and_hour_is_proven_by_the_verifier_in_it(
    scene: Whole, history: History, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label(
        history.appender, About(scene.ids()[0]), "true",
        actor=Actor("rita", "reviewer"), reason_code="seen", now_ns=T0,
    )  # fmt: skip
    files = exported(history, tmp_path / "x.zip")
    vkey = (scene.folder.log / "key").read_text()
    assert standalone.main([str(tmp_path / "x.zip"), "--vkey", vkey]) == 0
    # 11 alerts, the label, 3 hours of coverage, a birth and a gap
    assert "all 17 records are entries of the log" in capsys.readouterr().out
    proven = {json.loads(line)["index"] for line in files["proofs.jsonl"].splitlines()}
    shown = [
        json.loads(line)["idx"]
        for name in ("alerts.jsonl", "about.jsonl", "coverage.jsonl")
        for line in files[name].splitlines()
    ]
    assert set(shown) == proven
    assert b'"verdict":"true"' in files["about.jsonl"]
    terms = {json.loads(line)["terms"] for line in files["alerts.jsonl"].splitlines()}
    assert {f"blobs/{sha}.json" for sha in terms} <= set(files)
    assert RULE in files.values()


@pytest.mark.parametrize("change", ["decision = 'silenced'", "severity = 'low'", "value_sum = 1"])
def test_a_store_that_was_changed_is_not_exported_beside_proofs_of_something_else(
    history: History, tmp_path: Path, change: str
) -> None:
    """2026-11-30: such an export verified, and showed what nobody had signed."""
    history.hot.db.execute("DROP TRIGGER entry_is_immutable")
    history.hot.db.execute(f"UPDATE entry SET {change} WHERE idx = 3")
    with pytest.raises(StoreDiffers, match=f"entry 3.*{change.split()[0]}"):
        exported(history, tmp_path / "x.zip")
    assert not list(tmp_path.glob("*.zip"))


def test_without_evidence_nothing_personal_is_in_it(history: History, tmp_path: Path) -> None:
    files = exported(history, tmp_path / "x.zip")
    assert "evidence.jsonl" not in files
    assert not any(word in data for data in files.values() for word in (b"user-", b"chat-"))
    assert json.loads(files["manifest.json"])["redacted"]


def test_with_evidence_it_is_decrypted_or_says_why_not(
    scene: Whole, history: History, tmp_path: Path
) -> None:
    gone = history.alert(scene.ids()[0]).entry["subject"]
    history.keys.destroy(bytes.fromhex(gone))
    files = exported(history, tmp_path / "x.zip", evidence=True)
    found: list[dict[str, Any]] = [json.loads(line) for line in files["evidence.jsonl"].splitlines()]  # fmt: skip
    assert [one.get("labels", {}).get("user") for one in found] == [
        *(f"user-{n}" for n in (11, 10, 9, 8, 7, 6, 5, 3, 2, 1)), None,
    ]  # fmt: skip
    assert found[-1]["none"] == "gone: the key of its subject was destroyed"
    assert b"handle it as personal data" in files["README.txt"]


def test_the_manifest_says_who_asked_what_when_and_how_much_was_seen(
    history: History, tmp_path: Path
) -> None:
    files = exported(history, tmp_path / "x.zip", tenant="tenant-1")
    manifest = json.loads(files["manifest.json"])
    assert manifest["by"]["name"] == "aldo"
    assert manifest["timezone"] == "Europe/Berlin"
    assert manifest["filter"]["from_ns"] == MARCH.from_ns
    assert manifest["coverage"]["served"] == 2000
    assert manifest["by"]["entry"] in {row["id"] for row in history.rows("access")}
    assert b"the filter left nothing out" in files["README.txt"]


def test_an_export_of_nothing_verifies_too(history: History, tmp_path: Path) -> None:
    files = exported(history, tmp_path / "x.zip", severity="low")
    assert files["alerts.jsonl"] == b""
    assert standalone.main([str(tmp_path / "x.zip")]) == 0


def test_what_is_in_no_checkpoint_yet_is_waited_for_and_then_refused(
    scene: Whole, history: History, tmp_path: Path
) -> None:
    id_ = scene.ids()[0]
    waits: list[float] = []
    with LogWriter(scene.folder.log, Signer.load(scene.folder.signing_key)):  # history runs
        label(
            history.appender, About(id_), "true",
            actor=Actor("rita", "reviewer"), reason_code="seen", now_ns=T0,
        )  # fmt: skip
        with pytest.raises(NotSigned, match=r"1 of the entries are in no checkpoint yet\n  hint"):
            export_incident(
                history, history.alert(id_), tmp_path / "x.zip", by("e"),
                reproduced={}, wait=waits.append,
            )  # fmt: skip
    assert sum(waits) == exporting.PATIENCE_S


def test_an_incident_holds_the_alert_with_all_that_belongs_to_it(
    scene: Whole, history: History, tmp_path: Path
) -> None:
    found = history.alert(scene.ids()[1])
    history.evidence(found, AUDITOR, "ticket 2")
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "card.yaml").write_text("v: 1\n")
    export_incident(
        history, found, tmp_path / "x.zip", by("e", "INC-1"),
        reproduced={"status": "same"}, calibrations=[tmp_path / "lab"],
    )  # fmt: skip
    with zipfile.ZipFile(tmp_path / "x.zip") as made:
        files = {name: made.read(name) for name in made.namelist()}
    assert json.loads(files["record.json"]) == json.loads(json.dumps(found.record))
    assert json.loads(files["evidence.json"])["labels"]["user"] == "user-1"
    assert json.loads(files["access.jsonl"])["reason"] == "ticket 2"
    assert json.loads(files["reproduced.json"]) == {"status": "same"}
    assert files["calibration/lab/card.yaml"] == b"v: 1\n"
    assert RULE in files.values()
    assert standalone.main([str(tmp_path / "x.zip")]) == 0


def test_a_pack_is_verified_whatever_its_calibrations_are_called(
    history: History, scene: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own verifier refused it where a folder was given as `.`, had a space in its name, or two had one name."""
    folders = [tmp_path / "a b." / "lab", tmp_path / "lab", tmp_path / "kal märz", Path()]
    (tmp_path / "a b.").mkdir()
    for folder in folders[:3]:
        folder.mkdir()
        (folder / "card (1).yaml").write_text(folder.name)
    for name in ("card_(1).yaml", "card__1_.yaml"):
        (folders[1] / name).write_text(name)
    monkeypatch.chdir(tmp_path / "kal märz")
    export_incident(
        history, history.alert(scene.ids()[1]), tmp_path / "x.zip", by("e", "INC-1"),
        reproduced={}, calibrations=folders,
    )  # fmt: skip
    with zipfile.ZipFile(tmp_path / "x.zip") as made:
        names = [name for name in made.namelist() if name.startswith("calibration/")]
    assert len(names) == len(set(names)) == 6
    assert standalone.main([str(tmp_path / "x.zip")]) == 0


def test_hostile_names_stay_inert_in_every_text_of_an_export(tmp_path: Path) -> None:
    scene = whole(tmp_path / "data", count=0)
    from dosimeter.monitor.audit.store.entries import from_record
    from tests.monitor.audit.audit_scene import core, event_id

    hostile = "=cmd|' /C calc'!A0<script>\x1b[31m\u202e"
    record = core(0, time_ns=T0, rule=hostile, event_id=event_id(0))
    with History.open(scene.folder.root) as history:
        entry = from_record(json.dumps(record).encode(), "5e" * 16, 1).entry
        history.appender.append([entry])
        files = exported(history, tmp_path / "x.zip")
        for name in ("alerts.csv", "alerts.jsonl", "about.jsonl", "README.txt", "manifest.json"):
            text = files[name].decode()
            assert "\x1b" not in text
            assert "\u202e" not in text
        assert "<script>" not in files["alerts.jsonl"].decode()
        kinds = {one["name"]: one["type"] for one in json.loads(files["columns.json"])}
        csv_ = io.StringIO(files["alerts.csv"].decode(), newline="")
        columns, rows = tables.read_csv(csv_, kinds)
        assert dict(zip(columns, rows[0], strict=True))["rule"] == hostile


def edited(
    source: Path,
    target: Path,
    name: str,
    edit: Callable[[str], str] | None,
    signer: Signer | None,
) -> Path:
    """The export with one file edited, or left out; signer: signs the manifest anew, as whoever has the key could."""
    with zipfile.ZipFile(source) as found:
        files = {one: found.read(one) for one in found.namelist()}
    before = files.pop(name).decode()
    if edit is not None:
        files[name] = edit(before).encode()
        assert files[name].decode() != before
    if signer is not None:
        manifest = json.loads(files["manifest.json"])
        del manifest["files"][name]
        if edit is not None:
            sha256 = hashlib.sha256(files[name]).hexdigest()
            manifest["files"][name] = {"sha256": sha256, "bytes": len(files[name])}
        files["manifest.json"] = json.dumps(manifest).encode()
        digest = hashlib.sha256(files["manifest.json"]).hexdigest()
        files["manifest.sig"] = signer.sign(f"dosimeter-export/v1\nsha256 {digest}\n").encode()
    with zipfile.ZipFile(target, "w") as made:
        for one, data in files.items():
            made.writestr(one, data)
    return target


def cell_of(column: str, value: str) -> Callable[[str], str]:
    """Another value in that column of the second alert: line 3 of the file."""

    def edit(text: str) -> str:
        rows = list(csv.reader(io.StringIO(text, newline="")))
        rows[2][rows[0].index(column)] = value
        out = io.StringIO(newline="")
        csv.writer(out).writerows(rows)
        return out.getvalue()

    return edit


def second_line(column: str, value: Any) -> Callable[[str], str]:
    def edit(text: str) -> str:
        lines = text.splitlines()
        lines[1] = json.dumps({**json.loads(lines[1]), column: value})
        return "\n".join(lines) + "\n"

    return edit


def without_the_second(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(lines[:2] + lines[3:])


EDITS: list[tuple[str, Callable[[str], str], str]] = [
    ("alerts.csv", cell_of("decision", "silenced"), "alerts.csv: row 3, decision: 'silenced'"),
    ("alerts.csv", cell_of("value_sum", "1"), "alerts.csv: row 3, value_sum: 1 where the log says"),
    ("alerts.csv", cell_of("severity", "low"), "alerts.csv: row 3, severity: 'low'"),
    ("alerts.csv", cell_of("time_ns", "1.77E+18"), "alerts.csv: row 3, time_ns: '1.77E+18'"),
    ("alerts.csv", cell_of("time", "2026-03-01 01:00:00.000+01:00"), "alerts.csv: row 3, time:"),
    ("alerts.csv", cell_of("more", "{}"), "alerts.csv: row 3, more:"),
    ("alerts.csv", cell_of("idx", "4711"), "alerts.csv: row 3, idx: not proven"),
    ("alerts.csv", without_the_second, "alerts.csv has 10 rows, the manifest says 11"),
    ("alerts.jsonl", second_line("rule", "other"), "alerts.jsonl: row 2, rule: 'other'"),
    ("alerts.jsonl", second_line("extra", "1"), "alerts.jsonl: row 2: not the columns"),
]


@pytest.mark.parametrize(("name", "edit", "said"), EDITS)
@pytest.mark.parametrize("signed", [False, True])
def test_a_table_that_was_edited_is_found_with_its_row_and_column(
    kept: tuple[Path, Signer],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    edit: Callable[[str], str],
    said: str,
    *,
    signed: bool,
) -> None:
    """2026-11-30: the verifier held a table against its hash alone, which whoever signs can make anew."""
    source, signer = kept
    path = edited(source, tmp_path / "y.zip", name, edit, signer if signed else None)
    assert standalone.main([str(path)]) == 4
    out = capsys.readouterr().out
    assert said in out
    assert "verified" not in out


@pytest.mark.parametrize("name", ["alerts.csv", "alerts.jsonl"])
def test_without_one_of_its_tables_the_other_is_not_believed(
    kept: tuple[Path, Signer], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Where alerts.csv was left out by whoever signed, nothing had been compared, and it was `verified`."""
    path = edited(kept[0], tmp_path / "y.zip", name, None, kept[1])
    assert standalone.main([str(path)]) == 4
    assert f"WRONG: {name} is missing" in capsys.readouterr().out


def test_a_table_that_was_saved_again_says_the_same_and_is_another_file(
    kept: tuple[Path, Signer], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(
        kept[0], tmp_path / "y.zip", "alerts.csv", lambda text: text.replace("\r\n", "\n"), None
    )
    assert standalone.main([str(path)]) == 4
    out = capsys.readouterr().out
    assert "all 11 rows of alerts.csv and .jsonl say what these entries say" in out
    assert "WRONG: alerts.csv is not the file that was exported" in out


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Signer]:
    """One export for all that spoil it, and who signed it."""
    folder = tmp_path_factory.mktemp("kept")
    made = whole(folder / "data")
    with History.open(made.folder.root) as found:
        exported(found, folder / "x.zip")
    return folder / "x.zip", Signer.load(made.folder.signing_key)


@pytest.mark.parametrize(
    "text", ["=1+1", "a\\b", "\x1b[2J", "'", "\u202e\U000e0001", "-7", "\\x41"]
)
def test_the_verifier_reads_a_cell_back_as_it_was_written(text: str) -> None:
    assert standalone.cell(tables.harmless(text), "text") == text
