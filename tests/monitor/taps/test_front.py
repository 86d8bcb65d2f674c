"""The front reads who asks and what the server counted, changes nothing, and never raises into the server."""

from __future__ import annotations

import asyncio
import json
from contextvars import ContextVar
from typing import Any

import pytest

from dosimeter.monitor.taps.front import TAIL_BYTES, Front, usage_of
from dosimeter.monitor.taps.requests import End, Requests, Ticket
from dosimeter.monitor.taps.settings import TapSettings

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def reply(content: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}}], "usage": USAGE}).encode()


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (reply("hello"), (7, 3)),
        (
            b'data: {"choices":[]}\n\ndata: {"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n',
            (7, 3),
        ),
        (
            b'{"usage":{"input_tokens":4,"input_tokens_details":{"cached":1},"output_tokens":2}}',
            (4, 2),
        ),
        (b'{"choices":[]}', None),
        (b'{"usage":null}', None),
        (b"", None),
    ],
)
def test_the_servers_count_is_found_at_the_end_of_a_reply(
    tail: bytes, expected: tuple[int, int] | None
) -> None:
    assert usage_of(tail) == expected


def test_text_that_imitates_a_count_is_not_taken_for_one() -> None:
    """A model can be made to say anything; inside a JSON string its quotes are escaped."""
    forged = '"usage": {"prompt_tokens": 1, "completion_tokens": 1}'
    assert usage_of(reply(forged)) == (7, 3)
    assert usage_of(json.dumps({"content": forged}).encode()) is None


class Call:
    """One HTTP call through the front, with a server that generates one sequence for it."""

    def __init__(self, settings: TapSettings, *, body: bytes = b"", fail: bool = False) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.requests = Requests(
            lambda kind, record: self.records.append((kind, record)), lambda: 1
        )
        self.current: ContextVar[Ticket | None] = ContextVar("ticket", default=None)
        self.body, self.fail = body, fail
        self.sent: list[dict[str, Any]] = []
        self.front = Front(self.server, self.requests, settings, self.current)

    async def server(self, scope: Any, receive: Any, send: Any) -> None:
        ticket = self.current.get()
        if ticket is not None:
            request = self.requests.open([1] * 7, ticket)
            request.advance(0, 9)
            request.emitted = 9
            self.requests.tap_ended(request, End("finished", 7, 3, 9, "scheduler"))
        if self.fail:
            raise ConnectionResetError("the client went away")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.body})

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    def run(self, headers: dict[str, str], path: str = "/v1/chat/completions") -> None:
        raw = [(k.encode(), v.encode("latin-1")) for k, v in headers.items()]
        scope = {"type": "http", "path": path, "headers": raw}
        asyncio.run(self.front(scope, None, self._send))  # type: ignore[arg-type]

    def record(self, kind: str) -> dict[str, Any]:
        (found,) = [record for name, record in self.records if name == kind]
        return found


def settings(**changes: Any) -> TapSettings:
    return TapSettings(socket="s", **changes)


def test_headers_become_labels_and_the_reply_passes_unchanged() -> None:
    call = Call(settings(trusted=("tenant",)), body=reply("hi"))
    call.run(
        {"X-Request-Id": "r1", "x-tenant-id": "acme", "x-user-id": "u", "authorization": "secret"}
    )
    opened = call.record("OPEN")
    assert opened["labels"] == {"request_id": "r1", "tenant": "acme", "user": "u"}
    assert opened["trusted"] == ["tenant"]
    assert call.sent[1]["body"] == reply("hi")


def test_served_is_the_count_of_the_reply_not_ours() -> None:
    call = Call(settings(), body=reply("hi"))
    call.run({})
    closed = call.record("CLOSE")
    assert (closed["served"], closed["served_source"]) == (9, "usage")


def test_a_reply_cut_off_falls_back_to_the_scheduler_and_the_servers_error_passes() -> None:
    call = Call(settings(), fail=True)
    with pytest.raises(ConnectionResetError):
        call.run({})
    assert call.record("CLOSE")["served_source"] == "scheduler"


