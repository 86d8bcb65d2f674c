"""The pod example: valid against the API's schemas, and everything in it is what our own code reads.

Schemas do not see a mount without a volume, nor a configuration inside a string; these tests do.
Whether a cluster starts and ends it in the order described is not shown here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from dosimeter.detectors.registry import load_features
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.config import load_config
from dosimeter.monitor.supervising import COMMIT_S, DRAIN_S
from dosimeter.monitor.taps.settings import ENV, TapSettings
from dosimeter.rules.linting.lint import lint

from .conftest import ROOT
from .test_dockerfile import command_of, stage

MANIFEST = ROOT / "deploy" / "pod" / "pod.yaml"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text()))
(POD,) = [found["spec"] for found in OBJECTS if found["kind"] == "Pod"]
CONTAINERS = {c["name"]: c for c in (*POD["initContainers"], *POD["containers"])}
OURS = ("inject-dosimeter", "dosimeter")


def data_of(name: str) -> dict[str, str]:
    (found,) = [o for o in OBJECTS if o["kind"] == "ConfigMap" and o["metadata"]["name"] == name]
    data: dict[str, str] = found["data"]
    return data


def env_of(container: str) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in CONTAINERS[container]["env"]}


@pytest.mark.parametrize("version", ["1.29.0", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("index", range(len(OBJECTS)))
def test_every_object_fits_the_schema_strictly(index: int, version: str) -> None:
    """1.29 is the oldest release with native sidecars on by default."""
    kubernetes_validate.validate(OBJECTS[index], version, strict=True)


def test_the_validation_would_notice_a_misspelt_field() -> None:
    wrong = {**OBJECTS[-1], "spec": {**POD, "terminationGracePeriod": 60}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.29.0", strict=True)


def test_every_mount_has_its_volume_and_every_volume_its_object() -> None:
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    mounts = [m for c in CONTAINERS.values() for m in c["volumeMounts"]]
    assert {mount["name"] for mount in mounts} == set(volumes)
    named = {(o["kind"], o["metadata"]["name"]) for o in OBJECTS}
    for volume in volumes.values():
        if "configMap" in volume:
            assert ("ConfigMap", volume["configMap"]["name"]) in named
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            assert ("PersistentVolumeClaim", claim) in named


def test_what_the_pod_takes_out_of_the_wheel_is_there() -> None:
    """In strings and in variables, where no schema looks."""
    found = re.findall(r"/opt/dosimeter/dosimeter/([\w./-]+)", MANIFEST.read_text())
    assert {path for path in found if not (ROOT / path).exists()} == set()
    assert len(set(found)) >= 4  # site, pack, calibration, model


def test_the_containers_may_do_nothing_they_need_not() -> None:
    assert POD["automountServiceAccountToken"] is False
    context = POD["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["fsGroup"] == 65532
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in CONTAINERS.values():
        own = container["securityContext"]
        assert own["readOnlyRootFilesystem"] is True
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        resources = container["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]


def test_the_sidecar_cannot_take_the_server_out_of_service() -> None:
    """A native sidecar that is not ready makes its pod not ready; a startup probe holds the server back."""
    sidecar = CONTAINERS["dosimeter"]
    assert sidecar["restartPolicy"] == "Always"
    assert "readinessProbe" not in sidecar
    assert "startupProbe" not in sidecar


def test_injector_first_then_sidecar_then_server() -> None:
    assert tuple(CONTAINERS) == (*OURS, "server")


def test_there_is_time_to_drain() -> None:
    """The supervisor gives the line and then delivery this long each, at worst."""
    assert POD["terminationGracePeriodSeconds"] >= 2 * (COMMIT_S + DRAIN_S + 3)


def test_the_probe_is_the_one_of_the_image() -> None:
    probe = CONTAINERS["dosimeter"]["livenessProbe"]["exec"]["command"]
    assert probe == command_of(stage("sidecar"), "CMD")


def test_the_variables_are_those_that_attach_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Printed by the command in the comment above them."""
    comment = MANIFEST.read_text().split("Both as printed by\n")[1].split("# If the image")[0]
    words = comment.replace("#", " ").replace("\\", " ").split()
    assert words[0] == "dosimeter"
    assert main(words[1:]) == 0
    printed = dict(line.split("=", 1) for line in capsys.readouterr().out.splitlines())
    found = env_of("server")
    assert found["PYTHONPATH"] == printed["PYTHONPATH"]
    assert json.loads(found[ENV]) == json.loads(printed[ENV])
    monkeypatch.setenv(ENV, found[ENV])
    assert TapSettings.from_env() is not None


def test_the_configuration_is_one_and_agrees_with_the_mounts(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text(data_of("dosimeter-config")["sidecar.yaml"])
    config = load_config(tmp_path / "sidecar.yaml")
    assert str(config.socket_path) == json.loads(env_of("server")[ENV])["socket"]
    paths = {m["mountPath"]: m["name"] for m in CONTAINERS["dosimeter"]["volumeMounts"]}
    assert paths[str(config.data_dir)] == "ledger"
    assert paths[str(config.socket_path.parent)] == "socket"
    assert [paths[str(path)] for path in config.rules] == ["rules"]
    assert {sink.name for sink in config.sinks} == {"kafka", "otlp"}


def test_the_rules_have_nothing_to_change_and_are_mounted_so_that_they_can(tmp_path: Path) -> None:
    """A `subPath` mount is never updated, and would end hot reload without a word."""
    (tmp_path / "rules.yaml").write_text(data_of("dosimeter-rules")["rules.yaml"])
    assert lint([tmp_path], load_features()) == []
    (mount,) = [m for m in CONTAINERS["dosimeter"]["volumeMounts"] if m["name"] == "rules"]
    assert "subPath" not in mount


def test_the_socket_lies_in_memory_with_a_limit() -> None:
    (volume,) = [v for v in POD["volumes"] if v["name"] == "socket"]
    assert volume["emptyDir"]["medium"] == "Memory"
    assert "sizeLimit" in volume["emptyDir"]
