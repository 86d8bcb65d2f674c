"""Checks an export of audit history, alone: Python's standard library, nothing of the exporter's.

    python3 -I verify.py EXPORT [--vkey KEY]       EXPORT: a folder, or the zip it came as

Exit status: 0 verified, 4 something is wrong, 2 called wrongly or unreadable. An export holds

  manifest.json      {"v":1, "made_ns":.., "origin":.., "files":{NAME:{"sha256":HEX,"bytes":N}}, "filter":{..},
                     "timezone":.., "by":.., "redacted":[..], "coverage":{..}, "records":N}; `files` names
                     every file but manifest.json and manifest.sig; NAME is of A-Z a-z 0-9 _ . - and /
  manifest.sig       signed note (C2SP signed-note) over "dosimeter-export/v1\\nsha256 HEX\\n", of manifest.json
  log.vkey           the log's verifier key, name+id+base64; believed only when --vkey is not given
  checkpoint         signed checkpoint (C2SP tlog-checkpoint)
  proofs.jsonl       a record a line: {"index":N, "size":N, "leaf":BASE64, "proof":[BASE64, ..]}, RFC 6962
                     inclusion in the checkpoint over `size` entries; the leaf is the record
  alerts.csv, .jsonl optional: a row an alert, whose cells are what its leaf and its terms (blobs/) say
"""

import argparse
import base64
import csv
import hashlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

MAX_TEXT, MAX_LINE, MAX_FILE, MAX_ALL = 64 << 20, 4 << 20, 16 << 30, 64 << 30
VERIFIED, UNREADABLE, WRONG = 0, 2, 4
TERMS = {"rule", "feature", "status", "severity", "scope", "shape", "level", "model"}
TERMS |= {"threshold_code"}
BESIDE = {"idx", "time", "more", "verdict", "disagreed"}
P, Q = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


class Bad(Exception):
    """Something in the export is wrong."""


