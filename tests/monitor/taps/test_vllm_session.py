"""What the processes of one vLLM server share, and what of a request is ours."""

from __future__ import annotations

import os

import pytest

from dosimeter.monitor.taps.requests import Ticket
from dosimeter.monitor.taps.vllm_session import (
    ENV,
    KEY,
    Session,
    described,
    ticket_of,
    without_ours,
)


def test_the_first_process_makes_the_session_and_its_children_find_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ENV, "")
    assert Session.from_env() is None
    first = Session.shared()
    assert Session.from_env() == Session.shared() == first
    assert os.environ[ENV] == f"{first.epoch:x}:{first.secret}"
    assert 0 < first.epoch < 1 << 62


def test_only_what_carries_the_secret_is_ours() -> None:
    session = Session(1, "ab" * 16)
    assert session.opened({KEY: session.sealed(call="c")})["call"] == "c"
    for forged in (
        {"secret": "ab"},
        {"secret": "\ud800é"},
        {"secret": None},
        {},
        "ab" * 16,
        ["secret"],
        None,
        7,
    ):
        assert session.opened({KEY: forged}) == {}
    assert session.opened(None) == {}


def test_a_call_is_the_same_on_the_other_side() -> None:
    ticket = Ticket({"tenant": "acme"}, frozenset({"tenant"}), call="c0")
    ticket.spans = lambda ids: ([(0, 0, 2), (2, 2, len(ids))], True)
    again = ticket_of(described(ticket, [9, 8, 7]))
    assert (again.labels, again.trusted, again.call) == (ticket.labels, ticket.trusted, "c0")
    assert again.spans is not None
    assert again.spans([9, 8, 7]) == ([(0, 0, 2), (2, 2, 3)], True)
    assert again.ended  # the worker waits for no reply


def test_a_call_without_spans_is_blurred_and_not_guessed() -> None:
    assert ticket_of(described(Ticket({}, frozenset(), call="c"), [1])).spans is None


def test_a_clients_extras_survive_without_what_stands_in_our_place() -> None:
    assert without_ours({KEY: "x", "mine": 1}) == {"mine": 1}
    assert without_ours({KEY: "x"}) is None
    assert without_ours(None) is None
