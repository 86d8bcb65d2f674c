"""The container file: linted, and in agreement with the pod. Building it is not shown here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from .conftest import ROOT, SOURCES

DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def stage(name: str) -> str:
    """The text of one stage."""
    parts = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.M)
    (found,) = [part for part in parts if part.splitlines()[0].endswith(f" AS {name}")]
    return found


def command_of(text: str, word: str) -> list[str]:
    match = re.search(rf"^\s*{word} (\[.*\])$", text, flags=re.M)
    assert match is not None, f"no {word}"
    found: list[str] = json.loads(match[1])
    return found


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_every_image_runs_as_the_uid_that_the_pod_names() -> None:
    for name in ("sidecar", "injector", "history"):
        assert re.search(r"^USER 65532:65532$", stage(name), flags=re.M), name


def test_what_the_build_copies_is_not_ignored() -> None:
    """A source folder that the ignore file leaves out fails only where an engine builds the image."""
    allowed = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().split("\n")
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), flags=re.M)
    sources = [source for line in copied for source in line.split()]
    assert set(SOURCES) < set(sources)
    for source in sources:
        assert f"!{source}" in allowed, source
        assert (ROOT / source).exists(), source


def test_the_bills_of_materials_are_of_what_the_images_install() -> None:
    text = (ROOT / "deploy" / "sbom.sh").read_text()
    listed = set(re.findall(r"extras=([\w,]+)", text))
    assert listed == {
        extras
        for name in ("install", "install-history")
        for extras in re.findall(r"\[([\w,]+)\]", stage(name))
    }


def test_the_sidecar_installs_no_torch() -> None:
    assert "[sidecar]" in stage("install")
    assert "torch" not in stage("install").split("\n", 1)[1]
