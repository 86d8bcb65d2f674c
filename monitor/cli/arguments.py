"""Kinds of values that commands take."""

from __future__ import annotations

import argparse

from dosimeter.monitor.cli.screen import plain

MOST = 10**9


def count(text: str) -> int:
    """How many of something to show."""
    if not text.isdecimal() or len(text) > 10 or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"`{plain(text)[:20]}` is not a number from 1 to {MOST}")
    return int(text)
