"""Our log held against Go's own checksum-database code, which shares only the C2SP formats with us."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dosimeter.monitor.tlog import tiles
from dosimeter.monitor.tlog.note import Signer
from dosimeter.monitor.tlog.writer import LogWriter

pytestmark = pytest.mark.parts

SOURCE = Path(__file__).parents[2] / "deploy/audit/verify-go"
SIGNER = Signer.generate("example.org/log")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("go") / "verify-go"
    made = subprocess.run(
        ["go", "build", "-mod=readonly", "-o", str(built), "."],
        cwd=SOURCE,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    return built


@pytest.fixture
def log(tmp_path: Path) -> Path:
    leaves = [f"entry {n:05}".encode() for n in range(3000)]
    with LogWriter(tmp_path, SIGNER) as log:
        for size in (1, 300, 1024, 2999, 3000):
            log.append(log.size, leaves[log.size : size])
            log.checkpoint([f"time {size}"])
    return tmp_path


def run(program: Path, log: Path, vkey: str = SIGNER.verifier.vkey) -> tuple[int, list[str]]:
    done = subprocess.run([str(program), str(log), vkey], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


def test_a_log_of_ours_verifies(program: Path, log: Path) -> None:
    assert run(program, log) == (0, ["3000 entries and 5 checkpoints read", "verified"])


@pytest.mark.parametrize("index", [0, 1777, 2999])
def test_one_flipped_bit_is_found_at_its_entry(program: Path, log: Path, index: int) -> None:
    width = min(256, 3000 - index // 256 * 256)
    path = log / tiles.name("entries", index // 256, width)
    data = bytearray(path.read_bytes())
    data[index % 256 * 13 + 5] ^= 4
    path.write_bytes(data)
    status, said = run(program, log)
    assert status == 4
    assert said[0] == f"WRONG: entry {index} is not what was signed"
    assert said[-1] == "1 things are wrong"


def test_another_history_and_another_key_are_refused(program: Path, log: Path) -> None:
    status, said = run(program, log, Signer.generate(SIGNER.name).verifier.vkey)
    assert (status, said[0][:18]) == (4, "WRONG: checkpoint:")
    for name in ("checkpoint", "checkpoints"):
        text = (log / name).read_text()
        (log / name).write_text(text.replace("\n3000\n", "\n2999\n"))
        assert run(program, log)[0] == 4
        (log / name).write_text(text)
    notes = list(tiles.split_notes((log / "checkpoints").read_text().splitlines(keepends=True)))
    other = log / "other"
    with LogWriter(other, SIGNER) as changed:
        changed.append(0, [b"another"] * 300)
        notes[1] = changed.checkpoint()
    (log / "checkpoints").write_text("".join(notes))
    status, said = run(program, log)
    assert status == 4
    assert said[0] == "WRONG: kept checkpoint 1: another root over the first 300 entries"
