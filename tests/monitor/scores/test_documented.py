"""What docs/alerts.md says of a record of scores: its reader reads them, its tables name all there is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosimeter.detectors.frames import Scope
from dosimeter.monitor.history.chunk import Kind
from dosimeter.monitor.scores.lane import SCHEMA
from dosimeter.monitor.scores.packed import CODE_BYTES, unpack
from tests.monitor.scores.test_packed import kept, values

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "alerts.md").read_text()
GOLDEN = ROOT / "tests" / "golden" / "kafka" / "scores.bin"


@pytest.fixture(scope="module")
def reader() -> Any:
    (code,) = re.findall(r"^```py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["read"]


def test_its_reader_reads_every_record_of_a_request_to_the_bit(reader: Any) -> None:
    one = kept(200, fired=2)
    read = [reader(value) for value in values(one)]
    assert (np.concatenate([codes for _, _, codes in read]) == one.request.codes).all()
    first, last = read[0][0], read[-1][0]
    assert [name for name, _ in first[Kind.BANK][0]["columns"]] == [
        f"feature_{i}" for i in range(64)
    ]
    assert [fired["position"] for fired in first[Kind.FIRED]] == [0, 1]
    assert last[Kind.END][0]["served"] == 200
    assert [found[Kind.PIECE][0]["part"] for found, _, _ in read] == [0, 1, 2, 3]
    spans = [tuple(row)[1:] for _, segments, _ in read for row in segments.tolist()]
    assert spans == [(0, 64, 2), (64, 2, 2), (66, 62, 3), (128, 64, 3), (192, 8, 3)]


def test_its_reader_refuses_another_version_and_what_is_not_whole(reader: Any) -> None:
    value = values(kept())[0]
    with pytest.raises(ValueError, match="later version"):
        reader(value[:8] + b"\x02" + value[9:])
    with pytest.raises(ValueError, match="not whole"):
        reader(value[:-1] + b"!")


def test_it_names_every_kind_and_every_field(reader: Any) -> None:
    rows = dict(re.findall(r"^\| `([A-Z]+)` \| \d+ \| (.*) \|$", PAGE, re.MULTILINE))
    found, _, _ = reader(values(kept(fired=1))[0])
    assert {Kind(kind).name for kind in found} == set(rows)
    for name, number in re.findall(r"^\| `([A-Z]+)` \| (\d+) \|", PAGE, re.MULTILINE):
        assert Kind[name] == int(number)
    everywhere = {"epoch", "key", "time_ns"}
    for kind, bodies in found.items():
        if kind != Kind.ROWS:
            assert all(f"`{field}`" in rows[Kind(kind).name] for field in {*bodies[0]} - everywhere)


def test_it_says_the_sizes_and_scopes_of_the_code() -> None:
    assert f"`{SCHEMA}`" in PAGE
    assert CODE_BYTES == 8 << 10 == 2 * 64 * 64
    words = ", ".join(f"{scope.value} {scope.name.lower()}" for scope in Scope)
    assert f"Scopes are {words}." in PAGE


def test_the_bytes_of_a_record_are_those_that_were_ever_sent() -> None:
    """What changes here is another version for whoever reads the topic. `DOSIMETER_GOLDEN=write` refreshes it."""
    value = values(kept(3, features=2, fired=1, conversation=5))[0]
    if os.environ.get("DOSIMETER_GOLDEN") == "write":
        GOLDEN.write_bytes(value)
    assert value == GOLDEN.read_bytes()
    assert unpack(GOLDEN.read_bytes(), "x").opened.conversation == 5
