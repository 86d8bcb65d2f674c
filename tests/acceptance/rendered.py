"""The pod that `deploy/kustomize/examples/transformers` renders, as processes of this machine.

What a kubelet would start is started: the containers' own commands, arguments and variables, the ConfigMaps' own files.
Only paths, ports and addresses are others, and no image, volume or probe is in it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from dosimeter.monitor import lab
from dosimeter.monitor.lab.stage import Stage

ROOT = Path(__file__).resolve().parents[2]
RENDERED = ROOT / "tests" / "golden" / "deploy" / "transformers.yaml"


class RenderedPod(Stage):
    """Rules lie in `folder/rules`, where the ConfigMap's are from the start."""

    def __init__(self) -> None:
        super().__init__(lab.MODEL, packs=(), calibrations=(), rules=())
        self._objects: list[dict[str, Any]] = list(yaml.safe_load_all(RENDERED.read_text()))
        tree = self.folder / "tree" / "dosimeter"
        tree.mkdir(parents=True)
        for name in ("detectors", "rules", "monitor"):
            (tree / name).symlink_to(ROOT / name)
        self.model = tree / "monitor" / "lab" / "dosimeter-lab"
        self.rules = self.folder / "rules"
        self.rules.mkdir()
        (self.rules / "rules.yaml").write_text(self._data("dosimeter-rules")["rules.yaml"])

    def serve(
        self,
        name: str,
        port: int,
        packs: Sequence[Path],
        environment: Mapping[str, str] = MappingProxyType({}),
        *,
        attached: bool = True,
    ) -> None:
        container = self._container("server")
        words = [*container["command"], *container["args"]]
        words[0] = str(Path(sys.executable).parent / words[0])
        here = [
            self._here(w).replace("=8000", f"={port}").replace("0.0.0.0", "127.0.0.1")
            for w in words
        ]
        env = {one["name"]: self._here(one["value"]) for one in container["env"]}
        ours = {"HOME": str(self.folder), "TORCHINDUCTOR_CACHE_DIR": str(self.folder / "inductor")}
        self._spawn(name, here, env | ours | {"TOKENIZERS_PARALLELISM": "false"})

    def start_sidecar(self) -> None:
        container = self._container("dosimeter")
        text = self._here(self._data("dosimeter-config")["sidecar.yaml"])
        self.config_path.write_text(f"{text}http: {{port: {self._http_port}}}\n")
        arguments = [self._here(word) for word in container["args"]]
        command = [sys.executable, "-m", "dosimeter.monitor.cli.main", "sidecar", *arguments]
        self._spawn("sidecar", command, {})
        self.wait("sidecar", lambda: self.status() is not None)

    def _here(self, text: str) -> str:
        for there, here in (
            ("/opt/dosimeter", str(self.folder / "tree")),
            ("/etc/dosimeter/sidecar.yaml", str(self.config_path)),
            ("/etc/dosimeter/rules", str(self.rules)),
            ("/var/lib/dosimeter", str(self.folder)),
            ("/run/dosimeter", str(self.folder)),
            ("kafka.kafka.svc:9092", self.broker.bootstrap),
            ("http://otel-collector.observability.svc:4318", self.viewer.endpoint),
        ):
            text = text.replace(there, here)
        return text

    def _container(self, name: str) -> dict[str, Any]:
        (found,) = [o for o in self._objects if o["kind"] == "Deployment"]
        pod = found["spec"]["template"]["spec"]
        (container,) = [
            c for c in (*pod["initContainers"], *pod["containers"]) if c["name"] == name
        ]
        return dict(container)

    def _data(self, name: str) -> dict[str, str]:
        (found,) = [
            o for o in self._objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == name
        ]
        return dict(found["data"])
