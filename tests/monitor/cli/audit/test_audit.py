"""`dosimeter audit` as it is typed: what it prints, where, and with which exit code."""

from __future__ import annotations

import io
import json
import os
import pwd
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.store.sealing import Sealer
from dosimeter.monitor.cli.audit.arguments import user_name
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.tlog import standalone
from tests.monitor.audit.whole_scene import Whole, whole

TIME = ["--from", "2026-03-01", "--to", "2026-03-01T03:00"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def scene(tmp_path: Path) -> Whole:
    return whole(tmp_path / "data")


@pytest.fixture
def run(scene: Whole, capsys: pytest.CaptureFixture[str]) -> Run:
    def ran(*words: str) -> tuple[int, str, str]:
        code = main(scene.args(*words))
        said = capsys.readouterr()
        return code, said.out, said.err

    return ran


def test_query_lists_alerts_and_says_what_that_is_worth(run: Run, scene: Whole) -> None:
    code, out, err = run("query", *TIME, "--tenant", "tenant-1", "--tz", "Europe/Berlin")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == [
        "id", "time", "severity", "feature", "rule", "tenant", "decision", "verdict",
    ]  # fmt: skip
    assert lines[1].startswith(scene.ids()[9][:16] + "  2026-03-01 01:10:00+01:00  high")
    assert "tenant tenant-1, 2026-03-01 00:00:00+01:00 until before 2026-03-01 03:00:00+01:00" in lines  # fmt: skip
    worth = "3 alerts (1 live rule) · coverage 95 % of 2,000 tokens; 1 hour under 99 %"
    assert any(line.startswith(worth) for line in lines)
    assert "gaps: pod-7 seq 5" in out


def test_query_tells_none_from_no_data_by_its_exit_code(run: Run) -> None:
    code, out, _ = run("query", *TIME, "--severity", "low")
    assert code == 6
    assert "0 alerts · coverage 96 % of 2,500 tokens" in out
    assert "none found, but 100 of 2,500 tokens not scored; 1 record never came here\n" in out
    code, out, _ = run("query", "--from", "2025-03-01", "--to", "2025-03-02")
    assert code == 5
    assert "0 alerts · no data in that time" in out
    assert "nothing follows: nobody is known to have watched then\n" in out
    code, out, _ = run("query", *TIME, "--tenant", "tenant-9")
    assert code == 6
    assert "tenant `tenant-9` is not known to history" in out


def test_none_that_was_watched_is_a_code_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = whole(tmp_path / "none", count=0)
    assert main(scene.args("query", "--from", "2026-03-01", "--to", "2026-03-01T01:00")) == 1
    assert "\nnone, and that time was watched\n" in capsys.readouterr().out
    assert main(scene.args("query", "--from", "2026-03-01", "--to", "2026-03-01T04:00")) == 6
    assert "none found, but 60 min of 4.0 h not known to be watched" in capsys.readouterr().out


def test_a_rule_or_feature_that_never_was_is_usage_with_the_nearest(
    run: Run, tmp_path: Path
) -> None:
    for words in (
        ["query"],
        ["query", "--name", "count"],
        ["export", "--out", str(tmp_path / "x")],
    ):
        code, out, err = run(*words, "--feature", "decption")
        assert (code, out) == (2, "")
        assert "no entry and no program of this history has feature `decption`" in err
        assert "hint: did you mean `deception`?" in err
    code, _, err = run("query", "--rule", "zzz")
    assert (code, "known here: `lies-told`, `scam-written`" in err) == (2, True)
    assert run("query", *TIME, "--rule", "lies-told", "--severity", "low")[0] == 6


def test_query_writes_each_form_with_its_summary_on_stderr(run: Run, tmp_path: Path) -> None:
    code, out, err = run("query", *TIME, "--csv")
    assert code == 0
    assert out.startswith("idx,id,time,kind,")
    assert len(out.splitlines()) == 12
    assert "11 alerts (1 live rule, 1 shadow rule)" in err
    _, out, _ = run("query", *TIME, "--jsonl", "--limit", "2")
    assert [json.loads(line)["rule"] for line in out.splitlines()] == ["lies-told", "scam-written"]
    path = tmp_path / "a.parquet"
    assert run("query", *TIME, "--parquet", str(path))[0] == 0
    assert pq.read_table(path).num_rows == 11
    code, _, err = run("query", *TIME, "--parquet", str(path))
    assert (code, "is there already" in err) == (2, True)
    code, out, _ = run("query", *TIME, "--json")
    body = json.loads(out)
    assert (code, body["total"], body["standing"], body["coverage"]["served"]) == (0, 11, "found", 2500)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["query", "--from", "2026-02-30"], "--from: `2026-02-30`: there is no such day"),
        (["query", "--tz", "Europe/Berlim"], "no time zone `Europe/Berlim`\n  hint: did you mean"),
        (["query", "--user", "u"], "--user: the same name may be in several tenants"),
        (["query", "--limit", "0"], "--limit: `0` is no number of rows"),
        (["query", "--set", "a=b"], "--set: there is nothing to set"),
        (["query", "--name", "nope"], "there is no query `nope`\n  hint: access,"),
        (["query", "--name", "count", "--set", "x"], "--set: `x` is not NAME=VALUE"),
        (["query", "--name", "alerts", "--set", "tenant=x"], "--set: `tenant=x` is no id"),
        (["query", "--name", "alerts", "--set", "user=u"], "query `alerts` takes no `user`"),
        (["query", "--name", "alerts", "--set", "before_ns=9"], "`before_ns` needs `before_idx`"),
        (["query", "--name", "alerts", "--limit", "-5"], "`limit` is `-5`: 0 to"),
        (["query", "--name", "alerts", "--limit", "9" * 20], "`limit` is `9999"),
        (["show", "019ca6b2", "--reason", "x"], "--reason: without --text nothing needs one"),
        (["verify", "--anchors"], "--anchors: nothing says where they are"),
        (["reproduce"], "reproduce: an id or --all"),
        (["export", "--out", "/dev/null"], "--out: `/dev/null` is no ordinary file"),
        (["export", "--out", "/"], "is no file name"),
        (["export", "--out", "x.zip", "--evidence"], "--evidence: why?"),
        (["erase", "--reason", "x"], "erase: whom?"),
        (["erase", "--tenant", "a", "--user", "b", "--request", "c", "--reason", "x"], "erase: whom?"),
        (["erase", "--tenant", "a", "--user", "b"], "--reason: it is needed"),
        (["hold", "--reason", "x"], "hold: on what?"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_usage_with_what_to_write(
    run: Run, words: list[str], said: str
) -> None:
    code, _, err = run(*words)
    assert (code, said in err) == (2, True), err


def test_where_there_is_no_history_every_command_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["query"], ["show", "0" * 32], ["verify"], ["labels"], ["reproduce", "--all"]):
        assert main(["audit", *words, "--data-dir", str(tmp_path)]) == 3
        assert "hint: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_show_is_metadata_until_there_is_a_reason(run: Run, scene: Whole) -> None:
    id_ = scene.ids()[1]
    code, out, _ = run("show", id_[:8])
    assert code == 0
    assert f"alert {id_}" in out
    assert "tenant-1" in out
    assert "user-1" not in out
    assert "encrypted; --text --reason R shows it" in out
    code, out, _ = run("show", id_, "--text", "--reason", "ticket 1")
    assert code == 0
    assert "user-1" in out
    (line,) = [line for line in out.splitlines() if line.startswith("  view")]
    assert re.search(rf" by auditor [0-9a-f]{{12}} \({user_name()}\): ticket 1$", line)
    _, out, _ = run("show", id_, "--role", "reviewer")
    assert re.search(rf" by auditor [0-9a-f]{{12}} \({user_name()}\): ", out)  # one's own
    code, _, err = run("show", id_, "--text")
    assert (code, "no reason is given" in err) == (3, True)
    code, _, err = run("show", id_, "--text", "--reason", "of user-1, again")
    assert (code, "could never be erased" in err) == (3, True)
    code, _, err = run("show", id_, "--text", "--reason", "x", "--role", "operator")
    assert (code, "may not view" in err) == (3, True)
    code, _, err = run("show", "ffffffff")
    assert (code, "no entry `ffffffff`" in err) == (1, True)
    body = json.loads(run("show", id_, "--json")[1])
    assert (body["tenant"], body["evidence"]) == ("tenant-1", None)


