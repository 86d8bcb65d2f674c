"""Notes and keys against the published examples of Go's sumdb/note and of the C2SP specifications."""

from __future__ import annotations

import stat
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dosimeter.monitor.tlog.note import (
    COSIGNATURE,
    Checkpoint,
    Note,
    NoteError,
    Signer,
    UnknownKey,
    Verifier,
)

VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
NEUMANN = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpR"
    "Zb6KE6RyyBwJnAM=\n"
)
ENOCH = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33"
    "WWd1RvMc+QQ=\n"
)
SIGNED = f"{TEXT}\n{NEUMANN}{ENOCH}"
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv"
    "2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)


def test_the_published_note_is_signed_bit_for_bit_and_opens() -> None:
    signer = Signer.parse(SKEY)
    assert signer.sign(TEXT) == f"{TEXT}\n{NEUMANN}"
    assert signer.verifier.vkey == VKEY
    assert Verifier.parse(VKEY).open(SIGNED).text == TEXT
    assert [s.name for s in Note.parse(SIGNED).signatures] == ["PeterNeumann", "EnochRoot"]


def test_a_changed_text_is_refused_as_a_bad_signature() -> None:
    with pytest.raises(NoteError, match=r"by `PeterNeumann\+c74f20a3` does not fit the text"):
        Verifier.parse(VKEY).open(SIGNED.replace("answer", "Answer"))


def test_a_note_of_somebody_else_is_refused_by_naming_who_signed() -> None:
    stranger = Signer.generate("stranger")
    with pytest.raises(UnknownKey, match=r"but by `PeterNeumann\+c74f20a3, EnochRoot"):
        stranger.verifier.open(SIGNED)
    impostor = Signer.generate("PeterNeumann")
    with pytest.raises(UnknownKey):
        Verifier.parse(VKEY).open(impostor.sign(TEXT))


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ("text\n", "without signature lines"),
        (TEXT + NEUMANN, "without signature lines"),
        (f"{TEXT}\n{NEUMANN}".removesuffix("\n"), "without signature lines"),
        (f"{TEXT}\nunsigned\n", "signature line `unsigned`"),
        (f"{TEXT}\n— no=name\n", "signature line"),
        (f"{TEXT}\n— name !!!!\n", "not base64"),
        (f"{TEXT}\n— na+me x08go/ZJ\n", "is not `— name base64`"),
        (f"{TEXT}\n— name x08g\n", "is not `— name base64`"),
        (f"{TEXT}\n" + NEUMANN.replace("AM=", "AN="), "canonical"),
        (f"a\rb\n\n{NEUMANN}", r"control character `'\\r'`"),
        (f"{TEXT}\n{NEUMANN * 65}", "65 signatures"),
        ("x" * (1 << 20) + "\n", "at most"),
        (b"\xff\n\n" + NEUMANN.encode(), "not UTF-8"),
    ],
)
def test_what_is_no_note_is_refused_with_the_reason(note: str | bytes, why: str) -> None:
    with pytest.raises(NoteError, match=why):
        Note.parse(note)


@pytest.mark.parametrize(
    ("vkey", "why"),
    [
        ("PeterNeumann", "is not `name"),
        ("Peter Neumann+c74f20a3+ARpc", "is not `name"),
        (VKEY.replace("c74f20a3", "c74f20a4"), "its id is `c74f20a3`"),
        (VKEY.replace("Peter", "Poter"), "its id is"),
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==", "base64"),
        ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "neither an"),
    ],
)
def test_what_is_no_verifier_key_is_refused_with_the_reason(vkey: str, why: str) -> None:
    with pytest.raises(NoteError, match=why):
        Verifier.parse(vkey)


def test_a_saved_key_is_for_its_owner_only_and_signs_the_same(tmp_path: Path) -> None:
    path, signer = tmp_path / "key", Signer.generate("example.org/log")
    signer.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("PRIVATE+KEY+example.org/log+")
    assert Signer.load(path).sign("text\n") == signer.sign("text\n")
    with pytest.raises(FileExistsError):
        signer.save(path)


def test_a_key_that_others_may_read_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(SKEY)
    path.chmod(0o640)
    with pytest.raises(NoteError, match=f"hint: chmod 600 {path}"):
        Signer.load(path)
    path.chmod(0o600)
    for spoiled in (SKEY[:-4], SKEY.replace("c74f", "c74e"), "nothing", VKEY):
        path.write_text(spoiled)
        with pytest.raises(NoteError, match=f"^{path}: ") as refused:
            Signer.load(path)
        assert "AYEKFALVFGyN" not in str(refused.value), "a secret in an error ends up in a log"


def test_the_published_checkpoint_is_read() -> None:
    found = Checkpoint.parse(Note.parse(SOFA).text)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.root.hex()[:8] == "0ac5186a"
    assert str(found) == Note.parse(SOFA).text


def test_a_checkpoint_survives_signing_with_its_extension_lines() -> None:
    signer = Signer.generate("example.org/log")
    made = Checkpoint("example.org/log", 7, bytes(range(32)), ("time 12", "more"))
    assert Checkpoint.open(signer.sign(str(made)), signer.verifier) == made
    with pytest.raises(NoteError, match="not empty"):
        str(Checkpoint("a", 1, bytes(32), ("",)))
    with pytest.raises(NoteError, match="no newline"):
        str(Checkpoint("a\nb", 1, bytes(32)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("origin\n1\n", "three lines"),
        ("origin\n1\nAAAA", "three lines"),
        ("\n1\nAAAA\n", "three lines"),
        ("origin\n01\n" + b64encode(bytes(32)).decode() + "\n", "size is `01`"),
        ("origin\n-1\n" + b64encode(bytes(32)).decode() + "\n", "size is `-1`"),
        ("origin\n١\n" + b64encode(bytes(32)).decode() + "\n", "size is"),
        ("origin\n1\nAAAA\n", "not 32 bytes"),
        ("origin\n1\n????\n", "not base64"),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(NoteError, match=why):
        Checkpoint.parse(text)


def test_a_witness_cosignature_is_over_its_time_and_the_text() -> None:
    key = Ed25519PrivateKey.generate()
    witness = Verifier("witness.example/w1", key.public_key().public_bytes_raw(), COSIGNATURE)
    text = Note.parse(SOFA).text
    value = key.sign(f"cosignature/v1\ntime 1679315147\n{text}".encode())
    line = b64encode(witness.key_id + (1679315147).to_bytes(8, "big") + value).decode()
    cosigned = f"{SOFA}— witness.example/w1 {line}\n"
    assert Verifier.parse(witness.vkey) == witness
    assert witness.cosigned_at(witness.open(cosigned)) == 1679315147
    assert witness.cosigned_at(Note.parse(SOFA)) is None
    with pytest.raises(NoteError, match="does not fit the text"):
        witness.open(cosigned.replace("20852163", "20852164"))
    later = b64encode(witness.key_id + (1679315148).to_bytes(8, "big") + value).decode()
    with pytest.raises(NoteError, match="does not fit the text"):
        witness.open(cosigned.replace(line, later))


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b"])
def test_a_key_name_that_a_note_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(NoteError, match="key name"):
        Signer.generate(name)


def test_a_text_that_a_note_cannot_carry_is_not_signed() -> None:
    with pytest.raises(NoteError, match="ends in a newline"):
        Signer.generate("a").sign("text")
    with pytest.raises(NoteError, match="control"):
        Signer.generate("a").sign("te\x1b[31mxt\n")


def test_a_key_that_could_not_be_written_whole_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, signer = tmp_path / "signing.key", Signer.generate("log")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            signer.save(path)
    assert list(tmp_path.iterdir()) == []
    signer.save(path)
    assert Signer.load(path).verifier == signer.verifier
