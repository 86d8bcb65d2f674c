"""Strangers' files taken apart: JSON, the members of a zip, raw numbers; sizes are settled before anything is read.

No unpickler, no tensor library and no extraction to disk is used. It never learns what a file is for.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from dosimeter.detectors.files import read_file
from dosimeter.detectors.findings import InputError
from dosimeter.monitor.imports.direction import Doubles, printable

MAX_JSON_BYTES = 16 << 20
MAX_MEMBERS = 32
MAX_MEMBERS_BYTES = 64 << 20
"""A direction for each of 127 blocks of 65 536 takes 33 MB; what is larger is something else."""

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}

_ENTRY = b"PK\x01\x02"  # what the directory of a zip has once a member


def read_json(path: Path, most: int = MAX_JSON_BYTES) -> Any:
    """A JSON file as plain data; a key that stands twice, NaN and infinity are refused. Raises InputError."""
    return parse_json(read_file(path, most, follow=True), str(path))


def parse_json(raw: bytes, name: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise InputError.at(name, "names something twice")
        return found

    def constant(word: str) -> NoReturn:
        raise InputError.at(name, f"holds `{word}`")

    try:
        return json.loads(raw.decode(), object_pairs_hook=once, parse_constant=constant)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number of 5 000 digits
        raise InputError.at(name, f"is not readable JSON ({error!s:.100})") from None


def read_members(path: Path, *, packed: bool) -> dict[str, bytes]:
    """Every member of a zip file, in memory. Raises InputError.

    packed: deflated members are accepted. All of them together may be MAX_MEMBERS_BYTES, as the directory
    says before one is read; one that inflates to more than it says does not match its checksum.
    """
    raw = read_file(path, MAX_MEMBERS_BYTES, follow=True)
    if not raw.startswith(b"PK\x03\x04"):
        raise InputError.at(path, "is not a zip file", code="format")
    if raw.count(_ENTRY) > MAX_MEMBERS:  # before the directory becomes a million objects
        raise InputError.at(path, f"has more than {MAX_MEMBERS} members", code="too-large")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = archive.infolist()
            _check(path, members, packed)
            return {member.filename: _unpacked(archive, member) for member in members}
    except InputError:
        raise
    except (
        zipfile.BadZipFile, zlib.error, struct.error, EOFError, LookupError, NotImplementedError, OSError,
        OverflowError, RuntimeError, ValueError,
    ) as error:  # fmt: skip
        raise InputError.at(path, f"is not a readable zip file ({error!s:.100})") from None


def _check(path: Path, members: list[zipfile.ZipInfo], packed: bool) -> None:
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) if packed else (zipfile.ZIP_STORED,)
    if len({member.filename for member in members}) < len(members):
        raise InputError.at(path, "names a member twice")
    for member in members:
        shown = printable(member.filename)
        parts = member.filename.split("/")
        if {"", ".", ".."} & {*parts} or "\\" in shown or shown != member.filename:
            raise InputError.at(path, f"has a member `{shown}`", "names are plain and relative")
        if member.compress_type not in kinds or member.flag_bits & 1:
            raise InputError.at(
                path, f"member `{shown}` is compressed or encrypted as none is read"
            )
    size = sum(member.file_size for member in members)
    if size > MAX_MEMBERS_BYTES:
        raise InputError.at(
            path, f"unpacks to {size} bytes, at most {MAX_MEMBERS_BYTES} are read", code="too-large"
        )


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """As many bytes as the directory says; without a number the library would inflate all there is."""
    with archive.open(member) as file:
        return file.read(member.file_size + 1)


def doubles(raw: bytes, kind: str) -> Doubles:
    """Little-endian numbers of a kind in SIZES as float64 [n]."""
    if kind == "BF16":  # the upper half of a float32
        wide = np.zeros((len(raw) // 2, 2), dtype="<u2")
        wide[:, 1] = np.frombuffer(raw, "<u2")
        return wide.view("<f4")[:, 0].astype(np.float64)
    return np.frombuffer(raw, f"<f{SIZES[kind]}").astype(np.float64)
