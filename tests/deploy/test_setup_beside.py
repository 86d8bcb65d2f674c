"""The scripts that make .venv-vllm and its like: what they install is pinned by hash, what they refuse they say.

Every program that they start is played: nothing is downloaded here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import ROOT

DEPLOY = ROOT / "deploy"
PLAYED = {
    "uname": "echo ${SYSTEM:-Linux x86_64}",
    "grep": "exit 0",  # of /proc/cpuinfo
    "df": r"printf 'head\n- - - %s -\n' $((${FREE_GB:-100} * 1048576))",
    # `-m venv FOLDER` makes one whose Python writes down what it is asked, and can install nothing.
    "py": """case "$1" in
      -V) echo Python 3.10.2 ;;
      -c) [ -z "${OLD:-}" ] ;;
      -m) mkdir -p "$3/bin"; printf '#!/bin/sh\\necho "$@" >> asked; exit 1\\n' > "$3/bin/python"
        chmod +x "$3/bin/python" ;;
    esac""",
}
each = pytest.mark.parametrize("name", ["vllm", "sglang", "peers"])


def make(name: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script in a copy of its folders, among played programs."""
    programs = folder / "programs"
    programs.mkdir()
    for program, text in PLAYED.items():
        (programs / program).write_text(f"#!/bin/sh\n{text}\n")
        (programs / program).chmod(0o755)
    shutil.copytree(DEPLOY / name, folder / "deploy" / name)
    shutil.copy(DEPLOY / "beside.sh", folder / "deploy")
    return subprocess.run(
        ["sh", f"deploy/{name}/setup.sh"],
        cwd=folder,
        env={"PATH": f"{programs}:{os.defpath}", "PY": "py", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@each
def test_every_pin_has_its_hashes(name: str) -> None:
    text = (DEPLOY / name / "requirements.txt").read_text().replace("\\\n", " ")
    pins = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert len(pins) > 90
    for pin, *hashes in pins:
        assert pin.count("==") == 1
        assert hashes != [], pin
        assert all(one.startswith("--hash=sha256:") and len(one) == 14 + 64 for one in hashes), pin


@each
def test_pip_is_held_to_the_hashes_before_all_else(name: str, tmp_path: Path) -> None:
    done = make(name, tmp_path)
    asked = (tmp_path / "asked").read_text().splitlines()
    first = "-m pip --disable-pip-version-check -q install --require-hashes --no-deps --only-binary :all:"
    assert asked == [f"{first} -r deploy/{name}/requirements.txt"]
    assert done.returncode == 3
    assert done.stderr == (
        f"setup-{name}: packages could not be installed; is a package index in reach?\n"
    )
    assert done.stdout.startswith(f"setup-{name}: downloads about ")
    assert "(100 GB free here)" in done.stdout


@each
@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"SYSTEM": "Linux aarch64"}, "the wheels are for Linux on x86_64, this is Linux aarch64"),
        ({"OLD": "1"}, "py is Python 3.10.2; needs Python 3.11 to 3.13: make setup-{} PY=python3.12"),
        ({"FREE_GB": "7"}, "not enough disk"),
    ],
    ids=["machine", "python", "disk"],
)  # fmt: skip
def test_what_cannot_be_made_is_refused_with_its_reason(
    name: str, environment: dict[str, str], says: str, tmp_path: Path
) -> None:
    done = make(name, tmp_path, **environment)
    assert (done.returncode, done.stderr) == (3, f"setup-{name}: {says.format(name)}\n")
    assert not (tmp_path / f".venv-{name}").exists()


@each
def test_an_environment_that_is_there_is_kept(name: str, tmp_path: Path) -> None:
    """What was downloaded once is not downloaded again, whatever room is left."""
    python = tmp_path / f".venv-{name}" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    done = make(name, tmp_path, FREE_GB="0")
    assert done.stdout == f"setup-{name}: keeping what is in .venv-{name}\n"
    assert python.read_text() == "#!/bin/sh\nexit 1\n"
