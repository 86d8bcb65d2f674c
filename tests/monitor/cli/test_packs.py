"""`dosimeter packs`: the list it writes is one that a tap follows, or nothing is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dosimeter.detectors.pack import Pack, load_pack
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.taps import pack_list

PACKS = Path(__file__).resolve().parents[3] / "monitor" / "lab" / "packs"


@pytest.fixture
def core() -> Pack:
    return load_pack(PACKS / "core")


def test_what_is_written_is_what_a_tap_reads_whatever_the_mask_and_the_folder(
    core: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a relative path the server would make another; of a mask of 0, a list that anybody may write."""
    monkeypatch.chdir(PACKS)
    before = os.umask(0)
    try:
        assert main(["packs", "--list", str(tmp_path / "packs"), "--pack", "core"]) == 0
    finally:
        os.umask(before)
    (line,) = pack_list.read(tmp_path / "packs")
    assert line == f"{PACKS / 'core'}@sha256:{core.digest}"
    assert capsys.readouterr().out == f"{line}\n"
    assert pack_list.load(line).digest == core.digest
    assert [one.name for one in tmp_path.iterdir()] == ["packs"]


def test_what_no_tap_would_follow_or_load_leaves_the_list_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, core = tmp_path / "packs", str(PACKS / "core")
    assert main(["packs", "--list", str(path), "--pack", core]) == 0
    before = path.read_bytes()
    for packs, said in (
        ([core, core], "feature `"),
        ([str(tmp_path / "absent")], "no such file"),
    ):
        options = [word for pack in packs for word in ("--pack", pack)]
        assert main(["packs", "--list", str(path), *options]) == 4
        assert said in capsys.readouterr().err
    tmp_path.chmod(0o777)
    assert main(["packs", "--list", str(path), "--pack", core]) == 4
    assert f"hint: chmod go-w {tmp_path}" in capsys.readouterr().err
    assert (path.read_bytes(), [one.name for one in tmp_path.iterdir()]) == (before, ["packs"])
