"""What an operator may set about the pages, and what is refused before anything is served."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.config_pages import ROLES, OidcConfig, PagesConfig
from dosimeter.monitor.pages.access import Role

OIDC = OidcConfig("https://id.example", "dosimeter", "https://id.example/keys")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"transcript_url": "https://ops.example/r"}, "request_id"),
        ({"transcript_url": "javascript:{request_id}"}, "leads nowhere"),
        ({"trace_url": "https://t.example/{request_id}"}, "trace_id"),
        ({"oidc": OIDC, "public_url": "history.example"}, "no origin"),
        ({"oidc": OIDC, "public_url": "https://history.example/here"}, "no origin"),
        ({"public_url": "https://history.example"}, "nobody says who may read"),
        ({"zone": "Mars/Olympus"}, "no time zone"),
        ({"zone": "../etc/passwd"}, "no time zone"),
    ],
)
def test_what_cannot_work_is_refused_with_its_place(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        PagesConfig(**changes)  # type: ignore[arg-type]


def test_reading_the_configuration_loads_no_web_framework() -> None:
    """The line reads the same file."""
    code = "import sys, dosimeter.monitor.config_pages; print({'fastapi', 'jwt', 'jinja2'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_the_roles_that_may_be_given_are_those_that_there_are() -> None:
    assert set(ROLES) == {str(role) for role in Role}
