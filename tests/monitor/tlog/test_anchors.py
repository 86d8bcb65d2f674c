"""Anchors of the operator's own: a file, and a receiver of logs."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from dosimeter.monitor.sinks.config import OtlpConfig
from dosimeter.monitor.sinks.http import HttpError, Reply
from dosimeter.monitor.tlog.anchor_otlp import OtlpAnchor, log_record
from dosimeter.monitor.tlog.anchors import AnchorFailed, FileAnchor
from dosimeter.monitor.tlog.note import Checkpoint, NoteError, Signer

SIGNER = Signer.generate("example.org/log")
NOTES = [SIGNER.sign(str(Checkpoint(SIGNER.name, n, bytes([n]) * 32))) for n in range(4)]


def test_a_file_gives_back_what_was_put_there_in_order(tmp_path: Path) -> None:
    anchor = FileAnchor(tmp_path / "anchored")
    assert anchor.notes() == []
    for note in NOTES:
        anchor.put(note)
    assert FileAnchor(tmp_path / "anchored").notes() == NOTES
    assert (tmp_path / "anchored").read_text() == "".join(NOTES)


@pytest.mark.parametrize("cut", range(1, 170, 7))
def test_a_note_cut_off_by_a_crash_spoils_no_other(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "anchored"
    anchor = FileAnchor(path)
    anchor.put(NOTES[0])
    with path.open("ab") as file:
        file.write(NOTES[1].encode()[:cut])
    anchor.put(NOTES[2])
    anchor.put(NOTES[3])
    found = [Checkpoint.open(note, SIGNER.verifier).size for note in anchor.notes() if signed(note)]
    assert [size for size in found if size != 1] == [0, 2, 3]


def signed(note: str) -> bool:
    try:
        SIGNER.verifier.open(note)
    except NoteError:
        return False
    return True


def test_a_file_that_cannot_be_written_or_read_is_said_to_be_that(tmp_path: Path) -> None:
    anchor = FileAnchor(tmp_path / "no/such/folder", name="share")
    with pytest.raises(AnchorFailed, match=r"anchor `share`: .*\n  hint: is `"):
        anchor.put(NOTES[0])
    with pytest.raises(AnchorFailed, match="Is a directory"):
        FileAnchor(tmp_path).notes()


def test_a_collector_gets_the_whole_note_and_its_parts_as_attributes() -> None:
    sent: list[bytes] = []

    def post(body: bytes, headers: Mapping[str, str]) -> Reply:
        sent.append(gzip.decompress(body))
        return Reply(200, ExportLogsServiceResponse().SerializeToString())

    anchor = OtlpAnchor(OtlpConfig("http://collector:4318", name="otlp"), post=post)
    anchor.put(NOTES[3])
    [logs] = ExportLogsServiceRequest.FromString(sent[0]).resource_logs
    [record] = logs.scope_logs[0].log_records
    assert record.body.string_value == NOTES[3]
    assert record.event_name == "dosimeter.log.checkpoint"
    found = {kv.key: kv.value for kv in record.attributes}
    assert found["dosimeter.log.origin"].string_value == SIGNER.name
    assert found["dosimeter.log.size"].int_value == 3
    assert found["dosimeter.log.root"].string_value == "03" * 32
    assert (anchor.readable, anchor.notes()) == (False, [])
    with pytest.raises(NoteError):
        log_record("no note", 1)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(503),
        Reply(400, b"no"),
        Reply(
            200,
            ExportLogsServiceResponse(
                partial_success=ExportLogsPartialSuccess(rejected_log_records=1)
            ).SerializeToString(),
        ),
        HttpError("`http://collector:4318`: refused"),
    ],
)
def test_a_collector_that_does_not_take_it_is_an_error(reply: Reply | HttpError) -> None:
    def post(body: bytes, headers: Mapping[str, str]) -> Reply:
        if isinstance(reply, HttpError):
            raise reply
        return reply

    with pytest.raises(AnchorFailed, match=r"anchor `otlp`: .*collector"):
        OtlpAnchor(OtlpConfig("http://collector:4318"), post=post).put(NOTES[0])
