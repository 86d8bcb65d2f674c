"""Headers that an operator has sent with each request: which of them are credentials, and those that stand in a file.

A file is read anew for each request, so that a token can be changed while we run, and is never quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

MAX_FILE = 1 << 16
LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e]*)")
CREDENTIAL = re.compile(
    r"auth|cookie|credential|dsn|honeycomb-team|key|pass|secret|session|token", re.IGNORECASE
)
HINT = "one `name: value` a line, in ASCII"


class HeadersError(RuntimeError):
    """The file of headers cannot be used."""


def read_headers(path: Path) -> dict[str, str]:
    """Raises HeadersError."""
    try:
        with path.open("rb") as file:
            body = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no path"
        raise HeadersError(f"{path}: {reason}\n  hint: {HINT}") from None
    found = {}
    lines = body.decode("ascii", "replace").splitlines()
    for number, line in enumerate(lines, 1):
        match = LINE.fullmatch(line.strip())
        if match is None and line.strip():
            raise HeadersError(f"{path}:{number}: not a header\n  hint: {HINT}")
        if match is not None:
            found[match[1]] = match[2].strip()
    if not found or len(body) > MAX_FILE:
        reason = f"more than {MAX_FILE} bytes" if found else "no header in it"
        raise HeadersError(f"{path}: {reason}\n  hint: {HINT}")
    return found


def credential(names: Iterable[str]) -> str | None:
    """The first of these headers that is one, as far as a name tells."""
    return next((name for name in names if CREDENTIAL.search(name)), None)
