"""Where a file may be written, and that it is there whole or not at all."""

import os
from pathlib import Path

import pytest

from dosimeter.monitor.audit.exports.outfile import OutError, check, new_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_is_there_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    with new_file(tmp_path / "a.zip") as part:
        assert not (tmp_path / "a.zip").exists()
        part.write_bytes(b"all")
    assert (tmp_path / "a.zip").read_bytes() == b"all"
    assert (tmp_path / "a.zip").stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("name", ["\u5f35" * 85, "\U0001f600" * 63, "a" * 255])
def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path: Path, name: str) -> None:
    with new_file(tmp_path / name) as part:
        part.write_bytes(b"all")
    assert names(tmp_path) == [name]


def test_nothing_is_left_of_what_was_broken_off(tmp_path: Path) -> None:
    def work() -> None:
        with new_file(tmp_path / "a.zip") as part:
            part.write_bytes(b"hal")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert names(tmp_path) == []


def test_a_file_that_is_there_stays_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("theirs")
    with pytest.raises(OutError, match=r"is there already\n  hint: .*--force"):
        check(tmp_path / "a.zip", force=False)
    with new_file(tmp_path / "a.zip", force=True) as part:
        part.write_text("ours")
    assert (tmp_path / "a.zip").read_text() == "ours"


def test_a_file_that_comes_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    def work() -> None:
        with new_file(tmp_path / "a.zip") as part:
            part.write_text("ours")
            (tmp_path / "a.zip").write_text("theirs")

    with pytest.raises(OutError, match="is there already"):
        work()
    assert (tmp_path / "a.zip").read_text() == "theirs"
    assert names(tmp_path) == ["a.zip"]


def test_a_link_is_never_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("theirs")
    (tmp_path / "a.zip").symlink_to(tmp_path / "real")
    (tmp_path / "b.zip").symlink_to(tmp_path / "nowhere")
    for name in ("a.zip", "b.zip"):
        for force in (False, True):
            with pytest.raises(OutError, match="symbolic link"):
                check(tmp_path / name, force)
    assert (tmp_path / "real").read_text() == "theirs"


def test_folders_devices_and_missing_folders_are_refused_with_what_to_do(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path, "is a folder"),
        (Path("/dev/null"), "no ordinary file"),
        (tmp_path / "pipe", "no ordinary file"),
        (tmp_path / "no" / "a.zip", "mkdir -p"),
        (Path("/"), "no file name"),
        (tmp_path / "a\0b", "no file name"),
        (tmp_path / ("x" * 300), "too long"),
        (tmp_path / "x" / ".." / "..", "no file name"),
    ):
        with pytest.raises(OutError, match=said):
            check(path, force=True)
