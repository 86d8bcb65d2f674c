"""A real Alertmanager takes what the sink sends, groups it, tells of it, and lets it resolve."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.lab.broker import free_port
from dosimeter.monitor.sinks.alertmanager import AlertmanagerSink
from dosimeter.monitor.sinks.config import AlertmanagerConfig
from dosimeter.monitor.sinks.sink import DELIVERED, Result
from dosimeter.monitor.supervising import ending_with_parent
from tests.monitor.sinks.receiver import Receiver

pytestmark = pytest.mark.parts
StoredOf = Callable[..., StoredAlert]
PATIENCE_S = 30.0
CONFIG = """
route: {receiver: here, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: here, webhook_configs: [{url: "%s", send_resolved: true}]}]
"""


def eventually(read: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if found := read():
                return found
        except OSError:
            pass
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def told() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture(scope="module")
def url(told: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("alertmanager")
    Path(folder, "am.yaml").write_text(CONFIG % told.url)
    binary = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    assert binary is not None  # else this file is not collected
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            binary,
            f"--config.file={folder}/am.yaml",
            f"--storage.path={folder}/data",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
        ],
        stderr=subprocess.DEVNULL,
        preexec_fn=ending_with_parent(),
    )
    try:
        eventually(lambda: get(f"http://{address}/api/v2/status"))
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(10)


def notifications(told: Receiver, status: str) -> dict[str, dict[str, Any]]:
    """By event id: what it said of each alert under that status."""
    return {
        alert["annotations"]["event_id"]: alert
        for came in list(told.came)
        for alert in json.loads(came.body)["alerts"]
        if alert["status"] == status
    }


def test_it_tells_of_an_alert_of_the_ledger_and_of_one_that_comes_an_hour_late(
    url: str, told: Receiver, stored_of: StoredOf
) -> None:
    now_ns = time.time_ns()
    config = AlertmanagerConfig(url=url, hold_s=2, link="https://h/alerts/{event_id}")
    sink = AlertmanagerSink(config)
    alerts = [
        stored_of(1, time_ns=now_ns, rule="on.time", runbook="https://wiki/on-time"),
        stored_of(2, time_ns=now_ns - 3600 * 10**9, rule="late.one"),
    ]
    assert sink.send(alerts) == [DELIVERED] * 2
    sink.close()
    ids = {alert.event_id for alert in alerts}
    eventually(lambda: ids <= notifications(told, "firing").keys())
    one = notifications(told, "firing")[f"{1:032x}"]
    assert one["labels"] == {
        "alertname": "on.time",
        "severity": "high",
        "feature": "deception",
        "kind": "alert",
    }
    assert one["generatorURL"] == f"https://h/alerts/{1:032x}"
    assert one["annotations"]["runbook_url"] == "https://wiki/on-time"
    eventually(lambda: ids <= notifications(told, "resolved").keys())  # after `hold`, by itself


def test_alerts_of_one_rule_are_one_to_it(url: str, stored_of: StoredOf) -> None:
    """Grouping is its own: three events with the same labels are one alert that goes on."""
    sink = AlertmanagerSink(AlertmanagerConfig(url=url, hold_s=600))
    now_ns = time.time_ns()
    alerts = [stored_of(n, time_ns=now_ns + n, rule="again.and.again") for n in (1, 2, 3)]
    assert sink.send(alerts) == [DELIVERED] * 3
    sink.close()
    found = [
        a
        for a in get(f"{url}/api/v2/alerts")
        if a["labels"]["alertname"] == alerts[0].record["rule"]
    ]
    assert len(found) == 1


def test_what_it_refuses_is_dead_and_the_others_of_the_batch_are_there(
    url: str, stored_of: StoredOf
) -> None:
    """It takes the valid ones of a batch and answers 400 without saying which is not."""
    sink = AlertmanagerSink(AlertmanagerConfig(url=url, hold_s=600))
    now_ns = time.time_ns()
    alerts = [stored_of(n, time_ns=now_ns, rule=f"batch.{n}") for n in (1, 2, 3)]
    alerts[1] = stored_of(2, time_ns=now_ns, rule="", severity="", feature="", kind="")
    outcomes = sink.send(alerts)
    sink.close()
    assert [o.result for o in outcomes] == [Result.DELIVERED, Result.DEAD, Result.DELIVERED]
    there = {a["labels"].get("alertname") for a in get(f"{url}/api/v2/alerts")}
    assert {"batch.1", "batch.3"} <= there
