"""Opening what someone else put there: regular files alone, so that a pipe cannot make us wait for ever,
nor a device fill the memory.

It owns the one way in which packs, calibrations, rules, configuration and model folders are opened. It
never learns what a file says.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from dosimeter.detectors.findings import InputError


def open_file(path: Path, name: str | None = None, *, follow: bool = False) -> BinaryIO:
    """A regular file, for reading. Raises InputError, whose place is `name` where one is given.

    follow: through a link. Mounted rules and cached models are links; an artefact has none.
    """
    shown = str(path) if name is None else name
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            hint = "copy the file into the folder"
            raise InputError.at(shown, "cannot be read: is a link", hint, "unreadable") from None
        reason = (error.strerror or type(error).__name__).lower()
        raise InputError.at(shown, f"cannot be read: {reason}", code="unreadable") from None
    except ValueError:  # a zero byte
        raise InputError.at(
            shown, "cannot be read: no file has this name", code="unreadable"
        ) from None
    kind = os.fstat(fd).st_mode
    if not stat.S_ISREG(kind):
        os.close(fd)
        what = "is a directory" if stat.S_ISDIR(kind) else "not a regular file"
        raise InputError.at(shown, f"cannot be read: {what}", code="unreadable")
    return os.fdopen(fd, "rb")


def read_file(path: Path, most: int, *, follow: bool = False) -> bytes:
    """All bytes of a regular file. Raises InputError, for a file over the cap before it is read."""
    with open_file(path, follow=follow) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise InputError.at(path, f"{size} bytes, at most {most} are read", code="too-large")
        raw = file.read(most + 1)
    if len(raw) > most:
        raise InputError.at(path, f"grew past {most} bytes while it was read", code="too-large")
    return raw
