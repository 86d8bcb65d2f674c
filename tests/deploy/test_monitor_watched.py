"""The monitor's metrics in a real Prometheus, from a real run: no panel is empty, and no alert cries wolf."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer

from dosimeter.monitor import lab
from dosimeter.monitor.cli.kafka import init_topic
from dosimeter.monitor.lab.stage import Stage
from dosimeter.monitor.lab.viewer import Viewer
from tests.acceptance.scene import RULES, conversations, is_live, say, until
from tests.monitor.fleet import test_fleet_broker as fleet_scene

from .conftest import ROOT
from .prometheus_names import NAMES, prometheus_name
from .prometheus_scene import Prometheus, prometheus
from .test_grafana import DASHBOARDS, expressions

pytestmark = pytest.mark.parts
MINUTES = 10
HITS = fleet_scene.PODS * sum(n % 7 > 0 for n in range(MINUTES))
"""Of the rule that is counted; all in one window, so that none is late whichever partition is read first."""
ALERTS = ROOT / "deploy" / "prometheus" / "dosimeter.rules.yaml"


class Forwarding(Viewer):
    """Each export of metrics goes on to Prometheus as it came."""

    def __init__(self, to: Prometheus) -> None:
        self._to = to
        super().__init__()

    def take_metrics(self, body: bytes) -> bytes:
        self._to.push(body)
        return super().take_metrics(body)


@contextlib.contextmanager
def counting(bootstrap: str, endpoint: str, folder: Path) -> Iterator[None]:
    """A member of a fleet that counts what four sidecars sent."""
    for topic in ("fleet-feed", "fleet-hits"):
        init_topic([bootstrap], topic, partitions=3)
    (folder / "fleet-rules.yaml").write_text(fleet_scene.RULES)
    config = folder / "fleet.yaml"
    config.write_text(
        f"version: 1\nrules: [fleet-rules.yaml]\nhttp: {{port: 0}}\ntelemetry: {{endpoint: '{endpoint}'}}\n"
        f"fleet: {{hits: fleet-hits, kafka: {{bootstrap: ['{bootstrap}'], topic: fleet-feed}}}}\n"
    )
    with contextlib.closing(KafkaProducer(bootstrap_servers=[bootstrap])) as producer:
        for n, pod in itertools.product(range(MINUTES), range(fleet_scene.PODS)):
            producer.send("fleet-feed", **fleet_scene.item(pod, n)).get(10)
    with contextlib.closing(fleet_scene.Fleet(config, folder)) as fleet:
        fleet.start("a")
        yield


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Server, line and delivery at work, and a member of a fleet beside them."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "rules.yaml").write_text(RULES)
    with tempfile.TemporaryDirectory(prefix="dm-") as kept, prometheus(folder, ALERTS) as found:
        stage = Stage(
            lab.MODEL,
            packs=[lab.PACK],
            calibrations=[lab.CALIBRATION],
            rules=[folder / "rules.yaml"],
            keep=Path(kept) / "kept",
        )
        stage.viewer.stop()
        stage.viewer = Forwarding(found)
        with stage, counting(stage.broker.bootstrap, stage.viewer.endpoint, folder):
            until(lambda: is_live(stage), "a live tap")
            say(stage, conversations(4))
            twice = "count_over_time(dosimeter_alerts_total[5m]) >= 2"
            until(lambda: found.query(twice), "two exports of the line", 60)
            sent = "count_over_time(dosimeter_delivery_delivered_total[5m]) >= 2"
            until(lambda: found.query(sent), "two exports of delivery", 60)
            hits = 'dosimeter_fleet_hits_total{outcome="counted"}'
            twice = f"count_over_time({hits}[5m]) >= 2 and {hits} == {HITS}"
            until(lambda: found.query(twice), "two exports of the fleet", 60)
            yield found


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_panel_is_empty(path: Path, watched: Prometheus) -> None:
    assert [panel for panel, expr in expressions(path) if not watched.query(expr)] == []


def test_names_and_labels_are_those_worked_out(watched: Prometheus) -> None:
    stored = {name for name in watched.names() if name.startswith("dosimeter_")}
    absent = ("dosimeter.confirm.", "dosimeter.delivery.scores.", "dosimeter.history.")  # none here
    assert stored == {prometheus_name(m) for m in NAMES.values() if not m.name.startswith(absent)}
    for name in stored:
        (_, *labels) = watched.query(name)[0]["metric"]
        assert set(labels) <= {"job", "instance", *NAMES[name].attributes}, name


def test_every_series_says_which_sidecar_it_is_of(watched: Prometheus) -> None:
    """Or two sidecars would write one series, each undoing the other's."""
    assert watched.query('count({__name__=~"dosimeter_.+", instance=""})') == []


def test_every_partition_of_the_fleet_has_its_member(watched: Prometheus) -> None:
    found = watched.query("sum by (fleet, stage) (dosimeter_fleet_partitions)")
    shares = {one["metric"]["stage"]: (one["metric"]["fleet"], one["value"][1]) for one in found}
    assert shares == dict.fromkeys(("routing", "counting"), ("dosimeter-fleet", "3"))


def test_a_healthy_run_alarms_nobody(watched: Prometheus) -> None:
    assert watched.query('ALERTS{alertname=~"Dosimeter.*", alertstate="firing"}') == []
