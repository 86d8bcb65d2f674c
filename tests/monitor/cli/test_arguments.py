"""Numbers on the command line: what is none, or could not be waited for or counted to, is refused as usage."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from dosimeter.monitor.cli.arguments import amount, seconds


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (seconds, "10", 10.0),
        (seconds, "0.25", 0.25),
        (seconds, "86400", 86_400.0),
        (amount, "7", 7),
        (amount, "7.2e5", 720_000),
        (amount, "1e12", 10**12),
    ],
)
def test_a_number_is_read(kind: Callable[[str], float], text: str, value: float) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(
            (seconds, text)
            for text in ("inf", "nan", "-1", "0", "0.0", "86400.1", "1e400", "", "٣")
        ),
        *(
            (amount, text)
            for text in ("inf", "0", "0e5", "1e13", "1.5e0", "1e-3", "-1e3", "7.25", "", "1e")
        ),
    ],
)
def test_what_is_none_is_named(kind: Callable[[str], float], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number"):
        kind(text)
