"""What the code has and no page names fails here; so does what a page names and the code has not.

The lists come from the code at work: a schema's own complaint names its keys, a parser its commands, a
real status its fields.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from dosimeter.detectors.findings import InputError
from dosimeter.detectors.pack import load_pack
from dosimeter.monitor import config as configuration
from dosimeter.monitor import coverage, telemetry_page
from dosimeter.monitor.chaos.audit_attack import REACH, Expected
from dosimeter.monitor.chaos.audit_run import TABLE
from dosimeter.monitor.cli.main import COMMANDS, build_parser
from dosimeter.monitor.config import Config, load_config
from dosimeter.monitor.delivery_status import delivery_status
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.refused import Refused
from dosimeter.monitor.history.spool import Spool
from dosimeter.monitor.metrics import METRICS
from dosimeter.monitor.pipeline import Pipeline
from dosimeter.monitor.receive import Receiver
from dosimeter.monitor.recorder import Recorder
from dosimeter.monitor.records import Hello
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.scores.outbox import Outbox, Packed
from dosimeter.monitor.scores.status import scores_status
from dosimeter.monitor.servers import Server
from dosimeter.monitor.sinks import semconv
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.status import line_status
from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.front import GENERATING
from dosimeter.monitor.taps.serve import PATCHES
from dosimeter.monitor.taps.settings import DEFAULT_LABELS
from dosimeter.monitor.writer import Writer
from dosimeter.rules import summary
from dosimeter.rules.atoms import SEVERITIES, STATUSES
from dosimeter.rules.decide import Word
from dosimeter.rules.language.condition import SCOPES
from dosimeter.rules.language.schema import parse_rules
from dosimeter.rules.program import Program
from dosimeter.rules.testing.cases import TEST_KEYS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def table(page: str, head: str) -> dict[str, list[str]]:
    """First cell, without backticks -> the other cells, of the table whose head begins with `head`."""
    found: dict[str, list[str]] = {}
    inside = False
    for line in (DOCS / page).read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == head:
            inside = True
        elif inside and not set(cells[0]) <= {"-"}:
            found[cells[0].strip("`")] = cells[1:]
    assert found, f"docs/{page}: no table headed `{head}`"
    return found


def keys_in(error: InputError) -> list[str]:
    """The keys that a schema names when it gets a number in the place of a mapping."""
    hints = [f.hint for f in error.findings if f.hint and f.hint.startswith("keys: ")]
    assert len(hints) == 1, error
    return re.findall(r"`([^`]+)`", hints[0])


def config_keys(folder: Path, path: str = "") -> Iterator[str]:
    """Every key of the configuration, dotted: a mapping is one where a number is refused as such."""
    text = "1"
    for name in reversed(path.split(".") if path else []):
        text = f"{{{name}: {text}}}"
    file = folder / "probe.yaml"
    file.write_text(text if not path else f"{{version: 1, {text[1:]}")
    try:
        load_config(file)
    except InputError as error:
        if not any(f.hint and f.hint.startswith("keys: `") for f in error.findings):
            return
        for key in keys_in(error):
            inner = f"{path}.{key}".lstrip(".")
            yield inner
            if inner not in ("version", "sinks.kafka.security", *FREE):
                yield from config_keys(folder, inner)


FREE = (
    "sinks.otlp.headers",
    "sinks.otlp.resource",
    "sinks.webhook.headers",
    "sinks.alertmanager.headers",
    "confirmers.one.headers",
    *(f"history.{name}.security" for name in ("kafka", "ship", "anchors.kafka")),
    "history.anchors.otlp.headers",
    "history.anchors.otlp.resource",
    "history.pages.oidc.roles",
)
"""Mappings whose keys are someone else's."""


def test_every_key_of_the_configuration_is_documented(tmp_path: Path) -> None:
    found = set(config_keys(tmp_path))
    assert set(configuration.KEYS) <= found
    assert {"http.port", "sinks.kafka.bootstrap", "sinks.stdout.path"} <= found
    assert set(table("operate.md", "key")) == found


def test_every_key_of_a_confirmer_is_documented(tmp_path: Path) -> None:
    assert set(config_keys(tmp_path, "confirmers.one")) == {
        f"confirmers.one.{key}" for key in table("operate.md", "in a confirmer")
    }


