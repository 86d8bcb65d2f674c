"""The API fuzzed from its own description over a real history: no failure on our side, every answer as described."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dosimeter.monitor.config_pages import PagesConfig
from dosimeter.monitor.pages import shown_alerts
from dosimeter.monitor.pages.app import make_app
from dosimeter.monitor.pages.source import Reader
from tests.monitor.answers.answers_scene import NOW_NS, Answers, answers, with_quiet_requests
from tests.monitor.pages.conftest import ORIGIN, Named

pytestmark = pytest.mark.parts

SENT = {
    "X-As": "reviewer,auditor/tenant-1",
    "Authorization": "Bearer x",
    "Host": ORIGIN.partition("//")[2],
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


class AnyId:
    """The real source; an id that it does not know stands for one that it does: else little behind it is reached."""

    def __init__(self) -> None:
        self.scene: Answers | None = None
        self._ids: list[str] = []

    def open(self, scene: Answers) -> None:
        self.scene, self._ids = scene, [row["id"] for row in scene.alerts()]

    def __getattr__(self, name: str) -> Any:
        assert self.scene is not None
        return getattr(self.scene.source, name)

    def alert(self, alert_id: str, reader: Reader) -> shown_alerts.AlertView | None:
        assert self.scene is not None
        found = self.scene.source.alert(alert_id, reader)
        return found or self.scene.source.alert(self._known(alert_id), reader)

    def label(self, alert_id: str, *rest: Any) -> shown_alerts.LabelEntry | None:
        assert self.scene is not None
        return self.scene.source.label(self._known(alert_id), *rest)

    def _known(self, alert_id: str) -> str:
        return self._ids[int(alert_id, 16) % len(self._ids)]


SOURCE = AnyId()
APP = make_app(SOURCE, Named(), PagesConfig(), now_ns=lambda: NOW_NS)
schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", APP, headers=SENT)


@pytest.fixture(scope="module", autouse=True)
def real() -> Iterator[None]:
    folder = Path(tempfile.mkdtemp(prefix="dosimeter-fuzz-"))
    try:
        with_quiet_requests(folder / "data")
        with answers(folder / "data") as scene:
            SOURCE.open(scene)
            yield
    finally:
        shutil.rmtree(folder)


@schema.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_input_makes_it_fail_and_every_answer_is_as_described(case: schemathesis.Case) -> None:
    case.call_and_validate(headers=SENT, checks=CHECKS)
