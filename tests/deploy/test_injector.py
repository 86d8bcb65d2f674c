"""The injector's idea, for real but without containers: the wheel on a path, two variables, nothing else.

A Python that was never told of us imports the server's own modules, and tap and front are in it. The
image, the volume and the pod around this are not shown: there is no container engine here.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.settings import ENV, TapSettings
from dosimeter.rules import native

from .conftest import ROOT, SOURCES
from .test_pod import env_of

pytestmark = pytest.mark.parts

PROBE = """
import json, sys
before = sorted(name for name in sys.modules if name.startswith("dosimeter"))
import transformers.cli.serving.server as server
import transformers.cli.serving.chat_completion
import dosimeter.monitor.taps.serve as serve
import numpy, yaml
from transformers.cli.serving import chat_completion, model_manager, utils
app = server.build_server(*[None] * 7)
patched = {
    "server": server.build_server,
    "model_manager": model_manager.ModelManager._load_model,
    "utils": utils.CBGenerateManager.generate_streaming,
    "chat_completion": chat_completion.ChatCompletionHandler.handle_request,
}
print(json.dumps({
    "before": before,
    "ours": serve.__file__,
    "numpy": numpy.__file__,
    "yaml": yaml.__file__,
    "patched": [n for n, f in patched.items() if f.__code__.co_filename == serve.__file__],
    "front": [[m.cls.__name__, sys.modules[m.cls.__module__].__file__] for m in app.user_middleware],
}), flush=True)
sys.stdin.read()
"""


def data_files(folder: Path) -> set[str]:
    """What is no code and no cache, relative to `folder`."""
    return {
        str(path.relative_to(folder))
        for name in SOURCES
        for path in (folder / name).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }


def modules(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for n in SOURCES for p in (folder / n).rglob("*.py")}


def test_the_wheel_holds_every_module_and_every_data_file(tree: Path) -> None:
    """An editable install finds all of them where they lie; a wheel has only what was declared."""
    assert modules(tree / "dosimeter") == modules(ROOT)
    assert data_files(tree / "dosimeter") == data_files(ROOT)
    assert "monitor/taps/site/sitecustomize.py" in modules(tree / "dosimeter")
    assert native.found == (tree / "dosimeter" / "rules" / "_kernel.abi3.so").is_file()


def test_the_server_has_all_that_the_wheel_needs() -> None:
    """So nothing but the wheel goes onto its path, where it would shadow the server's own packages."""
    theirs = {name_of(line) for line in requires("transformers") or () if "extra ==" not in line}
    ours = {name_of(line) for line in requires("dosimeter") or () if "extra ==" not in line}
    assert ours <= theirs


def name_of(requirement: str) -> str:
    return requirement.replace(">", " ").replace("=", " ").replace("<", " ").split()[0].lower()


@pytest.fixture(scope="module")
def injected(
    tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], wire.Message]:
    """What a process found in itself, and the first message it sent."""
    path = tmp_path_factory.mktemp("run") / "tap.sock"
    # The paths of the pod, with its tree and its socket where they lie here.
    env = {"PYTHONPATH": env_of("server")["PYTHONPATH"].replace("/opt/dosimeter", str(tree))}
    env |= TapSettings(socket=str(path)).to_env()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(60)
        process = subprocess.Popen(
            [sys.executable, "-c", PROBE],
            cwd="/",
            env={**env, "HF_HUB_OFFLINE": "1", "HOME": str(path.parent), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            connection, _ = listener.accept()
            connection.settimeout(60)
            hello = wire.unpack(connection.recv(wire.MAX_MESSAGE))
            connection.close()
            out, errors = process.communicate("", timeout=60)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, errors
    assert "dosimeter: not attached" not in errors
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found, hello


def test_the_module_that_is_loaded_is_the_injected_one(
    tree: Path, injected: tuple[dict[str, Any], wire.Message]
) -> None:
    """Not the checkout that this environment has installed as editable."""
    found, _ = injected
    assert found["ours"] == str(tree / "dosimeter" / "monitor" / "taps" / "serve.py")
    assert found["before"] == [], "nothing of ours is imported before the server's own modules"


def test_the_servers_own_packages_stay_its_own(
    tree: Path, injected: tuple[dict[str, Any], wire.Message]
) -> None:
    found, _ = injected
    assert not found["numpy"].startswith(str(tree))
    assert not found["yaml"].startswith(str(tree))


def test_tap_and_front_are_in_the_server(
    tree: Path, injected: tuple[dict[str, Any], wire.Message]
) -> None:
    """The front is the outermost middleware of the app that the server builds."""
    found, _ = injected
    assert found["patched"] == ["server", "model_manager", "utils", "chat_completion"]
    assert found["front"][0] == [
        "Front",
        str(tree / "dosimeter" / "monitor" / "taps" / "front.py"),
    ]


def test_it_greets_on_the_socket_and_says_that_it_sees_nothing_yet(
    injected: tuple[dict[str, Any], wire.Message],
) -> None:
    _, hello = injected
    assert hello.kind is wire.Kind.HELLO
    assert isinstance(hello.body, dict)
    assert (hello.body["role"], hello.body["state"]) == ("tap+front", "no-pack")
    assert hello.body["server"]["kind"] == "transformers"


def test_without_the_variable_nothing_of_ours_is_imported(tree: Path) -> None:
    """Only the path is left, as after half an uninstall: the server is alone with itself."""
    program = (
        "import sys, transformers.cli.serving.server as s; "
        "print(hasattr(s.build_server, '__wrapped__'), "
        "[n for n in sys.modules if n.startswith('dosimeter')])"
    )
    path = env_of("server")["PYTHONPATH"].replace("/opt/dosimeter", str(tree))
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd="/",
        env={"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", ENV: ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "False []", done.stderr


def test_vllm_finds_the_plugin_of_a_wheel_that_only_stands_on_the_path(tree: Path) -> None:
    """By the wheel's metadata beside its code, as the pod of vLLM has it: nothing is installed."""
    program = (
        "from importlib.metadata import entry_points\n"
        "(found,) = entry_points(group='vllm.general_plugins', name='dosimeter')\n"
        "import sys; print(sys.modules.get('dosimeter'), sys.modules[found.load().__module__].__file__)"
    )
    path = env_of("server")["PYTHONPATH"].replace("/opt/dosimeter", str(tree))
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd="/",
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    module = tree / "dosimeter" / "monitor" / "taps" / "vllm.py"
    assert done.stdout.strip() == f"None {module}", done.stderr
