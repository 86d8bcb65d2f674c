"""Evidence opens with its key, for its entry, unaltered; nothing else does."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dosimeter.monitor.audit.store.box import NONCE, SALT, CannotOpen, opened, shut

KEY, ABOUT = b"k" * 32, b"i" * 16


def test_what_was_shut_opens_and_is_what_was_committed_to() -> None:
    sealed, commitment = shut(b"body", KEY, ABOUT)
    assert opened(sealed, KEY, ABOUT, commitment) == b"body"
    salted = AESGCM(KEY).decrypt(sealed[:NONCE], sealed[NONCE:], ABOUT)
    assert salted[SALT:] == b"body"
    assert hashlib.sha256(salted).hexdigest() == commitment


def test_the_same_evidence_never_looks_the_same() -> None:
    one, other = shut(b"body", KEY, ABOUT), shut(b"body", KEY, ABOUT)
    assert one[0] != other[0]
    assert one[1] != other[1]
    assert hashlib.sha256(b"body").hexdigest() not in (one[1], other[1])


@pytest.mark.parametrize("at", [0, NONCE, -1])
def test_one_altered_bit_is_found(at: int) -> None:
    sealed = bytearray(shut(b"body", KEY, ABOUT)[0])
    sealed[at] ^= 1
    with pytest.raises(CannotOpen, match=ABOUT.hex()):
        opened(bytes(sealed), KEY, ABOUT)


def test_another_key_another_entry_or_another_commitment_is_refused() -> None:
    sealed, commitment = shut(b"body", KEY, ABOUT)
    for key, about, said in (
        (b"x" * 32, ABOUT, None),
        (KEY, b"j" * 16, None),
        (KEY, ABOUT, "00" * 32),
    ):
        with pytest.raises(CannotOpen):
            opened(sealed, key, about, said)
    with pytest.raises(CannotOpen):
        opened(b"", KEY, ABOUT, commitment)
