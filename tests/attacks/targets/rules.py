"""Attacks rule files: any bytes, or a valid file after hostile edits.

The properties: findings with a place and a message, or rules; nothing that is written to a terminal acts on
it; a rule says the same when it is written out and read again; both YAML parsers that may be installed
refuse or accept in the same words of Python.
"""

from __future__ import annotations

import json
import re

import yaml

from dosimeter.detectors import strict_yaml
from dosimeter.detectors.findings import MAX_SAID, InputError, render, render_json
from dosimeter.detectors.reader import Reader
from dosimeter.rules import summary
from dosimeter.rules.language.schema import Rule, parse_rules, read_rules
from targets.source import TEXTS, Source, edited

BASE = b"""\
version: 1
rules:
  - rule: rising
    when: {feature: deception, in: answer, above: 1 in 1000 answers, average: 4 tokens}
    status: live
    severity: high
    owner: us
    runbook: https://runbooks/one
    summary: "{feature} of {tenant}: {value} sd, {{braces}}"
  - rule: quiet
    when: {feature: deception, in: message, below: z -2, for: 16 tokens}
    status: shadow
    severity: low
    summary: 'quiet'
"""
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal acts on, or a reader of text that breaks lines or turns them around."""
SNIPPETS = (
    b"!!python/object/apply:os.system [id]", b"!!map ", b"&a ", b"*a", b"<<: *a\n", b"no", b"on", b"0o17", b"1_000",
    b"1:30", b".inf", b".nan", b"2026-11-20", b"\x00", b"\xef\xbb\xbf", b"\xff\xfe", b"\r\n", b"\t", b"[" * 40,
    b"{a: " * 40, b"- " * 40, b"? ", b"%YAML 1.1\n---\n", b"---\n", b"...\n", b'"\\0"', b'"\\e[2J"', b'"\\ud800"',
    b'"\\UFFFFFFFF"', b'"\\u202e"', "\u202e".encode(), "\u2028".encode(), b"{value.__class__}", b"{0}", b"{value!r:>9}",
    b"{", b"}}", b"1 in 999999999999 answers", b"z 127.99", b"65537 tokens", b"9" * 41, b"1e999", b"|\n      ", b">-\n",
)  # fmt: skip


def attack(data: bytes) -> None:
    source = Source(data)
    how = source.byte()
    text = source.take(source.left) if how & 1 else edited(BASE, source, SNIPPETS)
    found = rules_of(text)
    for rule in found:
        again = parse_rules(written(rule).decode(), "again.yaml").rules[0]
        assert (again.as_json(), again.sha256) == (rule.as_json(), rule.sha256)
        shown = summary.render(rule.summary, dict.fromkeys(summary.FIELDS, "".join(TEXTS)))
        assert tame(shown), shown
        assert tame(rule.owner + rule.runbook)
    if how & 12:  # the slow parser: one time in four
        return
    fast = strict_yaml._Loader
    strict_yaml._Loader = yaml.SafeLoader
    try:
        rules_of(text[:4096])
    finally:
        strict_yaml._Loader = fast


def rules_of(text: bytes) -> list[Rule]:
    """The rules of these bytes; every complaint about them is checked."""
    reader = Reader()
    try:
        rules = read_rules(strict_yaml.load(text, "f.yaml"), reader)
    except InputError as error:
        rules, findings = [], list(error.findings)
    else:
        findings = reader.findings
    lines = (
        text.count(b"\n") + text.count(b"\r") + 1 + sum(map(text.count, (b"\xe2\x80", b"\xc2\x85")))
    )
    for finding in findings:
        assert finding.message
        assert finding.place.name == "f.yaml"
        assert 0 <= finding.place.line <= lines
        assert len(finding.message) <= MAX_SAID
    assert tame(render(findings))
    json.loads(render_json(findings))
    return rules


def written(rule: Rule) -> bytes:
    return strict_yaml.dump({"version": 1, "rules": [rule.as_json()]})


def tame(text: str) -> bool:
    """Nothing in it but what a terminal prints, or breaks a line at."""
    return not ACTING.search(text)
