"""A plan on the archive of scores: what the sample left out is in its weights, and the plan holds on all of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dosimeter.detectors.bank import Column
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import SEGMENTS, Codes, Scope
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_part import About, Kept, no_counts, write_part
from dosimeter.monitor.history.assembly import Request
from dosimeter.monitor.history.chunk import Bank, Opened
from dosimeter.monitor.history.strata import Sampler, Stratum
from dosimeter.monitor.plan_traffic import DAY_NS, stored
from dosimeter.rules.language.schema import RuleSet, parse_rules
from dosimeter.rules.planning.proposal import propose
from dosimeter.rules.planning.reach import Requests

PACK = "c" * 64
BANK = Bank((("other", "d" * 64), ("deception", PACK)), "lab", "ab" * 32)
COLUMNS = [Column("deception", PACK, "")]
LENGTH, DAYS, REQUESTS, ONE_IN = 12, 4, 12_000, 20
LIVE, NEAR = 1000, 872
RULES = """
version: 1
rules:
  - rule: r0
    when: {feature: deception, in: answer, above: 1 in 200 answers}
    status: live
    severity: high
    owner: o
    summary: s
"""


def codes_of(seed: int, requests: int) -> Codes:
    """int16 [requests, tokens]: what no archive has."""
    rng = np.random.default_rng(seed)
    return np.rint(rng.standard_normal((requests, LENGTH)) * 256).astype(np.int16)


def calibration(codes: Codes) -> Calibration:
    return Calibration.from_requests(
        COLUMNS,
        [(one[:, None], np.full(LENGTH, Scope.ANSWER, np.uint8)) for one in codes],
        corpus="made up",
        date="2026-01-31",
    )


def store(folder: Path, codes: Codes, bank: Bank = BANK) -> None:
    """A file a day, with what the archive would keep."""
    sampler = Sampler(bytes([7]) * 32, ONE_IN)
    for day in range(DAYS):
        kept = []
        for key in range(day * len(codes) // DAYS, (day + 1) * len(codes) // DAYS):
            highest = int(codes[key].max())
            stratum = (
                Stratum.FLAGGED
                if highest > LIVE
                else Stratum.NEAR
                if highest > NEAR
                else Stratum.REST
            )
            uniform = sampler.takes(1, key)
            if uniform or stratum is not Stratum.REST:
                weight = ONE_IN if stratum is Stratum.REST else 1
                share = (key * DAYS % len(codes)) / len(codes)
                at = (20_000 + day) * DAY_NS + int(share * DAY_NS)
                opened = Opened(1, key, bank.digest, "", at, f"tenant-{key % 5}", "chat")
                request = Request(opened, bank, at)
                segments = np.array([(key, 0, LENGTH, int(Scope.ANSWER))], SEGMENTS)
                request.add(segments, np.repeat(codes[key][:, None], 2, axis=1), (at, at))
                kept.append(Kept(request, stratum, weight, uniform))
        first = (20_000 + day) * DAY_NS
        about = About(bank, ONE_IN, no_counts(), first, first + DAY_NS)
        path = ArchiveFolder(folder).part(f"2024-10-0{4 + day}", day, day, bank.digest).path
        write_part(path, kept, about)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("archive")
    store(found, codes_of(1, REQUESTS))
    return found


def test_it_knows_how_much_traffic_it_stands_for(folder: Path) -> None:
    found = stored(folder, ["deception", "scam"])
    assert found.features == ("deception",)
    assert found.model == "lab"
    assert found.days == pytest.approx(DAYS, abs=0.05)
    assert found.per_day == pytest.approx(REQUESTS / DAYS, rel=0.1)
    assert sum(found.hours) == pytest.approx(1)
    assert max(found.hours) < 0.06  # spread over the day
    (names, weights) = zip(*[(p.ids, p.weights) for p in found], strict=True)
    assert len({name for part in names for name in part}) == found.requests
    assert {float(w) for part in weights for w in part} == {1.0, ONE_IN}


def test_a_plan_on_the_sample_holds_on_all_traffic(folder: Path) -> None:
    """Looser than what was kept whole, so that weights decide; the whole day is unseen."""
    placed = calibration(codes_of(2, 4000))
    traffic = stored(folder, ["deception"])
    found = propose(
        RuleSet(parse_rules(RULES).rules), traffic.columns, [placed], traffic,
        budget=150, per_day=3000,
    )  # fmt: skip
    threshold = found.dials[0].thresholds[found.positions[0]][0]
    assert threshold < NEAR
    unseen = (codes_of(3, 3000) > threshold).any(axis=1).sum()
    assert found.planned.total.low <= unseen <= found.planned.total.high
    alone = propose(
        RuleSet(parse_rules(RULES).rules), COLUMNS, [placed],
        [Requests.of(calibration(codes_of(4, found.evidence.first.shape[0])))],
        budget=150, per_day=3000,
    )  # fmt: skip
    widths = [p.planned.total.high - p.planned.total.low for p in (found, alone)]
    assert widths[0] > widths[1]


def test_files_of_another_bank_are_left_out_and_counted(folder: Path, tmp_path: Path) -> None:
    store(tmp_path, codes_of(1, 400))
    old = Bank((("deception", "e" * 64),), "lab", "ab" * 32)
    about = About(old, ONE_IN, no_counts(), DAY_NS, 2 * DAY_NS)
    write_part(ArchiveFolder(tmp_path).part("2024-01-01", 9, 9, old.digest).path, [], about)
    found = stored(tmp_path, ["deception"])
    assert found.other == 1
    assert {c.feature: c.pack for c in found.columns}["deception"] == PACK


def test_the_command_names_requests_as_alerts_do(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    calibration(codes_of(2, 4000)).save(tmp_path / "calibration")
    labels = tmp_path / "labels.csv"
    traffic = stored(folder, ["deception"])
    names = [name for part in traffic for name in part.ids][:40]
    short = ["/".join(p.lstrip("0") or "0" for p in name.split("/")) for name in names]
    labels.write_text("request,label\n" + "".join(f"{name},yes\n" for name in short))
    wanted = ["--reviews-per-day", "100", "--archive", str(folder), "--labels", str(labels)]
    where = [str(tmp_path / "rules.yaml"), "--calibration", str(tmp_path / "calibration")]
    assert main(["rules", "plan", *where, *wanted]) == 0
    said = capsys.readouterr().out
    assert "the archive, 4.0 days of lab" in said
    assert "of 40 requests labelled yes" in said
    assert "+ 0000000000000001/00000000" in said


def test_less_than_a_day_is_said_to_be_taken_for_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seconds of traffic had become half a million requests a day without a word."""
    day = "day=2024-10-04"
    shutil.copytree(folder / day, tmp_path / "archive" / day)
    (tmp_path / "rules.yaml").write_text(RULES)
    calibration(codes_of(2, 4000)).save(tmp_path / "calibration")
    where = ["--archive", str(tmp_path / "archive"), "--calibration", str(tmp_path / "calibration")]
    call = ["rules", "plan", str(tmp_path / "rules.yaml"), "--reviews-per-day", "100", *where]
    main(call)
    hours = 24 * stored(tmp_path / "archive", ["deception"]).days
    assert f"note: a day is taken for what {hours:.3g} hours were" in capsys.readouterr().out
    main([*call, "--per-day", "3000"])
    assert "is taken for" not in capsys.readouterr().out


def test_no_archive_and_an_empty_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no archive of scores"):
        stored(tmp_path, ["deception"])
    write_part(
        ArchiveFolder(tmp_path).part("2024-01-01", 0, 0, BANK.digest).path,
        [], About(BANK, ONE_IN, no_counts(), 0, 0),
    )  # fmt: skip
    with pytest.raises(InputError, match="no request in the archive"):
        stored(tmp_path, ["deception"])
