"""`dosimeter bundle`: what was said, by whom, and what one logs in with, are in no byte of it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dosimeter.monitor.cli.main import main
from dosimeter.monitor.history.records import LedgerRecord
from tests.monitor.cli.status_scene import ran, serving, status_of, stored
from tests.monitor.test_pipeline import Line, folder, line

__all__ = ["folder", "line"]

SECRETS = {
    "sasl": "Pa55-sasl",
    "url": "Pa55-url",
    "token": "Pa55-token",
    "path": "Pa55-path",
    "tenant": "planted-tenant",
    "user": "planted-user",
    "prompt": "planted prompt text",
}
CONFIG = """\
version: 1
data-dir: .
sinks:
  kafka: {{bootstrap: "kafka:9092", security: {{sasl_plain_username: ops, sasl_plain_password: {sasl}}}}}
  otlp: {{endpoint: "https://collector:4318/{url}", headers: {{authorization: "{token}"}},
    resource: {{customer: "{tenant}"}}}}
  webhook: {{url: "https://hooks.example/{path}/x?key={token}"}}
  alertmanager: {{url: "http://am:9093/{path}", tenants: ["{tenant}"], routes: ["{tenant}"]}}
confirmers:
  second-look: {{url: "http://127.0.0.1:9000/{path}?k={url}", headers: {{authorization: "{token}"}}}}
telemetry: {{endpoint: "http://collector:4318/{url}"}}
history:
  ship: {{bootstrap: "kafka:9092", security: {{sasl_plain_password: {sasl}}}}}
"""


def test_what_is_planted_is_in_no_byte_of_the_bundle(
    line: Line,
    folder: Path,
    record_of: Callable[..., LedgerRecord],
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, out = folder / "sidecar.yaml", folder / "ticket.tar.gz"
    config.write_text(CONFIG.format(**SECRETS))
    who = {"tenant": SECRETS["tenant"], "user": SECRETS["user"]}
    said = ", ".join(SECRETS.values())
    stored(folder, record_of(1), labels=who, words=said)
    server = ran(line, folder, **who)
    server.hello |= {"state": "blind", "reason": f"ValueError: {said}", "last_error": said}
    server.beat()
    line.read()
    rules = folder / "rules.yaml"
    rules.write_text(rules.read_text().replace("status: live", f"status: {SECRETS['tenant']}"))
    line.pipeline.rulebook.refresh()
    body = status_of(line, folder, expected=2)
    planted = json.dumps(body)  # or nothing would be shown by its absence
    assert all(secret in planted for secret in (SECRETS["user"], SECRETS["prompt"]))
    assert SECRETS["tenant"] in body["rules"]["error"]
    asked = ["bundle", "--config", str(config), "--out", str(out)]
    with serving(lambda: body) as url:
        assert main([*asked, "--url", url]) == 0
        assert main([*asked, "--url", url]) == 2  # it is there already
    assert "is there already" in capsys.readouterr().err
    assert out.stat().st_mode & 0o777 == 0o600
    with tarfile.open(out) as archive:
        files = {
            one.name: reader.read()
            for one in archive.getmembers()
            if (reader := archive.extractfile(one)) is not None
        }
        assert {(one.uname, one.gname, one.uid) for one in archive.getmembers()} == {("", "", 0)}
    everything = b"\n".join(files.values()) + "\n".join(files).encode()
    assert not [name for name, secret in SECRETS.items() if secret.encode() in everything]
    status = json.loads(files["dosimeter-bundle/status.json"])
    assert status["findings"][:3] == ["DosimeterBlind", "DosimeterServersMissing", "rules"]
    assert status["status"]["taps"][0]["state"] == "blind"
    assert status["status"]["taps"][0]["reason"].startswith("(ValueError, ")
    assert status["status"]["alerts"] == body["alerts"]
    assert status["status"]["coverage"] == json.loads(json.dumps(body["coverage"]))
    standing = json.loads(files["dosimeter-bundle/stored.json"])
    assert standing["stores"]["ledger.db"]["rows"]["alert"] == 2
    assert standing["stores"]["ledger.db"]["schema_version"] == "2"
    assert standing["stores"]["deliver.db"]["rows"]["dead_letter"] == 1
    assert standing["delivery"]["sinks"]["kafka"]["last_error"].startswith("(BrokerError, ")
    shown = files["dosimeter-bundle/config.yaml"].decode()
    for kept in ("kafka:9092", "http://collector:4318", "https://hooks.example", "second-look"):
        assert kept in shown
    found = json.loads(files["dosimeter-bundle/versions.json"])
    assert {"dosimeter", "numpy"} <= set(found["packages"])


def test_without_a_sidecar_it_is_written_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ticket.tar.gz"
    asked = ["bundle", "--data-dir", str(tmp_path), "--url", "http://u:Pa55@127.0.0.1:1"]
    assert main([*asked, "--out", str(out)]) == 0
    assert "the bundle lacks the status" in capsys.readouterr().err
    with tarfile.open(out) as archive:
        inside = archive.extractfile("dosimeter-bundle/status.json")
        assert inside is not None
        assert json.loads(inside.read()) == {"answered": False}


def test_a_folder_that_is_not_there_is_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "no" / "ticket.tar.gz"
    asked = ["bundle", "--data-dir", str(tmp_path), "--url", "http://127.0.0.1:1"]
    assert main([*asked, "--out", str(out)]) == 3
    assert "ticket.tar.gz: No such file or directory\n  hint:" in capsys.readouterr().err