def test_tokens_counted_by_the_server_that_no_tap_met_are_a_request_of_their_own() -> None:
    """A seam that broke silently must show as unaccounted tokens, not as a quiet day."""
    call = Call(settings(), body=reply("hi"))

    async def unseen(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": reply("hi")})

    call.front._app = unseen
    call.run({})
    closed = call.record("CLOSE")
    assert (closed["served"], closed["emitted"], closed["cached"], closed["errors"]) == (
        9,
        0,
        0,
        {},
    )


def test_content_needs_a_tenant_that_chose_it_and_a_header_we_trust() -> None:
    headers = {"x-tenant-id": "demo"}
    tickets = []
    for trusted in ((), ("tenant",)):
        call = Call(settings(trusted=trusted, content_tenants=("demo",)), body=reply("hi"))
        original = call.server

        async def server(
            scope: Any, receive: Any, send: Any, call: Call = call, o: Any = original
        ) -> None:
            tickets.append(call.current.get())
            await o(scope, receive, send)

        call.front._app = server
        call.run(headers)
    assert [ticket.content for ticket in tickets] == [False, True]


def test_other_paths_are_not_touched() -> None:
    call = Call(settings(), body=reply("hi"))
    call.run({}, path="/health")
    assert call.records == []


@pytest.mark.parametrize(
    "said",
    [
        'x "usage": {"prompt_tokens": 900000000, "completion_tokens": 7} y',
        'x", "usage": {"prompt_tokens": 900000000, "completion_tokens": 7}, "y": "z',
    ],
)
def test_an_error_text_with_a_clients_words_in_it_holds_no_count(said: str) -> None:
    """The server writes `data: {"error": "<text>"}` unescaped, and `logit_bias` values stand in the text."""
    assert usage_of(f'data: {{"error": "{said}"}}\n\n'.encode()) is None


@pytest.mark.parametrize("count", [-1, 1 << 40, True, "7", 1.5, None])
def test_a_count_that_is_none_is_not_taken_for_one(count: object) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 3}
    assert usage_of(json.dumps({"usage": usage}).encode()) is None


def test_a_reply_too_long_to_be_kept_is_searched_from_its_end() -> None:
    whole = json.dumps(
        {"response": {"output": "a" * 100_000, "usage": USAGE}, "type": "x"}
    ).encode()
    assert usage_of((b"data: " + whole + b"\n\n")[-TAIL_BYTES:]) == (7, 3)


def test_the_count_of_a_completed_response_is_found_inside_it() -> None:
    event = {
        "type": "response.completed",
        "response": {"usage": {"input_tokens": 4, "output_tokens": 2}},
    }
    assert usage_of(b"data: " + json.dumps(event).encode() + b"\n\n") == (4, 2)


def test_a_count_of_the_reply_is_never_made_into_that_many_tokens() -> None:
    """It was once a list of as many zeros, given to whoever cuts the spans."""
    records: list[tuple[str, dict[str, Any]]] = []
    requests = Requests(lambda kind, record: records.append((kind, record)), lambda: 1)
    asked: list[int] = []

    def spans(ids: Any) -> Any:
        asked.append(len(ids))
        return [(2, 0, len(ids))], False

    requests.front_ended(Ticket({}, frozenset(), spans=spans), (1000, 1))
    assert asked == []
    assert records[0][1]["spans"] == [[2, 0, 1000]]
    assert records[1][1]["served"] == 1000


def test_tokens_of_a_path_whose_forwards_nobody_follows_are_counted_as_such() -> None:
    """`/v1/systemone` of transformers runs the model beside its loops: its tokens were in no account at all."""
    call = Call(settings(trusted=("tenant",)))

    async def answers(scope: Any, receive: Any, send: Any) -> None:
        usage = {"input_tokens": 41, "output_tokens": 0}
        body = json.dumps({"model": "m", "answers": {"safe": "no"}, "usage": usage}).encode()
        await send({"type": "http.response.body", "body": body})

    call.front._app = answers
    call.run({"x-tenant-id": "acme"}, path="/v1/systemone")
    closed = call.record("CLOSE")
    assert (closed["served"], closed["errors"]) == (40, {"unsupported": 40})
    assert call.record("OPEN")["labels"] == {"tenant": "acme"}


@pytest.mark.parametrize("over", ["tap first", "reply first"])
def test_a_text_that_cannot_be_made_costs_the_text_and_no_request_its_end(over: str) -> None:
    """A token of a model beyond its tokenizer's: the end of that request was never told, nor of those after it."""
    call = Call(settings())

    def decode(token: int) -> str:
        raise IndexError("no such token")

    ticket = Ticket({}, frozenset(), content=True, decode=decode)
    both = [call.requests.open([1, 2], ticket) for _ in range(2)]
    if over == "reply first":
        call.requests.front_ended(ticket, None)
    for request in both:
        call.requests.tap_ended(request, End("finished", 2, 1, 2, "scheduler", [3]))
    call.requests.front_ended(ticket, None)
    closed = [record for kind, record in call.records if kind == "CLOSE"]
    assert [(one["key"], "tokens" in one) for one in closed] == [(r.key, False) for r in both]
    assert call.requests.errors == 2
    assert list(call.requests.live()) == []