def test_the_user_of_the_machine_asks_whatever_the_environment_says(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert user_name() == pwd.getpwuid(os.getuid()).pw_name


def test_every_query_is_an_entry_and_refused_where_none_can_be_written(
    run: Run, scene: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("query", *TIME)
    assert scene.kinds()[-1] == "query"
    from dosimeter.monitor.audit.store.appending import Appender

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Appender, "append", full)
    for words in (["query", *TIME], ["show", scene.ids()[0]], ["query", "--name", "gaps"]):
        code, out, err = run(*words)
        assert (code, out) == (3, "")
        assert "cannot be written" in err


def test_named_queries_are_listed_and_run(run: Run) -> None:
    code, out, _ = run("query", "--list")
    assert code == 0
    assert "per_day" in out
    code, out, _ = run("query", "--name", "count_by_rule", "--json")
    assert code == 0
    assert json.loads(out) == [{"rule": "scam-written", "n": 7}, {"rule": "lies-told", "n": 4}]
    code, out, _ = run("query", "--name", "per_day", "--tz", "Asia/Tokyo", "--csv")
    assert out.splitlines()[1] == "20513,high,11"
    assert run("query", "--name", "per_day", "--set", "from_ns=0", "--csv")[1] == out
    code, out, _ = run("query", "--name", "per_day", "--tz", "Asia/Tokyo")
    assert out.splitlines()[1].split() == ["2026-03-01", "high", "11"]
    code, out, _ = run("query", "--name", "top_rules", "--tz", "Asia/Tokyo")
    assert out.splitlines()[0].split() == ["rule", "n", "tenants", "first", "last"]
    assert "2026-03-01 09:00:00+09:00" in out
    code, out, _ = run("query", "--name", "coverage")
    assert "17723" not in out  # no time in nanoseconds, also not in JSON
    assert run("query", "--name", "labels_by_rule")[0] == 1


def test_a_named_query_says_that_it_was_cut(run: Run) -> None:
    code, out, err = run("query", "--name", "alerts", "--limit", "11", "--jsonl")
    assert (code, len(out.splitlines()), err) == (0, 11, "")
    code, out, err = run("query", "--name", "alerts", "--limit", "10", "--jsonl")
    said = "cut at 10 rows; --limit N for more\n"
    assert (code, len(out.splitlines()), err) == (0, 10, said)
    assert len(run("query", "--name", "entries", "--limit", "3", "--jsonl")[1].splitlines()) == 3
    assert len(run("query", "--name", "entries", "--jsonl")[1].splitlines()) == 11


def test_sql_reads_the_views_in_each_form_and_nothing_else(
    run: Run, scene: Whole, tmp_path: Path
) -> None:
    text = "SELECT rule, count(*) AS n, min(time) AS first FROM alerts GROUP BY rule ORDER BY rule"
    code, out, _ = run("sql", text, "--json", "--tz", "Europe/Berlin")
    assert code == 0
    assert json.loads(out) == [
        {"rule": "lies-told", "n": 4, "first": "2026-03-01 01:02:00+01:00"},
        {"rule": "scam-written", "n": 7, "first": "2026-03-01 01:00:00+01:00"},
    ]
    assert run("sql", text, "--csv")[1].splitlines()[0] == "rule,n,first"
    none, least = "'nan'::DOUBLE AS none", "'-inf'::DOUBLE AS least"
    _, out, _ = run("sql", f"SELECT {none}, {least}", "--json")  # JSON has no such numbers
    assert json.loads(out, parse_constant=pytest.fail) == [{"none": "NaN", "least": "-Infinity"}]
    code, out, err = run("sql", "SELECT idx FROM alerts", "--limit", "2", "--jsonl")
    assert (code, len(out.splitlines()), "cut at 2 rows" in err) == (0, 2, True)
    assert run("sql", "SELECT idx FROM alerts", "--parquet", str(tmp_path / "a.parquet"))[0] == 0
    assert pq.read_table(tmp_path / "a.parquet")["idx"].to_pylist()[:2] == [2, 3]
    assert run("sql", "SELECT * FROM alerts WHERE rule = 'x'")[0] == 1
    for text in ("DROP TABLE entry", "SELECT * FROM read_csv('/etc/passwd')", "SELEC"):
        code, out, err = run("sql", text)
        assert (code, out, bool(err)) == (2, "", True)
    assert scene.kinds()[-1] == "query"  # what was refused was asked, and stands in the log too
    assert run("sql", "x" * 9000)[0] == 2
    for wrong in (
        ["--limit", "9" * 30],
        ["--limit", "0"],
        ["--seconds", "1e309"],
        ["--seconds", "nan"],
    ):
        assert run("sql", "SELECT 1", *wrong)[0] == 2


def test_verify_says_consistent_then_what_was_changed(run: Run, scene: Whole) -> None:
    code, out, _ = run("verify")
    assert code == 0
    assert out.startswith("CONSISTENT\n")
    assert "deletion of the newest entries cannot be excluded" in out
    db = sqlite3.connect(scene.folder.hot)
    db.execute("DROP TRIGGER entry_is_immutable")
    db.execute("UPDATE entry SET severity = 'low' WHERE idx = 3")
    db.commit()
    db.close()
    code, out, _ = run("verify")
    assert code == 4
    assert out.splitlines()[:2] == [
        "NOT VERIFIED",
        "  store: entry 3: stored columns are not what the log says: severity",
    ]
    assert [line.split()[0] for line in out.splitlines()[2:4]] == ["log", "store"]
    code, out, _ = run("verify", "--json")
    assert (code, json.loads(out)["ok"]) == (4, False)


def test_verify_since_a_kept_checkpoint_and_with_the_anchors_of_the_file(
    run: Run, scene: Whole, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes((scene.folder.log / "checkpoint").read_bytes())
    run("query", *TIME)
    code, out, _ = run("verify", "--since", str(kept))
    assert code == 0
    assert "append-only since the checkpoint you gave: entry 16" in out
    kept.write_text("no note")
    code, _, err = run("verify", "--since", str(kept))
    assert (code, "not a checkpoint of this log" in err) == (4, True)
    assert run("verify", "--since", str(tmp_path / "no"))[0] == 3


def test_verify_compares_with_the_anchors_that_the_sidecars_file_names(
    run: Run, scene: Whole, tmp_path: Path
) -> None:
    config = tmp_path / "sidecar.yaml"
    config.write_text("version: 1\nhistory:\n  anchors:\n    file: anchored.txt\n")
    anchored = ["--anchors", "--config", str(config)]
    code, out, _ = run("verify", *anchored)
    assert code == 0
    assert "anchor file: holds nothing yet" in out
    (tmp_path / "anchored.txt").write_bytes((scene.folder.log / "checkpoint").read_bytes())
    code, out, _ = run("verify", *anchored)
    assert (code, out.splitlines()[0]) == (0, "VERIFIED")
    assert "anchor file: holds entry 16 (" in out
    assert "no anchor is outside this operator's control" in out
    checkpoint = (tmp_path / "anchored.txt").read_text()
    (tmp_path / "anchored.txt").write_text(checkpoint.replace("\n16\n", "\n15\n"))
    code, out, _ = run("verify", *anchored)
    assert (code, "1 of its notes are not signed by this key" in out) == (4, True)
    config.write_text("version: 1\nhistory: 3\n")
    assert run("verify", *anchored)[0] == 4


def test_verify_reads_a_disk_that_nothing_can_be_written_to(
    run: Run, scene: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in scene.folder.log.rglob("*") if path.is_file()}
    assert run("verify")[0] == 0
    assert run("verify", "--log-only")[0] == 0
    assert {p: p.read_bytes() for p in scene.folder.log.rglob("*") if p.is_file()} == before
    assert "query" not in scene.kinds()
    monkeypatch.setattr("dosimeter.monitor.audit.store.hot.os.access", lambda *_: False)
    names = sorted(path.name for path in scene.folder.root.iterdir())
    assert run("verify")[0] == 0
    assert sorted(path.name for path in scene.folder.root.iterdir()) == names


def test_verify_opens_all_evidence_where_it_is_asked_to(run: Run, scene: Whole) -> None:
    assert run("verify", "--evidence")[0] == 0
    db = sqlite3.connect(scene.folder.hot)
    db.execute("DELETE FROM evidence WHERE id = ?", (bytes.fromhex(scene.ids()[1]),))
    db.commit()
    db.close()
    assert run("verify")[0] == 0
    code, out, _ = run("verify", "--evidence")
    assert (code, "store: entry 3: its evidence is gone" in out) == (4, True)
    assert run("verify", "--evidence", "--log-only")[0] == 2
    scene.folder.keys.unlink()
    code, _, err = run("verify", "--evidence")
    assert (code, "no keys to open evidence with" in err) == (3, True)
    assert not scene.folder.keys.exists()


def test_export_is_a_zip_that_its_verifier_accepts(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "march.zip"
    code, said, err = run("export", *TIME, "--tenant", "tenant-1", "--out", str(out))
    assert code == 0
    assert f"{out}: 3 alerts, " in said
    assert standalone.main([str(out)]) == 0
    code, _, err = run("export", *TIME, "--out", str(out))
    assert (code, "is there already" in err) == (2, True)
    more = ["--force", "--json", "--evidence", "--reason", "ticket 1"]
    code, said, _ = run("export", *TIME, "--out", str(out), *more)
    assert (code, json.loads(said)["evidence"]) == (0, 11)
    code, _, err = run("export", *TIME, "--severity", "low", "--out", str(tmp_path / "b.zip"))
    assert code == 6
    last = "gaps: accepted there, never came here\n    pod-7 seq 5\n"  # all of what query says
    assert last in err
    with zipfile.ZipFile(tmp_path / "b.zip") as found:
        readme = found.read("README.txt").decode()
    assert last in readme
    assert "none found, but 100 of 2,500 tokens not scored" in readme
    code, said, _ = run("export", *TIME, "--out", str(tmp_path / "c.zip"), "--dry-run")
    assert (code, "11 alerts" in said, (tmp_path / "c.zip").exists()) == (0, True, False)
    assert run("export", *TIME, "--out", str(tmp_path / "c.zip"), "--role", "operator")[0] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.zip", "data", "march.zip"]


def test_incident_pack_holds_one_alert(run: Run, scene: Whole, tmp_path: Path) -> None:
    out, id_ = tmp_path / "inc.zip", scene.ids()[1]
    code, said, _ = run("incident-pack", id_[:8], "--reason", "INC-1", "--out", str(out))
    assert code == 0
    assert f"alert {id_}, " in said
    assert standalone.main([str(out)]) == 0
    with zipfile.ZipFile(out) as found:
        assert json.loads(found.read("record.json"))["event_id"] == id_


def test_labels_flow_back_as_the_file_that_rules_read(
    run: Run, scene: Whole, tmp_path: Path
) -> None:
    from dosimeter.monitor.cli.labels import rows

    first, second = scene.ids()[:2]
    assert run("label", first, "true")[0] == 0
    assert run("label", second[:8], "false", "--because", "fiction", "--note", "a novel")[0] == 0
    code, _, err = run("label", first, "true", "--because", "A sentence.")
    assert (code, "is no code" in err) == (2, True)
    assert run("label", first, "true", "--role", "viewer")[0] == 3
    out = tmp_path / "labels.csv"
    code, said, _ = run("labels", "--out", str(out))
    assert code == 0
    assert "50.0 %" in said
    assert {name: right for _, name, right in rows(out, "request")} == {
        "00000000000000aa/0000000000000000": True,
        "00000000000000aa/0000000000000001": False,
    }
    assert run("labels", "--rule", "nothing")[0] == 1


def test_a_hold_keeps_from_erasing_until_it_is_released(run: Run) -> None:
    who = ["--tenant", "tenant-1", "--user", "user-1"]
    assert run("hold", *who, "--reason", "case 1", "--dry-run")[0] == 0
    assert run("hold", *who, "--reason", "case 1")[0] == 0
    code, _, err = run("hold", *who, "--reason", "case 1")
    assert (code, "is on hold already" in err) == (3, True)
    code, _, err = run("erase", *who, "--reason", "ticket 2", "--yes")
    assert (code, "a legal hold stands" in err) == (3, True)
    assert run("release", *who, "--reason", "case 1")[0] == 0
    assert run("erase", *who, "--reason", "ticket 2", "--yes")[0] == 0


def test_erasing_asks_for_the_name_and_leaves_what_it_says(
    run: Run, scene: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = ["--tenant", "tenant-1", "--user", "user-1"]
    code, out, _ = run("erase", *who, "--dry-run")
    assert (code, "entries: 1" in out) == (0, True)
    code, _, err = run("erase", *who, "--reason", "ticket 2")
    assert (code, "add --yes" in err) == (2, True)  # nobody is at the keyboard

    class Keyboard(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Keyboard("user-2\n"))
    code, _, err = run("erase", *who, "--reason", "ticket 2")
    assert (code, "nothing was erased" in err) == (1, True)
    monkeypatch.setattr("sys.stdin", Keyboard("user-1\n"))
    code, out, _ = run("erase", *who, "--reason", "ticket 2")
    assert code == 0
    assert "entries of the log stay, with an id that stands for nobody" in out
    _, out, _ = run("show", scene.ids()[1], "--text", "--reason", "ticket 3")
    assert "user-1" not in out
    assert "gone" in out
    assert run("verify")[0] == 0
    code, _, err = run("erase", *who, "--reason", "ticket 2", "--yes")
    assert (code, "never seen, or erased before" in err) == (3, True)
    code, _, err = run("erase", *who, "--reason", "x", "--yes", "--role", "auditor")
    assert (code, "may not erase" in err) == (3, True)


@pytest.mark.parametrize("how", ["cut", "lost", "a folder"])
def test_a_sealed_file_that_cannot_be_read_is_not_an_answer_of_none(
    run: Run, scene: Whole, how: str
) -> None:
    """It was a traceback, and Python's exit code 1: "none, and the time was watched"."""
    with History.open(scene.folder.root) as history:
        history.settle()
        size = history.log.size
        segment = Sealer(history.hot, scene.folder, grace_ns=0).seal(size, size)
    assert segment is not None
    path = scene.folder.core / segment.core
    data = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(data[:-9])
    elif how == "a folder":
        path.mkdir()
    code, out, err = run("query", *TIME, "--tenant", "tenant-1")
    assert (code, out) == (4, "")
    assert segment.core in err.splitlines()[0]
    assert "`dosimeter audit verify` names all that differ" in err


def test_a_defect_of_ours_is_not_an_answer_of_none(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(History, "seen", broken)
    code, out, err = run("query", *TIME)
    assert (code, out) == (4, "")
    assert "ZeroDivisionError" in err


def test_the_selftest_of_erasure_finds_no_trace(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from dosimeter.monitor.cli.audit import erase

    monkeypatch.setattr(erase, "SELFTEST", 40)
    code, out, _ = run("erase", "--selftest", "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["planted"], found["after"]["alerts"]) == (0, True, 40, 0)


def test_what_cannot_be_decided_again_says_why(run: Run, scene: Whole) -> None:
    code, out, _ = run("reproduce", scene.ids()[0])
    assert code == 1  # the scene's program is none
    assert "cannot: " in out
    code, out, _ = run("reproduce", "--all", "--json")
    body: dict[str, Any] = json.loads(out)
    assert (code, body["counts"]) == (1, {"cannot": 11})


def test_the_log_is_left_to_a_running_history(run: Run, scene: Whole) -> None:
    from dosimeter.monitor.tlog.note import Signer
    from dosimeter.monitor.tlog.writer import LogWriter

    with LogWriter(scene.folder.log, Signer.load(scene.folder.signing_key)):
        code, _, err = run("query", *TIME)
    assert (code, err) == (0, "")
    assert "not signed yet: 1 entries" in run("verify")[1]


def test_verifying_writes_nothing_also_where_it_opens_evidence(
    scene: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a copy as `VACUUM INTO` makes it, keys.db was another file after it."""
    copy = tmp_path / "copy"
    shutil.copytree(scene.folder.root, copy, ignore=shutil.ignore_patterns("*.db*"))
    for path in (scene.folder.hot, scene.folder.keys):
        with closing(sqlite3.connect(path)) as db:
            db.execute(f"VACUUM INTO '{copy / path.name}'")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert main(["audit", "verify", "--evidence", "--history", str(copy)]) == 0
    assert capsys.readouterr().out.startswith("CONSISTENT")
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_an_erasure_that_is_not_signed_yet_says_why_evidence_is_gone(
    run: Run, scene: Whole
) -> None:
    from dosimeter.monitor.tlog.note import Signer
    from dosimeter.monitor.tlog.writer import LogWriter

    who = ["--tenant", "tenant-1", "--user", "user-1"]
    with LogWriter(scene.folder.log, Signer.load(scene.folder.signing_key)):
        assert run("erase", *who, "--reason", "ticket 2", "--yes")[0] == 0
    code, out, _ = run("verify", "--evidence")
    assert (code, "not signed yet" in out, "no entry says why" in out) == (0, True, False)
