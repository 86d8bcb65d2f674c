"""The front reads who asks and what the server counted, changes nothing, and never raises into the server."""

from __future__ import annotations

import asyncio
import json
from contextvars import ContextVar
from typing import Any

import pytest

from dosimeter.monitor.taps.front import Front, usage_of
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
