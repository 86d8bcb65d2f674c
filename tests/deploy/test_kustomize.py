"""The kustomize component in its three examples, as `kubectl kustomize` renders them.

Whether a cluster starts and ends the pods in the order described, and whether KServe takes the InferenceService,
is not shown: there is no cluster, and no schema of KServe's kinds, here.
"""

from __future__ import annotations

import importlib
import json
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from dosimeter.detectors.registry import load_features
from dosimeter.monitor.config import load_config
from dosimeter.monitor.supervising import COMMIT_S, DRAIN_S
from dosimeter.monitor.taps.settings import ENV, TapSettings
from dosimeter.rules.linting.lint import lint

from . import pod_rules
from .conftest import ROOT
from .pod_rules import Object, containers, env_of, named
from .test_dockerfile import command_of, stage

FOLDER = ROOT / "deploy" / "kustomize"
GOLDEN = ROOT / "tests" / "golden" / "deploy"
EXAMPLES = {"transformers": "Deployment", "vllm": "StatefulSet", "kserve": "InferenceService"}
each = pytest.mark.parametrize("example", EXAMPLES)


@cache
def rendered(example: str) -> list[Object]:
    command = ["kubectl", "kustomize", str(FOLDER / "examples" / example)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def pod(example: str) -> Object:
    spec = named(rendered(example), EXAMPLES[example])["spec"]
    found: Object = spec["predictor"] if example == "kserve" else spec["template"]["spec"]
    return found


def server(example: str) -> Object:
    return pod(example)["containers"][0]  # type: ignore[no-any-return]


@each
def test_it_renders_as_the_golden_file_says(example: str) -> None:
    pod_rules.as_golden(GOLDEN / f"{example}.yaml", rendered(example))


@pytest.mark.parts
@each
def test_every_object_fits_the_schema_strictly(example: str) -> None:
    """A predictor of KServe holds a pod's fields: they are checked as those of a Pod."""
    pod_rules.fits(rendered(example), without=("InferenceService",))
    spec = {k: v for k, v in pod(example).items() if k not in ("minReplicas", "maxReplicas")}
    pod_rules.fits([{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}])


@each
def test_the_pod_may_do_nothing_it_need_not(example: str) -> None:
    pod_rules.is_careful(pod(example))


@each
def test_every_mount_has_its_volume(example: str) -> None:
    spec = named(rendered(example), EXAMPLES[example])["spec"]
    claims = [c["metadata"]["name"] for c in spec.get("volumeClaimTemplates", ())]
    pod_rules.mounts_have_volumes(pod(example), rendered(example), claims)


@each
def test_injector_then_a_native_sidecar_that_cannot_take_the_server_out_of_service(
    example: str,
) -> None:
    """A native sidecar that is not ready makes its pod not ready; a startup probe holds the server back."""
    first, sidecar = pod(example)["initContainers"]
    assert (first["name"], sidecar["name"]) == ("inject-dosimeter", "dosimeter")
    assert sidecar["restartPolicy"] == "Always"
    assert not {"readinessProbe", "startupProbe"} & set(sidecar)
    assert sidecar["livenessProbe"]["exec"]["command"] == command_of(stage("sidecar"), "CMD")


@each
def test_there_is_time_to_drain(example: str) -> None:
    """The server's preStop first, then supervisor: line and delivery this long each, at worst."""
    waits = int(server(example)["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod(example)["terminationGracePeriodSeconds"] >= waits + 30 + 2 * (
        COMMIT_S + DRAIN_S + 3
    )


@each
def test_the_ledger_is_a_claim_where_a_pod_has_an_identity(example: str) -> None:
    by_name = {v["name"]: v for v in pod(example)["volumes"]}
    if example != "vllm":
        assert "emptyDir" in by_name["dosimeter-ledger"]
        return
    assert "dosimeter-ledger" not in by_name
    spec = named(rendered(example), "StatefulSet")["spec"]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "dosimeter-ledger"
    assert set(spec["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}


@each
def test_the_tap_is_set_and_meets_the_sidecar_on_a_socket_in_memory(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = env_of(server(example))
    monkeypatch.setenv(ENV, env[ENV])
    assert TapSettings.from_env() is not None
    data = named(rendered(example), "ConfigMap", "dosimeter-config")["data"]
    (tmp_path / "sidecar.yaml").write_text(data["sidecar.yaml"])
    config = load_config(tmp_path / "sidecar.yaml")
    assert json.loads(env[ENV])["socket"] == str(config.socket_path)
    sidecar = containers(pod(example))["dosimeter"]
    folder = str(config.socket_path.parent)
    for container in (sidecar, server(example)):
        (mount,) = [m for m in container["volumeMounts"] if m["mountPath"] == folder]
        assert mount["name"] == "dosimeter-socket"
    (volume,) = [v for v in pod(example)["volumes"] if v["name"] == "dosimeter-socket"]
    assert volume["emptyDir"]["medium"] == "Memory"
    assert "sizeLimit" in volume["emptyDir"]
    paths = {m["mountPath"]: m["name"] for m in sidecar["volumeMounts"]}
    assert paths[str(config.data_dir)] == "dosimeter-ledger"
    assert [paths[str(path)] for path in config.rules] == ["dosimeter-rules"]
    (calibrations,) = config.calibrations
    if example == "transformers":
        assert (ROOT / calibrations.relative_to("/opt/dosimeter/dosimeter")).is_dir()
    else:  # that of one's own pack, beside it
        assert calibrations.parent == Path(json.loads(env[ENV])["packs"][0]).parent
        assert paths[str(calibrations.parent)] == "models"


@each
def test_the_ledger_stops_growing_before_its_volume_is_full(example: str) -> None:
    """An emptyDir beyond its limit costs the pod, and with it the model server."""
    (volume,) = [v for v in pod(example)["volumes"] if v["name"] == "dosimeter-ledger"] or [None]
    if volume is not None:
        limit = volume["emptyDir"]["sizeLimit"]
    else:
        (claim,) = named(rendered(example), "StatefulSet")["spec"]["volumeClaimTemplates"]
        limit = claim["spec"]["resources"]["requests"]["storage"]
    text = named(rendered(example), "ConfigMap", "dosimeter-config")["data"]["sidecar.yaml"]
    quota = yaml.safe_load(text)["ledger"]["quota"]
    write_ahead_log = 0.1  # what operate.md says to allow for it
    assert float(quota.removesuffix(" GiB")) + write_ahead_log <= float(limit.removesuffix("Gi"))


def test_the_server_on_cpu_bounds_its_cache_and_so_its_memory() -> None:
    """By default it takes nine tenths of the node's, and is killed for it."""
    arguments = server("transformers")["args"]
    assert {"--device=cpu", "--cb-block-size=32", "--cb-num-blocks=256"} <= set(arguments)


def test_the_rules_have_nothing_to_change_and_are_mounted_so_that_they_can() -> None:
    """A `subPath` mount is never updated, and would end hot reload without a word."""
    assert lint([FOLDER / "component" / "rules.yaml"], load_features()) == []
    sidecar = containers(pod("transformers"))["dosimeter"]
    (mount,) = [m for m in sidecar["volumeMounts"] if m["name"] == "dosimeter-rules"]
    assert "subPath" not in mount


@pytest.mark.parametrize("example", ["vllm", "kserve"])
def test_vllm_gets_the_front_and_what_the_tap_needs(example: str) -> None:
    arguments = server(example)["args"]
    assert "--enforce-eager" in arguments
    (front,) = [a.partition("=")[2] for a in arguments if a.startswith("--middleware=")]
    module, _, name = front.rpartition(".")
    assert getattr(importlib.import_module(module), name).__module__ == module


def test_a_workload_without_the_label_stays_as_it_was(tmp_path: Path) -> None:
    text = (FOLDER / "examples" / "transformers" / "server.yaml").read_text()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "server.yaml").write_text(text.replace(", dosimeter: attached", ""))
    (tmp_path / "here" / "kustomization.yaml").write_text(
        "resources: [server.yaml]\ncomponents: [../component]\n"
    )
    (tmp_path / "component").symlink_to(FOLDER / "component")
    command = ["kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", "here"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    deployment = named(yaml.safe_load_all(done.stdout), "Deployment")
    assert "initContainers" not in deployment["spec"]["template"]["spec"]
