"""`dosimeter doctor --config`: every wrong configuration has a finding of its own, with what to do."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dosimeter.monitor import doctor_sidecar
from dosimeter.monitor.cli.main import build_parser
from dosimeter.monitor.doctor import WRONG, Finding
from dosimeter.monitor.doctor_sidecar import examine_sidecar
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.room import Disk
from dosimeter.rules import native
from tests.monitor.sinks.authority import Authority
from tests.monitor.test_pipeline import folder

__all__ = ["folder"]
GOOD = """\
version: 1
data-dir: data
rules: [rules.yaml]
calibrations: [calibration]
http: {port: 0}
sinks: {stdout: {path: out.jsonl}}
"""


def wrong(folder: Path, text: str) -> list[Finding]:
    file = folder / "sidecar.yaml"
    file.write_text(text)
    file.chmod(0o600)
    found = [one for one in examine_sidecar(file) if one.state == WRONG]
    assert all(one.fix for one in found)
    return found


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.fixture
def shut() -> Iterator[int]:
    """A port that is somebody's and takes no connection."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield int(one.getsockname()[1])


def test_a_path_that_cannot_even_be_looked_at_is_a_finding_and_no_trace(folder: Path) -> None:
    found = wrong(folder, changed("data-dir: data", f"data-dir: rules.yaml/{'x' * 300}"))
    assert "data-dir" in [one.check for one in found]


def test_a_good_one_has_nothing_wrong_and_nothing_is_written(folder: Path) -> None:
    assert wrong(folder, GOOD) == []
    assert not (folder / "data").exists()
    assert not (folder / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "check", "found"),
    [
        ("", "config", "the file is empty"),
        ("version: 2\n", "config", "configuration version `2`"),
        ("version: 1\ndata_dir: x\n", "config", "unknown key `data_dir`"),
        (changed("rules: [rules.yaml]\n", ""), "rules", "`rules` names none"),
        (changed("[rules.yaml]", "[nowhere.yaml]"), "rules", "nowhere.yaml"),
        (changed("calibrations: [calibration]\n", ""), "rules", "no calibration"),
        (changed("[calibration]", "[nowhere]"), "rules", "nowhere"),
        (changed("sinks: {stdout: {path: out.jsonl}}\n", ""), "sinks", "nobody is ever told"),
        (changed("path: out.jsonl", "path: nowhere/out.jsonl"), "stdout", "nowhere"),
        (changed("data-dir: data", "data-dir: rules.yaml/x"), "data-dir", "is no folder"),
        (GOOD + f"socket: {'x' * 120}\n", "socket", "a socket at most 107"),
        (GOOD + "socket: rules.yaml\n", "socket", "is there, and no socket"),
        (changed("{port: 0}", "{host: 192.0.2.1, port: 0}"), "http", "192.0.2.1:0"),
        (GOOD + "counted-by: fleet\n", "fleet", "no hit is sent"),
        (GOOD + "confirmers: {a: {call: 'nowhere_at_all.x:y'}}\n", "confirm", "no such module"),
    ],
)
def test_each_wrong_configuration_is_one_finding(
    folder: Path, text: str, check: str, found: str
) -> None:
    (one,) = wrong(folder, text)
    assert (one.check, found in one.found) == (check, True), one


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    (one,) = examine_sidecar(tmp_path / "none.yaml")
    assert one.state == WRONG


def test_every_fault_of_a_rule_file_has_its_own_line_and_hint(folder: Path) -> None:
    (folder / "rules.yaml").write_text("version: 1\nrulez: []\nlistz: {}\n")
    found = wrong(folder, GOOD)
    assert [one.check for one in found] == ["rules"] * len(found)
    assert len(found) > 1
    assert "did you mean `rules`?" in str(found[0].fix)


def test_rules_that_ask_for_somebody_nobody_set_up_are_named(folder: Path) -> None:
    rules = (folder / "rules.yaml").read_text()
    asks = rules.replace("    owner: us\n", "    owner: us\n    confirm: second-look\n")
    (folder / "rules.yaml").write_text(asks)
    (one,) = wrong(folder, GOOD)
    assert (one.check, "second-look" in one.found) == ("confirm", True)


@pytest.mark.parametrize(
    ("sink", "check"),
    [
        ("kafka: {bootstrap: '127.0.0.1:PORT'}", "kafka"),
        ("otlp: {endpoint: 'http://127.0.0.1:PORT'}", "otlp"),
        ("webhook: {url: 'http://127.0.0.1:PORT/x'}", "webhook"),
        ("alertmanager: {url: 'http://127.0.0.1:PORT'}", "alertmanager"),
        ("kafka: {bootstrap: 'no-such-host.invalid:9092'}", "kafka"),
    ],
)
def test_a_sink_where_nobody_listens_is_named_with_its_address(
    folder: Path, shut: int, sink: str, check: str
) -> None:
    text = changed("stdout: {path: out.jsonl}", sink.replace("PORT", str(shut)))
    (one,) = wrong(folder, text)
    assert one.check == check


