"""Time stamps by somebody else (RFC 3161) as an anchor outside the operator's control.

The authority signs the hash of a note and the time by its own clock; the token is kept here beside
the note. Whoever holds this folder can delete from it, but can make no token for an earlier time:
a history written anew has none from before. Copies may be kept anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    VerificationError,
    Verifier,
    VerifierBuilder,
    decode_timestamp_response,
)

from dosimeter.monitor.sinks.http import HttpClient, HttpError
from dosimeter.monitor.tlog.anchors import AnchorFailed
from dosimeter.monitor.tlog.files import Files

MAX_REPLY = 1 << 20
OK = 200


@dataclass(frozen=True, slots=True)
class Stamp:
    """A note, and when the authority saw it, or why its token shows nothing."""

    note: str
    at: datetime | None
    problem: str | None = None


class TimestampAnchor:
    outside, readable = True, True

    def __init__(
        self,
        url: str,
        folder: Path,
        certificates: Path,
        *,
        name: str = "rfc3161",
        timeout_s: float = 10.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """certificates: PEM, the authority's own and its root, got from the authority itself. timeout_s: for a whole
        answer.

        Raises AnchorFailed where they cannot be read.
        """
        self.name, self.url, self.folder = name, url, folder
        self._timeout_s, self._monotonic = timeout_s, monotonic
        try:
            self._roots = x509.load_pem_x509_certificates(certificates.read_bytes())
        except (OSError, ValueError) as error:
            raise AnchorFailed(
                f"anchor `{name}`: {certificates}: {error}\n"
                "  hint: the certificates of the time-stamping authority, in PEM"
            ) from error

    def put(self, note: str) -> None:
        request = (
            TimestampRequestBuilder()
            .data(note.encode())
            .hash_algorithm(HashAlgorithm.SHA256)
            .build()
        )
        token = self._ask(request.as_bytes())
        _, problem = self._verify(note, token, request.nonce)
        if problem is not None:
            raise AnchorFailed(f"anchor `{self.name}`: `{self.url}` answered with {problem}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            files, stem = Files(self.folder), sha256(note.encode()).hexdigest()
            try:
                files.publish(f"{stem}.tsr", token)
                files.publish(f"{stem}.note", note.encode())
            finally:
                files.close()
        except OSError as error:
            raise AnchorFailed(f"anchor `{self.name}`: {error}") from error

    def notes(self) -> Iterator[str]:
        """Those with a good token, by its time. Raises AnchorFailed, behind them where some have none."""
        stamps = list(self.stamps())
        yield from (note for _, note in sorted((s.at, s.note) for s in stamps if s.at is not None))
        bad = [stamp.problem for stamp in stamps if stamp.problem is not None]
        if bad:
            raise AnchorFailed(
                f"anchor `{self.name}`: {len(bad)} of {len(stamps)} time stamps do not hold: {bad[0]}\n"
                "  hint: is `certificate` the one of the authority that made them?"
            )

    def stamps(self) -> Iterator[Stamp]:
        """Every note kept here, also where its token is missing or bad. Raises AnchorFailed."""
        try:
            for path in sorted(self.folder.glob("*.note")):
                note = path.read_bytes().decode("utf-8", "replace")
                token = path.with_suffix(".tsr")
                if not token.exists():
                    yield Stamp(note, None, f"{token}: missing")
                    continue
                at, problem = self._verify(note, token.read_bytes(), None)
                yield Stamp(note, at, None if problem is None else f"{token}: {problem}")
        except OSError as error:
            raise AnchorFailed(f"anchor `{self.name}`: {error}") from error

    def _ask(self, query: bytes) -> bytes:
        try:
            client = HttpClient(
                self.url, timeout_s=self._timeout_s, most=MAX_REPLY, monotonic=self._monotonic
            )
            try:
                reply = client.post(query, {"Content-Type": "application/timestamp-query"})
            finally:
                client.close()
        except (HttpError, ValueError) as error:
            raise AnchorFailed(f"anchor `{self.name}`: {error}") from error
        if reply.status != OK:
            raise AnchorFailed(f"anchor `{self.name}`: `{self.url}` answered {reply.status}")
        return reply.body

    def _verify(
        self, note: str, token: bytes, nonce: int | None
    ) -> tuple[datetime | None, str | None]:
        """When the authority saw the note, or what is wrong with its answer."""
        try:
            response = decode_timestamp_response(token)
        except ValueError as error:
            return None, f"no time-stamp response: {error}"
        try:
            _verifier(self._roots, nonce).verify_message(response, note.encode())
        except (VerificationError, ValueError) as error:
            return None, f"a time stamp that does not hold: {error}"
        return response.tst_info.gen_time, None


def _verifier(roots: Sequence[x509.Certificate], nonce: int | None) -> Verifier:
    builder = VerifierBuilder()
    for certificate in roots:
        builder = builder.add_root_certificate(certificate)
    return (builder if nonce is None else builder.nonce(nonce)).build()
