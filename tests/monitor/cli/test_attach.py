"""`dosimeter attach`: what it refuses, and what it prints for a server that something else starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor.cli.attach import FRONT, engine, engine_environment, with_front
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.taps.settings import DEFAULT_LABELS, ENV, TapSettings

TREE = "/opt/dosimeter"


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, str]:
    assert main(["attach", "--print-env", TREE, "--socket", "/run/tap.sock", *options]) == 0
    return dict(line.split("=", 1) for line in capsys.readouterr().out.splitlines())


def test_the_printed_environment_is_what_the_tap_reads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is pasted into a pod: what the tap then understands is what the options said."""
    found = printed(capsys, "--pack", "/packs/core", "--label", "tenant=X-Org", "--trust", "tenant")
    monkeypatch.setenv(ENV, found[ENV])
    assert TapSettings.from_env() == TapSettings(
        socket="/run/tap.sock",
        packs=("/packs/core",),
        labels={**DEFAULT_LABELS, "tenant": "x-org"},
        trusted=("tenant",),
    )
    assert found["PYTHONPATH"] == f"{TREE}/dosimeter/monitor/taps/site:{TREE}"


def test_a_pack_here_must_exist_and_one_elsewhere_cannot_be_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = str(tmp_path / "absent")
    assert main(["attach", "--pack", absent, "--", "true"]) == 2
    assert "no card.yaml in it" in capsys.readouterr().err
    assert absent in printed(capsys, "--pack", absent)[ENV]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--socket", "tap.sock"], "`tap.sock` is not absolute"),
        (["--socket", "/s", "--pack", "packs/core"], "`packs/core` is not absolute"),
        (["--socket", "/s", "--pack-list", "packs"], "`packs` is not absolute"),
        (["--socket", "/s", "--", "transformers", "serve"], "leave the command out"),
    ],
)
def test_what_would_mean_something_else_elsewhere_is_refused(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A relative path would be taken from the folder of whoever prints, not of the server."""
    assert main(["attach", "--print-env", TREE, *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--label", "org=x-org", "--", "true"], "write LABEL=HEADER"),
        (["--trust", "org", "--", "true"], "not one of request_id"),
        (["--content-tenant", "acme", "--", "true"], "needs --trust tenant"),
        (["--pack-list", "/p", "--pack", "/q", "--", "true"], "leave --pack out"),
        (["--pack-list", "/nowhere/packs", "--", "true"], "/nowhere/packs: "),
        ([], "no command"),
    ],
)
def test_a_wrong_option_exits_2_and_starts_nothing(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attach", *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["vllm", "serve", "m"], "vllm"),
        (["/opt/venv/bin/vllm", "serve", "m"], "vllm"),
        (["python3", "-m", "vllm.entrypoints.cli.main", "serve", "m"], "vllm"),
        (["sglang", "serve", "--model-path", "m"], "sglang"),
        (["python3", "-m", "sglang.launch_server", "--model-path", "m"], "sglang"),
        (["transformers", "serve", "vllm"], None),
        (["sh", "-c", "vllm serve"], None),
    ],
)
def test_an_engine_is_known_by_its_program_and_not_by_a_model_of_that_name(
    command: list[str], expected: str | None
) -> None:
    assert engine(command) == expected


@pytest.mark.parametrize(
    "start", [["vllm", "serve", "m"], ["python3", "-m", "vllm.entrypoints.openai.api_server"]]
)
def test_the_front_is_vllms_last_middleware_and_never_a_second_one(start: list[str]) -> None:
    """The last is outermost: it must see a call before anything else answers it."""
    command = [*start, "--middleware", "other.One"]
    assert with_front(command) == [*command, "--middleware", FRONT]
    assert with_front(with_front(command)) == with_front(command)
    assert with_front(["vllm", "bench", "serve-nothing"]) == ["vllm", "bench", "serve-nothing"]


@pytest.mark.parametrize(
    ("name", "variable"), [("vllm", "VLLM_PLUGINS"), ("sglang", "SGLANG_PLUGINS")]
)
def test_an_engine_finds_the_plugin_itself_unless_it_is_told_which_to_load(
    name: str, variable: str
) -> None:
    settings = TapSettings("/run/tap.sock")
    env = engine_environment(name, settings, {"PATH": "/bin"})
    assert variable not in env  # naming one would leave out all others
    assert "PYTHONPATH" not in env
    assert env[ENV] == settings.to_env()[ENV]
    for named, expected in (
        ("a,b", "a,b,dosimeter"),
        ("", "dosimeter" if name == "vllm" else ""),  # SGLang loads all where none is named
        ("dosimeter", "dosimeter"),
    ):
        assert engine_environment(name, settings, {variable: named})[variable] == expected


def test_text_is_not_promised_where_none_leaves(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ["--trust", "tenant", "--content-tenant", "demo", "--socket", str(tmp_path / "s")]
    assert main(["attach", *options, "--", "vllm", "serve", "m"]) == 2
    assert "no text leaves vLLM" in capsys.readouterr().err
