"""A site over the fake history, and people of every kind who come to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from dosimeter.monitor.config_pages import PagesConfig
from dosimeter.monitor.pages.access import NotAdmitted, Person, Role
from dosimeter.monitor.pages.app import make_app
from dosimeter.monitor.pages.local import LocalLink

from .fake import NOW_NS, FakeHistory

ORIGIN = "http://127.0.0.1:8000"
CONFIG = PagesConfig(
    transcript_url="https://ops.example/r/{request_id}", trace_url="https://t.example/{trace_id}"
)


class Named:
    """A fake of an identity provider: whoever sends `X-As: reviewer,auditor/acme` is that."""

    def person(self, request: Request) -> Person:
        said = request.headers.get("x-as", "")
        if not said:
            raise NotAdmitted(401, "nobody")
        roles, _, tenants = said.partition("/")
        named = None if tenants == "*" else frozenset(t for t in tenants.split("+") if t)
        return Person("j.doe", frozenset(Role(r) for r in roles.split(",")), named, f"fake:{said}")


@dataclass
class Visit:
    """One browser at one site."""

    client: TestClient
    history: FakeHistory

    def token(self, at: str = "/queue") -> str:
        found = re.search(r'name="form_token" value="([0-9a-f]{64})"', self.client.get(at).text)
        assert found is not None
        return found[1]

    def post(self, to: str, data: dict[str, str], **headers: str):  # type: ignore[no-untyped-def]
        """As a form of a page of this site."""
        sent = {"Origin": ORIGIN} | headers
        data = {"form_token": self.token()} | data
        return self.client.post(to, data=data, headers=sent, follow_redirects=False)


@pytest.fixture
def history() -> FakeHistory:
    return FakeHistory()


@pytest.fixture
def local(history: FakeHistory) -> Iterator[Visit]:
    """The person on this machine, with every role."""
    who = LocalLink("local:me")
    app = make_app(history, who, CONFIG, now_ns=lambda: NOW_NS)
    with TestClient(app, base_url=ORIGIN, client=("127.0.0.1", 50_000)) as client:
        assert client.get(who.path()).status_code == 200
        history.accesses.clear()
        yield Visit(client, history)


@pytest.fixture
def visit_as(history: FakeHistory) -> Iterator[Callable[[str], Visit]]:
    """Somebody with these roles and tenants, such as `reviewer/acme`."""
    app = make_app(history, Named(), CONFIG, now_ns=lambda: NOW_NS)

    def made(who: str) -> Visit:
        client = TestClient(app, base_url=ORIGIN, headers={"X-As": who})
        return Visit(open_ones.enter_context(client), history)

    with ExitStack() as open_ones:
        yield made
