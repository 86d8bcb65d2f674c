"""A file that somebody asked for: whole under its name, or not there; nothing of theirs is written over.

Owns where such a file may be written and how it appears. It never learns what is in it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dosimeter.detectors.findings import visible


class OutError(ValueError):
    """The file may not be written there; says why and what to do."""


def check(path: Path, force: bool) -> None:
    """Before anything is worked for. Raises OutError."""
    shown = visible(str(path))[:300]
    if not path.name or path.name in (".", "..") or "\0" in str(path):
        raise OutError(f"--out: `{shown}` is no file name\n  hint: write a path such as march.zip")
    try:
        found = path.lstat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            hint = f"make the folder first: mkdir -p {visible(str(path.parent))}"
            raise OutError(f"--out: the folder of `{shown}` is not there\n  hint: {hint}") from None
        return
    except OSError as error:
        raise OutError(f"--out: `{shown}`: {error.strerror}\n  hint: choose another path") from None
    if stat.S_ISDIR(found.st_mode):
        hint = f"name a file in it: {shown.rstrip('/')}/march.zip"
        raise OutError(f"--out: `{shown}` is a folder\n  hint: {hint}")
    if not stat.S_ISREG(found.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no ordinary file"
        raise OutError(f"--out: `{shown}` is {what}\n  hint: name a new file")
    if not force:
        raise OutError(
            f"--out: `{shown}` is there already\n  hint: choose another name, or add --force"
        )


@contextmanager
def new_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A path beside it to write to; on a good end its content is on disk under `path`, else nothing is left.

    Only its owner may read it. Raises OutError.
    """
    check(path, force)
    part = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        if force:
            check(path, force)
            part.replace(path)
        else:
            _appear(part, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _appear(part: Path, path: Path) -> None:
    """A link never replaces what has come there meanwhile; some file systems have no links."""
    try:
        os.link(part, path)
    except FileExistsError:
        check(path, force=False)
    except OSError:
        check(path, force=False)
        part.replace(path)
