"""From the line to the archive: what the rules decided on is what is kept, and nothing that names a person."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dosimeter.detectors.frames import Scope
from dosimeter.monitor.history.archive import Archiver
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_reader import Part, open_archive
from dosimeter.monitor.history.chunk import Opened
from dosimeter.monitor.history.chunk_reader import read_chunk
from dosimeter.monitor.history.spool import Spool
from dosimeter.monitor.history.strata import Stratum
from dosimeter.monitor.recorder import Recorder
from dosimeter.monitor.records import Hello, Open
from dosimeter.monitor.taps.wire import Kind
from dosimeter.rules.program import Program
from tests.monitor.test_pipeline import PACK, Line, Server, folder  # noqa: F401

WHOLE = int(Scope.ANSWER)


class Kept:
    """A line whose scores are kept, and the archive of them."""

    def __init__(self, root: Path) -> None:
        self.line = Line(root)
        self.archive = ArchiveFolder(root / "archive")
        self.spool = Spool(self.archive)
        self.line.pipeline.recorder = self.line.pipeline.roster.recorder = Recorder(self.spool)

    def parts(self) -> list[Part]:
        self.spool.write(last=True)
        archiver = Archiver(self.archive, 1)
        while archiver.step():
            pass
        archiver.close()
        return list(open_archive(self.archive.path).parts(["deception"]))


@pytest.fixture
def kept(folder: Path) -> Kept:  # noqa: F811
    return Kept(folder)


def test_scores_of_a_request_are_kept_as_the_rules_saw_them(kept: Kept, folder: Path) -> None:  # noqa: F811
    server = Server(folder)
    server.open(1, prompt=3)
    server.run(1, 0, [0, 1, 2, 3])
    server.run(1, 6, [5, 5])  # 4 and 5 were lost on the wire
    server.close(1, served=9)
    server.open(2, prompt=1)
    server.run(2, 0, [0, 5, 5, 5, 5])
    server.close(2, served=5)
    kept.line.read()
    kept.line.commit()
    kept.line.close()
    (part,) = kept.parts()
    assert part.key.tolist() == [1, 2]
    assert part.epoch.tolist() == [5, 5]
    codes = [part.codes[0][part.offsets[a] : part.offsets[a + 1]].tolist() for a in range(2)]
    assert codes == [[0, 256, 512, 768, 1280, 1280], [0, *[1280] * 4]]
    message = int(Scope.MESSAGE)
    assert part.runs.tolist() == [
        [0, 0, 3, message],
        [0, 3, 1, WHOLE],
        [0, 6, 2, WHOLE],
        [1, 0, 1, message],
        [1, 1, 4, WHOLE],
    ]
    assert part.served.tolist() == [9, 5]
    assert part.stratum.tolist() == [Stratum.REST, Stratum.FLAGGED]
    assert part.about.bank.columns == (("deception", PACK),)
    (record,) = kept.line.ledger.records
    core = json.loads(record.core)
    assert part.program.names[part.program.of[1]] == core["program_sha256"]
    text = kept.line.ledger.blobs[core["program_sha256"]]
    assert b"rising" in text
    (file,) = open_archive(kept.archive.path).files
    assert record.event_id.encode() in _fired(file.path)


def _fired(path: Path) -> bytes:
    import pyarrow.parquet as pq

    return json.dumps(pq.read_table(path, columns=["fired"]).to_pylist()).encode()


def test_a_label_is_kept_only_where_a_gateway_vouches_for_it(
    kept: Kept,
    folder: Path,  # noqa: F811
) -> None:
    server = Server(folder)
    labels = {"tenant": "acme", "route": "chat", "user": "u-1", "conversation": "c-1"}
    for key, trusted in ((1, ["tenant", "user", "conversation"]), (2, [])):
        record = {"key": key, "prompt_len": 1, "labels": labels, "trusted": trusted}
        server.live[key] = record
        server.sender.control(Kind.OPEN, record)
        server.run(key, 0, [0, 0])
        server.close(key, served=2)
    kept.line.read()
    kept.line.close()
    (part,) = kept.parts()
    assert [part.tenant.names[i] for i in part.tenant.of] == ["acme", ""]
    assert [part.route.names[i] for i in part.route.of] == ["", ""]
    stored = b"".join(one.path.read_bytes() for one in kept.archive.parts())
    assert b"u-1" not in stored
    assert b"c-1" not in stored


def test_a_conversation_is_a_random_number_for_as_long_as_the_line_lives(tmp_path: Path) -> None:
    numbers: list[list[int]] = []
    for life in ("one", "two"):
        spool = Spool(ArchiveFolder(tmp_path / life))
        recorder = Recorder(spool)
        hello, program = Hello.parse({"state": "no-pack"}), Program((), (), ())
        for key, name, trusted in (
            (1, "chat-7", True),
            (2, "chat-8", True),
            (3, "chat-7", True),
            (4, "chat-7", False),
        ):
            said = {"key": key, "prompt_len": 1, "labels": {"conversation": name}}
            said["trusted"] = ["conversation"] if trusted else []
            recorder.open(1, Open.parse(said), hello, program, whole=True)
        spool.write(last=True)
        (chunk,) = ArchiveFolder(tmp_path / life).sealed()
        assert b"chat" not in chunk.path.read_bytes()
        records = read_chunk(chunk.path).records
        numbers.append([one.conversation for one in records if isinstance(one, Opened)])
    first, second = numbers
    assert first[0] == first[2] != first[1]
    assert first[3] == 0
    assert 0 not in first[:3]
    assert set(first[:3]).isdisjoint(second)


def test_requests_that_a_dead_server_left_are_over_too(kept: Kept, folder: Path) -> None:  # noqa: F811
    server = Server(folder)
    server.open(1, prompt=1)
    server.run(1, 0, [0, 1])
    kept.line.read()
    server.sender.close()
    kept.line.read()
    for _ in range(70):  # a second each
        kept.line.read()
    kept.line.close()
    (part,) = kept.parts()
    assert part.key.tolist() == [1]
    assert part.served.tolist() == [-1]


def test_after_a_swap_of_packs_a_request_goes_on_as_another_row(
    kept: Kept,
    folder: Path,  # noqa: F811
) -> None:
    server = Server(folder)
    server.open(1, prompt=1)
    server.run(1, 0, [0, 1])
    kept.line.read()
    column = {"feature": "deception", "pack": "cd" * 32, "packName": "other"}
    server.hello["columns"] = [column]
    server.sender.control(Kind.HELLO, server.hello)
    server.run(1, 2, [2, 3])
    server.close(1, served=4)
    kept.line.read()
    kept.line.close()
    parts = sorted(kept.parts(), key=lambda part: int(part.runs[0][1]))
    assert [part.codes[0].tolist() for part in parts] == [[0, 256], [512, 768]]
    assert [part.about.bank.columns[0][1] for part in parts] == [PACK, "cd" * 32]
    assert not any(part.whole.any() for part in parts)


def test_the_status_says_what_was_taken_and_dropped(kept: Kept, folder: Path) -> None:  # noqa: F811
    server = Server(folder)
    server.open(1, prompt=1)
    server.run(1, 0, [0, 1])
    kept.line.read()
    found = kept.line.pipeline.recorder.status()
    kept.line.close()
    assert found is not None
    assert (found["requests"], found["rows"], found["rows_dropped"]) == (1, 2, 0)
    assert Recorder().status() is None


def test_the_line_does_not_load_what_only_the_archive_needs() -> None:
    """pyarrow costs a process memory and its start, and the line has neither to give."""
    asked = "import dosimeter.monitor.service, sys; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_codes_are_those_of_the_wire_though_its_buffers_are_used_again(
    kept: Kept,
    folder: Path,  # noqa: F811
) -> None:
    server = Server(folder)
    server.open(1, prompt=1)
    values = np.random.default_rng(0).integers(-5, 5, 400).tolist()
    for start in range(0, 400, 4):
        server.run(1, start, values[start : start + 4])
        kept.line.read()
    server.close(1, served=400)
    kept.line.read()
    kept.line.close()
    (part,) = kept.parts()
    assert part.codes[0].tolist() == [256 * value for value in values]


def test_what_is_scored_while_the_archive_cannot_be_opened_is_counted_as_dropped(
    folder: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    line, server = Line(folder), Server(folder)
    recorder = line.pipeline.recorder
    assert recorder.status() is None
    recorder.stalled = "it is a file"
    server.open(1, prompt=1)
    server.run(1, 0, [0, 5, 5, 5, 5])
    server.close(1, served=5)
    line.read()
    spool = Spool(ArchiveFolder(tmp_path_factory.mktemp("other") / "archive"))
    missing = {"requests_dropped": 1, "rows_dropped": 5, "hits_dropped": 1}
    expected = {**dict.fromkeys(spool.status(), 0), **missing, "stalled": "it is a file"}
    assert recorder.status() == expected
    recorder.spool, recorder.stalled = spool, None
    server.open(2, prompt=1)
    server.run(2, 0, [0, 1])
    line.read()
    found = recorder.status() or {}
    assert (found["requests"], found["rows"]) == (1, 2)
    assert {name: found[name] for name in missing} == missing
    line.close()
    spool.stop(0)
