"""The doctor says what would keep a tap from seeing, each with what to do, and imports no server for it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor import doctor
from dosimeter.monitor.cli.main import build_parser
from dosimeter.monitor.doctor import OK, SERVERS, UNKNOWN, WRONG, Finding, examine
from dosimeter.monitor.taps import transformers

LAB = Path(doctor.__file__).parent / "lab"
MODEL, PACK = LAB / "dosimeter-lab", LAB / "packs" / "core"


def of(findings: list[Finding], check: str) -> Finding:
    (found,) = [one for one in findings if one.check == check]
    return found


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    args = build_parser(["doctor"]).parse_args(["doctor", *words])
    code: int = args.run(args)
    written = capsys.readouterr()
    return code, written.out, written.err


def test_the_release_and_every_private_name_of_this_environments_transformers_fit() -> None:
    """The names are read out of the installed sources: this fails where a release moves one of them."""
    findings = examine("transformers", MODEL, [PACK], None)
    assert [(one.check, one.state) for one in findings] == [
        ("release", OK),
        ("seam", OK),
        ("pack", OK),
    ]
    assert SERVERS["transformers"].supported == transformers.SUPPORTED


def test_a_server_that_is_not_here_is_said_and_nothing_more_is_guessed() -> None:
    findings = examine("vllm", None, [], None)
    assert of(findings, "release").state == WRONG
    assert "environment" in str(of(findings, "release").fix)
    assert not [one for one in findings if one.check in ("seam", "plugin", "settings")]


def test_another_release_is_named_with_the_one_that_is_supported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "version", lambda package: "5.24.1")
    found = of(examine("transformers", None, [], None), "release")
    assert (found.state, found.found) == (WRONG, "transformers 5.24.1, supported is 5.23")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("class A:\n    def go(self, x, y): ...", None),
        ("class A:\n    async def go(self, x, *, y=1): ...", None),
        (
            "class A:\n    def go(self, other): ...",
            "`pkg.mod:A.go` takes self, other; it took self, x",
        ),
        ("class A:\n    def come(self, x): ...", "`pkg.mod:A.go` is gone"),
        ("def go(self, x): ...", "`pkg.mod:A.go` is gone"),
    ],
)
def test_a_private_name_that_moved_or_takes_something_else_is_named(
    source: str, found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "mod.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(doctor, "_source", doctor._source.__wrapped__)
    kind = doctor.Kind("pkg", ("pkg",), (1, 0), "", {"pkg.mod:A.go": ("self", "x")})
    (one,) = doctor._seams(kind)
    assert (one.state, one.found) == (
        (OK, "1 private names as expected") if found is None else (WRONG, found)
    )


def test_a_pack_of_another_model_is_told_by_what_differs(tmp_path: Path) -> None:
    for file in MODEL.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    found = of(examine("transformers", tmp_path, [PACK], None), "pack")
    assert found.state == WRONG
    assert found.fix is not None
    missing = of(examine("transformers", MODEL, [tmp_path / "none"], None), "pack")
    assert missing.state == WRONG


def test_weights_that_the_server_will_run_as_another_type_are_another_model() -> None:
    """vLLM runs float32 weights as bfloat16 unless told otherwise: the pack then refuses, at start-up."""
    assert next(doctor._packs(MODEL, [PACK], "float32")).state == OK
    found = next(doctor._packs(MODEL, [PACK], "bfloat16"))
    assert found.state == WRONG
    assert "bfloat16" in found.found


def test_a_sidecar_is_there_or_the_reason_says_what_to_start(tmp_path: Path) -> None:
    path = tmp_path / "tap.sock"
    assert "start `dosimeter sidecar`" in str(of(examine("vllm", None, [], path), "socket").fix)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        assert of(examine("vllm", None, [], path), "socket").state == OK
    refused = of(examine("vllm", None, [], path), "socket")
    assert (refused.state, refused.found) == (WRONG, f"{path}: connection refused")
    long = of(examine("vllm", None, [], tmp_path / ("x" * 200)), "socket")
    assert long.state == WRONG


@pytest.mark.parametrize(
    ("server", "variable"), [("vllm", "VLLM_PLUGINS"), ("sglang", "SGLANG_PLUGINS")]
)
def test_a_plugin_that_an_engine_is_told_not_to_load_is_found(
    server: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry: Any = type("Entry", (), {"name": "dosimeter"})
    monkeypatch.setattr(doctor, "entry_points", lambda group: [entry])
    monkeypatch.delenv(variable, raising=False)
    assert doctor._plugin(server).state == OK
    monkeypatch.setenv(variable, "other")
    assert variable in str(doctor._plugin(server).fix)
    monkeypatch.setenv(variable, "other,dosimeter")
    assert doctor._plugin(server).state == OK
    monkeypatch.setattr(doctor, "entry_points", lambda group: [])
    assert doctor._plugin(server).state == WRONG


@pytest.mark.parametrize(("here", "state"), [("0.5.23", OK), ("0.5.23+cpu", OK), ("0.5.24", WRONG)])
def test_a_patch_of_sglang_is_another_release(
    here: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its private names change from one to the next; those of vLLM do not."""
    monkeypatch.setattr(doctor, "version", lambda package: here)
    assert of(examine("sglang", None, [], None), "release").state == state


def test_options_that_were_not_given_are_unknown_and_not_ok() -> None:
    for server in ("vllm", "sglang"):
        found, dtype = doctor._settings(server, ())
        assert (found.state, dtype) == (UNKNOWN, None)
        assert f"-- {server} serve" in str(found.fix)


def test_the_exit_code_is_1_only_if_something_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--server", "transformers", "--model", str(MODEL))
    code, out, _ = run(capsys, *words, "--pack", str(PACK))
    assert (code, out.splitlines()[0][:8]) == (0, "ok      ")
    code, out, _ = run(capsys, *words, "--json")
    assert code == 0  # what was not looked at is said, and is not wrong
    assert json.loads(out)[-1]["state"] == "unknown"
    code, out, _ = run(capsys, "--server", "vllm")
    assert code == 1
    assert "hint: " in out


def test_a_command_of_another_server_is_a_wrong_option(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--server", "transformers", "--", "transformers", "serve")
    assert code == 2
    assert "only the commands of vLLM and SGLang" in err


def test_neither_torch_nor_a_server_is_imported() -> None:
    """It must answer at once, and where a server's own import would fail."""
    program = (
        "import sys; from dosimeter.monitor.doctor import examine; examine('transformers', None, [], None);"
        "print(sorted({'torch', 'transformers', 'vllm', 'sglang'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