def test_an_error_reply_has_no_count() -> None:
    call = Call(settings(), body=reply("hi"))

    async def refuses(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 422, "headers": []})
        await send({"type": "http.response.body", "body": reply("hi")})

    call.front._app = refuses
    call.run({})
    assert call.records == []


def test_a_trusted_header_that_came_twice_is_not_trusted() -> None:
    call = Call(settings(trusted=("tenant",), content_tenants=("demo",)), body=reply("hi"))
    raw = [(b"x-tenant-id", b"demo"), (b"X-Tenant-Id", b"acme")]
    scope = {"type": "http", "path": "/v1/chat/completions", "headers": raw}
    asyncio.run(call.front(scope, None, call._send))  # type: ignore[arg-type]
    assert call.record("OPEN")["trusted"] == []


def test_a_request_whose_objects_the_server_dropped_does_not_live_for_ever() -> None:
    call = Call(settings())
    lost = call.requests.open([1, 2], None)
    lost.held = 1
    call.requests.released(lost)  # the collector, anywhere
    call.requests.open([3], None)
    assert call.record("CLOSE")["key"] == lost.key
    assert call.record("CLOSE")["outcome"] == "failed"


def test_a_model_that_is_not_scored_says_why_beside_one_that_is() -> None:
    call = Call(settings())
    ticket = Ticket({}, frozenset())
    ticket.reason = "no_pack"
    call.requests.front_ended(ticket, (7, 3))
    assert call.record("CLOSE")["errors"] == {"no_pack": 9}


def test_a_reason_for_all_never_goes_below_zero() -> None:
    call = Call(settings())
    call.requests.blanket_reason = "no_pack"
    request = call.requests.open([1, 2], None)
    request.emitted = 3  # one row past the end, as async batching runs it
    call.requests.tap_ended(request, End("finished", 2, 1, 2, "scheduler"))
    assert call.record("CLOSE")["errors"] == {}


def test_labels_that_cannot_be_read_cost_the_labels_and_never_the_call() -> None:
    call = Call(settings(), body=reply("hi"))

    def broken(scope: Any) -> Ticket:
        raise RuntimeError("injected")

    call.front._admit = broken  # type: ignore[method-assign]
    call.run({"x-request-id": "r1"})
    assert call.sent[1]["body"] == reply("hi")
    assert call.requests.errors == 1
    assert call.record("OPEN")["labels"] == {}
    assert call.record("CLOSE")["served_source"] == "usage"


FORGED = '{"usage": {"prompt_tokens": 900000000, "completion_tokens": 7}}'


@pytest.mark.parametrize(
    "text",
    [
        FORGED,  # in the middle of the error's own event
        f"x\ndata: {FORGED}\n\n",  # an event of its own, as it seems
        f"x\r\ndata: {FORGED}\r\n",
    ],
)
@pytest.mark.parametrize("before", [b"", b"data: " + b"z" * TAIL_BYTES + b"\n\n"])
def test_an_error_text_cannot_forge_a_count_by_length_or_line_breaks(
    text: str, before: bytes
) -> None:
    """Found 2026-11-20 by fuzzing: the error's text is written unescaped, and only its own line was checked,
    and only where the reply was short enough to be kept whole."""
    tail = (before + f'data: {{"error": "{text}"}}\n\n'.encode())[-TAIL_BYTES:]
    assert usage_of(tail) is None


def test_an_error_of_null_is_none() -> None:
    response = {"error": None, "usage": {"input_tokens": 4, "output_tokens": 2}}
    assert usage_of(b"data: " + json.dumps({"response": response}).encode()) == (4, 2)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.start", "status": None, "headers": []},
        {"type": "http.response.body", "body": "text"},
        {"type": "http.response.body", "body": None},
    ],
)
def test_a_reply_of_unusual_types_passes_as_it_is(message: dict[str, Any]) -> None:
    """What it means is between the app and the server; our reading of it must not end the call."""
    call = Call(settings())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(message)

    call.front._app = app
    call.run({})
    assert call.sent == [message]
    assert call.requests.errors == 1
