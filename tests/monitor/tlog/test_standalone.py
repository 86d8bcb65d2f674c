"""The verifier that goes into every export, run as an auditor runs it, on good and spoiled exports."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
import zipfile
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.tlog import merkle, standalone
from dosimeter.monitor.tlog.note import Signer
from dosimeter.monitor.tlog.reader import LogReader
from dosimeter.monitor.tlog.writer import LogWriter

SOURCE = Path(standalone.__file__)
SIGNER = Signer.generate("example.org/log")
LEAVES = [b'{"kind":"alert","seq":%d}' % n for n in range(1200)]
RECORDS = (3, 255, 256, 700, 899)


def seal(folder: Path, **changed: object) -> None:
    """Writes the manifest over what is in the folder, and signs it."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ("manifest.json", "manifest.sig"):
            data = path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            files[path.relative_to(folder).as_posix()] = {"sha256": digest, "bytes": len(data)}
    manifest = {"v": 1, "origin": SIGNER.name, "files": files, "filter": {"tenant": "x"}}
    text = json.dumps({**manifest, "records": len(RECORDS), **changed}).encode()
    (folder / "manifest.json").write_bytes(text)
    signed = f"dosimeter-export/v1\nsha256 {hashlib.sha256(text).hexdigest()}\n"
    (folder / "manifest.sig").write_text(SIGNER.sign(signed))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, log_folder = tmp_path_factory.mktemp("export"), tmp_path_factory.mktemp("log")
    with LogWriter(log_folder, SIGNER) as log:
        for size in (1, 256, 900, 1200):
            log.append(log.size, LEAVES[log.size : size])
            log.checkpoint()
    log_ = LogReader(log_folder)
    rows = []
    for index in RECORDS:
        proof = [b64encode(digest).decode() for digest in log_.inclusion_proof(index)]
        leaf = b64encode(LEAVES[index]).decode()
        rows.append(json.dumps({"index": index, "size": 1200, "leaf": leaf, "proof": proof}))
    (folder / "proofs.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "checkpoint").write_text(log_.note)
    (folder / "log.vkey").write_text(SIGNER.verifier.vkey + "\n")
    (folder / "records.csv").write_text("id\n1\n")
    (folder / "verify.py").write_bytes(SOURCE.read_bytes())
    seal(folder)
    return folder


@pytest.fixture
def export(good: Path, tmp_path: Path) -> Path:
    return Path(copytree(good, tmp_path / "export"))


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder).as_posix())
    return target


