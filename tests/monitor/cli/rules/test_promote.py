"""`dosimeter rules promote`: the screen, the exit codes, and what it writes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.cli.main import main
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.rules.canonical import canonical
from dosimeter.rules.language.schema import load_rules

DAY_NS = 86_400 * 10**9
RULES = """\
version: 1
rules:
  # What the fraud team asked for.
  - rule: hot
    when: {feature: scam, in: answer, above: z 2, for: 3 tokens}
    status: STATUS   # soon
    severity: low
    owner: us
    summary: "hot"
    tests:
      - name: fires
        stream: [{answer: {scam: "3*3"}}]
        expect: [{at: answer 3}]
      - name: does not
        stream: [{answer: {scam: "3*2 1"}}]
        expect: []
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES.replace("STATUS", "shadow"))
    return file


def record(file: Path, n: int, age_days: float) -> LedgerRecord:
    core: dict[str, Any] = {
        "event_id": f"{n:032x}",
        "kind": "alert",
        "rule": "hot",
        "rule_sha256": load_rules([file]).rule("hot").sha256,
        "status": "shadow",
        "decision": "shadow",
        "would_act": True,
        "time_ns": time.time_ns() - int(age_days * DAY_NS),
        "epoch": "0" * 16,
        "key": f"{n:016x}",
        "feature": "scam",
        "severity": "low",
        "labels": {},
    }
    return LedgerRecord(core["event_id"], canonical(core), None, False)


@pytest.fixture
def data_dir(tmp_path: Path, file: Path) -> Path:
    """Thirty hits in the last nine days."""
    rule = load_rules([file]).rule("hot")
    with Ledger(tmp_path / "data" / "ledger.db") as ledger:
        records = [record(file, n, 9 - n * 0.25) for n in range(30)]
        ledger.append(records, blobs={rule.sha256: rule.canonical})
    return tmp_path / "data"


def labelled(folder: Path, right: int, wrong: int = 0) -> Path:
    path = folder / "labels.csv"
    rows = [f"{n:032x},{'yes' if n < right else 'no'}" for n in range(right + wrong)]
    path.write_text("\n".join(["event_id,label", *rows]) + "\n")
    return path


def promote(*arguments: object) -> int:
    return main(["rules", "promote", *map(str, arguments)])


