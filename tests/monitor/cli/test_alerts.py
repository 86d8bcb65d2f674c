"""`dosimeter alerts`: what an analyst sees of the ledger."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dosimeter.monitor.cli import alerts
from dosimeter.monitor.cli.alert_view import evidence_lines, record_lines
from dosimeter.monitor.cli.alerts import since_ns
from dosimeter.monitor.cli.screen import Screen, columns
from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.evidence import Evidence, encode_evidence
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord, StoredAlert
from dosimeter.monitor.history.verdicts import Verdict

RecordOf = Callable[..., LedgerRecord]
RECORD = {"feature": "scam", "threshold_code": 512, "start": 12, "end": 14}
CODES = np.array([[0], [512], [1024], [-32768], [0]], dtype=np.int16)  # 0, 2, 4 sd, none, 0


@pytest.fixture
def data_dir(tmp_path: Path, record_of: RecordOf) -> Path:
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.append([record_of(n, deliverable=n != 2) for n in (1, 2, 3)])
        hostile = "\x1b[31mred\u202e"
        ledger.append([record_of(0xABC << 100, summary=hostile, labels={"tenant": hostile})])
        evidence = Evidence(39, ("deception",), np.full((6, 1), 768, np.int16))
        ledger.append(evidence={record_of(1).event_id: encode_evidence(evidence)})
    return tmp_path


@pytest.fixture
def call(data_dir: Path) -> Callable[..., int]:
    def call(*words: str) -> int:
        parser = argparse.ArgumentParser()
        alerts.add_parser(parser.add_subparsers())
        args = parser.parse_args(["alerts", *words, "--data-dir", str(data_dir)])
        code: int = args.run(args)
        return code

    return call


def test_the_list_is_newest_first_and_within_the_screen(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("id ")
    assert [line[:16] for line in lines[1:]] == [f"{n:032x}"[:16] for n in (0xABC << 100, 3, 2, 1)]
    assert all(columns(line) <= 160 for line in lines)


def test_no_escape_code_of_a_client_reaches_the_terminal(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    call("list")
    call("show", "00000abc")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\x1b[31mred\\u202e" in shown


def test_json_is_the_records_own_bytes(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str], record_of: RecordOf
) -> None:
    assert call("list", "--json", "--decision", "shadow") == 0
    assert capsys.readouterr().out.encode() == record_of(2, deliverable=False).core + b"\n"


def test_filters_that_match_nothing_say_so(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("list", "--tenant", "nobody") == 0
    assert capsys.readouterr().out == "no alerts match; try without filters\n"


def test_show_prints_the_record_and_its_evidence(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """768 codes are 3 sd of a threshold of 2; full height is twice the threshold, so 6 of 8."""
    assert call("show", f"{1:032x}") == 0
    shown = capsys.readouterr().out
    assert "3.00 sd, threshold 2.00 sd (1 in 1000 answers)" in shown
    assert "tokens 39 to 45 of `deception`: scores, no text is kept" in shown
    assert "       39  ▇[▇▇▇▇]▇\n" in shown


def test_an_alert_names_its_request_as_archive_and_why_not_do(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("show", "explain"):
        assert call(command, f"{1:032x}") == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "request 00000000000000aa/0000000000000001" in shown


def test_explain_lists_no_lookalikes_of_a_calibration_without_the_feature(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("explain", f"{1:032x}", "--calibration", "reader") == 0
    shown = capsys.readouterr().out
    assert "this calibration has no `deception`: " in shown
    assert "look most like it" not in shown
    assert call("explain", f"{1:032x}", "--calibration", "reader", "--calibration", "lab") == 0
    shown = capsys.readouterr().out
    assert "this calibration has no `deception`: " in shown
    assert shown.count("sd away: deception ") == 3


def test_show_as_json_has_record_and_evidence(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("show", f"{1:032x}", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["record"]["event_id"] == f"{1:032x}"
    assert found["evidence"]["first"] == 39


def test_show_says_who_looked_a_second_time_and_what_came_of_it(
    data_dir: Path,
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    record_of: RecordOf,
) -> None:
    with Ledger(data_dir / "ledger.db") as ledger:
        seq = ledger.append([record_of(0x77 << 100, confirm="second-look")]).last_seq
    with LedgerReader(data_dir / "ledger.db") as reader:
        ledger_id = reader.ledger_id
    assert call("show", "0000077") == 0  # no delivery so far
    assert "second look    second-look\n" in capsys.readouterr().out
    assert not (data_dir / "deliver.db").exists()
    said = Verdict(seq, "second-look", "no", "course material \u202e", 0.25, 812, 1, 7)
    with CursorStore(data_dir / "deliver.db", ledger_id=ledger_id) as store:
        store.verdicts.add([said])
    assert call("show", "0000077") == 0
    shown = capsys.readouterr().out
    assert "no, not sent, by second-look in 812 ms, cost 0.25: course" in shown
    assert "\u202e" not in shown
    assert call("show", "0000077", "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["answer"] == "no"


@pytest.mark.parametrize(
    ("id", "message"), [("0000000000000000", "begins several ids"), ("fff", "no alert `fff`")]
)
def test_an_id_that_is_not_one_alert_is_an_error(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str], id: str, message: str
) -> None:
    assert call("show", id) == 1
    assert message in capsys.readouterr().err


def test_a_folder_without_a_ledger_is_an_error_with_a_hint(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    args = argparse.Namespace(data_dir=tmp_path_factory.mktemp("no"), alerts_command="list")
    assert alerts.run(args) == 3
    assert "no ledger here\n  hint: " in capsys.readouterr().err


def test_since_reads_ages_and_dates() -> None:
    """2026-01-31T00:00 UTC is 1769817600 s after the epoch (date -u -d 2026-01-31 +%s)."""
    assert since_ns("2h", 10_000_000_000_000) == 2_800_000_000_000
    assert since_ns("2026-01-31", 0) == 1_769_817_600 * 10**9
    assert since_ns("2026-01-31T01:00+01:00", 0) == 1_769_817_600 * 10**9


@pytest.mark.parametrize("when", ["99999999999d", "0001-01-01", "9999-12-31"])
def test_since_reads_any_time_there_is(call: Callable[..., int], when: str) -> None:
    assert call("list", "--since", when) == 0


@pytest.mark.parametrize("limit", ["0", "-1", "99999999999999999999", "all"])
def test_a_limit_that_shows_nothing_or_is_no_number_is_a_usage_error(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str], limit: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        call("list", "--limit", limit)
    assert ended.value.code == 2
    assert f"`{limit}` is not a number from 1 to 1000000000" in capsys.readouterr().err


def test_since_refuses_anything_else(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("list", "--since", "yesterday") == 2
    assert capsys.readouterr().err.startswith("--since `yesterday` is not a time\n  hint: ")


def test_text_is_shaded_by_score_where_there_is_text() -> None:
    evidence = Evidence(10, ("scam",), CODES, ("Send", " me", " money", "\n", " ok"))
    head, line = evidence_lines(RECORD, evidence, Screen(width=80, color=True))
    assert head == "evidence  tokens 10 to 15 of `scam`: text, shaded by score"
    assert line == (
        "       10  Send\x1b[48;5;209m\x1b[38;5;16m me\x1b[0m"
        "[\x1b[48;5;196m\x1b[38;5;16m money\x1b[0m↵] ok"
    )


def test_without_colour_the_span_still_shows() -> None:
    evidence = Evidence(10, ("scam",), CODES, ("Send", " me", " money", "\n", " ok"))
    head, line = evidence_lines(RECORD, evidence, Screen(width=80))
    assert head.endswith("text, span in brackets")
    assert line == "       10  Send me[ money↵] ok"


def test_a_long_summary_is_wrapped_and_not_cut(stored_of: Callable[..., StoredAlert]) -> None:
    words = "many words " * 20
    lines = record_lines(stored_of(1, summary=words), Screen(width=60))
    assert " ".join(" ".join(lines).split()).count("many words") == 20
    assert all(columns(line) <= 60 for line in lines)


def test_without_text_each_token_is_a_bar_and_the_unscored_show() -> None:
    head, line = evidence_lines(RECORD, Evidence(10, ("scam",), CODES), Screen(width=80))
    assert line == "       10  ▁▅[█·]▁"
    assert head.endswith("scores, no text is kept")


def test_long_evidence_wraps_and_each_line_says_where_it_begins() -> None:
    evidence = Evidence(0, ("scam",), np.zeros((100, 1), np.int16))
    record = {**RECORD, "start": 90, "end": 91}
    _, *lines = evidence_lines(record, evidence, Screen(width=51))
    assert [line.split()[0] for line in lines] == ["0", "40", "80"]
    assert all(columns(line) <= 51 for line in lines)


def test_evidence_without_the_feature_or_none_at_all_is_said() -> None:
    assert evidence_lines(RECORD, None, Screen()) == ["evidence  none stored"]
    other = Evidence(0, ("deception",), np.zeros((1, 1), np.int16))
    assert evidence_lines(RECORD, other, Screen()) == ["evidence  no scores of `scam`"]


def test_every_condition_of_a_rule_is_shown_and_what_became_of_the_hit(
    stored_of: Callable[..., StoredAlert],
) -> None:
    other = {
        "feature": "urgency",
        "shape": "share",
        "scope": "message",
        "start": 4,
        "end": 18,
        "position": 17,
        "value_sum": 5,
        "value_n": 14,
        "threshold_code": 768,
        "level": "z 3 in 20 %",
        "tokens_scored": 14,
        "tokens_unscored": 0,
    }
    decided = {"decision": "limited", "reason": "beyond 50 per hour"}
    lines = record_lines(stored_of(7, also=[other], **decided), Screen(100, False))
    text = "\n".join(lines)
    assert "live · high · limited" in text
    assert "beyond 50 per hour" in text
    assert "3.00 sd, threshold 2.00 sd (1 in 1000 answers)" in text
    assert "urgency" in text
    assert "message, tokens 4 to 18, decided at 17" in text
    assert "35 %, threshold 3.00 sd (z 3 in 20 %)" in text


def test_a_digest_is_shown_as_one_and_has_no_evidence(
    data_dir: Path,
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    digest_of: Callable[..., StoredAlert],
) -> None:
    digest = digest_of(0xDDD << 100)
    with Ledger(data_dir / "ledger.db") as ledger:
        ledger.append([LedgerRecord(digest.event_id, digest.core, None, True)])
    assert call("show", "0000ddd") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("digest 0000ddd")
    assert "70 of 12 groups" in shown
    assert "1970-01-01 01:00:00.000 UTC" in shown
    assert "evidence" not in shown
    assert call("list") == 0
    assert "high digest" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["deduped", "limited", "silenced", "exempt"])
def test_hits_are_listed_by_what_became_of_them(
    data_dir: Path,
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    record_of: RecordOf,
    word: str,
) -> None:
    with Ledger(data_dir / "ledger.db") as ledger:
        ledger.append([record_of(77, deliverable=False, decision=word)])
    assert call("list", "--decision", word) == 0
    _, *rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 1
    assert f"high {word}" in rows[0]
