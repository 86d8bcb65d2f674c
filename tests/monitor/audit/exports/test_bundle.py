"""The form of a zip: what the verifier that goes with it accepts, and what it does not."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from dosimeter.monitor.audit.exports.bundle import Bundle
from dosimeter.monitor.tlog import standalone
from dosimeter.monitor.tlog.note import Signer
from dosimeter.monitor.tlog.reader import LogReader
from dosimeter.monitor.tlog.writer import LogWriter

LEAVES = [json.dumps({"n": n}).encode() for n in range(7)]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    signer = Signer.generate("log/one")
    with LogWriter(tmp_path / "log", signer) as log:
        log.append(0, LEAVES)
        log.checkpoint()
    reader = LogReader(tmp_path / "log")
    made = Bundle(tmp_path / "x.zip")
    made.add("a.txt", "ä")
    made.add_json("b.json", {"z": 1, "a": [2]})
    with made.text("c.csv") as file:
        file.write("a\r\n")
    records = made.add_log(reader, signer.verifier.vkey, [(n, LEAVES[n]) for n in (0, 3, 6)])
    made.close(signer, "log/one", {"records": records, "filter": {"tenant": "x"}})
    return tmp_path / "x.zip"


def test_the_verifier_in_it_accepts_it(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(bundle) as found:
        assert found.read("verify.py") == Path(standalone.__file__).read_bytes()
        assert found.read("a.txt") == "ä".encode()
        assert found.read("c.csv") == b"a\r\n"
        vkey = found.read("log.vkey").decode()
        manifest = json.loads(found.read("manifest.json"))
    assert set(manifest["files"]) == {
        "a.txt", "b.json", "c.csv", "log.vkey", "checkpoint", "proofs.jsonl", "verify.py",
    }  # fmt: skip
    assert standalone.main([str(bundle), "--vkey", vkey]) == 0
    assert capsys.readouterr().out.endswith("verified\n")


def test_a_file_that_is_changed_added_or_taken_away_is_found(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as found:
        files = {name: found.read(name) for name in found.namelist()}
    changes: list[dict[str, bytes]] = [
        {**files, name: bytes([data[0] ^ 1]) + data[1:]} for name, data in files.items()
    ]
    changes += [{n: d for n, d in files.items() if n != name} for name in files]
    changes.append({**files, "more.txt": b"x"})
    for n, changed in enumerate(changes):
        path = bundle.with_name(f"{n}.zip")
        with zipfile.ZipFile(path, "w") as made:
            for name, data in changed.items():
                made.writestr(name, data)
        assert standalone.main([str(path)]) == 4


def test_what_is_broken_off_does_not_verify(tmp_path: Path) -> None:
    made = Bundle(tmp_path / "x.zip")
    made.add("a.txt", io.BytesIO(b"x").getvalue())
    made.abandon()
    assert standalone.main([str(tmp_path / "x.zip")]) == 4
