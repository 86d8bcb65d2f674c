"""A zip that can be checked without us: every file named by its hash, and the list signed with the key of the log.

Owns the form that `monitor/tlog/standalone.py` describes and checks: manifest, signature, records with their proofs. It
never learns what the files are about.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dosimeter.monitor.tlog import standalone
from dosimeter.monitor.tlog.note import Signer
from dosimeter.monitor.tlog.reader import LogReader

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"


class _Hashed(io.RawIOBase):
    """Writes through, and counts and hashes what goes by."""

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner, self.sha256, self.size = inner, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        self.size += len(data)
        return self._inner.write(data)


class Bundle:
    """Files go in one after the other, then `close`."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self._files: dict[str, dict[str, Any]] = {}

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with self._zip.open(name, "w", force_zip64=True) as inner:
            hashed = _Hashed(inner)
            with io.BufferedWriter(hashed) as file:
                yield file
        self._files[name] = {"sha256": hashed.sha256.hexdigest(), "bytes": hashed.size}

    @contextmanager
    def text(self, name: str) -> Iterator[IO[str]]:
        """UTF-8, line ends as they are written."""
        with (
            self.open(name) as file,
            io.TextIOWrapper(file, encoding="utf-8", newline="") as wrapped,
        ):
            yield wrapped

    def add(self, name: str, data: bytes | str) -> None:
        with self.open(name) as file:
            file.write(data if isinstance(data, bytes) else data.encode())

    def add_json(self, name: str, value: Any) -> None:
        self.add(name, json.dumps(value, indent=2, sort_keys=True) + "\n")

    def add_file(self, name: str, path: Path) -> None:
        with path.open("rb") as source, self.open(name) as file:
            while part := source.read(1 << 20):
                file.write(part)

    def add_log(self, log: LogReader, vkey: str, records: Iterable[tuple[int, bytes]]) -> int:
        """The newest checkpoint and a proof of each record (index, leaf); how many there were."""
        self.add("log.vkey", vkey + "\n")
        self.add("checkpoint", log.note)
        count = 0
        with self.text("proofs.jsonl") as file:
            for index, leaf in records:
                proof = [_b64(one) for one in log.inclusion_proof(index)]
                row = {"index": index, "size": log.size, "leaf": _b64(leaf), "proof": proof}
                file.write(json.dumps(row, separators=(",", ":")) + "\n")
                count += 1
        self.add("verify.py", Path(standalone.__file__).read_bytes())
        return count

    def close(self, signer: Signer, origin: str, about: Mapping[str, Any]) -> None:
        """Writes the manifest with `about` in it, and signs it."""
        manifest = {"v": 1, "origin": origin, "files": self._files, **about}
        data = (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()
        signed = f"dosimeter-export/v1\nsha256 {hashlib.sha256(data).hexdigest()}\n"
        self._zip.writestr(MANIFEST, data)
        self._zip.writestr(SIGNATURE, signer.sign(signed))
        self._zip.close()

    def abandon(self) -> None:
        self._zip.close()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
