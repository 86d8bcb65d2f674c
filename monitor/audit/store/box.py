"""Evidence as it lies on disk: AES-256-GCM under the key of its subject and month, and the commitment to it.

Owns the layout (12 bytes of nonce, ciphertext, 16 bytes of tag) and the commitment, which hashes 16 random bytes of
salt with the body: the salt is inside, so that with the key gone nobody can even test a guess. It never learns what is
inside.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SALT, NONCE = 16, 12


class CannotOpen(ValueError):
    """Not what was put in under this key for this entry: altered, moved, or another key."""


def shut(
    body: bytes, key: bytes, about: bytes, random: Callable[[int], bytes] = os.urandom
) -> tuple[bytes, str]:
    """(ciphertext, commitment in hex) of evidence of the entry with the id `about`."""
    drawn = random(SALT + NONCE)
    salted, nonce = drawn[:SALT] + body, drawn[SALT:]
    return nonce + AESGCM(key).encrypt(nonce, salted, about), hashlib.sha256(salted).hexdigest()


def opened(sealed: bytes, key: bytes, about: bytes, commitment: str | None = None) -> bytes:
    """The body. Raises CannotOpen, also where it is not what the log's entry has committed to."""
    try:
        salted = AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], about)
    except (InvalidTag, ValueError) as error:
        raise CannotOpen(
            f"evidence of {about.hex()} does not open with the key of its subject"
        ) from error
    if commitment is not None and hashlib.sha256(salted).hexdigest() != commitment:
        raise CannotOpen(f"evidence of {about.hex()} is not what its entry has committed to")
    return salted[SALT:]
