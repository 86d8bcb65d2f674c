"""The command line: light to start, and honest in its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dosimeter.monitor.cli.completion import script
from dosimeter.monitor.cli.main import COMMANDS, build_parser, main
from dosimeter.monitor.config import load_config

SOUND = """\
version: 1
rules:
  - rule: rising
    when: {feature: deception, in: answer, above: 1 in 1000 answers, average: 16 tokens}
    status: shadow
    severity: high
    summary: "rising"
"""


def test_linting_rules_imports_neither_torch_nor_kafka_nor_opentelemetry(tmp_path: Path) -> None:
    """Analysts install numpy and pyyaml, and nothing else."""
    (tmp_path / "rules.yaml").write_text(SOUND)
    program = (
        "import sys; from dosimeter.monitor.cli.main import main; "
        f"code = main(['rules', 'lint', {str(tmp_path / 'rules.yaml')!r}]); "
        "heavy = {'torch', 'kafka', 'opentelemetry', 'transformers', 'sqlite3'} & set(sys.modules); "
        "print(code, sorted(heavy))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.splitlines()[-1] == "0 []", found.stderr


def test_lint_says_where_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rules.yaml").write_text(SOUND.replace("severity: high", "severity: hi"))
    assert main(["rules", "lint", "--json", str(tmp_path / "rules.yaml")]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["line"], finding["column"]) == (6, 15)


@pytest.mark.parametrize("arguments", [[], ["sidecars"], ["rules"], ["sidecar", "--prot", "1"]])
def test_a_command_line_that_makes_no_sense_exits_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "option", [["alerts", "list", "--data-dir"], ["features", "list", "--packs"]]
)
def test_a_path_that_no_system_takes_is_no_traceback(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*option, "x" * 5000]) == 3
    said = capsys.readouterr().err
    assert "File name too long" in said
    assert len(said) < 500


def test_help_lists_every_command_without_loading_any(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_a_configuration_with_a_mistake_exits_2_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sidecar.yaml").write_text("version: 1\nrulez: []\n")
    assert main(["sidecar", "--config", str(tmp_path / "sidecar.yaml")]) == 2
    assert "sidecar.yaml:2:1: error: unknown key `rulez`" in capsys.readouterr().err


def test_the_printed_configuration_is_one_that_can_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sidecar", "--print-config"]) == 0
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert load_config(tmp_path / "printed.yaml").http.port == 9464


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["dosimeter", "sid"], ["sidecar"]),
        (["dosimeter", "rules", "l"], ["lint"]),
        (["dosimeter", "rules", "lint", "--j"], ["--json"]),
        (["dosimeter", "sidecar", "--da"], ["--data-dir"]),
    ],
)
def test_bash_completes_commands_and_options(typed: list[str], offered: list[str]) -> None:
    text = script(build_parser(["rules", "sidecar"]), "bash")
    words = " ".join(f"'{word}'" for word in typed)
    asked = (
        f"{text}\nCOMP_WORDS=({words})\nCOMP_CWORD={len(typed) - 1}\n_dosimeter\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    found = subprocess.run(["bash", "-c", asked], capture_output=True, text=True)
    assert sorted(found.stdout.split()) == sorted(offered), found.stderr


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["history", "--data-dir", "\udcff"], "is not UTF-8"),
        (["audit", "query", "--rule=\udcff"], "is not UTF-8"),
        (["history", "--port", "99999"], "`99999` is no port: 0 to 65535"),
        (["history", "\x1b[31m" + "x" * 10_000], "…\n"),
    ],
)
def test_whatever_is_written_the_error_is_short_and_harmless_for_a_terminal(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error) < 2000
    assert "\x1b" not in error
    error.encode()


CORE = Path(__file__).parents[3] / "monitor/sources/packs/core"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "argv", [["--help"], ["features", "list"], ["detectors", "interference", str(CORE)]]
)
def test_a_reader_that_has_seen_enough_is_no_error(argv: list[str], unbuffered: str) -> None:
    gone, out = os.pipe()
    os.close(gone)
    command = [sys.executable, "-m", "dosimeter.monitor.cli.main", *argv]
    environ = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    found = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, env=environ)
    os.close(out)
    assert (found.returncode, found.stderr) == (0, "")


def test_what_a_full_disk_did_not_take_is_said() -> None:
    command = [sys.executable, "-m", "dosimeter.monitor.cli.main", "features", "list"]
    environ = {**os.environ, "PYTHONUNBUFFERED": ""}
    with Path("/dev/full").open("w") as full:
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environ)
    assert found.returncode == 3
    assert found.stderr == "dosimeter: not all of it could be printed: No space left on device\n"
