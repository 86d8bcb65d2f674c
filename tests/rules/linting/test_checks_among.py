"""What rules say together: who silences whom, and which says nothing that another does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.rules.linting.lint import lint


def rule(name: str, when: str = "feature: scam, in: answer, above: z 2", **keys: str) -> str:
    """One of a feature and level of its own, unless told otherwise."""
    said = {"status": "live", "severity": "low", "owner": "x", "summary": "x", **keys}
    lines = [f"  - rule: {name}", f"    when: {{{when}}}"]
    return "\n".join([*lines, *(f"    {k.replace('_', '-')}: {v}" for k, v in said.items())]) + "\n"


def at(feature: str, level: str = "z 2", rest: str = "") -> str:
    return f"feature: {feature}, in: answer, above: {level}{rest}"


def found(folder: Path, *rules: str) -> list[tuple[str, str, str, str]]:
    """code, severity, what stands at the place, message."""
    file = folder / "f.yaml"
    lines = ("version: 1\nrules:\n" + "".join(rules)).splitlines()
    file.write_text("\n".join(lines))
    return [
        (f.code, f.severity, lines[f.place.line - 1][f.place.column - 1 :], f.message)
        for f in lint([file])
        if f.code not in ("no-tests", "draft", "retired", "no-runbook")
    ]


def test_rules_that_silence_each_other_in_a_ring_are_told_once(tmp_path: Path) -> None:
    findings = found(
        tmp_path,
        rule("a", at("f"), quiet_when="[d, b]"),
        rule("b", at("g"), quiet_when="[c]"),
        rule("c", at("h"), quiet_when="[a]"),
        rule("d", at("i")),
    )
    assert findings == [
        ("quiet-ring", "warning", "b]", "a ring of silences: `a` -> `b` -> `c` -> `a`")
    ]


def test_two_rings_are_told_each(tmp_path: Path) -> None:
    findings = found(
        tmp_path,
        rule("a", at("f"), quiet_when="[b]"),
        rule("b", at("g"), quiet_when="[a]"),
        rule("c", at("h"), quiet_when="[d, a]"),
        rule("d", at("i"), quiet_when="[c]"),
    )
    assert [f[3].split(": ")[1] for f in findings] == ["`a` -> `b` -> `a`", "`c` -> `d` -> `c`"]


@pytest.mark.parametrize(
    ("own", "named", "told"),
    [
        ("live", "live", False),
        ("live", "shadow", True),
        ("live", "draft", True),
        ("shadow", "live", False),
        ("shadow", "shadow", False),
        ("shadow", "retired", True),
        ("draft", "draft", False),
    ],
)
def test_a_rule_that_never_notifies_silences_nothing(
    own: str, named: str, told: bool, tmp_path: Path
) -> None:
    a, b = rule("a", at("f"), status=own, quiet_when="[b]"), rule("b", at("g"), status=named)
    expected = [("quiet-never", "warning", "b]")] if told else []
    assert [f[:3] for f in found(tmp_path, a, b)] == expected


def test_a_rule_of_another_file_is_known_where_both_are_given(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "version: 1\nrules:\n" + rule("a", at("f"), quiet_when="[other]")
    )
    (tmp_path / "b.yaml").write_text("version: 1\nrules:\n" + rule("other", at("g")))
    assert "unknown-rule" not in [f.code for f in lint([tmp_path])]
    (unknown,) = [f for f in lint([tmp_path / "a.yaml"]) if f.code == "unknown-rule"]
    assert "where both are given" in (unknown.hint or "")


def test_two_rules_that_fire_alike_are_told_at_the_second(tmp_path: Path) -> None:
    a = rule("a", at("f", "'1 in 1,000 answers'"))
    same = at("f", "1 in 1000 answers")
    ((code, severity, where, message),) = found(tmp_path, a, rule("b", same, severity="high"))
    assert (code, severity) == ("same-rule", "warning")
    assert where == f"{{{same}}}"
    assert message.startswith("rule `b` fires exactly where `a` does, at ")
    ((code, severity, _, _),) = found(tmp_path, a, rule("b", same, status="shadow"))
    assert (code, severity) == ("same-rule", "note")


@pytest.mark.parametrize(
    "other",
    [
        rule("b", at("g")),
        rule("b", at("f", "z 1"), severity="high"),
        rule("b", at("f"), only="{tenant: acme}"),
        rule("b", at("f"), clear="{below: z 1, for: 2 tokens}"),
        rule("b", at("f", rest=", for: 2 tokens")),
        rule("b", at("f"), status="draft"),
    ],
)
def test_rules_that_differ_in_what_they_catch_are_not_told(other: str, tmp_path: Path) -> None:
    assert found(tmp_path, rule("a", at("f")), other) == []


def test_a_rule_within_a_looser_one_of_the_same_severity_is_told_once(tmp_path: Path) -> None:
    findings = found(
        tmp_path,
        rule("middle", at("f", "z 3")),
        rule("strictest", at("f", "z 4")),
        rule("widest", at("f", "z 2")),
        rule("other-severity", at("f", "z 5"), severity="high"),
    )
    assert findings == [
        (
            "within-another",
            "note",
            "{feature: f, in: answer, above: z 3}",
            "rule `widest` fires wherever `middle` does",
        ),
        (
            "within-another",
            "note",
            "{feature: f, in: answer, above: z 4}",
            "rule `widest` fires wherever `strictest` does",
        ),
    ]


def test_a_looser_rule_in_shadow_makes_none_that_is_live_idle(tmp_path: Path) -> None:
    wide = rule("wide", at("f", "z 2"), status="shadow")
    strict = at("f", "z 3")
    assert found(tmp_path, wide, rule("strict", strict)) == []
    assert [f[0] for f in found(tmp_path, wide, rule("strict", strict, status="shadow"))] == [
        "within-another"
    ]


def test_thousands_of_rules_that_silence_the_next_are_told_in_one_finding(tmp_path: Path) -> None:
    count = 2000
    rules = [
        rule(f"r{i:04}", at("f", f"z {i / 100}"), quiet_when=f"[r{(i + 1) % count:04}]")
        for i in range(count)
    ]
    (ring,) = [f for f in found(tmp_path, *rules) if f[0] == "quiet-ring"]
    assert ring[2] == "r0001]"
    assert ring[3].startswith("a ring of silences: `r0000` -> `r0001` -> ")
    assert len(ring[3]) < 200


def test_after_many_unknown_names_the_meant_ones_are_no_longer_guessed(tmp_path: Path) -> None:
    names = ", ".join(f"bb{i}" for i in range(30))
    (tmp_path / "f.yaml").write_text(
        "version: 1\nrules:\n" + rule("a", at("f"), quiet_when=f"[{names}]") + rule("bb", at("g"))
    )
    unknown = [f for f in lint([tmp_path]) if f.code == "unknown-rule"]
    assert len(unknown) == 30
    assert sum("did you mean `bb`" in (f.hint or "") for f in unknown) == 20
