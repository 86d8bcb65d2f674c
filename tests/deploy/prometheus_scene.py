"""A Prometheus of our own build (`make setup-prometheus`) that takes OTLP, and its promtool."""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dosimeter.monitor.lab.broker import free_port

BUILT = Path(__file__).resolve().parents[2] / ".prometheus"
STARTS_S = 30.0


def installed() -> bool:
    return (BUILT / ".ready").is_file()


def promtool() -> str:
    return str(BUILT / "promtool")


class Prometheus:
    def __init__(self, url: str) -> None:
        self._url = url

    def push(self, body: bytes) -> None:
        """One OTLP export of metrics, as it was received."""
        headers = {"Content-Type": "application/x-protobuf"}
        url = f"{self._url}/api/v1/otlp/v1/metrics"
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10):
            pass

    def query(self, expr: str) -> list[dict[str, Any]]:
        found = self._get(f"/api/v1/query?{urllib.parse.urlencode({'query': expr})}")
        result: list[dict[str, Any]] = json.loads(found)["data"]["result"]
        return result

    def names(self) -> set[str]:
        return set(json.loads(self._get("/api/v1/label/__name__/values"))["data"])

    def ready(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self._get("/-/ready"))
        return False

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self._url}{path}", timeout=10) as reply:
            return bytes(reply.read())


@contextlib.contextmanager
def prometheus(folder: Path, rules: Path) -> Iterator[Prometheus]:
    """It evaluates `rules` every second, as a cluster's would."""
    port = free_port()
    (folder / "prometheus.yml").write_text(
        "global: {evaluation_interval: 1s}\n"
        f"rule_files: [{json.dumps(str(rules))}]\n"
        "storage: {tsdb: {out_of_order_time_window: 30m}}\n"
    )
    command = [
        str(BUILT / "prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-otlp-receiver",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        found = Prometheus(f"http://127.0.0.1:{port}")
        from tests.acceptance.scene import until

        until(found.ready, "a ready Prometheus", STARTS_S, (folder / "log").read_text)
        yield found
    finally:
        process.terminate()
        process.wait(20)
