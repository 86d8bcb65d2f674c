"""`dosimeter detectors build`: what an earlier build left goes when a new one begins, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.cli.detectors.build import _make_room
from dosimeter.monitor.cli.main import main


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """As a build of two features leaves it."""
    out = tmp_path / "out"
    for part in ("pack", "calibration"):
        (out / part).mkdir(parents=True)
        (out / part / "card.yaml").write_text("version: 1\n")
    for feature in ("scam", "deception"):
        (out / f"evidence-{feature}.json").write_text("{}")
        (out / f"report-{feature}.html").write_text("accepted")
    (out / "report-of-mine.html").write_text("mine")
    return out


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_model_that_is_not_there_costs_no_earlier_build(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = names(built)
    code = main(["detectors", "build", "--model", str(built / "none"), "--feature", "scam", "--out",
                 str(built)])  # fmt: skip
    assert code == 4
    assert "is no folder" in capsys.readouterr().err
    assert names(built) == before


def test_nothing_of_an_earlier_build_stands_beside_what_a_new_one_refuses(built: Path) -> None:
    """Its evidence is of a pack that is there no more."""
    _make_room(built)
    assert names(built) == [".captures", "report-of-mine.html"]


def test_a_pack_that_no_build_left_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    with pytest.raises(InputError, match="not from a build"):
        _make_room(tmp_path)
    assert names(tmp_path) == ["pack"]
