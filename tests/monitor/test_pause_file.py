"""The file that asks for a pause: whole or not there, and nothing but a pause is taken for one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dosimeter.monitor import pause_file
from dosimeter.monitor.pause_file import MAX_BYTES, MOST_NS, NAME, PauseError

GOOD = {"v": 1, "id": "ab", "reason": "INC-441", "asked_ns": 5, "until_ns": 9}


def test_what_is_asked_is_read_with_whose_file_it_is(tmp_path: Path) -> None:
    id_ = pause_file.ask(tmp_path, "INC-441\x1b[2J", 5, 9)
    found = pause_file.read(tmp_path)
    assert found is not None
    assert (found.id, found.reason, found.asked_ns, found.until_ns) == (id_, "INC-441[2J", 5, 9)
    assert found.by_uid == os.getuid()
    assert [one.name for one in tmp_path.iterdir()] == [NAME]


def test_a_later_one_takes_the_place_and_only_the_same_is_dropped(tmp_path: Path) -> None:
    pause_file.ask(tmp_path, "one", 5, 9)
    first = pause_file.read(tmp_path)
    pause_file.ask(tmp_path, "two", 6, 9)
    assert first is not None
    pause_file.drop(tmp_path, first)
    second = pause_file.read(tmp_path)
    assert second is not None
    assert second.reason == "two"
    pause_file.drop(tmp_path, second)
    assert pause_file.read(tmp_path) is None


def test_nothing_half_written_is_left_where_the_disk_takes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pause_file.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        pause_file.ask(tmp_path, "one", 5, 9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("", "no JSON"),
        ("[" * 9000, "no JSON"),
        ("[]", "no pause of version 1"),
        (json.dumps(GOOD | {"v": 2}), "no pause of version 1"),
        (json.dumps(GOOD | {"reason": " "}), "no reason"),
        (json.dumps(GOOD | {"reason": 3}), "no reason"),
        (json.dumps(GOOD | {"until_ns": True}), "times are none"),
        (json.dumps(GOOD | {"asked_ns": -1}), "times are none"),
        (json.dumps(GOOD | {"until_ns": 6 + MOST_NS}), "longer than 24 hours"),
        (json.dumps(GOOD) + " " * MAX_BYTES, "no pause of version 1"),
    ],
)
def test_what_is_no_pause_is_said(tmp_path: Path, text: str, because: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(PauseError, match=because):
        pause_file.read(tmp_path)


def test_a_link_is_not_followed_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "there").write_text(json.dumps(GOOD))
    (tmp_path / NAME).symlink_to(tmp_path / "there")
    with pytest.raises(OSError, match="symbolic links"):
        pause_file.read(tmp_path)
    (tmp_path / NAME).unlink()
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(PauseError, match="no plain file"):
        pause_file.read(tmp_path)
