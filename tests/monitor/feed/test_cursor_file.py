"""The cursor's own file: whole, or as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor.feed.cursor_file import CursorError, CursorFile


def test_what_was_saved_last_is_loaded(tmp_path: Path) -> None:
    file = CursorFile(tmp_path / "ship.json")
    assert file.load() == {}
    for n in (1, 2):
        file.save({"seq": n})
        assert CursorFile(file.path).load() == {"seq": n}
    assert [one.name for one in tmp_path.iterdir()] == ["ship.json"]


def test_what_a_crash_left_half_written_is_not_read(tmp_path: Path) -> None:
    file = CursorFile(tmp_path / "ship.json")
    file.save({"seq": 1})
    (tmp_path / "ship.json.new").write_bytes(b'{"se')
    assert file.load() == {"seq": 1}
    file.save({"seq": 2})
    assert file.load() == {"seq": 2}


@pytest.mark.parametrize("held", [b"", b"{", b"[]", b"\xff"])
def test_a_file_that_holds_no_cursor_says_what_to_do(tmp_path: Path, held: bytes) -> None:
    path = tmp_path / "ship.json"
    path.write_bytes(held)
    with pytest.raises(CursorError, match=r"ship\.json: not a cursor(.|\n)*hint: move it away"):
        CursorFile(path).load()
