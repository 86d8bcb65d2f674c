"""The link that admits one person on this machine."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from dosimeter.monitor.pages.app import make_app
from dosimeter.monitor.pages.local import COOKIE, LASTS_S, LocalLink

from .conftest import ORIGIN
from .fake import FakeHistory


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def browser(who: LocalLink, address: str = "127.0.0.1") -> TestClient:
    app = make_app(FakeHistory(), who)
    return TestClient(app, base_url=ORIGIN, client=(address, 50_000), follow_redirects=False)


def test_the_link_works_once() -> None:
    who = LocalLink("me")
    link = who.path()
    assert browser(who).get(link).status_code == 303
    second = browser(who).get(link)
    assert second.status_code == 401
    assert "set-cookie" not in second.headers
    assert who.path() != link


def test_its_session_is_out_of_reach_of_scripts_and_of_other_sites() -> None:
    who = LocalLink("me")
    cookie = browser(who).get(who.path()).headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


@pytest.mark.parametrize("address", ["10.0.0.7", "192.168.1.2", "2001:db8::1", "testclient", ""])
def test_from_another_machine_neither_link_nor_session_works(address: str) -> None:
    who = LocalLink("me")
    far = browser(who, address)
    assert far.get(who.path()).status_code == 403
    near = browser(who)
    near.get(who.path())
    far.cookies.set(COOKIE, near.cookies[COOKIE])
    answer = far.get("/queue")
    assert answer.status_code == 403
    assert "deceptive-answer" not in answer.text


def test_without_a_session_nothing_is_shown_and_the_page_says_what_to_do() -> None:
    answer = browser(LocalLink("me")).get("/queue")
    assert answer.status_code == 401
    assert "open the link that was printed" in answer.text
    assert "deceptive-answer" not in answer.text


def test_a_session_ends() -> None:
    clock = Clock()
    who = LocalLink("me", clock)
    one = browser(who)
    one.get(who.path())
    clock.now += LASTS_S - 1
    assert one.get("/queue").status_code == 200
    clock.now += 2
    assert one.get("/queue").status_code == 401


def test_a_guessed_session_is_none() -> None:
    who = LocalLink("me")
    one = browser(who)
    for guess in ("", "x", "0" * 43):
        one.cookies.set(COOKIE, guess)
        assert one.get("/").status_code == 401
