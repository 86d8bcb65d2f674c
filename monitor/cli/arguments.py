"""Kinds of values that several commands take."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from dosimeter.monitor.cli.screen import plain


def up_to(most: int) -> Callable[[str], int]:
    """A whole number from 1 to `most`."""

    def number(text: str) -> int:
        if not text.isdecimal() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"`{plain(text)[:20]}` is not a number from 1 to {most}"
            )
        return int(text)

    return number


count = up_to(10**9)
"""How many of something to show."""
volume = up_to(10**12)
"""How many of something are there."""


def seed(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"`{plain(text)[:20]}` is not a seed, up to nine digits")
    return int(text)
