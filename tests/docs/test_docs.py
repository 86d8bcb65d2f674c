"""The pages in docs/ are run: examples execute, and what the code has but no page names is an error.

Fences of a page, in order and in one folder: `yaml` begins with `# name.yaml` and is written there, then
loaded as what its name says; `console` has `$ dosimeter …` (or `$ python3 …`) and its output, in which `…`
stands for any text and a line `[exit N]` for an exit code other than 0; the word `ID` of a command is the
first id of the last table; `python` is a doctest. Everything else (`sh`, `text`) is not run.
"""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dosimeter.detectors.registry import load_features
from dosimeter.detectors.strict_yaml import load
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.config import load_config
from dosimeter.rules.language.schema import load_rules
from dosimeter.rules.linting.lint import lint
from tests.kept import COMMAND, kept_demo

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
RUN = ("yaml", "console", "python")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.M | re.S)
HEAVY = ("dosimeter.monitor.taps.attach", "import torch", "dosimeter demo")


def blocks(page: str) -> list[tuple[str, str, int]]:
    """(language, text, line of its first line) of every fence."""
    text = (DOCS / page).read_text()
    return [(m[1], m[2], text[: m.start(2)].count("\n") + 1) for m in FENCE.finditer(text)]


def is_heavy(page: str) -> bool:
    return any(word in text for kind, text, _ in blocks(page) if kind in RUN for word in HEAVY)


LIGHT = [page for page in PAGES if not is_heavy(page)]


def run_page(page: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    ids: list[str] = []
    for kind, text, line in blocks(page):
        where = f"docs/{page}:{line}"
        if kind == "yaml":
            load_yaml(text, folder, where)
        elif kind == "console":
            run_console(text, where, capsys, ids)
        elif kind == "python":
            run_doctest(text, where, line, names)


def load_yaml(text: str, folder: Path, where: str) -> None:
    """Written, and read by the code that reads such a file. A `wrong` one is there to be refused."""
    match = re.match(r"# (\S+\.yaml)\n", text)
    assert match is not None, f"{where}: a yaml example begins with `# name.yaml`"
    path = folder / match[1]
    path.write_text(text)
    if path.name.startswith("rules"):
        load_rules([path])
        found = [f for f in lint([path], load_features()) if f.severity != "note"]
        assert found == [], f"{where}: {found}"
    elif path.name.startswith("sidecar"):
        load_config(path)
    else:
        load(text, path.name)


def run_console(text: str, where: str, capsys: pytest.CaptureFixture[str], ids: list[str]) -> None:
    """ids: the first of each table so far."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, *expected = part.replace("\\\n", " ").rstrip("\n").split("\n")
        words = [ids[-1] if word == "ID" else word for word in shlex.split(command)]
        code = 0
        if expected and (match := re.fullmatch(r"\[exit (\d+)\]", expected[-1])):
            code = int(match[1])
            expected.pop()
        ended, shown = run_words(words, where, capsys)
        assert ended == code, f"{where}: exit {ended}\n{shown}"
        assert_output(shown, "\n".join(expected), f"{where}: {command}")
        ids += re.findall(r"^id .*\n([0-9a-f]{16}) ", shown, flags=re.M)


def run_words(words: list[str], where: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code, and the two streams one after the other, as a terminal would show them here."""
    if words[0] == "python3":
        python = [sys.executable, *words[1:]]
        done = subprocess.run(python, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr
    assert words[0] == "dosimeter", f"{where}: only our own commands are run, and Python"
    if tuple(words[1:-1]) == COMMAND:
        return 0, kept_demo(Path(words[-1]))
    capsys.readouterr()
    try:
        ended = main(words[1:])
    except SystemExit as error:  # argparse, on --help and on a wrong option
        ended = int(error.code or 0)
    shown = capsys.readouterr()
    return ended, shown.out + shown.err


def assert_output(found: str, expected: str, where: str) -> None:
    pattern = re.escape(expected).replace("…", ".*?")
    if not re.fullmatch(pattern, found.rstrip("\n"), flags=re.S):
        raise AssertionError(f"{where}\nwritten:\n{expected}\nshown:\n{found}")


def run_doctest(text: str, where: str, line: int, names: dict[str, object]) -> None:
    test = doctest.DocTestParser().get_doctest(text, names, where, where, line - 1)
    assert test.examples, f"{where}: a python example is a doctest"
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    runner.run(test, out=report.append, clear_globs=False)
    names.update(test.globs)
    assert not report, "".join(report)


@pytest.mark.parametrize("page", LIGHT)
def test_the_examples_of_a_page_run(
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page, tmp_path, capsys)


@pytest.mark.parts
@pytest.mark.parametrize("page", sorted(set(PAGES) - set(LIGHT)))
def test_the_examples_of_a_page_that_load_a_model_run(
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page, tmp_path, capsys)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (DOCS / page).read_text()):
        if "://" not in target:
            assert (DOCS / target).exists(), f"docs/{page}: {target}"
