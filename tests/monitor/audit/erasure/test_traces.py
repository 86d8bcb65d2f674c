"""However a name is written and wherever a key lies, it is found; what is not there is not."""

from __future__ import annotations

import base64
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.audit.erasure.traces import Traces

MARK = "planted0a1b2c"


@pytest.mark.parametrize("way", ["utf-8", "utf-16-le", "hex", "HEX", "base64", "urlsafe"])
@settings(max_examples=25, deadline=None)
@given(before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_a_name_is_found_however_it_is_written(
    way: str, before: bytes, after: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = before + MARK.encode() + after
    data = {
        "utf-8": whole,
        "utf-16-le": before + MARK.encode("utf-16-le") + after,
        "hex": whole.hex().encode(),
        "HEX": whole.hex().upper().encode(),
        "base64": base64.b64encode(whole),
        "urlsafe": base64.urlsafe_b64encode(whole),
    }[way]
    folder = tmp_path_factory.mktemp("traces")
    (folder / "file").write_bytes(data)
    assert Traces(MARK, []).within(folder) == ({"file"}, 0)


def test_compressed_columns_are_looked_into(tmp_path: Path) -> None:
    key = bytes(range(32))
    texts = pa.array(["some text " * 40 + MARK, None])
    data = pa.array([b"\0" * 500 + key, None], pa.binary())
    pq.write_table(pa.table({"t": texts, "n": [1, 2]}), tmp_path / "t.parquet", compression="zstd")
    pq.write_table(pa.table({"d": data}), tmp_path / "d.parquet", compression="zstd")
    assert Traces(MARK, [key]).within(tmp_path) == ({"t.parquet"}, 1)


def test_keys_are_counted_once_each_and_only_whole_ones(tmp_path: Path) -> None:
    keys = [bytes([n]) * 32 for n in range(1, 4)]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"x" + keys[0] + keys[0] + keys[1][:31] + b"y")
    (tmp_path / "b").write_bytes(keys[0])
    (tmp_path / "empty").write_bytes(b"")
    assert Traces(MARK, keys).within(tmp_path) == (set(), 1)
    assert Traces(MARK, []).within(tmp_path) == (set(), 0)