def test_the_defaults_are_those_of_the_code() -> None:
    written = table("operate.md", "key")
    default = Config()
    assert written["data-dir"][0] == f"`{default.data_dir}`"
    assert written["socket"][0] == f"`{default.socket_path.name}` in data-dir"
    assert written["http.host"][0] == f"`{default.http.host}`"
    assert written["http.port"][0] == f"`{default.http.port}`"
    assert written["sinks.kafka.topic"][0] == f"`{KafkaConfig().topic}`"


def test_the_example_in_deploy_is_a_configuration() -> None:
    config = load_config(ROOT / "deploy" / "sidecar.yaml")
    assert {sink.name for sink in config.sinks} == {"kafka", "otlp"}


def commands(parser: argparse.ArgumentParser, words: str) -> Iterator[str]:
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not any(action.required for action in inner):
        yield words
    for action in inner:
        for name, child in action.choices.items():
            yield from commands(child, f"{words} {name}")


def test_every_command_is_documented() -> None:
    parser = build_parser(list(COMMANDS))
    assert set(table("operate.md", "command")) == set(commands(parser, "dosimeter"))


def test_every_reason_for_an_unscored_token_is_documented() -> None:
    assert set(table("operate.md", "reason")) == set(coverage.REASONS)


def test_everyone_who_may_count_what_was_served_is_documented() -> None:
    assert set(table("operate.md", "source")) == {*coverage.SOURCES, "counters"}


def test_the_adversaries_of_history_and_what_is_due_are_those_that_the_attack_tries() -> None:
    due = Counter((one.adversary, one.expected) for one in TABLE)
    written = table("audit.md", "adversary")
    assert set(written) == set(REACH)
    for who, (reaches, counts) in written.items():
        assert reaches == REACH[who]
        found = {verdict: int(n) for n, verdict in re.findall(r"(\d+) ([a-z ]+)", counts)}
        assert found == {verdict: n for (one, verdict), n in due.items() if one == who}
    assert set(table("audit.md", "verdict")) == set(get_args(Expected))


def test_the_page_of_names_is_the_one_that_the_code_writes() -> None:
    assert (DOCS / "telemetry.md").read_text() == telemetry_page.page(), "`make names` mends it"


def test_the_page_of_names_has_every_metric_and_every_attribute_of_an_event() -> None:
    kinds = {row[0] for row in table("telemetry.md", "metric").values()}
    assert kinds == {"counter", "gauge", "exponential histogram"}
    assert set(table("telemetry.md", "metric")) == set(METRICS)
    named = {
        name
        for constant, name in vars(semconv).items()
        if constant.isupper() and isinstance(name, str) and "." in name
    }
    events = {semconv.EVENT_NAME, *semconv.EVENT_NAMES.values()}
    listed = {*semconv.RECORD_FIELDS.values(), *semconv.LABELS.values()}
    assert set(table("telemetry.md", "attribute")) == (named - events) | listed


FREE_STATUS = ("rules.inactive", "rules.changed")
"""Fields whose keys are rules."""
OPAQUE = ("unscored", "served_by", "server", "model", "hook_to_decision", "decision_to_durable")


def flat(value: Any, path: str = "") -> Iterator[str]:
    """Names as the page writes them; what is named in words there is not opened."""
    name = path.rsplit(".", 1)[-1]
    if path == "taps[].coverage" or name in OPAQUE or path in FREE_STATUS:
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for key, inner in value[0].items():
            yield from flat(inner, f"{path}[].{key}")
    else:
        yield path


@pytest.mark.parametrize(
    ("head", "record"),
    [
        ("in an alert", "alert.json"),
        ("in a digest", "digest.json"),
    ],
)
def test_every_field_of_a_record_is_documented(head: str, record: str) -> None:
    found = json.loads((ROOT / "tests" / "golden" / "rules" / record).read_bytes())
    written = re.findall(r"\w+", " ".join(table("operate.md", head)))
    assert sorted(written) == sorted(found)


def test_every_decision_is_documented() -> None:
    assert set(table("operate.md", "decision")) == set(get_args(Word))


