"""What every pod of ours must be, whatever rendered it; schemas do not see most of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

VERSIONS = ("1.29.0", "1.33.0", "1.37.0")
"""1.29 is the oldest release with native sidecars on by default; 1.37 the newest with a schema."""
Object = dict[str, Any]


def named(objects: Iterable[Object], kind: str, name: str = "") -> Object:
    (found,) = [o for o in objects if o["kind"] == kind and name in ("", o["metadata"]["name"])]
    return found


def containers(pod: Object) -> dict[str, Object]:
    return {c["name"]: c for c in (*pod.get("initContainers", ()), *pod["containers"])}


def env_of(container: Object) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


def fits(objects: Iterable[Object], without: tuple[str, ...] = ()) -> None:
    for version in VERSIONS:
        for found in objects:
            if found["kind"] not in without:
                kubernetes_validate.validate(found, version, strict=True)


def is_locked(container: Object) -> None:
    own = container["securityContext"]
    assert own["allowPrivilegeEscalation"] is False, container["name"]
    assert own["capabilities"] == {"drop": ["ALL"]}, container["name"]
    resources = container["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"], container["name"]


def is_careful(pod: Object) -> None:
    """No root, no token, no capability, and nothing of ours may write to its own root."""
    assert pod["automountServiceAccountToken"] is False
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 65532
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(pod).values():
        is_locked(container)
        if "dosimeter" in container["image"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True


def mounts_have_volumes(pod: Object, objects: Iterable[Object], claims: Iterable[str] = ()) -> None:
    """claims: made by the StatefulSet."""
    volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
    mounted = {m["name"] for c in containers(pod).values() for m in c.get("volumeMounts", ())}
    assert mounted == {*volumes, *claims}
    maps = {o["metadata"]["name"] for o in objects if o["kind"] == "ConfigMap"}
    assert {v["configMap"]["name"] for v in volumes.values() if "configMap" in v} <= maps


def as_golden(path: Path, objects: list[Object]) -> None:
    """`DOSIMETER_GOLDEN=write pytest tests/deploy` refreshes it; review the diff."""
    if os.environ.get("DOSIMETER_GOLDEN") == "write":
        path.write_text(yaml.safe_dump_all(objects, sort_keys=True, width=120))
    assert list(yaml.safe_load_all(path.read_text())) == objects
