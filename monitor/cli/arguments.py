"""Kinds of values that several commands take."""

from __future__ import annotations

import argparse
import re
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


def amount(text: str) -> int:
    """As `volume`, also written 1e6."""
    found = re.fullmatch(r"([1-9]\d{0,2}(?:\.\d{1,6})?)e(\d{1,2})", text, re.ASCII)
    whole = found is not None and float(text).is_integer()
    return volume(f"{float(text):.0f}" if whole else text)


def seconds(text: str) -> float:
    """A time to wait, at most a day."""
    if re.fullmatch(r"\d{1,5}(?:\.\d{1,9})?", text, re.ASCII) and 0 < float(text) <= 86_400:
        return float(text)
    raise argparse.ArgumentTypeError(
        f"`{plain(text)[:20]}` is not a number of seconds, up to 86400"
    )


def seed(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"`{plain(text)[:20]}` is not a seed, up to nine digits")
    return int(text)