class NoLedger:
    """Takes nothing: the writer of this test is never started."""

    def append(self, *_: object, **__: object) -> None: ...


def test_every_field_of_the_status_is_documented(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path / "tap.sock")
    try:
        pipeline = Pipeline(
            receiver, Rulebook(), Writer(NoLedger(), Refused.beside(tmp_path / "l.db"))
        )
        hello = Hello.parse({"state": "no-pack"})
        pipeline.servers[1] = Server.begin(1, hello, Program((), (), ()), None, pipeline.decisions)
        pipeline.alerts["rule", "high", "shadow"] = 1
        pipeline.recorder = Recorder(Spool(ArchiveFolder(tmp_path / "archive")))
        status = line_status(pipeline, started_ns=0)
    finally:
        receiver.close()
    ledger = Ledger(tmp_path / "ledger.db")
    with LedgerReader(tmp_path / "ledger.db") as reader:
        ledger_id = reader.ledger_id
    with CursorStore(tmp_path / "deliver.db", ledger_id=ledger_id) as store:
        store.register(["*"])
        store.verdicts.register(["*"])
    status["delivery"] = delivery_status(tmp_path / "ledger.db", tmp_path / "deliver.db", now_ns=0)
    outbox = Outbox(ArchiveFolder(tmp_path / "archive").outbox)
    outbox.put(0, 1, [Packed(b"", b"", 1)])
    status["delivery"] |= scores_status(Config(data_dir=tmp_path))
    ledger.close()
    assert set(table("operate.md", "field")) == set(flat(status))


def refused(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse_rules(text)
    return keys_in(caught.value)


def test_every_key_of_a_rule_is_documented() -> None:
    found = refused("1") + refused("{version: 1, rules: [1]}")
    assert set(table("rules.md", "key")) == set(found)
    rule = "{rule: a, status: draft, severity: low, summary: a, when: 1}"
    keys = refused(f"{{version: 1, rules: [{rule}]}}")
    assert set(table("rules.md", "key of a condition")) == set(keys)
    assert set(table("rules.md", "key of a test")) == {*TEST_KEYS}


def test_every_word_of_the_rule_language_is_documented() -> None:
    text = (DOCS / "rules.md").read_text()
    assert set(table("rules.md", "scope")) == set(SCOPES)
    assert set(table("rules.md", "status")) == set(STATUSES)
    assert all(f"`{severity}`" in text for severity in SEVERITIES)
    assert all(f"`{{{field}}}`" in text for field in summary.FIELDS)


def test_every_seam_in_the_server_is_documented() -> None:
    """Someone who upgrades transformers must be able to read what we hold on to."""
    text = (DOCS / "attach.md").read_text()
    assert set(table("attach.md", "module")) == set(PATCHES)
    taps = ROOT / "monitor" / "taps"
    source = "".join((taps / name).read_text() for name in ("continuous.py", "generate.py"))
    wrapped = re.findall(r"^ +wrap\((\w+), \"(\w+)\"", source, re.MULTILINE)
    assert len(wrapped) > 5
    methods = table("attach.md", "class")
    for owner, method in wrapped:
        assert f"`{method}`" in methods[owner][0]
    assert all(f"`{path}`" in text for path in GENERATING)


def test_labels_and_their_headers_are_documented() -> None:
    written = table("attach.md", "label")
    assert {name: cells[0].strip("`") for name, cells in written.items()} == DEFAULT_LABELS


def test_the_wire_is_documented() -> None:
    text = (DOCS / "wire.md").read_text()
    assert f"# The wire, version {wire.VERSION}" in text
    assert set(table("wire.md", "kind")) == {kind.name for kind in wire.Kind}
    assert list(table("wire.md", "counter")) == list(wire.COUNTERS.names or ())
    for kind in wire.Kind:
        assert f"{kind.value} {kind.name}" in text
    offsets = (f"28  {wire.COUNTERS.itemsize}  counters", f"{wire.PREFIX_BYTES}  …  body")
    assert all(line in text for line in offsets)


def test_every_key_of_a_packs_card_is_documented() -> None:
    pack = load_pack(ROOT / "monitor" / "lab" / "packs" / "core")
    assert set(table("packs.md", "key of the card")) == set(pack.card())
