"""`dosimeter detectors interference`: pairs, their findings and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dosimeter.detectors.bank import Probe
from dosimeter.detectors.fingerprint import Fingerprint
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import Pack, ProbeNote, save_pack
from dosimeter.monitor.cli.main import main


@pytest.fixture
def packs(tmp_path: Path) -> list[str]:
    """Two packs; the second's one probe lies at 45 degrees to `one` and across `two`."""
    known = Fingerprint((1,), np.zeros((1, 2), "f4"), np.zeros((1, 4), "f4"), 0.1)
    note = ProbeNote("T0", 0, 1, 9)
    model = ModelIdentity("m", "A", 4, "float32", "a" * 64, "b" * 64, "", "")
    rows = {"one": [1, 0, 0, 0], "two": [0, 0, 3, 0], "three": [1, 1, 0, 0]}
    probes = {n: Probe(n, (0,), np.array([row], "f4"), 0.0) for n, row in rows.items()}
    for name, of in (("a", ("one", "two")), ("b", ("three",))):
        scores = Fingerprint((1,), known.scores[:, : len(of)], known.layer_means, 0.1)
        made = Pack(
            f"t/{name}", "r", model, tuple(probes[n] for n in of), (note,) * len(of), scores
        )
        save_pack(made, tmp_path / name)
    return [str(tmp_path / name) for name in "ab"]


def test_a_pair_above_the_limit_is_a_finding_and_exit_code_1(
    packs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detectors", "interference", *packs]) == 1
    shown = capsys.readouterr().out
    assert "`one` and `three`: cosine 0.71" in shown
    assert shown.count("[interference]") == 1


def test_below_the_limit_nothing_is_found(packs: list[str]) -> None:
    assert main(["detectors", "interference", *packs, "--limit", "0.8"]) == 0
    assert main(["detectors", "interference", packs[0]]) == 0


def test_as_json_it_is_one_object(packs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detectors", "interference", *packs, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["features"] == ["one", "two", "three"]
    assert found["cosine"][0][2] == pytest.approx(0.5**0.5)
    assert [one["code"] for one in found["findings"]] == ["interference"]


def test_packs_that_cannot_stand_together_are_a_matter_of_data(
    packs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detectors", "interference", packs[0], packs[0]]) == 4
    assert "feature `one` is in pack" in capsys.readouterr().err
    assert main(["detectors", "interference", str(tmp_path / "none")]) == 4


@pytest.mark.parametrize("limit", ["0", "1.1", "nan", "x\x1b", "-0.5"])
def test_a_limit_that_is_no_cosine_is_usage(
    packs: list[str], limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["detectors", "interference", packs[0], f"--limit={limit}"])
    assert caught.value.code == 2
    assert "\x1b" not in capsys.readouterr().err