def test_a_rule_with_its_evidence_is_set_live_where_its_status_stands(
    file: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = labelled(data_dir, 19, 3)
    assert promote(file, "hot", "--data-dir", data_dir, "--labels", labels) == 0
    assert "shadow   # soon" in file.read_text()
    out = capsys.readouterr().out
    assert out.startswith(f"{file}:4:11: hot: shadow to live\n")
    assert "not yet" not in out
    assert promote(file, "hot", "--data-dir", data_dir, "--labels", labels, "--write") == 0
    assert capsys.readouterr().out.endswith(f"{file}:6:13: now `live`\n")
    assert file.read_text() == RULES.replace("STATUS", "live")
    assert sorted(one.name for one in file.parent.iterdir()) == ["data", "rules.yaml"]


def test_without_the_labels_nothing_is_written_and_the_next_step_is_said(
    file: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = labelled(data_dir, 8)
    code = promote(file, "hot", "--data-dir", data_dir, "--labels", labels, "--write")
    assert code == 1
    assert "  not yet  labels         8 of 20, from 30 notifications; label 12 more\n" in (
        capsys.readouterr().out
    )
    assert file.read_text() == RULES.replace("STATUS", "shadow")
    more = ("--min-labels", 8, "--write")
    assert promote(file, "hot", "--data-dir", data_dir, "--labels", labels, *more) == 0


def test_labels_name_alerts_by_their_first_characters_too(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = load_rules([file]).rule("hot")
    with Ledger(tmp_path / "data" / "ledger.db") as ledger:
        records = [record(file, (n + 1) << 96, 9 - n * 0.25) for n in range(30)]
        ledger.append(records, blobs={rule.sha256: rule.canonical})
    labels = tmp_path / "labels.csv"
    labels.write_text("event_id,label\n" + "".join(f"{n + 1:08x},yes\n" for n in range(20)))
    assert promote(file, "hot", "--data-dir", tmp_path / "data", "--labels", labels) == 0
    assert "  met      labels         20 of 20, from 30 notifications\n" in capsys.readouterr().out
    labels.write_text(f"event_id,label\n00000001,yes\n{1 << 96:032x},no\n")
    assert promote(file, "hot", "--data-dir", tmp_path / "data", "--labels", labels) == 4
    assert "is labelled yes and no" in capsys.readouterr().err


def test_a_draft_goes_to_shadow_by_its_tests_alone(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(RULES.replace("STATUS", "draft"))
    assert promote(file, "hot", "--write", "--data-dir", tmp_path / "none") == 0
    assert file.read_text() == RULES.replace("STATUS", "shadow")
    assert "hot: draft to shadow\n  met      lint" in capsys.readouterr().out


def test_a_link_to_the_file_stays_one(file: Path, data_dir: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    labels = labelled(data_dir, 20)
    assert promote(link, "hot", "--data-dir", data_dir, "--labels", labels, "--write") == 0
    assert link.is_symlink()
    assert file.read_text() == RULES.replace("STATUS", "live")


@pytest.mark.parametrize(
    ("rule", "status", "said"),
    [
        ("hit", "shadow", "no rule `hit` [value]\n  hint: did you mean `hot`?"),
        ("hot", "live", "rules.yaml:6:13: error: it is `live`"),
        ("hot", "retired", "rules.yaml:6:13: error: it is `retired`"),
    ],
)
def test_what_cannot_be_promoted_is_refused(
    rule: str, status: str, said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(RULES.replace("STATUS", status))
    assert promote(file, rule) == 4
    assert said in capsys.readouterr().err


def test_without_a_ledger_it_says_where_it_looked(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert promote(file, "hot", "--data-dir", tmp_path / "none") == 3
    assert "none/ledger.db: no ledger here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,label\n", "labels.csv:1:1: error: no columns `event_id` and `label`"),
        ("event_id,label\n12,yes\n", "labels.csv:2:1: error: `12` is no event id"),
        ("event_id,label\n00000000,yes\n", "labels.csv:2:1: error: `00000000` begins several ids"),
        (f"event_id,label\n{'0' * 32},maybe\n", "labels.csv:2:1: error: `maybe` is no label"),
        (
            f"event_id,label\n{'0' * 32},yes\n{'0' * 32},no\n",
            f"labels.csv:3:1: error: `{'0' * 32}` is labelled yes and no",
        ),
    ],
)
def test_labels_that_cannot_be_read_are_named(
    text: str, said: str, file: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data_dir / "labels.csv"
    path.write_text(text)
    assert promote(file, "hot", "--data-dir", data_dir, "--labels", path) == 4
    assert said in capsys.readouterr().err


def test_the_records_of_the_real_line_carry_what_is_read(file: Path) -> None:
    """So that a field that is renamed there is missed here."""
    golden = Path(__file__).parents[3] / "golden" / "rules" / "alert.json"
    alert = json.loads(golden.read_text())
    fields = {"event_id", "kind", "status", "would_act", "time_ns", "rule_sha256"}
    assert fields <= alert.keys()


def test_the_other_files_of_a_folder_are_known_and_a_day_that_is_over_is_said(
    file: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both had been left aside: `graver` was unknown, and a rule that had expired was as good as any."""
    hot, graver = RULES.replace("STATUS", "shadow"), RULES.replace("STATUS", "live")
    (file.parent / "graver.yaml").write_text(graver.replace("hot", "graver").replace("z 2", "z 1"))
    more = "\n    quiet-when: [graver]\n    group-by: [tenant]\n    summary:"
    file.write_text(hot.replace("\n    summary:", more))
    call = ["rules", "promote", str(file.parent), "hot", "--data-dir", str(data_dir)]
    assert main(call) == 1
    assert "met      lint           nothing to change" in capsys.readouterr().out
    file.write_text(hot.replace("\n    summary:", f"\n    expires: 2026-01-31{more}"))
    assert main(call) == 1
    assert "rule `hot` expired on 2026-01-31: it does not run" in capsys.readouterr().out
