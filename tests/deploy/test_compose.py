"""The compose file: valid against the compose specification, and in agreement with our own readers.

Whether an engine runs it is not shown here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from dosimeter.monitor.config import load_config
from dosimeter.monitor.taps.settings import ENV, TapSettings

from .conftest import ROOT
from .test_dockerfile import stage

FOLDER = ROOT / "deploy" / "compose"
TEXT = (FOLDER / "compose.yaml").read_text()
PLAIN: dict[str, Any] = yaml.safe_load(TEXT)  # merge keys resolved
SERVICES: dict[str, dict[str, Any]] = PLAIN["services"]
OURS = [name for name, one in SERVICES.items() if "build" in one]


def test_it_fits_the_compose_specification() -> None:
    assert PyCompose.from_yaml(yaml.safe_dump(PLAIN)).name == "dosimeter"


def test_a_value_of_the_wrong_kind_would_be_noticed() -> None:
    wrong = {**PLAIN, "services": {"sidecar": {**SERVICES["sidecar"], "depends_on": 3}}}
    with pytest.raises(ValueError, match="depends_on"):
        PyCompose.from_yaml(yaml.safe_dump(wrong))


@pytest.mark.parametrize("name", [*OURS, "server"])
def test_our_containers_may_do_nothing_they_need_not(name: str) -> None:
    one = SERVICES[name]
    assert one["user"] == "65532:65532"
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]


def test_every_image_of_ours_has_its_stage() -> None:
    assert [SERVICES[name]["build"]["target"] for name in OURS] == [
        "injector",
        "sidecar",
        "history",
    ]
    for name in OURS:
        assert stage(SERVICES[name]["build"]["target"])


def test_every_volume_is_declared_and_every_file_is_there() -> None:
    mounts = [v for one in SERVICES.values() for v in one.get("volumes", ())]
    named = {mount.split(":")[0] for mount in mounts}
    files = {source for source in named if source.startswith(".")}
    assert named - files == set(PLAIN["volumes"])
    assert [source for source in files if not (FOLDER / source).is_file()] == []


def test_tap_and_sidecar_meet_on_the_socket_and_sidecar_and_history_on_the_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sidecar = load_config(FOLDER / "sidecar.yaml")
    history = load_config(FOLDER / "history.yaml").history
    variable = SERVICES["server"]["environment"][ENV]
    monkeypatch.setenv(ENV, variable)
    assert TapSettings.from_env() is not None
    assert json.loads(variable)["socket"] == str(sidecar.socket_path)
    for name in ("server", "sidecar"):
        assert f"socket:{sidecar.socket_path.parent}" in SERVICES[name]["volumes"]
    assert f"ledger:{sidecar.data_dir}" in SERVICES["sidecar"]["volumes"]
    assert sidecar.history is not None
    assert history is not None
    assert sidecar.history.ship is not None
    assert history.kafka is not None
    assert sidecar.history.ship.topic == history.kafka.topic


def test_the_rules_are_those_of_the_component() -> None:
    """Linted there; here only the path."""
    (mount,) = [v for v in SERVICES["sidecar"]["volumes"] if "/rules/" in v]
    assert Path(FOLDER / mount.split(":")[0]).resolve() == (
        ROOT / "deploy" / "kustomize" / "component" / "rules.yaml"
    )
