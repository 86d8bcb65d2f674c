"""`make conformance-sglang` passes only where a real server ran; what stands in for kernels computes nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dosimeter.monitor.conformance.case import CannotRun, Outcome
from dosimeter.monitor.conformance.findings import Findings
from tests.contracts import conformance_sglang as command
from tests.contracts.conformance_sglang import MIXED, main


def outcomes(**changed: Outcome) -> list[Outcome]:
    """A run in which all is well. changed: other outcomes, by case."""
    reuses = ("chat", "turns", "shared prefixes", MIXED)
    found = {
        name: Outcome("sglang", name, "", 0.0, findings=Findings(compared=9, reused=4))
        for name in ("lengths", *reuses)
    }
    found["beams"] = Outcome("sglang", "beams", "", 0.0, skipped="not tried")
    return [changed.get(name, one) for name, one in found.items()]


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that is there, whose doctor finds nothing."""
    for name in command.SURROUNDINGS:
        monkeypatch.setenv(name, "")
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$@" > "$(dirname "$0")/asked"\n')
    python.chmod(0o755)
    (tmp_path / ".ready").touch()
    return tmp_path


def test_without_the_environment_it_fails_and_says_how_to_make_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tmp_path / ".venv-sglang", lambda wanted, say: outcomes()) == 3
    said = "not shown: SGLang: no .venv-sglang here\n  hint: make setup-sglang\n"
    assert capsys.readouterr().err == said


def test_the_server_that_the_doctor_saw_is_the_one_that_is_run(venv: Path) -> None:
    ran: list[str] = []

    def run(wanted: command.kit.Wanted, say: object) -> list[Outcome]:
        ran.extend(wanted.command)
        return outcomes()

    assert main(venv, run) == 0
    assert ran[:2] == [str(venv / "bin" / "sglang"), "serve"]
    assert (venv / "bin" / "asked").read_text().endswith(f"-- {' '.join(ran)}\n")


def test_what_the_doctor_finds_fails_it_and_nothing_is_started(venv: Path) -> None:
    (venv / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")

    def run(wanted: object, say: object) -> list[Outcome]:
        raise AssertionError("started")

    assert main(venv, run) == 1


@pytest.mark.parametrize(
    "changed",
    [
        Outcome("sglang", "lengths", "", 0.0, findings=Findings(differ=1), faults={"differ": 1}),
        Outcome("sglang", "lengths", "", 0.0, error="the server said 500"),
        Outcome("sglang", "lengths", "", 0.0, skipped="not offered"),
        Outcome("sglang", "turns", "", 0.0, findings=Findings(compared=9)),
    ],
    ids=["differs", "breaks", "left out", "nothing reused"],
)
def test_a_difference_or_a_case_that_says_nothing_fails_it(changed: Outcome, venv: Path) -> None:
    assert main(venv, lambda wanted, say: outcomes(**{changed.case: changed})) == 1


def test_a_server_that_does_not_start_is_not_shown(
    venv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(wanted: object, say: object) -> list[Outcome]:
        raise CannotRun("the server ended with 1")

    assert main(venv, run) == 3
    assert capsys.readouterr().err == "not shown: SGLang: the server ended with 1\n"


def test_every_function_that_stands_in_for_a_kernel_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Had it an answer, a run would prove something of numbers that SGLang never made."""
    monkeypatch.syspath_prepend(str(command.STAND_IN))
    for name in ("sgl_kernel", "sgl_kernel.utils", "sgl_kernel.mamba"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    from sgl_kernel import silu_and_mul  # type: ignore[import-not-found]
    from sgl_kernel.mamba import causal_conv1d_fwd  # type: ignore[import-not-found]
    from sgl_kernel.utils import is_arch_support_pdl  # type: ignore[import-not-found]

    for one in (silu_and_mul, causal_conv1d_fwd, is_arch_support_pdl):
        with pytest.raises(RuntimeError, match=r"sgl_kernel\.\w+ was called: only a stand-in"):
            one(1, out=2)
