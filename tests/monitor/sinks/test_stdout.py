"""The plain sink: exact lines, whole again after a failure."""

from __future__ import annotations

import io
import resource
from collections.abc import Callable
from pathlib import Path

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks.config import StdoutConfig
from dosimeter.monitor.sinks.sink import DELIVERED, Result
from dosimeter.monitor.sinks.stdout import StdoutSink

StoredOf = Callable[..., StoredAlert]


def test_a_line_is_the_exact_record(tmp_path: Path, stored_of: StoredOf) -> None:
    path = tmp_path / "new" / "alerts.jsonl"
    sink = StdoutSink(StdoutConfig(path=path))
    alerts = [stored_of(1), stored_of(2, summary="zwei\nZeilen")]
    assert sink.send(alerts) == [DELIVERED, DELIVERED]
    sink.close()
    assert path.read_bytes() == alerts[0].core + b"\n" + alerts[1].core + b"\n"
    assert StdoutSink(StdoutConfig(path=path)).send([stored_of(3)]) == [DELIVERED]
    assert path.read_bytes().count(b"\n") == 3


def test_half_a_line_is_closed_off_before_the_next(stored_of: StoredOf) -> None:
    class Full(io.BytesIO):
        room = 10

        def write(self, data: bytes) -> int:  # type: ignore[override]
            if self.room < len(data):
                super().write(data[: self.room])
                self.room = 10**6
                raise OSError(28, "No space left on device")
            return super().write(data)

    stream = Full()
    sink = StdoutSink(StdoutConfig(), stream=stream)
    (outcome,) = sink.send([stored_of(1)])
    assert outcome.result is Result.RETRY
    assert outcome.reason == "`standard output`: No space left on device"
    assert sink.send([stored_of(1)]) == [DELIVERED]
    assert stream.getvalue().split(b"\n")[1] == stored_of(1).core


def test_a_folder_that_cannot_be_made_is_sent_again(tmp_path: Path, stored_of: StoredOf) -> None:
    (tmp_path / "file").write_text("in the way")
    sink = StdoutSink(StdoutConfig(path=tmp_path / "file" / "alerts.jsonl"))
    assert sink.send([stored_of(1)])[0].result is Result.RETRY


def test_a_disk_that_takes_a_part_has_not_taken_all(tmp_path: Path, stored_of: StoredOf) -> None:
    """The system writes what there is room for, and that is no error."""
    path = tmp_path / "alerts.jsonl"
    alerts = [stored_of(1), stored_of(2), stored_of(3)]
    sink = StdoutSink(StdoutConfig(path=path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(alerts[0].core) + 10, hard))
    try:
        outcomes = sink.send(alerts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [one.result for one in outcomes] == [Result.RETRY] * 3
    assert sink.send(alerts) == [DELIVERED] * 3
    assert path.read_bytes().splitlines()[-3:] == [one.core for one in alerts]


def test_half_a_line_of_a_killed_writer_is_closed_off(tmp_path: Path, stored_of: StoredOf) -> None:
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(b'{"kind":"al')
    assert StdoutSink(StdoutConfig(path=path)).send([stored_of(1)]) == [DELIVERED]
    assert path.read_bytes().splitlines() == [b'{"kind":"al', stored_of(1).core]


def test_after_a_rotation_the_name_has_what_comes(tmp_path: Path, stored_of: StoredOf) -> None:
    path = tmp_path / "alerts.jsonl"
    sink = StdoutSink(StdoutConfig(path=path))
    sink.send([stored_of(1)])
    path.rename(tmp_path / "alerts.jsonl.1")
    assert sink.send([stored_of(2)]) == [DELIVERED]
    path.unlink()
    path.touch()
    assert sink.send([stored_of(3)]) == [DELIVERED]
    sink.close()
    assert path.read_bytes() == stored_of(3).core + b"\n"
    assert (tmp_path / "alerts.jsonl.1").read_bytes() == stored_of(1).core + b"\n"
