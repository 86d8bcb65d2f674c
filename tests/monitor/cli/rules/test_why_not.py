"""`dosimeter rules why-not`: how a request is named. How near it came is tests/rules/testing/test_nearness.py's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import SEGMENTS, Scope
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_part import About, Kept, no_counts, write_part
from dosimeter.monitor.history.assembly import Request
from dosimeter.monitor.history.chunk import Bank, Ended, Opened
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.history.strata import Stratum
from dosimeter.monitor.lab import CALIBRATION

PACK = Path(__file__).parents[4] / "rules" / "packs" / "lab.yaml"
EPOCH, AT = 0xAA, 20_000 * 86_400_000_000_000  # 2024-10-04
LENGTH = 30


@pytest.fixture
def data_dir(tmp_path: Path, record_of: Callable[..., LedgerRecord]) -> Path:
    """A ledger of three alerts, and the archive with the request of the second: an answer of 0 everywhere."""
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.append([record_of(n << 96, key=f"{n:016x}") for n in (0x10, 0x11, 0x20)])
    calibration = Calibration.load(CALIBRATION)
    bank = Bank(tuple(zip(calibration.features, calibration.packs, strict=True)), "lab", "ab" * 32)
    opened = Opened(EPOCH, 0x11, bank.digest, "", AT, "acme", "chat")
    request = Request(opened, bank, heard_ns=AT, ended=Ended(EPOCH, 0x11, True, AT, LENGTH))
    codes = np.zeros((LENGTH, len(calibration.features)), np.int16)
    request.add(np.array([(0x11, 0, LENGTH, int(Scope.ANSWER))], SEGMENTS), codes, (AT, AT + 1))
    about = About(bank, 1, no_counts(), AT, AT + 1)
    part = ArchiveFolder(tmp_path / "archive").part("2024-10-04", 0, 0, bank.digest)
    write_part(part.path, [Kept(request, Stratum.REST, 1, True)], about)
    return tmp_path


def why_not(data_dir: Path, request: str) -> int:
    where = ["--data-dir", str(data_dir), "--calibration", "lab"]
    return main(["rules", "why-not", request, str(PACK), *where])


@pytest.mark.parametrize("request_", ["aa/11", "00000011", f"{0x11 << 96:032X}"])
def test_a_request_is_named_by_itself_or_by_its_alert(
    request_: str, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why_not(data_dir, request_) == 0
    said = capsys.readouterr().out
    assert "/0000000000000011, 30 tokens" in said or said.startswith("request aa/11, 30 tokens")
    assert "silent  deceptive-answer: not met" in said


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        ("0000001", 1, "`0000001` begins several ids\n  hint: give more characters"),
        ("ff", 1, "`ff` is no alert\n  hint: `dosimeter alerts list` shows the ids"),
        ("00000020", 1, "does not hold request 00000000000000aa/0000000000000020"),
        ("hello", 2, "`hello` is no request\n  hint: write EPOCH/KEY, or the id of an alert"),
    ],
)
def test_what_names_no_kept_request_says_the_next_step(
    request_: str, code: int, said: str, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why_not(data_dir, request_) == code
    assert said in capsys.readouterr().err


def test_an_alert_without_a_ledger_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why_not(tmp_path, "00000011") == 3
    assert "no ledger here" in capsys.readouterr().err


def test_a_calibration_that_is_none_names_those_that_are_shipped(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["rules", "why-not", "aa/11", str(PACK), "--calibration", "nope"])
    assert stopped.value.code == 2
    assert "there is no `nope`; hint: a folder, or `lab`, `reader`" in capsys.readouterr().err


WHOLE = """\
version: 1
rules:
  - rule: whole
    when:
      all:
        - {feature: deception, in: answer, below: z 1, average: answer}
        - {feature: scam, in: answer, below: z 1}
    unless: [{tenant: acme, reason: r, by: b, until: 2099-01-31}]
    status: retired
    severity: low
    summary: s
"""


def test_levels_are_placed_by_all_calibrations_that_are_given(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that had a feature more than the request, or one of two a rule needs, had been of no use."""
    lab = Calibration.load(CALIBRATION)
    rules = tmp_path / "rules.yaml"
    rules.write_text(WHOLE)
    more = np.column_stack([lab.codes, lab.codes[:, 0]])
    replace(lab, features=(*lab.features, "more"), packs=(*lab.packs, "cd" * 32), codes=more).save(
        tmp_path / "more"
    )
    for name, at in (("deception", 0), ("scam", 1)):
        column = lab.features.index(name)
        replace(
            lab, features=(name,), packs=(lab.packs[column],), codes=lab.codes[:, [column]]
        ).save(tmp_path / f"half{at}")
    for names in (("more",), ("half0", "half1")):
        where = [word for name in names for word in ("--calibration", str(tmp_path / name))]
        data = ["--data-dir", str(data_dir)]
        assert main(["rules", "why-not", "aa/11", str(rules), *data, *where]) == 0
        assert "fires   whole: fires at end of answer, exempt\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", [["why-not", "aa/11"], ["backtest"], ["plan", "--reviews-per-day", "9"]]
)
def test_two_calibrations_of_the_same_scores_are_refused_with_their_folders(
    command: list[str], data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It had been a traceback."""
    replace(Calibration.load(CALIBRATION), corpus="other words").save(tmp_path / "second")
    where = ["--calibration", "lab", "--calibration", str(tmp_path / "second")]
    where += ["--archive", str(data_dir / "archive")]
    assert main(["rules", *command, str(PACK), *where]) == 4
    said = capsys.readouterr().err
    assert f"{tmp_path / 'second'}: error: it has `" in said
    assert "hint: give one of the two" in said
