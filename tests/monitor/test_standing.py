"""A socket or ledger that is not at its path any more is held open in vain, and nothing else would say so."""

from __future__ import annotations

from pathlib import Path

from dosimeter.monitor.standing import Standing


def test_a_file_stands_until_it_is_moved_or_replaced_and_again_when_it_is_put_back(
    tmp_path: Path,
) -> None:
    path, kept = tmp_path / "ledger.db", tmp_path / "kept"
    path.write_text("ours")
    standing = Standing(path)
    path.write_text("ours, written to")
    assert standing.lost is None
    path.rename(kept)
    assert str(standing.lost).startswith(f"{path} is gone")
    path.write_text("theirs")
    assert str(standing.lost).startswith(f"{path} was replaced by another file")
    kept.rename(path)
    assert standing.lost is None
