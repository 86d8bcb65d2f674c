"""The API fuzzed from its own description by schemathesis: no failure on our side, every answer as described."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dosimeter.monitor.pages import shown_alerts
from dosimeter.monitor.pages.app import make_app
from dosimeter.monitor.pages.source import Reader

from .conftest import CONFIG, ORIGIN, Named
from .fake import NOW_NS, FakeHistory
from .fake import alert_id as make_id

pytestmark = pytest.mark.parts


class AnyId(FakeHistory):
    """Whatever id is asked for, there is an alert: else nothing behind it would be reached."""

    def alert(self, alert_id: str, reader: Reader) -> shown_alerts.AlertView | None:
        n = int(alert_id, 16) % 120
        return super().alert(make_id(n - n % 3), reader)  # each third is of the reader's tenant


APP = make_app(AnyId(), Named(), CONFIG, now_ns=lambda: NOW_NS)
SENT = {
    "X-As": "reviewer,auditor/acme",
    "Authorization": "Bearer x",
    "Host": ORIGIN.partition("//")[2],
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", APP, headers=SENT)


@schema.parametrize()
@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_no_input_makes_it_fail_and_every_answer_is_as_described(case: schemathesis.Case) -> None:
    case.call_and_validate(headers=SENT, checks=CHECKS)
