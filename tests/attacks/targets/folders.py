"""A folder that every attack on files writes into again, so that a fuzzer leaves one behind and not a million."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path


@functools.cache
def folder(name: str) -> Path:
    """The same empty folder for the same name, for as long as this process lives."""
    path = Path(tempfile.mkdtemp(prefix=f"attack-{name}-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path