def run(*arguments: object) -> tuple[int, str]:
    command = [sys.executable, "-I", str(SOURCE), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    return done.returncode, done.stdout + done.stderr


def checked(export: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = standalone.main([str(export), "--vkey", SIGNER.verifier.vkey])
    return status, capsys.readouterr().out


def test_a_good_export_is_verified_from_its_folder_and_from_its_zip(
    good: Path, tmp_path: Path
) -> None:
    status, said = run(good)
    assert (status, said.splitlines()[-1]) == (0, "verified"), said
    assert "shown: all 5 records are entries of the log, unchanged" in said
    assert "not shown: whose key this is; compare with one you got elsewhere" in said
    assert f"  {SIGNER.verifier.vkey}\n" in said
    status, said = run(zipped(good, tmp_path / "export.zip"), "--vkey", SIGNER.verifier.vkey)
    assert (status, said.splitlines()[-1]) == (0, "verified"), said
    assert "whose key" not in said


def test_it_says_what_it_cannot_show(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = checked(export, capsys)
    assert status == 0
    assert "not shown: entries outside this export" in said
    assert 'not shown: that the filter left nothing out: {"tenant": "x"}' in said
    assert "not shown: that the log had no more than 1200 entries; ask one of its anchors" in said


def test_it_needs_the_standard_library_alone_and_stays_small() -> None:
    text = SOURCE.read_text()
    tree = ast.parse(text)
    modules = {
        name.split(".")[0]
        for found in ast.walk(tree)
        if isinstance(found, ast.Import | ast.ImportFrom)
        for name in (
            [found.module or ""]
            if isinstance(found, ast.ImportFrom)
            else [a.name for a in found.names]
        )
    }
    assert modules <= sys.stdlib_module_names
    assert len([line for line in text.splitlines() if line.strip()]) <= 250


def edit_line(name: str, number: int, **values: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines()
        lines[number] = json.dumps({**json.loads(lines[number]), **values})
        (folder / name).write_text("\n".join(lines))

    return edit


def drop_line(name: str, number: int) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines()
        del lines[number]
        (folder / name).write_text("\n".join(lines))

    return edit


def flip(name: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

    return edit


def other_history(folder: Path) -> None:
    with LogWriter(folder.parent / "other", SIGNER) as log:
        log.append(0, [b"other"] * 1200)
        (folder / "checkpoint").write_text(log.checkpoint())


SPOILED: list[tuple[Callable[[Path], None], str]] = [
    (edit_line("proofs.jsonl", 0, leaf=b64encode(b"other").decode()), "record 3: not what the log"),
    (edit_line("proofs.jsonl", 3, index=701), "record 701: not what the log"),
    (edit_line("proofs.jsonl", 3, size=901), "record 700: no checkpoint over 901"),
    (edit_line("proofs.jsonl", 3, proof=[]), "a proof is too short"),
    (edit_line("proofs.jsonl", 3, proof=["AAAA"] * 40), "a proof is too long"),
    (edit_line("proofs.jsonl", 3, index=-1), "record -1: no checkpoint"),
    (edit_line("proofs.jsonl", 3, index="x"), "not as an export is: ValueError"),
    (drop_line("proofs.jsonl", 2), "4 records have proofs, the manifest says 5"),
    (other_history, "record 3: not what the log holds there"),
    (flip("checkpoint"), ""),
    (lambda folder: (folder / "checkpoint").unlink(), "checkpoint is missing"),
]


@pytest.mark.parametrize(("edit", "why"), SPOILED)
def test_a_spoiled_export_is_wrong_even_when_its_manifest_was_signed_again(
    export: Path, capsys: pytest.CaptureFixture[str], edit: Callable[[Path], None], why: str
) -> None:
    edit(export)
    status, said = checked(export, capsys)
    assert status == 4, "the manifest no longer fits"
    seal(export)
    status, said = checked(export, capsys)
    assert status == 4, said
    assert why in said
    assert "verified" not in said


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (flip("records.csv"), "records.csv is not the file that was exported"),
        (flip("manifest.json"), ""),
        (flip("manifest.sig"), ""),
        (lambda folder: (folder / "records.csv").unlink(), "'records.csv' is missing"),
        (lambda folder: (folder / "more").write_text(""), "'more' is not in the manifest"),
        (lambda folder: (folder / "manifest.sig").unlink(), "manifest.sig is missing"),
        (lambda folder: (folder / "log.vkey").write_text(Signer.generate("a").verifier.vkey), ""),
        (lambda folder: (folder / "a\x1b[2J").write_text(""), r"'a\x1b[2J'"),
        (lambda folder: (folder / "link").symlink_to("/etc/passwd"), "a link"),
        (lambda folder: (folder / "dir").symlink_to("/etc"), "a link"),
    ],
)
def test_files_that_are_not_those_of_the_manifest(
    export: Path, capsys: pytest.CaptureFixture[str], edit: Callable[[Path], None], why: str
) -> None:
    edit(export)
    status, said = checked(export, capsys)
    assert (status, "verified" in said) == (4, False)
    assert why in said


def test_another_key_than_the_one_given(good: Path) -> None:
    status, said = run(good, "--vkey", Signer.generate(SIGNER.name).verifier.vkey)
    assert status == 4
    assert "WRONG: not signed by example.org/log+" in said


@pytest.mark.parametrize("arguments", [(), ("/nowhere",), ("/", "--vkey", "no+key"), ("a", "b")])
def test_a_wrong_call_is_no_verdict(arguments: tuple[str, ...]) -> None:
    assert run(*arguments)[0] == 2


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/../../evil", "a\\evil", "manifest.json"]
)
def test_a_zip_with_names_that_lead_elsewhere_or_come_twice_is_refused(
    good: Path, tmp_path: Path, name: str
) -> None:
    path = zipped(good, tmp_path / "export.zip")
    with zipfile.ZipFile(path, "a") as file, pytest.warns() if name[0] == "m" else nothing():
        file.writestr(name, "evil")
    status, said = run(path)
    assert status == 4
    assert "a file of the name" in said


class nothing:  # noqa: N801
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_a_zip_that_is_none_or_lies_about_its_sizes(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(b"PK no zip")
    assert run(path)[0] == 4
    data = bytearray(zipped(good, path).read_bytes())
    at = data.rindex(b"proofs.jsonl") - 46  # its central directory record; sizes at 20 and 24
    data[at + 24 : at + 28] = (9).to_bytes(4, "little")
    path.write_bytes(data)
    assert run(path)[0] == 4


@given(
    seed=st.binary(min_size=32, max_size=32),
    message=st.binary(max_size=80),
    bit=st.integers(0, 511),
)
@settings(max_examples=25, deadline=None)
def test_ed25519_agrees_with_cryptography(seed: bytes, message: bytes, bit: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    assert standalone.ed25519(public, message, signature)
    spoiled = bytearray(signature)
    spoiled[bit // 8] ^= 1 << bit % 8
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(bytes(spoiled), message)
        good = True
    except InvalidSignature:
        good = False
    try:
        assert standalone.ed25519(public, message, bytes(spoiled)) is good
    except standalone.Bad:
        assert not good


def test_ed25519_of_rfc_8032() -> None:
    """Section 7.1, test 2, and an s that is too large by the group's order."""
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert standalone.ed25519(public, b"\x72", signature)
    assert not standalone.ed25519(public, b"\x73", signature)
    larger = int.from_bytes(signature[32:], "little") + standalone.Q
    assert not standalone.ed25519(public, b"\x72", signature[:32] + larger.to_bytes(32, "little"))
    assert not standalone.ed25519(public, b"\x72", signature[:-1])


@given(size=st.integers(1, 300), data=st.data())
@settings(max_examples=50, deadline=None)
def test_its_proof_check_agrees_with_ours(size: int, data: st.DataObject) -> None:
    leaves = [merkle.leaf_hash(bytes([n & 255, n >> 8])) for n in range(size)]

    def hashes(level: int, index: int) -> bytes:
        return merkle.tree_hash(b"".join(leaves[index << level : index + 1 << level]))

    index = data.draw(st.integers(0, size - 1))
    proof = [b64encode(h).decode() for h in merkle.inclusion_proof(index, size, hashes)]
    root = merkle.tree_hash(b"".join(leaves))
    assert standalone.climb(index, size - 1, proof, leaves[index]) == root
