"""`dosimeter detectors calibrate`: what was given is looked at before a model reads anything."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pytest

from dosimeter.detectors.pack import load_pack
from dosimeter.monitor.cli.arguments import volume
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.lab import PACK


@pytest.fixture
def benign(tmp_path: Path) -> Path:
    path = tmp_path / "benign.jsonl"
    path.write_text(json.dumps({"text": "The mill stands near the road."}) + "\n")
    return path


def calibrate(benign: Path, out: Path, *packs: Path) -> int:
    given = [word for pack in packs for word in ("--pack", str(pack))]
    return main(["detectors", "calibrate", *given, "--model", "lab", "--benign", str(benign),
                 "--out", str(out)])  # fmt: skip


def test_a_pack_is_not_overwritten_by_its_calibration(
    benign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "pack"
    shutil.copytree(PACK, mine)
    assert calibrate(benign, mine, mine) == 4
    assert "a pack stands here" in capsys.readouterr().err
    assert load_pack(mine).digest == load_pack(PACK).digest


@pytest.mark.parts
def test_two_packs_of_one_feature_are_told(
    benign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(benign, tmp_path / "out", PACK, PACK) == 4
    assert "feature `deception` is in pack `lab/core` and in" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "1e3", "1000000000001", "1000000000000" + "0" * 9])
def test_a_volume_that_no_calibration_can_be_read_back_with_is_usage(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        volume(text)


def test_a_volume_is_a_number() -> None:
    assert volume("1000000000000") == 10**12
