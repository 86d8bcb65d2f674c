"""Time stamps from a real authority: OpenSSL's, behind a small HTTP server on this machine."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dosimeter.monitor.audit.checks.anchored import read_anchors
from dosimeter.monitor.tlog.anchor_timestamp import TimestampAnchor
from dosimeter.monitor.tlog.anchors import AnchorFailed
from dosimeter.monitor.tlog.note import Checkpoint, Note, Signer
from tests.monitor.sinks.dripping import Dripping

pytestmark = pytest.mark.parts
SIGNER = Signer.generate("example.org/log")
NOTES = [SIGNER.sign(str(Checkpoint(SIGNER.name, n, bytes([n]) * 32))) for n in range(3)]
CONFIG = """[tsa]
default_tsa = local
[local]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def authority(folder: Path) -> None:
    """A root, and a certificate by it that may stamp times and nothing else."""
    root, own = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    today = datetime.now(UTC)
    for file, subject, public in (("root", "root", root), ("tsa", "stamps", own)):
        made = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("root"))
            .public_key(public.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(today - timedelta(days=1))
            .not_valid_after(today + timedelta(days=1))
            .add_extension(x509.BasicConstraints(file == "root", None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(public.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()),
                critical=False,
            )
        )
        if file == "tsa":
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
            made = made.add_extension(usage, critical=True)
        pem = made.sign(root, hashes.SHA256()).public_bytes(Encoding.PEM)
        (folder / f"{file}.pem").write_bytes(pem)
    key = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "tsa.key").write_bytes(key)
    (folder / "tsa.conf").write_text(CONFIG.format(folder=folder))
    (folder / "serial").write_text("01\n")


class Stamps(BaseHTTPRequestHandler):
    folder: Path

    def do_POST(self) -> None:
        if self.path != "/stamp":
            self.send_error(503)
            return
        query = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/timestamp-query"
        (self.folder / "query").write_bytes(query)
        command = ["openssl", "ts", "-reply", "-queryfile", f"{self.folder}/query"]
        done = subprocess.run(
            [*command, "-config", f"{self.folder}/tsa.conf"], capture_output=True, check=True
        )
        self.send_response(200)
        self.send_header("Content-Type", "application/timestamp-reply")
        self.send_header("Content-Length", str(len(done.stdout)))
        self.end_headers()
        self.wfile.write(done.stdout)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("tsa")
    authority(folder)
    handler = type("Here", (Stamps,), {"folder": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/stamp", folder / "root.pem"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_note_is_stamped_by_the_authoritys_clock_and_read_back(
    tsa: tuple[str, Path], tmp_path: Path
) -> None:
    anchor = TimestampAnchor(*((tsa[0], tmp_path / "stamps", tsa[1])))
    assert anchor.outside
    assert list(anchor.notes()) == []
    for note in NOTES:
        anchor.put(note)
    again = TimestampAnchor(tsa[0], tmp_path / "stamps", tsa[1])
    assert sorted(again.notes()) == sorted(NOTES)
    for stamp in again.stamps():
        assert stamp.at is not None
        assert abs(datetime.now(UTC) - stamp.at) < timedelta(minutes=5)
    for token in (tmp_path / "stamps").glob("*.tsr"):
        shown = subprocess.run(
            [
                "openssl",
                "ts",
                "-verify",
                "-data",
                str(token.with_suffix(".note")),
                "-in",
                str(token),
                "-CAfile",
                str(tsa[1]),
            ],
            capture_output=True,
            text=True,
        )
        assert shown.returncode == 0, shown.stderr


def test_a_changed_note_or_token_is_no_longer_vouched_for(
    tsa: tuple[str, Path], tmp_path: Path
) -> None:
    anchor = TimestampAnchor(tsa[0], tmp_path, tsa[1])
    for note in NOTES:
        anchor.put(note)
    first, second, third = sorted(tmp_path.glob("*.note"))
    first.write_text(SIGNER.sign(str(Checkpoint(SIGNER.name, 9, bytes(32)))))
    token = bytearray(second.with_suffix(".tsr").read_bytes())
    token[-5] ^= 1
    second.with_suffix(".tsr").write_bytes(token)
    third.with_suffix(".tsr").unlink()
    (read,) = read_anchors([anchor], SIGNER.verifier)
    assert read.checkpoints == ()
    assert "3 of 3 time stamps do not hold: " in read.error  # it had been "holds nothing yet"
    problems = [stamp.problem or "" for stamp in anchor.stamps()]
    assert "Mismatch between messages" in problems[0]
    assert "does not hold" in problems[1]
    assert problems[2].endswith("missing")
    anchor.put(NOTES[0])
    (read,) = read_anchors([anchor], SIGNER.verifier)
    assert [str(one) for one in read.checkpoints] == [Note.parse(NOTES[0]).text]
    assert "2 of 3 time stamps do not hold: " in read.error


def test_a_token_of_an_authority_that_is_not_ours_is_refused(
    tsa: tuple[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    authority(other)
    anchor = TimestampAnchor(tsa[0], tmp_path / "stamps", other / "root.pem")
    with pytest.raises(AnchorFailed, match="a time stamp that does not hold"):
        anchor.put(NOTES[0])
    assert not (tmp_path / "stamps").exists()


def test_an_authority_that_does_not_answer_and_certificates_that_are_none(
    tsa: tuple[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(AnchorFailed, match=r"anchor `rfc3161`: .*503"):
        TimestampAnchor(f"{tsa[0]}/no", tmp_path, tsa[1]).put(NOTES[0])
    with pytest.raises(AnchorFailed, match=r"anchor `rfc3161`: `http://127\.0\.0\.1:1`"):
        TimestampAnchor("http://127.0.0.1:1/", tmp_path, tsa[1]).put(NOTES[0])
    with Dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbutslowly") as drips:
        slow = TimestampAnchor(drips.url, tmp_path, tsa[1], timeout_s=30, monotonic=drips.look)
        with pytest.raises(AnchorFailed, match="no whole answer within 30 s"):
            slow.put(NOTES[0])
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(AnchorFailed, match=r"no\.pem: .*\n  hint: the certificates"):
        TimestampAnchor(tsa[0], tmp_path, tmp_path / "no.pem")
