"""Kinds of values that several subcommands take."""

from __future__ import annotations

import argparse

from dosimeter.detectors.findings import visible

MOST = 10**12


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or len(text) > 13 or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"`{visible(text)[:20]}` is not a number from 1 on")
    return int(text)
