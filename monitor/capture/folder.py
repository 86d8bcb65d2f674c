"""A capture on disk: encrypted shards of activations and of what is known of requests, and a manifest without either.

A shard is a safetensors file shut with AES-256-GCM under the capture's one key, about its name and all of the manifest
that its rows are read by, so that neither can be exchanged: who destroys the key has destroyed the capture. With each
shard the manifest is rewritten: what was broken off can be read as far as it got. It knows nothing of sockets, nor of
what is fitted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from dosimeter.detectors.files import read_file
from dosimeter.detectors.findings import InputError
from dosimeter.monitor.audit.store import box
from dosimeter.monitor.capture import heard
from dosimeter.monitor.taps.capture_wire import Order
from dosimeter.rules.canonical import canonical

VERSION = 2
MANIFEST, KEY = "capture.json", "key"
KEY_BYTES = 32
SHARD_BYTES = 64 << 20
RUN_BYTES = 256
"""Of memory that a run of rows takes beside its values."""
SHARD = re.compile(r"shard-\d{5,}\.box")
MAX_MANIFEST = 16 << 20
MAX_SHARD = 2 * SHARD_BYTES + (64 << 20)

Floats = npt.NDArray[np.float32]


def make_key(path: Path) -> bytes:
    """A new key in a file of the owner alone. Raises InputError: there is one already."""
    key = secrets.token_bytes(KEY_BYTES)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise InputError.at(path, f"no key can be made here: {error.strerror}") from None
    with os.fdopen(handle, "w") as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(handle)
    return key


def read_key(path: Path) -> bytes:
    """Raises InputError, also for a file that others may read."""
    text = read_file(path, 1 << 10).strip()
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InputError.at(path, "a key that others may read", "chmod 600")
    try:
        key = bytes.fromhex(text.decode())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise InputError.at(path, f"is no key: {2 * KEY_BYTES} hex characters")
    return key


class CaptureWriter:
    """Rows in, shards out. about: of server and model, and the order, without anything of a request."""

    def __init__(
        self, folder: Path, key: bytes, about: Mapping[str, Any], *, shard_bytes: int = SHARD_BYTES
    ) -> None:
        """folder: there, and empty but for a key. Raises OSError."""
        self._folder, self._key, self._shard_bytes = folder, key, shard_bytes
        self._manifest: dict[str, Any] = {"v": VERSION, **about, "shards": [], "ended": None}
        self._shape = (len(about["layers"]), about["width"])
        self._rows: list[tuple[int, int, int]] = []
        self._values: list[Floats] = []
        self._requests: list[bytes] = []  # JSON
        self._held = 0
        self.bytes = 0  # of files
        self._write_manifest()

    def rows(self, key: int, start: int, values: Floats) -> None:
        """values: float32 [n, L * D]."""
        self._rows.append((key, start, len(values)))
        self._values.append(values)
        self._held += values.nbytes + RUN_BYTES
        if self._held >= self._shard_bytes:
            self._flush()

    def request(self, record: Mapping[str, Any]) -> None:
        body = json.dumps(record).encode()
        self._requests.append(body)
        self._held += len(body)  # of one that lost its rows the ids come all the same
        if self._held >= self._shard_bytes:
            self._flush()

    def close(self, why: str, counts: Mapping[str, Any]) -> None:
        """What is held goes to disk, and the manifest says how it ended, also where no more went there."""
        try:
            self._flush()
        finally:
            self._manifest["ended"] = {"why": why, **counts}
            self._write_manifest()

    def _flush(self) -> None:
        if not self._rows and not self._requests:
            return
        width = self._shape[0] * self._shape[1]
        values = np.concatenate(self._values) if self._values else np.empty((0, width), np.float32)
        body = safetensors.numpy.save({
            "rows": np.array(self._rows, np.int64).reshape(-1, 3),
            "hidden": values.reshape(-1, *self._shape),
            "requests": np.frombuffer(b"[" + b",".join(self._requests) + b"]", np.uint8),
        })  # fmt: skip
        name = f"shard-{len(self._manifest['shards']):05d}.box"
        sealed, _ = box.shut(body, self._key, _about(self._manifest, name))
        _write(self._folder / name, sealed)
        self._manifest["shards"].append(
            {"name": name, "rows": len(values), "sha256": hashlib.sha256(sealed).hexdigest()}
        )
        self.bytes += len(sealed)
        self._rows, self._values, self._requests, self._held = [], [], [], 0
        self._write_manifest()

    def _write_manifest(self) -> None:
        text = json.dumps(self._manifest, indent=2, allow_nan=False) + "\n"
        _write(self._folder / MANIFEST, text.encode())


@dataclass(frozen=True, slots=True, eq=False)
class CapturedRequest:
    """One whole request. name: EPOCH/KEY, as the score archive calls it; first: position of the first row.

    rows: that the server served; one that it ran beyond its own end is there and not given.
    """

    name: str
    key: int
    first: int
    rows: int
    prompt_len: int
    spans: tuple[tuple[int, int, int], ...]
    labels: Mapping[str, str]
    ids: tuple[int, ...]  # empty: its tenant did not choose that text may leave


class Capture:
    """A capture's folder, opened with its key. requests: those of which every row is there, by name."""

    def __init__(self, folder: Path, key_file: Path | None = None) -> None:
        """Raises InputError."""
        self.folder = folder
        self.manifest = _manifest(folder)
        self._key = read_key(key_file or folder / KEY)
        self.layers: tuple[int, ...] = tuple(self.manifest["layers"])
        self.width: int = self.manifest["width"]
        self.blocks: int = self.manifest["blocks"]
        self._where: dict[int, list[str]] = defaultdict(list)  # key -> shards with rows of it
        self.requests: dict[str, CapturedRequest] = {}
        self.left_out = 0  # that miss a row, or hold one that is not finite
        broken: set[int] = set()
        begins: dict[int, int] = {}
        ends: dict[int, int] = {}
        said: list[dict[str, Any]] = []
        for shard in self.manifest["shards"]:
            tensors = self._open(shard["name"])
            for key in np.unique(tensors["rows"][:, 0]).tolist():
                self._where[key].append(shard["name"])
            for key, (start, rows) in _by_request(tensors):
                begins.setdefault(key, start)
                # They come in their order; the manifest is not encrypted, and may lack a shard.
                if ends.setdefault(key, start) != start or not np.isfinite(rows).all():
                    broken.add(key)
                ends[key] = start + len(rows)
            said += json.loads(tensors["requests"].tobytes())
        for record in said:
            key, reach = record["key"], (record["first"], record["first"] + record["rows"])
            there = reach == (begins.get(key), ends.get(key))
            n = min(record["rows"], record["served"] - record["first"])
            if not record["whole"] or n <= 0 or key in broken or not there:
                self.left_out += 1
                continue
            one = _request(self.manifest["epoch"], record)
            self.requests[one.name] = one

    def activations(
        self, wanted: Iterable[CapturedRequest]
    ) -> Iterator[tuple[CapturedRequest, Floats]]:
        """(request, float32 [rows, L, D]) of each, shards being read once; all of the wanted are held meanwhile."""
        by_key = {one.key: one for one in wanted}
        found = {
            key: np.zeros((one.rows, len(self.layers), self.width), np.float32)
            for key, one in by_key.items()
        }
        for name in sorted({shard for key in by_key for shard in self._where[key]}):
            for key, (start, rows) in _by_request(self._open(name)):
                if key in by_key:
                    low = start - by_key[key].first
                    found[key][low : low + len(rows)] = rows[: max(0, by_key[key].rows - low)]
        for key, rows in found.items():
            yield by_key[key], rows

    def _open(self, name: str) -> dict[str, npt.NDArray[Any]]:
        path = self.folder / name
        raw = read_file(path, MAX_SHARD)
        try:
            body = box.opened(raw, self._key, _about(self.manifest, name))
            found: dict[str, npt.NDArray[Any]] = safetensors.numpy.load(body)
        except box.CannotOpen:
            raise InputError.at(
                path, "does not open with this key", "--key-file names another"
            ) from None
        return found


