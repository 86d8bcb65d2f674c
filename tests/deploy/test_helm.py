"""The chart for `history`, rendered by Helm's own library. Whether a cluster runs it is not shown here."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Chart, lint
from helm_python.errors import HelmError

from dosimeter.monitor.config import load_config
from dosimeter.monitor.sinks.config import OtlpConfig

from . import pod_rules
from .conftest import ROOT
from .pod_rules import Object, containers, named

FOLDER = ROOT / "deploy" / "helm" / "dosimeter-history"
GOLDEN = ROOT / "tests" / "golden" / "deploy"
FULL: dict[str, Any] = {
    "kafka": {
        "bootstrap": ["kafka-0:9093"],
        "security": {
            "security_protocol": "SSL",
            "ssl_cafile": "/etc/dosimeter/kafka/ca.crt",
        },
        "filesSecret": "history-kafka",
    },
    "pages": {"oidc": {"jwks": "https://login.example/keys", "roles": {"ts-team": "reviewer"}}},
    "telemetry": {
        "endpoint": "https://otel.example",
        "filesSecret": "history-telemetry",
        "headersFile": "headers",
        "ca": "ca.crt",
        "clientCert": "tls.crt",
        "clientKey": "tls.key",
        "timeout": 5,
        "resource": {"deployment.environment.name": "prod"},
    },
    "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "history-tls"},
    "networkPolicy": {
        "from": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}
        ]
    },
    "storage": {"className": "fast"},
}
CASES: dict[str, dict[str, Any]] = {
    "history": {},
    "history-full": FULL,
    "history-secret": {"configSecret": "history-config", "networkPolicy": {"enabled": False}},
}
each = pytest.mark.parametrize("case", CASES)


def render(values: dict[str, Any]) -> list[Object]:
    with Chart.load(FOLDER) as chart:
        texts = chart.render(values=values, name="history").values()
        return [found for text in texts for found in yaml.safe_load_all(text) if found]


@cache
def rendered(case: str) -> list[Object]:
    return sorted(render(CASES[case]), key=lambda o: (o["kind"], o["metadata"]["name"]))


def pod(case: str) -> Object:
    found: Object = named(rendered(case), "StatefulSet")["spec"]["template"]["spec"]
    return found


def test_helm_has_nothing_to_say() -> None:
    assert [m for m in lint(FOLDER)["messages"] if "icon" not in str(m)] == []


@each
def test_it_renders_as_the_golden_file_says(case: str) -> None:
    pod_rules.as_golden(GOLDEN / f"{case}.yaml", rendered(case))


@pytest.mark.parts
@each
def test_every_object_fits_the_schema_strictly(case: str) -> None:
    pod_rules.fits(rendered(case))


@each
def test_the_pod_may_do_nothing_it_need_not(case: str) -> None:
    pod_rules.is_careful(pod(case))
    assert named(rendered(case), "ServiceAccount")["automountServiceAccountToken"] is False


@each
def test_every_mount_has_its_volume(case: str) -> None:
    pod_rules.mounts_have_volumes(pod(case), rendered(case), ["data"])


@each
def test_one_writer_whose_claim_stays(case: str) -> None:
    spec = named(rendered(case), "StatefulSet")["spec"]
    assert spec["replicas"] == 1
    assert set(spec["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    assert spec["volumeClaimTemplates"][0]["spec"]["accessModes"] == ["ReadWriteOncePod"]


@pytest.mark.parametrize("case", ["history", "history-full"])
def test_the_configuration_is_one_and_agrees_with_the_pod(case: str, tmp_path: Path) -> None:
    """The key file of the provider is the Secret's; here another lies in its place."""
    text = named(rendered(case), "ConfigMap")["data"]["history.yaml"]
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    text = text.replace("/etc/dosimeter/oidc/jwks.json", str(tmp_path / "jwks.json"))
    (tmp_path / "history.yaml").write_text(text)
    config = load_config(tmp_path / "history.yaml")
    (container,) = containers(pod(case)).values()
    paths = [m["mountPath"] for m in container["volumeMounts"]]
    assert str(config.data_dir) in paths
    assert config.history is not None
    assert (config.history.host, config.history.port) == ("0.0.0.0", 7788)
    assert container["ports"] == [{"name": "http", "containerPort": 7788}]
    assert config.history.kafka is not None
    assert config.history.pages.oidc is not None
    if case == "history-full":
        assert config.history.kafka.bootstrap == ("kafka-0:9093",)
        assert dict(config.history.pages.oidc.roles) == {"ts-team": "reviewer"}
        files = Path("/etc/dosimeter/telemetry")
        assert str(files) in paths
        assert config.telemetry == OtlpConfig(
            "https://otel.example",
            resource={"deployment.environment.name": "prod"},
            headers_file=files / "headers",
            ca=files / "ca.crt",
            client_cert=files / "tls.crt",
            client_key=files / "tls.key",
            timeout_s=5.0,
        )
    else:
        endpoint = "http://otel-collector.observability.svc:4318"
        assert config.telemetry == OtlpConfig(endpoint)


@each
def test_probes_call_the_pages_by_the_name_they_answer_to(case: str) -> None:
    """By any other they answer 421, and the kubelet would end a healthy process."""
    (container,) = containers(pod(case)).values()
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        get = container[name]["httpGet"]
        assert get["httpHeaders"] == [{"name": "Host", "value": "history.example"}]
        assert get["path"] == "/api/v1/healthz"


@pytest.mark.parametrize("key", ["headersFile", "clientCert"])
def test_a_credential_to_a_collector_is_not_sent_in_the_clear(key: str) -> None:
    """History would refuse to start with it."""
    with pytest.raises(HelmError, match=r"telemetry\.endpoint: a credential would be sent"):
        render({"telemetry": {"filesSecret": "s", key: "f"}})


@pytest.mark.parametrize("key", ["headersFile", "ca", "clientCert", "clientKey"])
def test_a_file_that_is_in_no_secret_is_refused(key: str) -> None:
    with pytest.raises(HelmError, match=rf"telemetry\.{key}: `f` is in no Secret"):
        render({"telemetry": {"endpoint": "https://c", key: "f"}})


def test_without_an_endpoint_there_is_no_telemetry() -> None:
    text = named(render({"telemetry": {"endpoint": ""}}), "ConfigMap")["data"]["history.yaml"]
    assert "telemetry" not in yaml.safe_load(text)


def test_an_ingress_that_nobody_lets_in_is_refused() -> None:
    """Its controller lives in another namespace: pages that time out, and a chart that looked well."""
    with pytest.raises(HelmError, match=r"networkPolicy\.from: empty"):
        render({"ingress": {"enabled": True}})


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 2},
        {"telemetry": {"endpoint": "collector:4318"}},
        {"telemetry": {"ca": "/etc/ca.crt"}},
        {"keep": {"core": "two years"}},
        {"pages": {"publicUrl": "http://history.example"}},
        {"pages": {"oidc": {"jwks": "http://login.example/keys"}}},
        {"kafka": {"bootstrap": []}},
        {"kafka": {"security": {"sasl_plain_password": "secret"}}},
        {"image": "dosimeter-history"},
        {"storage": {"size": "much"}},
        {"networkPolicy": {"egressPorts": [0]}},
    ],
    ids=lambda values: ".".join(values),
)
def test_a_bad_value_is_refused_by_the_schema(values: dict[str, Any]) -> None:
    with pytest.raises(HelmError):
        render(values)
