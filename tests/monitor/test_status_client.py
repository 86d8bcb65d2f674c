"""Where a sidecar is asked, and that what is no sidecar is not taken for one."""

from __future__ import annotations

from typing import Any

import pytest

from dosimeter.monitor.config import Config, HttpConfig
from dosimeter.monitor.status_client import NEEDED, NotAnsweredError, address, ask
from tests.monitor.cli.status_scene import serving


@pytest.mark.parametrize(
    ("host", "url", "found"),
    [
        ("127.0.0.1", None, "http://127.0.0.1:9464"),
        ("0.0.0.0", None, "http://127.0.0.1:9464"),
        ("::", None, "http://[::1]:9464"),
        ("127.0.0.1", "http://other:1/", "http://other:1"),
        ("127.0.0.1", "http://other:1/status", "http://other:1"),
    ],
)
def test_the_address_is_that_of_the_configuration_or_the_one_given(
    host: str, url: str | None, found: str
) -> None:
    assert address(Config(http=HttpConfig(host)), url) == found


def test_a_port_that_only_the_sidecar_knows_has_to_be_given() -> None:
    with pytest.raises(NotAnsweredError, match="--url"):
        address(Config(http=HttpConfig(port=0)), None)


def test_a_line_that_is_stuck_still_gives_its_status() -> None:
    body: dict[str, Any] = dict.fromkeys(NEEDED)
    with serving(lambda: body, lambda: False) as url:
        answer = ask(url)
    assert (answer.alive, answer.body) == (False, body)


@pytest.mark.parametrize("url", ["http://127.0.0.1:port", "http://", "http://127.0.0.1:1"])
def test_an_address_where_nobody_can_be_asked_is_said_with_a_hint(url: str) -> None:
    with pytest.raises(NotAnsweredError, match=r"no status came: .+\n  hint: "):
        ask(url)


def test_another_service_is_named_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # a proxy is not asked
    with serving(lambda: {"rules": {}}) as url:
        with pytest.raises(NotAnsweredError, match="is no sidecar: JSON without `alerts`"):
            ask(url)
        with pytest.raises(NotAnsweredError, match="is no sidecar: status 404"):
            ask(f"{url}/elsewhere")