def test_of_a_cluster_one_broker_is_enough(folder: Path, shut: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = listener.getsockname()[1]
        sink = f"kafka: {{bootstrap: ['127.0.0.1:{shut}', '127.0.0.1:{there}']}}"
        assert wrong(folder, changed("stdout: {path: out.jsonl}", sink)) == []


def test_a_broker_whose_name_is_not_looked_at_is_a_finding(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        security = "{security_protocol: SSL, ssl_check_hostname: false}"
        where = f"bootstrap: '127.0.0.1:{listener.getsockname()[1]}'"
        sink = f"kafka: {{{where}, security: {security}}}"
        (one,) = wrong(folder, changed("stdout: {path: out.jsonl}", sink))
    assert (one.check, "`ssl_check_hostname: false`" in one.found) == ("kafka", True)


def test_a_client_certificate_is_tried_and_its_end_is_told_in_time(
    folder: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        for name, to_days, said in (
            ("late", -1, "late.crt: certificate has expired"),
            ("soon", 6, "soon.crt: ends in 6.0 days"),
            ("good", 30, ""),
        ):
            cert, key = authority.pair(name, -2, to_days)
            sink = f"webhook: {{url: '{url}/x', client-cert: {cert}, client-key: {key}}}"
            text = changed("stdout: {path: out.jsonl}", sink)
            text += f"telemetry: {{endpoint: '{url}', client-cert: {cert}, client-key: {key}}}\n"
            found = wrong(folder, text)
            assert [one.check for one in found] == (["webhook", "telemetry"] if said else [])
            assert all(said in one.found for one in found)


def test_files_that_a_sink_or_a_confirmer_needs_are_looked_for(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = listener.getsockname()[1]
        sink = (
            f"kafka: {{bootstrap: '127.0.0.1:{there}', security: {{ssl_cafile: /no/ca.pem}}}}, "
            f"webhook: {{url: 'http://127.0.0.1:{there}', secret: no.secret}}"
        )
        text = changed("stdout: {path: out.jsonl}", sink)
        second = f"{{url: 'https://127.0.0.1:{there}', headers-file: no.token}}"
        found = wrong(folder, text + f"confirmers: {{second: {second}}}\n")
    names = [(one.check, one.found.partition(":")[0].rpartition("/")[2]) for one in found]
    assert names == [("confirm second", "no.token"), ("kafka", "ca.pem"), ("webhook", "no.secret")]


def test_a_port_that_another_program_has_is_told_from_a_sidecar(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        listener.close()
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))
            other.listen()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(doctor_sidecar, "_is_sidecar", lambda config: False)
                (one,) = wrong(folder, changed("{port: 0}", f"{{port: {port}}}"))
                assert (one.check, "in use" in one.found) == ("http", True)
                patch.setattr(doctor_sidecar, "_is_sidecar", lambda config: True)
                assert wrong(folder, changed("{port: 0}", f"{{port: {port}}}")) == []


def test_credentials_that_others_may_read_are_found(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = listener.getsockname()[1]
        sink = f"otlp: {{endpoint: 'http://127.0.0.1:{there}', headers: {{authorization: s3cret}}}}"
        file = folder / "sidecar.yaml"
        file.write_text(changed("stdout: {path: out.jsonl}", sink))
        file.chmod(0o640)
        (one,) = [one for one in examine_sidecar(file) if one.state == WRONG]
    assert (one.check, one.fix) == ("secrets", f"chmod 0400 {file}")
    assert "s3cret" not in str(one)


def test_a_full_disk_and_a_ledger_that_needs_room_or_another_release(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "data").mkdir()
    path = folder / "data" / "ledger.db"
    Ledger(path).close()
    monkeypatch.setattr(doctor_sidecar, "disk_of", lambda path: Disk(10**9, 10**12))
    assert [one.check for one in wrong(folder, GOOD)] == ["data-dir"]
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '1' WHERE name = 'schema_version'")
    monkeypatch.setattr(doctor_sidecar, "disk_of", lambda path: Disk(10**4, 10**12))
    found = wrong(folder, GOOD)
    assert [one.check for one in found] == ["data-dir", "ledger"]
    assert "from version 1 to 2" in found[1].found
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '9' WHERE name = 'schema_version'")
    found = wrong(folder, GOOD)
    assert "newer than" in found[1].found
    assert "upgrade dosimeter" in str(found[1].fix)


def test_a_folder_of_somebody_else_names_the_user(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)
    assert "data-dir" in [one.check for one in wrong(folder, GOOD)]


def test_what_an_extra_would_bring_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_sidecar, "NEEDS", {"archive": "no_arrow", "history": "no_duck"})
    found = wrong(folder, GOOD + "archive: {}\nhistory: {}\n")
    assert [one.check for one in found] == ["archive", "history"]
    monkeypatch.setattr(native, "found", False)
    assert [one.check for one in wrong(folder, GOOD)] == ["kernel"]


def test_the_exit_code_and_the_two_forms(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "sidecar.yaml"
    file.write_text(GOOD)
    assert stat.S_IMODE(file.stat().st_mode) & 0o077  # others may read it: it has no credentials

    def run(*words: str) -> int:
        args = build_parser(["doctor"]).parse_args(["doctor", *words])
        code: int = args.run(args)
        return code

    assert run("--config", str(file), "--json") == 0
    assert {one["state"] for one in json.loads(capsys.readouterr().out)} == {"ok"}
    file.write_text(changed("rules: [rules.yaml]\n", ""))
    assert run("--config", str(file)) == 1
    assert "hint: `dosimeter rules new`" in capsys.readouterr().out
    assert run() == 2
    assert run("--model", "x") == 2
    assert run("--config", str(file), "--model", "x") == 2