def point(data: bytes) -> tuple[int, ...]:
    """A point of edwards25519 from its 32 bytes, in extended coordinates (RFC 8032, 5.1.3)."""
    y, sign = int.from_bytes(data, "little") & (1 << 255) - 1, data[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - square) % P or (not x and sign):
        raise Bad("a public key or signature that is no point of the curve")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def add(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    i, j, k, m = f - e, h - g, h + g, f + e
    return i * j % P, k * m % P, j * k % P, i * m % P


def times(n: int, a: tuple[int, ...]) -> tuple[int, ...]:
    total: tuple[int, ...] = (0, 1, 1, 0)
    while n:
        total = add(total, a) if n & 1 else total
        a, n = add(a, a), n >> 1
    return total


def ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature fits (RFC 8032, 5.1.7)."""
    s = int.from_bytes(signature[32:], "little")
    if len(public) != 32 or len(signature) != 64 or s >= Q:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % Q
    left = times(s, point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little")))
    right = add(point(signature[:32]), times(h, point(public)))
    return all((left[n] * right[2] - right[n] * left[2]) % P == 0 for n in (0, 1))


def b64(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii"), validate=True)


class Key:
    def __init__(self, vkey: str) -> None:
        self.name, key_id, encoded = vkey.strip().split("+", 2)
        key = b64(encoded)
        self.id = hashlib.sha256(self.name.encode() + b"\n" + key).digest()[:4]
        self.public, named = key[1:], re.fullmatch(r"[!-~]+", self.name)
        if len(key) != 33 or key[0] != 1 or self.id.hex() != key_id or not named:
            raise ValueError("the verifier key is not name+id+base64 of an Ed25519 key")

    def text(self, note: str) -> str:
        """The text of a note that this key signed. Raises Bad."""
        text, _, signed = note.rpartition("\n\n")
        for line in signed.splitlines():
            dash, name, encoded = (*line.split(" ", 2), "", "")[:3]
            if (dash, name, b64(encoded)[:4]) == ("—", self.name, self.id):
                if ed25519(self.public, (text + "\n").encode(), b64(encoded)[4:]):
                    return text + "\n"
                raise Bad("a signature does not fit its text")
        raise Bad(f"not signed by {self.name}+{self.id.hex()}")


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def climb(at: int, last: int, proof: list[str], digest: bytes) -> bytes:
    """The root over all up to `last` that a proof leads to from what stands at `at`."""
    rest = [b64(text) for text in reversed(proof)]
    while last > 0:
        if at & 1 or at < last:
            if not rest:
                raise Bad("a proof is too short")
            digest = node(rest.pop(), digest) if at & 1 else node(digest, rest.pop())
        at, last = at >> 1, last >> 1
    if rest:
        raise Bad("a proof is too long")
    return digest


class Export:
    """Its files by name; a name that could lead elsewhere is refused, and so is a link."""

    def __init__(self, path: str) -> None:
        self.root, self.sizes = Path(path), dict[str, int]()
        self.zip = None if self.root.is_dir() else zipfile.ZipFile(path)
        if self.zip is None:
            paths = [p for p in self.root.rglob("*") if p.is_symlink() or not p.is_dir()]
            found = [(p.relative_to(self.root).as_posix(), p.lstat().st_size) for p in paths]
            if any(path.is_symlink() for path in paths):
                raise Bad("a link among the files")
        else:
            found = [(i.filename, i.file_size) for i in self.zip.infolist() if not i.is_dir()]
        for name, size in found:
            parts = name.split("/")
            if name in self.sizes or not all(re.fullmatch(r"[\w.-]*[\w-]", p, re.A) for p in parts):
                raise Bad(f"a file of the name {name!a}")
            self.sizes[name] = size
        if max(self.sizes.values(), default=0) > MAX_FILE or sum(self.sizes.values()) > MAX_ALL:
            raise Bad(f"files of more than {MAX_FILE} bytes, or {MAX_ALL} together")

    def open(self, name: str) -> IO[bytes]:
        if name not in self.sizes:
            raise Bad(f"{name} is missing")
        return (self.root / name).open("rb") if self.zip is None else self.zip.open(name)

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            if len(data := file.read(MAX_TEXT + 1)) > MAX_TEXT:
                raise Bad(f"{name} is larger than {MAX_TEXT} bytes")
            return data

    def lines(self, name: str) -> Iterator[Any]:
        with self.open(name) as file:
            yield from map(json.loads, iter(lambda: file.readline(MAX_LINE), b""))


def check_manifest(export: Export, key: Key) -> tuple[Any, list[str]]:
    """The manifest that was signed, and the files that are not as it says."""
    data = export.read("manifest.json")
    signed = f"dosimeter-export/v1\nsha256 {hashlib.sha256(data).hexdigest()}\n"
    if key.text(export.read("manifest.sig").decode()) != signed:
        raise Bad("manifest.json is not the one that was signed")
    manifest = json.loads(data)
    listed = manifest["files"]
    for name in sorted(set(export.sizes) ^ {*listed, "manifest.json", "manifest.sig"}):
        raise Bad(f"{name!a} is " + ("missing" if name in listed else "not in the manifest"))
    changed = []
    for name in listed:
        with export.open(name) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        changed += [name] if digest != listed[name]["sha256"] else []
    if not changed:
        print(f"shown: all {len(listed)} files are those that {key.name} signed")
    return manifest, changed


def check_records(export: Export, size: int, root: bytes, wanted: int) -> dict[int, bytes]:
    seen = {}
    for row in export.lines("proofs.jsonl"):
        index, leaf = int(row["index"]), b64(row["leaf"])
        if int(row["size"]) != size or not 0 <= index < size:
            raise Bad(f"record {index}: no checkpoint over {row['size']} entries is here")
        digest = hashlib.sha256(b"\0" + leaf).digest()
        if climb(index, size - 1, row["proof"], digest) != root:
            raise Bad(f"record {index}: not what the log holds there")
        seen[index] = leaf
    if len(seen) != wanted:
        raise Bad(f"{len(seen)} records have proofs, the manifest says {wanted}")
    print(f"shown: all {wanted} records are entries of the log, unchanged")
    return seen


def cell(text: str, kind: str) -> int | str | None:
    """What was written as this cell of CSV; README.txt says how."""
    if not text or (kind == "int" and re.fullmatch(r"-?\d{1,19}", text)):
        return int(text) if text else None
    escape, text = r"\\(?:\\|x(..)|u(....)|U(.{8}))", text.removeprefix("'")
    return re.sub(escape, lambda m: chr(int(m[m.lastindex], 16)) if m.lastindex else "\\", text)


@lru_cache(4096)
def terms_of(export: Export, sha256: str) -> Any:
    if hashlib.sha256(data := export.read(f"blobs/{sha256}.json")).hexdigest() != sha256:
        raise Bad(f"blobs/{sha256}.json is not what its name says")
    return json.loads(data)


def expected(export: Export, leaf: dict[str, Any], types: dict[str, str]) -> Iterator[Any]:
    """Columns with what the entry says; `verdict` and `disagreed` are said by its labels."""
    terms = terms_of(export, leaf["terms"]) if "terms" in leaf else {}
    fields = {column: column.removeprefix("span_") for column in types}
    rest = leaf.keys() - {"v", *fields.values()} | leaf.keys() & BESIDE - {"verdict"}
    more = {name: leaf[name] for name in (rest | leaf.keys() & TERMS if terms else rest)}
    line = json.dumps(more, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=leaf["time_ns"] // 10**6)
    yield from {"more": line if more else None, "time": time}.items()
    for column in types.keys() - BESIDE:
        value = (terms or leaf if column in TERMS else leaf).get(fields[column])
        value = value.get("name") if isinstance(value, dict) else value
        made = int if types[column] == "int" else str
        yield column, None if value in (None, "") else made(value)


def check_rows(export: Export, leaves: dict[int, bytes], alerts: int) -> None:
    types = {one["name"]: one["type"] for one in json.loads(export.read("columns.json"))}
    csv.field_size_limit(MAX_LINE)
    for name in ("alerts.csv", "alerts.jsonl"):
        file, seen = io.TextIOWrapper(export.open(name), "utf-8", newline=""), set()
        table = csv.DictReader(file) if name.endswith("csv") else map(json.loads, file)
        for number, row in enumerate(table, 2 if name.endswith("csv") else 1):
            if [*row] != [*types]:
                raise Bad(f"{name}: row {number}: not the columns of columns.json")
            if name.endswith("csv"):
                row = {column: cell(text or "", types[column]) for column, text in row.items()}
            if row["idx"] not in leaves or row["idx"] in seen:
                raise Bad(f"{name}: row {number}, idx: not proven, or another row has it")
            seen.add(row["idx"])
            said = {**row, "time": datetime.fromisoformat(row["time"])}
            for column, value in expected(export, json.loads(leaves[row["idx"]]), types):
                if said[column] != value:
                    here = f"{name}: row {number}, {column}: {row[column]!a}"
                    raise Bad(f"{here} where the log says {str(value)!a}")
        if len(seen) != alerts:
            raise Bad(f"{name} has {len(seen)} rows, the manifest says {alerts}")
    print(f"shown: all {alerts} rows of alerts.csv and .jsonl say what these entries say")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="verify.py", description="Checks an export, offline.")
    parser.add_argument("export", help="folder or zip")
    parser.add_argument("--vkey", help="the log's verifier key, got elsewhere")
    asked = parser.parse_args(arguments)
    try:
        given = Key(asked.vkey) if asked.vkey else None
        Path(asked.export).stat()
    except (OSError, ValueError) as error:
        print(f"cannot be checked: {error}", file=sys.stderr)
        return UNREADABLE
    try:
        export = Export(asked.export)
        key = given or Key(export.read("log.vkey").decode())
        manifest, changed = check_manifest(export, key)
        origin, size, root = key.text(export.read("checkpoint").decode()).split("\n")[:3]
        if origin != key.name:
            raise Bad("checkpoint: of another log")
        leaves = check_records(export, int(size), b64(root), int(manifest["records"]))
        if export.sizes.keys() & {"alerts.csv", "alerts.jsonl"}:
            check_rows(export, leaves, int(manifest["alerts"]))
        for name in changed:
            raise Bad(f"{name} is not the file that was exported")
    except Bad as bad:
        print(f"WRONG: {bad}")
        return WRONG
    except Exception as error:  # whatever files made to mislead can raise: not verified
        print(f"WRONG: not as an export is: {type(error).__name__}: {str(error)!a}")
        return WRONG
    print("not shown: entries outside this export; the log itself is not in it")
    print(f"not shown: that the filter left nothing out: {json.dumps(manifest.get('filter'))}")
    print(f"not shown: that the log had no more than {size} entries; ask one of its anchors")
    if given is None:
        print("not shown: whose key this is; compare with one you got elsewhere, or give --vkey:")
        print(f"  {key.name}+{key.id.hex()}+{base64.b64encode(bytes([1]) + key.public).decode()}")
    print("verified")
    return VERIFIED


if __name__ == "__main__":
    sys.exit(main())
