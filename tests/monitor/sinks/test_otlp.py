"""The OTLP sink: what an alert becomes on the wire, and what each reply means."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable, Mapping

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.lab.viewer import Event, Viewer
from dosimeter.monitor.sinks.config import OtlpConfig
from dosimeter.monitor.sinks.http import HttpError, Reply
from dosimeter.monitor.sinks.otlp import OtlpSink, log_record
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome, Result, retry
from tests.monitor.sinks.receiver import Answer, Receiver

StoredOf = Callable[..., StoredAlert]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def answering(*replies: Reply | Exception) -> tuple[OtlpSink, list[bytes]]:
    """A sink whose endpoint gives these replies in turn, and the bodies it was sent."""
    waiting, bodies = list(replies), []

    def post(body: bytes, headers: Mapping[str, str]) -> Reply:
        assert headers["Content-Type"] == "application/x-protobuf"
        assert headers["Content-Encoding"] == "gzip"
        bodies.append(gzip.decompress(body))
        reply = waiting.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    return OtlpSink(OtlpConfig(endpoint="http://collector:4318/"), post=post), bodies


def rejecting(count: int, message: str = "too old") -> Reply:
    partial = ExportLogsPartialSuccess(rejected_log_records=count, error_message=message)
    return Reply(200, ExportLogsServiceResponse(partial_success=partial).SerializeToString())


def results(outcomes: list[Outcome]) -> list[str]:
    return [outcome.result.value for outcome in outcomes]


def test_an_alert_becomes_one_event_in_the_trace_of_its_request(stored_of: StoredOf) -> None:
    """3072 codes over 4 tokens are 3 benign standard deviations, at 256 codes each."""
    log = log_record(stored_of(9, labels={"tenant": "acme", "traceparent": TRACE}))
    found = {kv.key: kv.value for kv in log.attributes}
    assert log.event_name == "gen_ai.evaluation.result"
    assert log.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert log.span_id.hex() == "b7ad6b7169203331"
    assert log.flags == 1
    assert log.time_unix_nano == 1_000_000_009
    assert log.observed_time_unix_nano == 5_000_000_000
    assert log.severity_number == 17  # ERROR, for `high`
    assert found["gen_ai.evaluation.name"].string_value == "deception"
    assert found["gen_ai.evaluation.score.value"].double_value == 3.0
    assert found["gen_ai.evaluation.score.label"].string_value == "high"
    assert found["gen_ai.evaluation.explanation"].string_value == "alert 9"
    assert found["dosimeter.event_id"].string_value == f"{9:032x}"
    assert found["dosimeter.tenant"].string_value == "acme"
    assert found["dosimeter.tokens.scored"].int_value == 60
    assert "dosimeter.user" not in found  # the record has none


def test_the_value_of_a_share_is_the_share(stored_of: StoredOf) -> None:
    """3 of 4 tokens: no number of standard deviations."""
    log = log_record(stored_of(1, shape="share", value_sum=3, value_n=4, reason="why"))
    found = {kv.key: kv.value for kv in log.attributes}
    assert found["gen_ai.evaluation.score.value"].double_value == 0.75
    assert found["dosimeter.shape"].string_value == "share"
    assert found["dosimeter.decision"].string_value == "notified"
    assert found["dosimeter.decision.reason"].string_value == "why"


def test_a_canary_is_an_event_of_its_own(stored_of: StoredOf) -> None:
    """Nobody may take it for an evaluation of somebody's answer."""
    assert log_record(stored_of(4, kind="canary")).event_name == "dosimeter.canary"


def test_a_digest_is_an_event_of_its_own(digest_of: StoredOf) -> None:
    log = log_record(digest_of(4))
    found = {kv.key: kv.value for kv in log.attributes}
    assert log.event_name == "dosimeter.digest"
    assert (log.time_unix_nano, log.severity_number) == (3600 * 10**9, 17)
    assert found["dosimeter.rule.id"].string_value == "deception.denies"
    assert found["dosimeter.digest.notified"].int_value == 50
    assert found["dosimeter.digest.limited"].int_value == 70
    assert "gen_ai.evaluation.name" not in found
    assert "gen_ai.evaluation.score.value" not in found


@pytest.mark.parametrize(
    "header", ["", "garbage", f"00-{'0' * 32}-b7ad6b7169203331-01", TRACE.upper(), TRACE + "\n"]
)
def test_a_traceparent_that_is_none_leaves_the_event_without_a_trace(
    stored_of: StoredOf, header: str
) -> None:
    log = log_record(stored_of(1, labels={"traceparent": header}))
    assert (log.trace_id, log.span_id) == (b"", b"")


def test_an_empty_reply_means_all_were_accepted(stored_of: StoredOf) -> None:
    sink, bodies = answering(Reply(200))
    assert sink.send([stored_of(1), stored_of(2)]) == [DELIVERED, DELIVERED]
    (request,) = map(ExportLogsServiceRequest.FromString, bodies)
    assert len(request.resource_logs[0].scope_logs[0].log_records) == 2


def test_after_a_partial_success_each_goes_alone_and_only_the_refused_is_dead(
    stored_of: StoredOf,
) -> None:
    """The reply says how many, not which; the SDK's exporter does not even read it."""
    sink, bodies = answering(rejecting(1), Reply(200), rejecting(1), Reply(200))
    outcomes = sink.send([stored_of(1), stored_of(2), stored_of(3)])
    assert results(outcomes) == ["delivered", "dead", "delivered"]
    assert "too old" in outcomes[1].reason
    assert len(bodies) == 4


