"""The demo's processes: broker, viewer, sidecar and model server, started in order and ended in reverse.

Everything lies in one temporary folder and on free ports of the loopback; nothing is left behind. A
process that does not come up is named, with the end of its log.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dosimeter.monitor.config import ArchiveConfig, Config, HttpConfig
from dosimeter.monitor.config_history import HistoryConfig
from dosimeter.monitor.config_shown import as_yaml
from dosimeter.monitor.lab.broker import EmbeddedBroker, free_port
from dosimeter.monitor.lab.interrupting import clearing_up, starting
from dosimeter.monitor.lab.viewer import Viewer
from dosimeter.monitor.sinks.config import KafkaConfig, OtlpConfig
from dosimeter.monitor.supervising import ending_with_parent

START_S = 120.0
PAGES = re.compile(r"^history: (http://\S+)$", re.MULTILINE)


class StageError(RuntimeError):
    """A part of the demo did not come up."""


class Stage:
    """model: folder of the server's model. packs, calibrations, rules: folders and files; any may be empty.

    absent: parts that entering does not start, of `broker` and `sidecar`; they may come later.
    history: with the pages, and the scores of all requests, of which they show samples.
    keep: a new folder, for what the sidecar wrote: alerts, history, and the scores of all requests.
    environment: what every process of it finds beside our own environment.
    """

    def __init__(
        self,
        model: Path,
        *,
        packs: Sequence[Path],
        calibrations: Sequence[Path],
        rules: Sequence[Path],
        content_tenants: Sequence[str] = (),
        absent: Collection[str] = (),
        history: bool = False,
        keep: Path | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dosimeter-"))
        self.model, self._packs, self._tenants, self._say = model, packs, content_tenants, say
        self.broker = EmbeddedBroker()
        self.viewer = Viewer()
        self._http_port, self._server_port = free_port(), free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._calibrations, self._rules, self._absent = calibrations, rules, absent
        self._environment, self._history, self._keep = environment, history, keep
        self.expect = 1  # servers that the sidecar, when it starts next, is told to miss

    @property
    def url(self) -> str:
        return _url(self._server_port)

    @property
    def config_path(self) -> Path:
        return self.folder / "sidecar.yaml"

    def __enter__(self) -> Stage:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self.start_server()  # the slowest, and it does not need the others
        if "broker" not in self._absent:
            where = self.broker.bootstrap
            self._say(f"broker: a real Kafka-protocol broker (Tansu, in memory) at {where}")
            self.broker.start()
        self._say(f"viewer: a small OTLP/HTTP receiver at {self.viewer.endpoint}")
        self.viewer.start()
        if "sidecar" not in self._absent:
            self.start_sidecar()
        self._say("server: transformers serve, continuous batching, with tap and front attached")
        self.wait("server", lambda: answers(self.url))

    def start_server(self) -> None:
        self.serve("server", self._server_port, self._packs)

    def another_server(
        self,
        name: str,
        packs: Sequence[Path],
        environment: Mapping[str, str],
        *,
        attached: bool = True,
    ) -> str:
        """A further server of the same model on the same socket; returns its URL once it answers."""
        port = free_port()
        self.serve(name, port, packs, environment, attached=attached)
        self.wait(name, lambda: answers(_url(port)))
        return _url(port)

    def serve(
        self,
        name: str,
        port: int,
        packs: Sequence[Path],
        environment: Mapping[str, str] = MappingProxyType({}),
        *,
        attached: bool = True,
    ) -> None:
        beside = Path(sys.executable).parent
        transformers = shutil.which("transformers", path=str(beside)) or "transformers"
        given = [part for pack in packs for part in ("--pack", str(pack))]
        tenants = [part for tenant in self._tenants for part in ("--content-tenant", tenant)]
        labels = ("request_id", "traceparent", "tenant", "user", "conversation")
        trust = [part for label in labels for part in ("--trust", label)]
        attach = [
            *(sys.executable, "-m", "dosimeter.monitor.cli.main", "attach"),
            *("--socket", str(self.folder / "tap.sock"), *given, *trust, *tenants, "--"),
        ]
        self._spawn(
            name,
            [
                *(attach if attached else ()),
                *(transformers, "serve", str(self.model), "--device", "cpu"),
                *("--continuous-batching", "--cb-block-size", "32", "--cb-num-blocks", "256"),
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            {
                "HF_HUB_OFFLINE": "1",
                "OMP_NUM_THREADS": "1",
                "TOKENIZERS_PARALLELISM": "false",
                # torch makes this folder by itself; here it goes when we go
                "TORCHINDUCTOR_CACHE_DIR": str(self.folder / "inductor"),
                **environment,
            },
        )

    def start_sidecar(self) -> None:
        config = Config(
            data_dir=self.folder,
            rules=tuple(path.absolute() for path in self._rules),
            calibrations=tuple(path.absolute() for path in self._calibrations),
            sinks=(
                KafkaConfig(bootstrap=(self.broker.bootstrap,)),
                OtlpConfig(endpoint=self.viewer.endpoint),
            ),
            http=HttpConfig(port=self._http_port),
            telemetry=OtlpConfig(endpoint=self.viewer.endpoint),
            expect=self.expect,
            archive=ArchiveConfig(one_in=1) if self._history or self._keep else None,
            history=HistoryConfig(name="demo", port=0) if self._history else None,
        )
        self.config_path.write_text(as_yaml(config))
        beside = ", archive and history" if self._history else ""
        self._say(f"sidecar: line, delivery{beside}, each a process, under one supervisor")
        command = [sys.executable, "-m", "dosimeter.monitor.cli.main", "sidecar"]
        self._spawn("sidecar", [*command, "--config", str(self.config_path)], {})
        self.wait("sidecar", lambda: self.status() is not None)

    def _spawn(self, name: str, command: Sequence[str], extra: Mapping[str, str]) -> None:
        how = signal.SIGTERM if name == "sidecar" else signal.SIGKILL
        with (self.folder / f"{name}.log").open("ab") as log, starting():
            self._processes[name] = subprocess.Popen(
                command,
                env={**os.environ, **self._environment, **extra},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the demo, which ends its parts in order; and none outlives it.
                start_new_session=True,
                preexec_fn=ending_with_parent(how),
            )

    def wait(self, name: str, ready: Callable[[], bool], timeout_s: float = START_S) -> None:
        """Return when `ready`. Raises StageError if the process ends, or time is up."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            process = self._processes.get(name)
            if process is not None and process.poll() is not None:
                raise StageError(f"{name} ended with {process.returncode}\n{self.log_tail(name)}")
            if time.monotonic() > deadline:
                raise StageError(
                    f"{name} did not come up in {timeout_s:.0f} s\n{self.log_tail(name)}"
                )
            time.sleep(0.1)

    def log_tail(self, name: str, lines: int = 15) -> str:
        path = self.folder / f"{name}.log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def status(self) -> dict[str, Any] | None:
        """The sidecar's `/status`; None while it does not answer."""
        url = f"{_url(self._http_port)}/status"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as reply:
            found: dict[str, Any] = json.load(reply)
            return found
        return None

    @property
    def pages(self) -> str | None:
        """Where a browser begins; the link works once. None: history does not show anything yet."""
        path = self.folder / "sidecar.log"
        text = path.read_text(errors="replace") if path.exists() else ""
        found = PAGES.findall(text)
        return found[-1] if found else None

    def livez(self) -> str:
        """What whoever may restart the sidecar is told: `ok`, `stuck`, or `no answer`."""
        try:
            urllib.request.urlopen(f"{_url(self._http_port)}/livez", timeout=2).close()
        except urllib.error.HTTPError:
            return "stuck"
        except OSError:
            return "no answer"
        return "ok"

    def exit_code(self, name: str) -> int | None:
        """None while it runs, or if it was ended from here."""
        process = self._processes.get(name)
        return None if process is None else process.poll()

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def children(self, name: str) -> list[int]:
        """Process ids that one of our processes has started itself, and that still run."""
        pid = self.pid(name)
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self, name: str, how: signal.Signals, patience_s: float = 25.0) -> None:
        """End one process of ours, and wait until it is gone. SIGKILL: at one instant with its children."""
        process = self._processes.get(name)
        if process is None or process.poll() is not None:
            self._processes.pop(name, None)
            return
        if how is signal.SIGKILL:
            process.send_signal(signal.SIGSTOP)  # it must neither restart them nor tell them to end
            for child in self.children(name):
                os.kill(child, signal.SIGKILL)
        del self._processes[name]
        process.send_signal(how)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        clearing_up.set()
        for name in [name for name in self._processes if name != "sidecar"]:
            self.stop(name, signal.SIGTERM, 5.0)
        self.stop("sidecar", signal.SIGTERM)
        self.viewer.stop()
        self.broker.stop()
        if self._keep is not None:
            self._put_away(self._keep)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _put_away(self, folder: Path) -> None:
        """What the sidecar wrote, with its scores archived to the last."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("ledger.db", "deliver.db", "archive", "history"):
            for path in self.folder.glob(f"{name}*"):
                shutil.move(path, folder / path.name)
        ours = [sys.executable, "-m", "dosimeter.monitor.cli.main"]
        # With the sidecar's own file: without it the rest would be kept as `archive:` keeps it where nothing is said.
        settings = ["--config", str(self.config_path), "--data-dir", str(folder)]
        for name in ("archive", *(("history",) if self._history else ())):
            subprocess.run([*ours, name, "--once", *settings], check=False, capture_output=True)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def answers(url: str) -> bool:
    """Whether a model server is up there and well."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2):
        return True
    return False
