"""An edited file as a patch for git. Pure; it never learns of rules."""

from __future__ import annotations

import difflib
import re

_SAFE = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")


def unified(path: str, before: str, after: str) -> str:
    """What `git apply` takes; empty where nothing differs. Browsers send `\\r\\n` ends: those of `before` are kept."""
    if not _SAFE.fullmatch(path) or ".." in path.split("/"):
        raise ValueError("no path of a file inside a repository")
    after = after.replace("\r\n", "\n")
    if "\r\n" in before:
        after = after.replace("\n", "\r\n")
    if before.endswith("\n") and not after.endswith("\n"):
        after += "\r\n" if "\r\n" in before else "\n"
    if before == after:
        return ""
    lines = difflib.unified_diff(_lines(before), _lines(after), f"a/{path}", f"b/{path}")
    head = f"diff --git a/{path} b/{path}\n"
    return head + "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _lines(text: str) -> list[str]:
    """Cut at newlines alone, as git does; `splitlines` would cut at more."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)
