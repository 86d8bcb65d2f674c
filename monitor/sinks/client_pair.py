"""The certificate that we show to a receiver which asks who we are, and its key: two files, or both in one.

It owns their reading and what is wrong with them, found before anybody is asked: a receiver that refuses a certificate
often hangs up without a word. It knows nothing of what is said over the connection.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_FILE = 1 << 20
BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
HINT = "`client-cert` is a certificate in PEM, `client-key` its key without a password"
TURNS = 4
"""Of a handshake, more than any needs."""


class PairError(OSError):
    """A file cannot be used; the text says all of it."""


@dataclass(frozen=True, slots=True)
class ClientPair:
    cert: Path
    key: Path | None = None  # None: it stands in the same file

    def load(self, context: ssl.SSLContext) -> None:
        """Raises PairError."""
        own = self.key or self.cert
        certificate, key = _read(self.cert), _read(own)
        if BLOCK.search(certificate) is None:
            raise PairError(f"{self.cert}: no certificate in it\n  hint: {HINT}")
        if b"PRIVATE KEY-----" not in key:
            raise PairError(f"{own}: no key in it\n  hint: {HINT}")
        try:
            # Without a password for it, the library would ask the terminal.
            context.load_cert_chain(self.cert, self.key, password=lambda: b"")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                hint = "put both there anew, from one issue"
                raise PairError(f"{own}: is not the key of {self.cert}\n  hint: {hint}") from None
            bad = own if b"ENCRYPTED" in key else self.cert
            raise PairError(f"{bad}: cannot be read\n  hint: {HINT}") from None

    def ends_s(self) -> float:
        """Until when it is valid, in seconds since 1970. Raises PairError where it is not valid now.

        OpenSSL judges it, as a receiver's would: we show it to ourselves.
        """
        asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.load(asking)
        found = BLOCK.search(_read(self.cert))
        asking.load_verify_locations(cadata=found[0].decode("ascii") if found else "")
        asking.verify_mode = ssl.CERT_REQUIRED
        asking.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever signed it is not asked
        showing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.load(showing)
        showing.check_hostname, showing.verify_mode = False, ssl.CERT_NONE
        try:
            shown = _shown(asking, showing)
            return ssl.cert_time_to_seconds(shown["notAfter"])
        except ssl.SSLCertVerificationError as error:
            hint = "have it issued anew; if it is new, is the clock of this machine right?"
            raise PairError(f"{self.cert}: {error.verify_message}\n  hint: {hint}") from None
        except (ssl.SSLError, KeyError) as error:
            raise PairError(f"{self.cert}: cannot be shown: {error}\n  hint: {HINT}") from None


def _shown(asking: ssl.SSLContext, showing: ssl.SSLContext) -> dict[str, Any]:
    """A handshake in memory; the certificate that came. Raises ssl.SSLError."""
    out, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = showing.wrap_bio(back, out), asking.wrap_bio(out, back, server_side=True)
    for _ in range(TURNS):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return server.getpeercert() or {}


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE)
    except OSError as error:
        raise PairError(f"{path}: {error.strerror}\n  hint: {HINT}") from None
