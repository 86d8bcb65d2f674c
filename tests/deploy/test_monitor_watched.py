"""The monitor's metrics in a real Prometheus, from a real run: no panel is empty, and no alert cries wolf."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dosimeter.monitor import lab
from dosimeter.monitor.lab.stage import Stage
from dosimeter.monitor.lab.viewer import Viewer
from tests.acceptance.scene import RULES, conversations, is_live, say, until

from .conftest import ROOT
from .prometheus_names import NAMES, prometheus_name
from .prometheus_scene import Prometheus, prometheus
from .test_grafana import DASHBOARDS, expressions

pytestmark = pytest.mark.parts
ALERTS = ROOT / "deploy" / "prometheus" / "dosimeter.rules.yaml"


class Forwarding(Viewer):
    """Each export of metrics goes on to Prometheus as it came."""

    def __init__(self, to: Prometheus) -> None:
        self._to = to
        super().__init__()

    def take_metrics(self, body: bytes) -> bytes:
        self._to.push(body)
        return super().take_metrics(body)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Server, line and delivery at work."""
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
        with stage:
            until(lambda: is_live(stage), "a live tap")
            say(stage, conversations(4))
            twice = "count_over_time(dosimeter_alerts_total[5m]) >= 2"
            until(lambda: found.query(twice), "two exports of the line", 60)
            sent = "count_over_time(dosimeter_delivery_delivered_total[5m]) >= 2"
            until(lambda: found.query(sent), "two exports of delivery", 60)
            yield found


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_panel_is_empty(path: Path, watched: Prometheus) -> None:
    assert [panel for panel, expr in expressions(path) if not watched.query(expr)] == []


def test_names_and_labels_are_those_worked_out(watched: Prometheus) -> None:
    stored = {name for name in watched.names() if name.startswith("dosimeter_")}
    absent = ("dosimeter.confirm.", "dosimeter.history.", "dosimeter.fleet.")  # none runs here
    assert stored == {prometheus_name(m) for m in NAMES.values() if not m.name.startswith(absent)}
    for name in stored:
        (_, *labels) = watched.query(name)[0]["metric"]
        assert set(labels) <= {"job", "instance", *NAMES[name].attributes}, name


def test_every_series_says_which_sidecar_it_is_of(watched: Prometheus) -> None:
    """Or two sidecars would write one series, each undoing the other's."""
    assert watched.query('count({__name__=~"dosimeter_.+", instance=""})') == []


def test_a_healthy_run_alarms_nobody(watched: Prometheus) -> None:
    assert watched.query('ALERTS{alertname=~"Dosimeter.*", alertstate="firing"}') == []
