"""Strict YAML 1.2: editors and this loader agree on every value, and nothing is ignored."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors import strict_yaml
from dosimeter.detectors.findings import Finding, InputError, Place
from dosimeter.detectors.strict_yaml import MAX_BYTES, MAX_DEPTH, dump, load, load_file


def refused(source: bytes | str) -> tuple[str, str]:
    """(code, `line:column`) of what was refused; `0:0` is the whole file."""
    with pytest.raises(InputError) as caught:
        load(source, "f.yaml")
    (finding,) = caught.value.findings
    return finding.code, f"{finding.place.line}:{finding.place.column}"


def findings_of(source: bytes | str) -> tuple[Finding, ...]:
    """What was refused; nothing where the source is plain data."""
    try:
        load(source, "f.yaml")
    except InputError as error:
        return error.findings
    return ()


@pytest.mark.parametrize(
    ("written", "kind", "value"),
    [
        ("no", "text", "no"),  # false in YAML 1.1: a rule id or an owner called `no`
        ("yes", "text", "yes"),
        ("on", "text", "on"),
        ("Off", "text", "Off"),
        ("12:30", "text", "12:30"),  # 750 in YAML 1.1
        ("1:2:3", "text", "1:2:3"),
        ("2026-11-20", "text", "2026-11-20"),  # a date in YAML 1.1
        ("2026-11-20T10:00:00Z", "text", "2026-11-20T10:00:00Z"),
        ("1_000", "text", "1_000"),  # 1000 in YAML 1.1
        ("0b11", "text", "0b11"),
        ("1 in 1000 answers", "text", "1 in 1000 answers"),
        ("=", "text", "="),
        ("1e-3", "float", 0.001),  # text in YAML 1.1 as PyYAML reads it
        ("-.5", "float", -0.5),
        ("1.", "float", 1.0),
        ("010", "int", 10),  # 8 in YAML 1.1
        ("0o10", "int", 8),
        ("0x1F", "int", 31),
        ("-7", "int", -7),
        ("true", "bool", True),
        ("FALSE", "bool", False),
        ("~", "null", None),
        ("", "null", None),
        ('"true"', "text", "true"),
        ("'12'", "text", "12"),
    ],
)
def test_a_plain_scalar_has_the_type_of_yaml_1_2(written: str, kind: str, value: object) -> None:
    node = load(f"a: {written}", "f.yaml").entries["a"].value
    assert (node.kind, node.value) == (kind, value)


@pytest.mark.parametrize(
    ("source", "code", "place"),
    [
        ("a: 1\nb: 2\na: 3", "duplicate-key", "3:1"),
        ("a: {x: 1, x: 2}", "duplicate-key", "1:11"),
        ("a: &x 1", "alias", "1:4"),
        ("a: *x", "alias", "1:4"),
        ("<<: {a: 1}", "merge", "1:1"),
        ("a: !!str 1", "tag", "1:4"),
        ("a: !mine 1", "tag", "1:4"),
        ("a: ! 1", "tag", "1:4"),
        ("a: !!python/object/apply:os.system [id]", "tag", "1:4"),
        ("!!map {a: 1}", "tag", "1:1"),
        ("1: x", "key", "1:1"),
        ("~: x", "key", "1:1"),
        ("? [a]\n: x", "key", "1:3"),
        ("%YAML 1.1\n---\na: 1", "directive", "1:1"),
        ("%TAG ! tag:x,2000:\n---\na: 1", "directive", "1:1"),
        ("a: 1\n---\nb: 2", "documents", "2:1"),
        ("", "empty", "0:0"),
        ("# only a comment\n", "empty", "0:0"),
        (b"a: 1\nb: \xff", "encoding", "2:4"),
        (b"\xff\xfea\x00:\x00", "encoding", "1:1"),  # UTF-16
        ("a: 1\nb: \x1b[31m", "encoding", "2:4"),
        ("a: \ud800", "encoding", "1:4"),
        ("a: " + "9" * 5000, "number", "1:4"),
        ("a: .nan", "number", "1:4"),
        ("a: -.inf", "number", "1:4"),
        ("a: 1e999", "number", "1:4"),
        ("a: [1, 2\nb: 3", "syntax", "2:2"),
        ("a: b: c", "syntax", "1:5"),
        ("a:\n\t- 1", "syntax", "2:1"),
    ],
)
def test_what_is_not_plain_data_is_refused_where_it_stands(
    source: bytes | str, code: str, place: str
) -> None:
    assert refused(source) == (code, place)


def test_a_byte_order_mark_is_not_content() -> None:
    assert load(b"\xef\xbb\xbfa: 1", "f.yaml").entries["a"].place == Place("f.yaml", 1, 1)


def test_every_value_and_key_knows_where_it_stands() -> None:
    root = load("a:\n  - x\n  - {b: 2}\n", "f.yaml")
    entry = root.entries["a"]
    inner = entry.value.nodes[1].entries["b"]
    assert str(entry.place) == "f.yaml:1:1"
    assert [str(n.place) for n in entry.value.nodes] == ["f.yaml:2:5", "f.yaml:3:5"]
    assert (str(inner.place), str(inner.value.place)) == ("f.yaml:3:6", "f.yaml:3:9")


BOMBS = {
    "laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "\n".join(
        f"{c}: &{c} [{','.join(['*' + p] * 9)}]"
        for p, c in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "brackets": "[" * 100_000,
    "braces": "{a: " * 50_000,
    "dashes": "- " * 100_000,
    "question marks": "? " * 100_000,
    "anchors": "".join(f"- &a{i} x\n" for i in range(50_000)),
    "keys": "".join(f"k{i}: 1\n" for i in range(30_000)),
    "quotes": "a: '" + "''" * 400_000,
    "large": "a: " + "x" * MAX_BYTES,
    "ten megabytes": "- x\n" * 2_500_000,
    "exponent": "a: 1e" + "9" * 30,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_built_to_be_slow_is_dealt_with_quickly(name: str) -> None:
    """Refused, or read as the plain data it is; three seconds are several times what any takes."""
    gc.collect()
    gc.disable()  # a collection's cost is the whole session's heap, and none of the file's
    try:
        began = time.process_time()
        found = findings_of(BOMBS[name])
        took = time.process_time() - began
    finally:
        gc.enable()
    assert took < 3.0
    assert len(found) <= 1


def test_nesting_is_allowed_up_to_the_cap_and_not_beyond() -> None:
    load("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f.yaml")
    assert refused("[" * (MAX_DEPTH + 1))[0] == "too-deep"


def test_a_file_that_is_not_there_is_a_finding_not_a_crash(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            load_file(path)


def test_a_large_file_is_refused_without_reading_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it whole would not fit in memory
    with pytest.raises(InputError, match="larger than"):
        load_file(path)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_anything_at_all_is_either_a_tree_or_one_finding(source: bytes | str) -> None:
    assert len(findings_of(source)) <= 1


@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@`#?, \n\t<", max_size=80))
def test_any_arrangement_of_punctuation_is_a_tree_or_one_finding(source: str) -> None:
    assert len(findings_of(source)) <= 1


KEYS = st.text(max_size=8).filter(lambda key: key != "<<")
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=30),
    st.sampled_from(
        ["no", "1e-3", "0x1f", "010", "null", "~", "", " a", "a: b", ".nan", "12e4567"]
    ),
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(KEYS, PLAIN, min_size=1, max_size=4))
def test_what_is_written_reads_back_equal(data: dict[str, Any]) -> None:
    again = load(dump(data), "c").plain()
    assert again == data
    assert repr(again) == repr(data)  # 1 is not True, and 1.0 is not 1


@pytest.mark.parametrize("loader", [yaml.SafeLoader, strict_yaml._Loader])
@pytest.mark.parametrize("escape", ["\\ud800", "\\UFFFFFFFF"])
def test_an_escape_that_is_no_character_is_refused_by_either_parser(
    monkeypatch: pytest.MonkeyPatch, loader: type, escape: str
) -> None:
    """Found 2026-11-20 by fuzzing: where PyYAML comes without libyaml, the first passed and broke whatever
    encoded it, and the second was an OverflowError."""
    monkeypatch.setattr(strict_yaml, "_Loader", loader)
    code, _ = refused(f'a: "{escape}"')
    assert code in ("encoding", "syntax")


def test_what_is_missing_at_the_end_is_placed_at_the_end() -> None:
    """Found 2026-11-20 by fuzzing: one parser puts it on the line after the last, where no editor can go."""
    assert refused("a: 1\nb") == ("syntax", "2:2")
    assert str(load("# no value\n---", "f.yaml").place) == "f.yaml:2:4"


@pytest.mark.parametrize(
    "text", ["a:\n\t- 1", "a:\n  b: 1\n\tc: 2", "a:\n  b:\n  \t  c: 1\n\td: 1"]
)
def test_a_tab_at_the_start_of_a_line_is_named(text: str) -> None:
    with pytest.raises(InputError) as error:
        load(text, "f.yaml")
    (finding,) = error.value.findings
    line = finding.place.line
    assert "\t" in text.splitlines()[line - 1]
    assert finding.hint == f"line {line} begins with a tab: indent with spaces"


def test_a_tab_elsewhere_is_not_blamed() -> None:
    with pytest.raises(InputError) as error:
        load("a: [1\t", "f.yaml")
    assert "tab" not in str(error.value)


def test_a_number_that_a_comma_split_is_told_so() -> None:
    with pytest.raises(InputError, match="write 1000 without a comma"):
        load("{a: 1 in 1,000}", "f.yaml")
