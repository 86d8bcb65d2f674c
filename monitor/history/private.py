"""Files that name people are not for every user of the machine: owner and group may read them, as the umask says.

It never opens a file that is there: to close any descriptor of an SQLite database drops the locks on it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

OTHERS = 0o007


def keep_from_others(path: Path) -> None:
    """Make the file, empty, if it is not there; one that an earlier release made is closed to others.

    Raises OSError.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660))
    except FileExistsError:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) and mode & OTHERS:
            with suppress(PermissionError):  # somebody else's file
                path.chmod(stat.S_IMODE(mode) & ~OTHERS)