def test_a_receiver_that_goes_away_between_two_is_not_waited_for_once_a_record(
    stored_of: StoredOf,
) -> None:
    """Of 500 records each waited for the whole time-out: more than an hour in one batch."""
    sink, bodies = answering(rejecting(1), Reply(200), HttpError("no whole answer within 10 s"))
    outcomes = sink.send([stored_of(n) for n in range(1, 5)])
    assert results(outcomes) == ["delivered", "retry", "retry", "retry"]
    assert len(bodies) == 3


def test_a_warning_that_rejects_nothing_is_a_success(stored_of: StoredOf) -> None:
    sink, _ = answering(rejecting(0, "please upgrade"))
    assert sink.send([stored_of(1)]) == [DELIVERED]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_refused_for_what_it_is_is_taken_apart(stored_of: StoredOf, status: int) -> None:
    sink, _ = answering(Reply(status), Reply(200), Reply(status))
    assert results(sink.send([stored_of(1), stored_of(2)])) == ["delivered", "dead"]


@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 429, 500, 502, 503, 504])
def test_what_an_operator_or_time_can_mend_is_sent_again(stored_of: StoredOf, status: int) -> None:
    sink, _ = answering(Reply(status, retry_after_s=7.0))
    (outcome,) = sink.send([stored_of(1)])
    assert outcome.result is Result.RETRY
    assert outcome.after_s == 7.0
    assert str(status) in outcome.reason


def test_no_answer_and_a_web_page_for_an_answer_are_sent_again(stored_of: StoredOf) -> None:
    sink, _ = answering(HttpError("refused"), Reply(200, b"<html>welcome</html>"))
    assert results(sink.send([stored_of(1)])) == ["retry"]
    (outcome,) = sink.send([stored_of(1)])
    assert outcome.result is Result.RETRY
    assert "is this an OTLP endpoint?" in outcome.reason


@pytest.mark.parametrize("came", [0, 10])
def test_an_answer_that_broke_off_says_nothing_of_what_was_accepted(
    stored_of: StoredOf, came: int
) -> None:
    """Found 2026-11-30: of a rejection whose body never came, nothing was left, which reads as a success."""
    body = rejecting(1).body
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            here, _ = listener.accept()
            with here, here.makefile("rb") as asked:
                lines = list(iter(asked.readline, b"\r\n"))
                [length] = [line for line in lines if line.startswith(b"Content-Length")]
                asked.read(int(length.split()[1]))  # or the end would be a reset
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                here.sendall(head.encode() + body[:came])

        answering = threading.Thread(target=answer)
        answering.start()
        port = listener.getsockname()[1]
        sink = OtlpSink(OtlpConfig(endpoint=f"http://127.0.0.1:{port}"))
        (outcome,) = sink.send([stored_of(1)])
        answering.join()
    where = f"`http://127.0.0.1:{port}/v1/logs` answered 200"
    assert outcome == retry(f"{where} and hung up in the middle of its answer")


def test_what_a_receiver_says_is_cut_and_without_our_credentials(stored_of: StoredOf) -> None:
    """It goes into the dead letter, into logs and to terminals."""
    said = "no rights: Bearer s3cret-token at /otlp/s3cret-path/v1/logs\x1b[2J" + "x" * 5_000
    with Receiver() as receiver:
        endpoint = f"{receiver.url}/otlp/s3cret-path"
        headers = {"authorization": "Bearer s3cret-token"}
        receiver.answers = [Answer(body=rejecting(1, said).body), Answer(404)]
        sink = OtlpSink(OtlpConfig(endpoint=endpoint, headers=headers))
        reasons = [sink.send([stored_of(n)])[0].reason for n in (1, 2)]
        sink.close()
    assert [came.path for came in receiver.came] == ["/otlp/s3cret-path/v1/logs"] * 2
    assert reasons[1] == f"`{receiver.url}/…/v1/logs` answered 404"
    assert reasons[0].startswith(f"rejected by `{receiver.url}/…/v1/logs`: 'no rights: …")
    assert "s3cret" not in reasons[0]
    assert reasons[0].isprintable()
    assert len(reasons[0]) < 400


def test_a_record_that_has_no_place_in_the_protocol_is_dead_and_its_neighbours_go(
    stored_of: StoredOf,
) -> None:
    """A time beyond 64 bits used to fail the batch: it would have been sent again for ever."""
    sink, bodies = answering(Reply(200))
    outcomes = sink.send([stored_of(1), stored_of(2, time_ns=1 << 70), stored_of(3)])
    assert results(outcomes) == ["delivered", "dead", "delivered"]
    assert len(bodies) == 1


def test_the_viewer_reads_what_the_sink_sends(stored_of: StoredOf) -> None:
    with Viewer() as viewer:
        sink = OtlpSink(OtlpConfig(endpoint=viewer.endpoint))
        alerts = [stored_of(n, labels={"traceparent": TRACE}) for n in range(1, 4)]
        assert sink.send(alerts) == [DELIVERED] * 3
        assert viewer.event_ids() == {alert.event_id for alert in alerts}
        assert {event.trace_id for event in viewer.events()} == {TRACE.split("-")[1]}


def test_a_viewer_that_rejects_is_believed(stored_of: StoredOf) -> None:
    def reject(event: Event) -> bool:
        return event.event_id == f"{2:032x}"

    with Viewer(reject=reject) as viewer:
        sink = OtlpSink(OtlpConfig(endpoint=viewer.endpoint))
        outcomes = sink.send([stored_of(n) for n in range(1, 4)])
        assert results(outcomes) == ["delivered", "dead", "delivered"]
        assert viewer.event_ids() == {f"{1:032x}", f"{3:032x}"}