def _by_request(
    tensors: Mapping[str, npt.NDArray[Any]],
) -> Iterator[tuple[int, tuple[int, Floats]]]:
    """(key, (start, [n, L, D])) of each run of rows."""
    at = 0
    for key, start, n in tensors["rows"].tolist():
        yield key, (start, tensors["hidden"][at : at + n])
        at += n


def _request(epoch: str, record: Mapping[str, Any]) -> CapturedRequest:
    return CapturedRequest(
        name=f"{epoch}/{record['key']:016x}",
        key=record["key"],
        first=record["first"],
        rows=min(record["rows"], record["served"] - record["first"]),
        prompt_len=record["prompt_len"],
        spans=tuple((scope, start, end) for scope, start, end in record["spans"]),
        labels=record["labels"],
        ids=tuple(record.get("ids", ())),
    )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        found = json.loads(read_file(path, MAX_MANIFEST))
        if found.get("v") != VERSION:
            raise InputError.at(path, f"is no capture of version {VERSION}")
        order, about = Order.parse(found), heard.about(found)
        if order.layers[-1] >= about["blocks"]:
            raise ValueError(f"layer {order.layers[-1]} of {about['blocks']} blocks")
        names = [shard["name"] for shard in found["shards"]]
        if not all(SHARD.fullmatch(name) for name in names):
            raise InputError.at(path, "names what is no shard in its folder")
        if len(set(names)) < len(names):
            raise InputError.at(path, "names a shard twice")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError.at(path, f"is no manifest of a capture ({error!s:.80})") from None
    return {**found, **about}


def _about(manifest: Mapping[str, Any], name: str) -> bytes:
    names = ("v", "id", "epoch", "model", "layers", "width", "blocks")
    return canonical([name, *(manifest[one] for one in names)])


def _write(path: Path, body: bytes) -> None:
    """Whole or not at all, and the owner's alone."""
    new = path.with_suffix(".part")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(handle)
        new.replace(path)
    except OSError:  # on a full disk the manifest may have the room
        new.unlink(missing_ok=True)
        raise
