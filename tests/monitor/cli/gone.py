"""A fake reader of stdout that has gone, as `head` has."""

from __future__ import annotations

import io


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError
