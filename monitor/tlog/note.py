"""Signed notes, their keys, and the checkpoint that a note carries (C2SP signed-note, tlog-checkpoint).

A key is written as text, as Go's sumdb/note writes it: `name+id+base64` to verify by and
`PRIVATE+KEY+name+id+base64` to sign by. Ed25519 only, and for witnesses the timestamped
cosignature of C2SP tlog-cosignature. Nothing here knows what a checkpoint's entries are.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519, COSIGNATURE = 1, 4
DASH = "— "
MAX_NOTE = 1 << 20
MAX_SIGNATURES = 64

_NAME = re.compile(r"[^\s+]+")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteError(ValueError):
    """A note, key or checkpoint that cannot be read or believed; says what is wrong."""


class UnknownKey(NoteError):
    """The note is well formed, but the key asked for did not sign it."""


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Note:
    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, note: str | bytes) -> Note:
        """Splits a signed note. Says nothing about who signed it. Raises NoteError."""
        if len(note) > MAX_NOTE:
            raise NoteError(f"a note of {len(note)} bytes; at most {MAX_NOTE}")
        try:
            whole = note if isinstance(note, str) else note.decode()
        except UnicodeDecodeError as error:
            raise NoteError(f"a note that is not UTF-8: {error}") from None
        if found := _CONTROL.search(whole):
            raise NoteError(f"a note with the control character `{found[0]!r}`")
        text, blank, signed = whole.rpartition("\n\n")
        if not blank or not signed.endswith("\n"):
            raise NoteError("a note without signature lines after a blank line")
        lines = signed.removesuffix("\n").split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise NoteError(f"a note with {len(lines)} signatures; at most {MAX_SIGNATURES}")
        return cls(text + "\n", tuple(map(_signature, lines)))


def _signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(DASH).partition(" ")
    value = _base64(encoded, f"signature line `{line[:200]}`")
    if not line.startswith(DASH) or not _NAME.fullmatch(name) or len(value) < 5:
        raise NoteError(f"signature line `{line[:200]}` is not `{DASH}name base64`")
    return Signature(name, value[:4], value[4:])


def _base64(encoded: str, where: str) -> bytes:
    try:
        decoded = b64decode(encoded, validate=True)
    except ValueError as error:
        raise NoteError(f"{where}: not base64: {error}") from None
    if b64encode(decoded).decode() != encoded:  # stray bits would give one note two spellings
        raise NoteError(f"{where}: base64 not in its one canonical form")
    return decoded


def key_id(name: str, kind: int, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


class Opens(Protocol):
    """Whoever says which notes are believed: a key, or the keys of a log one after the other."""

    @property
    def name(self) -> str: ...

    def open(self, note: str | bytes) -> Note: ...


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key under a name; `kind` is how it signs."""

    name: str
    public: bytes
    kind: int = ED25519

    @classmethod
    def parse(cls, vkey: str) -> Verifier:
        """Reads `name+id+base64`. Raises NoteError."""
        name, plus, rest = vkey.strip().partition("+")
        written_id, second, encoded = rest.partition("+")
        where = f"verifier key `{vkey.strip()[:200]}`"
        if not plus or not second or not _NAME.fullmatch(name):
            raise NoteError(f"{where} is not `name+id+base64`")
        key = _base64(encoded, where)
        if len(key) != 33 or key[0] not in (ED25519, COSIGNATURE):
            raise NoteError(f"{where}: neither an Ed25519 key nor an Ed25519 cosigner's")
        verifier = cls(name, key[1:], key[0])
        if verifier.key_id.hex() != written_id:
            raise NoteError(
                f"{where}: its id is `{verifier.key_id.hex()}`: a character was changed"
            )
        return verifier

    @property
    def key_id(self) -> bytes:
        return key_id(self.name, self.kind, self.public)

    @property
    def vkey(self) -> str:
        encoded = b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def open(self, note: str | bytes) -> Note:
        """The note, signed by this key. Raises UnknownKey or NoteError."""
        found = Note.parse(note)
        own = [s for s in found.signatures if (s.name, s.key_id) == (self.name, self.key_id)]
        if not own:
            signers = ", ".join(f"{s.name}+{s.key_id.hex()}" for s in found.signatures)
            raise UnknownKey(
                f"not signed by `{self.name}+{self.key_id.hex()}`, but by `{signers[:400]}`"
            )
        for signature in own:
            self._verify(found.text, signature.value)
        return found

    def cosigned_at(self, note: Note) -> int | None:
        """When a witness says it saw this checkpoint, in seconds; None when it did not sign."""
        for signature in note.signatures:
            if (signature.name, signature.key_id) == (self.name, self.key_id):
                return self._verify(note.text, signature.value)
        return None

    def _verify(self, text: str, value: bytes) -> int | None:
        message, seen_at = text.encode(), None
        if self.kind == COSIGNATURE:
            seen_at, value = int.from_bytes(value[:8], "big"), value[8:]
            message = f"cosignature/v1\ntime {seen_at}\n".encode() + message
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(value, message)
        except InvalidSignature:
            raise NoteError(
                f"the signature by `{self.name}+{self.key_id.hex()}` does not fit the text"
            ) from None
        return seen_at


class Signer:
    """A private key under a name. Nothing prints it; `save` is the only way out."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        if not _NAME.fullmatch(name):
            raise NoteError(f"key name `{name}`: empty, or with a space or a plus in it")
        self.name = name
        self._key = key
        self.verifier = Verifier(name, key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> Signer:
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, key: str) -> Signer:
        """Reads `PRIVATE+KEY+name+id+base64`. No error repeats the key. Raises NoteError."""
        parts = key.strip().split("+", 4)  # base64 may hold a plus
        if len(parts) != 5 or parts[:2] != ["PRIVATE", "KEY"]:
            raise NoteError("a signing key that is not `PRIVATE+KEY+name+id+base64`")
        try:
            secret = b64decode(parts[4], validate=True)
        except ValueError:
            raise NoteError(f"the signing key of `{parts[2]}`: not base64") from None
        if len(secret) != 33 or secret[0] != ED25519:
            raise NoteError(f"the signing key of `{parts[2]}`: not an Ed25519 key")
        signer = cls(parts[2], Ed25519PrivateKey.from_private_bytes(secret[1:]))
        if signer.verifier.key_id.hex() != parts[3]:
            raise NoteError(f"the signing key of `{parts[2]}`: its id does not fit the key")
        return signer

    @classmethod
    def load(cls, path: Path) -> Signer:
        """Raises NoteError, also when others may read the file, and OSError."""
        if path.stat().st_mode & 0o077:
            raise NoteError(f"{path}: a signing key that others may read\n  hint: chmod 600 {path}")
        try:
            return cls.parse(path.read_text(encoding="utf-8"))
        except (NoteError, UnicodeDecodeError) as error:
            raise NoteError(f"{path}: {error}") from None

    def save(self, path: Path) -> None:
        """Writes a new file that only its owner may read; never over another. Raises OSError."""
        secret = b64encode(bytes([ED25519]) + self._key.private_bytes_raw()).decode()
        line = f"PRIVATE+KEY+{self.name}+{self.verifier.key_id.hex()}+{secret}\n"
        draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(opened, "w", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)  # whole or not at all, and never over another
        finally:
            draft.unlink()

    def sign(self, text: str) -> str:
        """The signed note. Raises NoteError for a text that a note cannot carry."""
        if not text.endswith("\n") or _CONTROL.search(text):
            raise NoteError("a note's text ends in a newline and holds no control characters")
        return f"{text}\n{self.line(text)}"

    def line(self, text: str) -> str:
        """The signature alone, to stand below another."""
        value = self.verifier.key_id + self._key.sign(text.encode())
        return f"{DASH}{self.name} {b64encode(value).decode()}\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree's root at a size, as its log states it; `str` is the text that is signed."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Reads a note's text. Raises NoteError."""
        lines = text.removesuffix("\n").split("\n")
        if not text.endswith("\n") or len(lines) < 3 or not all(lines):
            raise NoteError("a checkpoint is at least three lines, none of them empty")
        origin, size, root = lines[:3]
        if not _SIZE.fullmatch(size):
            raise NoteError(f"the checkpoint's size is `{size[:40]}`, no whole number")
        digest = _base64(root, f"the checkpoint's root `{root[:80]}`")
        if len(digest) != 32:
            raise NoteError(f"the checkpoint's root `{root[:80]}` is not 32 bytes")
        return cls(origin, int(size), digest, tuple(lines[3:]))

    @classmethod
    def open(cls, note: str | bytes, verifier: Opens) -> Checkpoint:
        """Reads a signed checkpoint, believing this key, or these, only. Raises UnknownKey or NoteError."""
        return cls.parse(verifier.open(note).text)

    def __str__(self) -> str:
        if any(not line or "\n" in line for line in (self.origin, *self.extensions)):
            raise NoteError("a checkpoint's lines are not empty and hold no newline")
        lines = (self.origin, str(self.size), b64encode(self.root).decode(), *self.extensions)
        return "\n".join(lines) + "\n"
