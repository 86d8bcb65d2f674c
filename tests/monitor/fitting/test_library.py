"""Rows that are read for several lessons at once, each under its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.registry import load_features
from dosimeter.monitor.fitting import library
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.fitting.lesson import Lesson

pytestmark = pytest.mark.parts

COP = 1026
"""The token ` cop` of `copper`."""


def test_a_row_where_the_model_overflows_is_named(
    version: Callable[..., Path], suite: list[Example], tmp_path: Path
) -> None:
    """As in half precision: one token of every second row is infinite; those rows are only measured on."""

    def overflow(model: Any) -> None:
        model.model.embed_tokens.weight[COP] = torch.inf

    calm = tuple(one for one in suite if not one.label)
    lesson = Lesson(load_features()["scam"], calm, (), {}, (), (), {})
    model = Decoder(version(overflow))

    def read(lesson: Lesson) -> library.Library:
        return library.Library(model, [lesson], (1,), tmp_path, lambda done, of: None)

    assert len(read(lesson).tokens) == 20
    with pytest.raises(InputError, match=r"suite.jsonl:2:1: .*NaN or infinity"):
        read(replace(lesson, held_out={"wild": tuple(suite)}))
