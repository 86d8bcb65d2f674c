"""Refused: what is kept is whole, on disk and counted across restarts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dosimeter.monitor.history.refused import Refused


def test_it_lies_beside_the_ledger_and_counts_what_earlier_processes_kept(tmp_path: Path) -> None:
    refused = Refused.beside(tmp_path / "ledger.db")
    assert refused.path == tmp_path / "refused.jsonl"
    assert refused.count == 0
    refused.keep({"error": "a"})
    Refused(refused.path).keep({"error": "b"})
    assert refused.count == 2
    refused.path.rename(tmp_path / "looked-at.jsonl")
    assert refused.count == 0


def test_anything_can_be_kept_and_bytes_that_are_no_text_are_kept_exactly(tmp_path: Path) -> None:
    refused = Refused(tmp_path / "refused.jsonl")
    refused.keep({"core": b"\xff\x00", "note": "\ud800", "other": {1}, "nested": {"body": b"{}"}})
    kept = json.loads(refused.path.read_text())
    assert kept["core"] == {"base64": "/wA="}
    assert kept["nested"] == {"body": "{}"}
    assert kept["note"] == "\ud800"


def test_a_line_that_did_not_reach_the_disk_is_taken_back_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Refused(tmp_path / "refused.jsonl")
    refused.keep({"error": "a"})
    before = refused.path.read_bytes()

    def full(fd: int) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            refused.keep({"error": "b"})
    assert refused.path.read_bytes() == before


def test_a_line_that_a_dead_process_left_half_takes_no_other_with_it(tmp_path: Path) -> None:
    """The next item was written behind it, into the same line, and an erasure of either found nothing."""
    refused = Refused(tmp_path / "refused.jsonl")
    anna, bob = "a" * 32, "b" * 32
    core = f'{{"event_id":"{anna}","labels":{{"user":"of anna"}}}}'
    refused.keep({"error": "e", "record": {"core": core, "event_id": anna}})
    whole = refused.path.read_bytes()
    refused.path.write_bytes(whole + whole[:-10])
    refused.keep({"record": {"event_id": bob, "core": "of bob"}})
    lines = refused.path.read_bytes().splitlines()
    assert refused.count == 3
    assert lines[:2] == [whole[:-1], whole[:-10]]
    assert json.loads(lines[2])["record"]["core"] == "of bob"
    assert refused.erase({bob}) == 1
    assert b"bob" not in refused.path.read_bytes()
    assert refused.erase({anna}) == 2
    assert b"anna" not in refused.path.read_bytes()
    assert [json.loads(line)["erased"] for line in refused.path.open()] == [anna, anna, bob]
