"""A kept demo: what one run of `dosimeter demo --once --keep` left, made once for all that ask in one process."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

COMMAND = ("demo", "--once", "--keep")


def kept_demo(to: Path) -> str:
    """Copied to a new folder; what the command said on the way."""
    said, folder = _made()
    shutil.copytree(folder, to)
    return said


@functools.cache
def _made() -> tuple[str, Path]:
    root = Path(tempfile.mkdtemp(prefix="dosimeter-kept-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    folder = root / "data"
    command = [sys.executable, "-m", "dosimeter.monitor.cli.main", *COMMAND, str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout, folder
