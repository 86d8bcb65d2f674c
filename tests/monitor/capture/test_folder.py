"""A capture's folder: what was put in comes out, with the key and not without, and only whole requests of it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.capture import folder as folders
from dosimeter.monitor.capture.folder import KEY, MANIFEST, Capture, CaptureWriter, make_key
from dosimeter.monitor.taps.capture_wire import Order

ABOUT: dict[str, Any] = {
    **Order("ab" * 16, "INC-441", (1, 4), 60, 1_000_000, 1 << 30, 100).as_json(),
    "epoch": "00000000000000ff", "model": {"name": "small", "digest": "d"}, "width": 8, "blocks": 6,
    "by_uid": 0, "since_ns": 1, "until_ns": 2,
}  # fmt: skip


def record(key: int, rows: int, **more: Any) -> dict[str, Any]:
    return {
        "key": key, "first": 0, "rows": rows, "whole": True, "prompt_len": 3, "spans": [[2, 0, 3]],
        "labels": {"user": "alice-of-north-bank"}, "served": rows, **more,
    }  # fmt: skip


def filled(folder: Path, **options: Any) -> dict[int, np.ndarray]:
    """Two requests in turns, in shards of one part each; what went in, by key."""
    rng = np.random.default_rng(0)
    put = {key: rng.standard_normal((9, 16)).astype(np.float32) for key in (7, 9)}
    writer = CaptureWriter(folder, make_key(folder / KEY), ABOUT, **options)
    for low in range(0, 9, 3):
        for key, values in put.items():
            writer.rows(key, low, values[low : low + 3])
    writer.request(record(7, 9, ids=[5, 6, 7, 8]))
    writer.request(record(9, 9))
    writer.close("its time is up", {"rows": 18})
    return put


@pytest.mark.parametrize("shard_bytes", [1, 1 << 20])
def test_every_row_comes_back(tmp_path: Path, shard_bytes: int) -> None:
    put = filled(tmp_path, shard_bytes=shard_bytes)
    found = Capture(tmp_path)
    assert sorted(found.requests) == [
        "00000000000000ff/0000000000000007",
        "00000000000000ff/0000000000000009",
    ]
    assert found.requests["00000000000000ff/0000000000000007"].ids == (5, 6, 7, 8)
    for one, rows in found.activations(found.requests.values()):
        assert rows.shape == (9, 2, 8)
        assert (rows.reshape(9, 16) == put[one.key]).all()


def test_nothing_of_a_request_can_be_read_without_the_key(tmp_path: Path) -> None:
    put = filled(tmp_path)
    (tmp_path / KEY).unlink()
    said = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"INC-441" in said  # the manifest is there to be read
    assert b"alice" not in said
    assert put[7][0].tobytes() not in said
    (tmp_path / KEY).touch()
    make = tmp_path / "other"
    make_key(make)
    with pytest.raises(InputError, match="does not open with this key"):
        Capture(tmp_path, make)


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    filled(tmp_path)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    (tmp_path / KEY).chmod(0o640)
    with pytest.raises(InputError, match="others may read"):
        Capture(tmp_path)


def test_a_shard_cannot_stand_in_for_another(tmp_path: Path) -> None:
    filled(tmp_path, shard_bytes=1)
    first, second = tmp_path / "shard-00000.box", tmp_path / "shard-00001.box"
    first.write_bytes(second.read_bytes())
    with pytest.raises(InputError, match="does not open"):
        Capture(tmp_path)


def test_what_was_broken_off_can_be_read_as_far_as_it_got(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path, make_key(tmp_path / KEY), ABOUT, shard_bytes=1)
    writer.request(record(7, 1))
    writer.rows(7, 0, np.ones((1, 16), np.float32))
    writer.rows(9, 0, np.ones((1, 16), np.float32))  # killed here
    assert json.loads((tmp_path / MANIFEST).read_text())["ended"] is None
    assert list(Capture(tmp_path).requests) == ["00000000000000ff/0000000000000007"]


def test_a_request_that_lacks_a_row_or_holds_infinity_is_left_out(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path, make_key(tmp_path / KEY), ABOUT)
    values = np.ones((2, 16), np.float32)
    writer.rows(1, 0, values)
    writer.rows(2, 0, values * np.float32(np.inf))
    writer.rows(3, 0, values)
    writer.request(record(1, 2, whole=False, lost="slow_reader"))
    writer.request(record(2, 2))
    writer.request(record(3, 2))
    writer.close("its time is up", {})
    found = Capture(tmp_path)
    assert list(found.requests) == ["00000000000000ff/0000000000000003"]
    assert found.left_out == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"v": 1}', "9" * 5000, "[" * 100_000])
def test_what_is_no_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    make_key(tmp_path / KEY)
    with pytest.raises(InputError, match=MANIFEST):
        Capture(tmp_path)


def forged(folder: Path, **changed: Any) -> None:
    """By somebody who may write the folder, without the key."""
    path = folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


ODD = [
    None,
    True,
    -1,
    0,
    5,
    1 << 63,
    10**30,
    1.5,
    float("nan"),
    "",
    "8",
    "9" * 5000,
    "\ud800",
    [],
    {},
    [[1]],
    [4, 1],
]


@pytest.mark.parametrize("name", [*ABOUT, "v", "shards"])
def test_a_field_of_the_manifest_that_makes_no_sense_is_refused_in_words(
    tmp_path: Path, name: str
) -> None:
    """Some had ended in a traceback."""
    filled(tmp_path)
    good = json.loads((tmp_path / MANIFEST).read_text())
    for odd in ODD:
        forged(tmp_path, **{**good, name: odd})
        try:
            Capture(tmp_path)
        except InputError:
            continue
        assert name not in ("v", "id", "epoch", "model", "layers", "width", "blocks")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("layers", [4, 5]), ("epoch", "00000000000000fe"), ("model", {"name": "small", "digest": "e"}), ("width", 4),
        ("blocks", 7), ("id", "cd" * 16),
    ],
)  # fmt: skip
def test_what_the_rows_are_read_by_cannot_be_changed_without_the_key(
    tmp_path: Path, name: str, other: Any
) -> None:
    """The rows of one layer had been fitted as another's, and those of one model as another's."""
    filled(tmp_path)
    forged(tmp_path, **{name: other})
    with pytest.raises(InputError, match="does not open with this key"):
        Capture(tmp_path)


@pytest.mark.parametrize(
    "name", ["../x", "key", "..", "", "/etc/passwd", "shard-00000.box\n", "a\0b"]
)
def test_only_shards_of_the_folder_are_opened(tmp_path: Path, name: str) -> None:
    filled(tmp_path)
    forged(tmp_path, shards=[{"name": name}])
    with pytest.raises(InputError, match="no shard"):
        Capture(tmp_path)


def test_a_shard_that_is_named_twice_stands_for_no_other(tmp_path: Path) -> None:
    """The count of its rows was right, and those of the one that it replaced were zeros."""
    filled(tmp_path, shard_bytes=1)
    shards = json.loads((tmp_path / MANIFEST).read_text())["shards"]
    forged(tmp_path, shards=[shards[0], shards[0], *shards[1:2], *shards[3:]])
    with pytest.raises(InputError, match="a shard twice"):
        Capture(tmp_path)


def test_on_a_full_disk_the_manifest_says_so_and_no_part_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = CaptureWriter(tmp_path, make_key(tmp_path / KEY), ABOUT, shard_bytes=1)
    writer.request(record(7, 1))
    writer.rows(7, 0, np.ones((1, 16), np.float32))
    sync = os.fsync

    def full(handle: int) -> None:
        if os.fstat(handle).st_size > 2000:
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(folders.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        writer.rows(9, 0, np.ones((64, 16), np.float32))
    with pytest.raises(OSError, match="No space"):
        writer.close("no space left on device", {})
    assert not list(tmp_path.glob("*.part"))
    assert (
        json.loads((tmp_path / MANIFEST).read_text())["ended"]["why"] == "no space left on device"
    )
    assert list(Capture(tmp_path).requests) == ["00000000000000ff/0000000000000007"]


def test_what_is_said_of_requests_is_parted_as_rows_are(tmp_path: Path) -> None:
    """A slow reader loses rows and gets the token ids: of many requests a shard had become too large to be read."""
    writer = CaptureWriter(tmp_path, make_key(tmp_path / KEY), ABOUT, shard_bytes=10_000)
    for key in range(100):
        writer.request(record(key, 0, ids=list(range(200)), whole=False, lost="slow_reader"))
    writer.close("its time is up", {})
    shards = sorted(tmp_path.glob("*.box"))
    assert len(shards) > 5
    assert all(path.stat().st_size < 20_000 for path in shards)
    assert Capture(tmp_path).left_out == 100


def test_a_shard_that_the_manifest_does_not_name_any_more_leaves_no_rows_of_zeros(
    tmp_path: Path,
) -> None:
    """The manifest is in the clear: whoever may write it, without the key, had a probe fitted on nothing."""
    filled(tmp_path, shard_bytes=1)
    path = tmp_path / MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["shards"][0]  # of request 7
    path.write_text(json.dumps(manifest))
    found = Capture(tmp_path)
    assert list(found.requests) == ["00000000000000ff/0000000000000009"]
    assert found.left_out == 1


@pytest.mark.parametrize("starts", [(1, 2, 3), (0, 0, 2), (0, 2, 1), (0, 1, 3)])
def test_rows_that_are_not_those_of_a_requests_positions_are_not_its_rows(
    tmp_path: Path, starts: tuple[int, ...]
) -> None:
    """As many were there as the request says: a gap had been read as zeros, or ended in a traceback."""
    writer = CaptureWriter(tmp_path, make_key(tmp_path / KEY), ABOUT)
    for key, at in ((7, starts), (9, (0, 1, 2))):
        for start in at:
            writer.rows(key, start, np.ones((1, 16), np.float32))
        writer.request(record(key, 3))
    writer.close("its time is up", {})
    found = Capture(tmp_path)
    assert list(found.requests) == ["00000000000000ff/0000000000000009"]
    assert found.left_out == 1


def test_a_row_beyond_the_servers_own_end_is_not_of_the_request(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path, make_key(tmp_path / KEY), ABOUT)
    for at in range(4):
        writer.rows(7, at, np.full((1, 16), at, np.float32))
    writer.request(record(7, 4, served=3, ids=[1, 2, 3, 4]))
    writer.close("its time is up", {})
    found = Capture(tmp_path)
    ((one, rows),) = found.activations(found.requests.values())
    assert one.rows == 3
    assert rows[:, 0, 0].tolist() == [0, 1, 2]


def test_a_request_that_was_served_nothing_behind_its_first_row_is_left_out(tmp_path: Path) -> None:
    """A tap of the right key that says so had ended the build: a table of fewer than no rows."""
    writer = CaptureWriter(tmp_path, make_key(tmp_path / KEY), ABOUT)
    for key, served in ((7, 0), (8, 4), (9, 5)):
        writer.rows(key, 4, np.ones((2, 16), np.float32))
        writer.request(record(key, 2, first=4, served=served))
    writer.close("its time is up", {})
    found = Capture(tmp_path)
    assert [rows.shape for _, rows in found.activations(found.requests.values())] == [(1, 2, 8)]
    assert found.left_out == 2
