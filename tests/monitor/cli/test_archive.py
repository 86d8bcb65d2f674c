"""`dosimeter archive`: what it needs, what it says, and that one run after another does no harm."""

from __future__ import annotations

import argparse
import importlib.util
import json
import threading
from pathlib import Path

import pytest

from dosimeter.monitor.cli import archive
from dosimeter.monitor.cli.archive import follow
from dosimeter.monitor.config import ArchiveConfig, Config
from dosimeter.monitor.history.archive import Archiver, status
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_reader import open_archive
from dosimeter.monitor.history.archive_tidy import Tidy
from dosimeter.monitor.scores.outbox import Outbox
from tests.monitor.history.score_traffic import Traffic, spooled, traffic


@pytest.fixture(autouse=True)
def _no_nice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of the tests is not made slower."""
    monkeypatch.setattr("os.nice", lambda by: by)


@pytest.fixture
def made(tmp_path: Path) -> Traffic:
    found = traffic(40, seed=8)
    spooled(ArchiveFolder(tmp_path / "archive"), found.records, 3)
    return found


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    archive.add_parser(parser.add_subparsers())
    args = parser.parse_args(["archive", *words])
    code: int = args.run(args)
    return code


def test_once_reads_all_that_is_spooled_and_says_what_was_kept(
    tmp_path: Path, made: Traffic, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text("version: 1\ndata-dir: .\narchive: {keep: 9999 days}\n")
    assert run("--config", str(file), "--once", "--json") == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["tokens"], done["chunks"], done["chunks_waiting"]) == (made.tokens, 3, 0)
    assert run("--config", str(file), "--once") == 0
    assert f"of {len(made.truth)} requests kept" in capsys.readouterr().out
    counts = open_archive(tmp_path / "archive").counts()
    assert sum(one["requests"] for one in counts.values()) == len(made.truth)


@pytest.mark.parametrize("scores", ["", ", scores: s"])
def test_what_is_kept_waits_for_kafka_only_where_the_file_names_a_topic(
    tmp_path: Path, made: Traffic, capsys: pytest.CaptureFixture[str], scores: str
) -> None:
    file = tmp_path / "sidecar.yaml"
    kafka = f"sinks: {{kafka: {{bootstrap: a{scores}}}}}"
    file.write_text(f"version: 1\ndata-dir: .\narchive: {{sample: 1 in 3}}\n{kafka}\n")
    assert run("--config", str(file), "--once", "--json") == 0
    done = json.loads(capsys.readouterr().out)
    outbox = Outbox(tmp_path / "archive" / "outbox")
    account = outbox.account()
    assert outbox.path.exists() == (account is not None) == bool(scores)
    if account is not None:
        assert account.archived == account.waiting == done["kept_tokens"] > 0


def test_an_account_of_scores_that_makes_no_sense_stops_no_archive(
    tmp_path: Path, made: Traffic, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    file, handed = tmp_path / "sidecar.yaml", tmp_path / "archive" / "outbox" / "handed"
    handed.parent.mkdir()
    handed.write_text('{"through": 0, "of a later release": 1}')
    kafka = "sinks: {kafka: {bootstrap: a, scores: b}}"
    file.write_text(f"version: 1\ndata-dir: .\narchive: {{}}\n{kafka}\n")
    assert run("--config", str(file), "--once", "--json") == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["tokens"], done["chunks_waiting"]) == (made.tokens, 0)
    assert f"scores are not sent: {handed}: no account of scores" in caplog.text
    assert "later release" in handed.read_text()


def test_the_status_is_that_of_the_archive_though_it_is_being_written(
    tmp_path: Path, made: Traffic, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ArchiveFolder(tmp_path / "archive")
    assert run("--data-dir", str(tmp_path), "--status") == 0
    before = json.loads(capsys.readouterr().out)
    assert (before["tokens_read"], before["chunks_waiting"]) == (0, 3)
    archiver = Archiver(folder, 1)
    archiver.step()
    assert run("--data-dir", str(tmp_path), "--status") == 0
    assert json.loads(capsys.readouterr().out) == status(archiver)
    archiver.close()
    assert 0 < archiver.counts["tokens_read"] < made.tokens


def test_the_file_says_how_much_is_sampled(tmp_path: Path, made: Traffic) -> None:
    config = Config(data_dir=tmp_path, archive=ArchiveConfig(one_in=1, days=10_000))
    done = follow(config, threading.Event(), once=True)
    assert done["kept_tokens"] == made.tokens


def test_old_days_are_removed_before_a_merge_needs_room(
    tmp_path: Path, made: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that is full a merge fails: nothing would ever be removed."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Tidy, "merge", full)
    config = Config(data_dir=tmp_path, archive=ArchiveConfig(one_in=1, days=1))
    with pytest.raises(OSError, match="No space"):
        follow(config, threading.Event(), once=True)
    assert not open_archive(tmp_path / "archive").files


def test_days_beyond_the_time_to_keep_are_removed(tmp_path: Path, made: Traffic) -> None:
    """The made-up traffic is of 2025."""
    config = Config(data_dir=tmp_path, archive=ArchiveConfig(one_in=1, days=1))
    done = follow(config, threading.Event(), once=True)
    assert done["kept_tokens"] == made.tokens
    assert not open_archive(tmp_path / "archive").files


def test_told_to_stop_it_ends_and_leaves_the_rest_for_later(tmp_path: Path, made: Traffic) -> None:
    stop = threading.Event()
    stop.set()
    config = Config(data_dir=tmp_path, archive=ArchiveConfig(days=10_000))
    assert follow(config, stop, once=False)["chunks_waiting"] == 3
    assert follow(config, threading.Event(), once=True)["tokens"] == made.tokens


def test_where_no_scores_are_kept_it_says_how_to_keep_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--data-dir", str(tmp_path), "--once") == 3
    assert "hint: write `archive: {}`" in capsys.readouterr().err


def test_without_pyarrow_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run("--data-dir", str(tmp_path), "--once") == 3
    assert "pip install 'dosimeter[history]'" in capsys.readouterr().err


def test_what_is_open_after_a_crash_and_not_whole_is_an_error_of_data(
    tmp_path: Path, made: Traffic, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--data-dir", str(tmp_path), "--once") == 0
    ((_, carry),) = ArchiveFolder(tmp_path / "archive").carries()
    carry.write_bytes(b"something else")
    assert run("--data-dir", str(tmp_path), "--once") == 4
    assert f"{carry}:0: begins with" in capsys.readouterr().err
