"""Rows from strangers: what is read of them, what is refused with its place, and which sets a folder holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors import examples
from dosimeter.detectors.examples import (
    MAX_CHARACTERS,
    Example,
    check_fit,
    leaks,
    load_examples,
    sets_of,
)
from dosimeter.detectors.findings import InputError, Place
from dosimeter.detectors.registry import FEATURES

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(*lines: object, name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        said = (one if isinstance(one, str) else json.dumps(one) for one in lines)
        path.write_text("\n".join(said), encoding="utf-8")
        return path

    return written


def rows(n: int, label: bool, words: str = "text") -> list[Example]:
    return [Example(label, f"{words}-{label}-{i}", f"{words} {label} {i}") for i in range(n)]


def codes(found: list[Example]) -> list[tuple[str, str]]:
    return [(one.code, one.severity) for one in check_fit(found)]


def test_a_row_is_a_text_or_a_conversation_with_or_without_a_label(write: Write) -> None:
    turns = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]
    path = write(
        {"text": "one", "label": 1, "group": "g", "kind": "sms"},
        "",
        {"messages": turns, "label": False, "id": 7, "format": "chat"},
        {"text": "three"},
    )
    assert load_examples(path) == [
        Example(True, "g", "one", kind="sms"),
        Example(False, "7", messages=tuple(turns), kind="chat"),
        Example(None, "row-4", "three"),
    ]
    assert load_examples(path)[1].place == Place(str(path), 3, 1)
    assert [one.words for one in load_examples(path)] == ["one", "b", "three"]


def test_a_pair_is_two_rows_of_one_group_one_of_each_label(write: Write) -> None:
    turns = [{"role": "user", "content": "c"}]
    path = write({"risky": "a", "benign": "b", "id": "x"}, {"risky_messages": turns, "benign": "d"})
    assert load_examples(path) == [
        Example(True, "x", "a"),
        Example(False, "x", "b"),
        Example(True, "row-2", messages=tuple(turns)),
        Example(False, "row-2", "d"),
    ]


@pytest.mark.parametrize("empty", [None, ""])
def test_a_group_that_says_nothing_does_not_make_one_source_of_all_rows(
    write: Write, empty: object
) -> None:
    found = load_examples(write({"text": "a", "group": empty}, {"text": "b", "group": empty}))
    assert [one.group for one in found] == ["row-1", "row-2"]


DEEP = "[" * 5000 + "]" * 5000


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("not json", "is not JSON"),
        (DEEP, "is not JSON"),
        ('{"text": "a", "x": ' + DEEP + "}", "is not JSON"),
        ('{"text": "a", "n": ' + "9" * 5000 + "}", "is not JSON"),
        ('["text"]', "is not a JSON object"),
        ('{"label": 1}', "needs one of `text` and `messages`"),
        ('{"text": "a", "messages": []}', "needs one of `text` and `messages`"),
        ('{"messages": []}', "is not a list of messages"),
        ('{"messages": {"role": "user"}}', "is not a list of messages"),
        ('{"messages": ["a"]}', "a member of `messages` is no message"),
        ('{"messages": [{"role": "root", "content": "a"}]}', "role one of system"),
        ('{"messages": [{"role": ["user"], "content": "a"}]}', "is no message"),
        ('{"messages": [{"role": "user"}]}', "`content` is not text"),
        ('{"messages": [{"role": "user", "content": " \\t"}]}', "`content` is empty"),
        ('{"text": ""}', "`text` is empty"),
        ('{"text": 5}', "`text` is not text"),
        ('{"text": "\\ud83d"}', "half a surrogate pair"),
        ('{"text": "a", "group": "\\udc00"}', "`group` holds half a surrogate pair"),
        ('{"text": "a", "kind": "\\ud800"}', "`kind` holds half a surrogate pair"),
        ('{"text": "a", "group": {"a": 1}}', "`group` is neither text nor a number"),
        ('{"text": "a", "kind": ' + "[" * 900 + "]" * 900 + "}", "`kind` is neither text"),
        ('{"text": "a", "label": 0, "label": 1}', "names something twice"),
        ('{"risky": "a"}', "needs one of `benign` and `benign_messages`"),
        ('{"text": "' + "a" * (MAX_CHARACTERS + 1) + '"}', "at most 200000 are read"),
        *(
            ('{"text": "a", "label": ' + value + "}", "`label` is")
            for value in ("2", "-1", '"1"', "1.0", "NaN", "[1]", '"yes"', "1e999", "{}")
        ),
    ],
)
def test_a_wrong_row_is_told_with_file_and_line(write: Write, line: str, words: str) -> None:
    path = write('{"text": "fine"}', line)
    with pytest.raises(InputError, match=words) as caught:
        load_examples(path)
    (finding,) = caught.value.findings
    assert finding.place == Place(str(path), 2, 1)
    assert len(str(caught.value)) < 1000


def test_twenty_wrong_rows_are_told_and_no_more(write: Write) -> None:
    with pytest.raises(InputError) as caught:
        load_examples(write(*["{}"] * 500))
    assert len(caught.value.findings) == 20


def test_a_line_cannot_drive_a_terminal(write: Write) -> None:
    with pytest.raises(InputError) as caught:
        load_examples(write('{"text": "a", "label": "\x1b[2J\\u001b[2J"}'.replace("\x1b", "")))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\xff\xfe{}", r"is not UTF-8 \(byte 0\)"),
        (b'{"text": "\xc3"}', "is not UTF-8"),
        (b"", "holds no row"),
        (b"\n \n\r\n", "holds no row"),
    ],
)
def test_a_file_that_is_no_text_or_empty_is_refused(tmp_path: Path, raw: bytes, words: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=words):
        load_examples(path)


def test_marks_and_line_ends_of_other_systems_are_no_part_of_a_row(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b\xe2\x80\xa8c"}\r\n')
    assert [one.text for one in load_examples(path)] == ["a", "b\u2028c"]


def test_rows_are_counted_before_there_is_an_object_a_line(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "MAX_ROWS", 3)
    fits = write(*['{"text": "a"}'] * 3, "")  # the last line ends too
    assert len(load_examples(fits)) == 3
    with pytest.raises(InputError, match="4 rows, at most 3 are read"):
        load_examples(write(*['{"text": "a"}'] * 4, ""))


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=60))
def test_bytes_are_rows_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.jsonl"
    path.write_bytes(raw)
    with pytest.raises(InputError):
        load_examples(path)


KEYS = st.sampled_from(
    ["text", "messages", "label", "group", "kind", "id", "risky", "benign", "role", "content"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_object_is_rows_that_can_be_written_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, row: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn.jsonl"
    path.write_text(json.dumps(row))
    try:
        found = load_examples(path)
    except InputError as error:
        str(error).encode()
        return
    for one in found:
        assert (one.text is None) != (one.messages == ())
        assert one.words.strip()
        f"{one.group}{one.kind}{one.identity}".encode()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Pay now", "  pay\tNOW\n"),
        ("ＰＡＹ ｎｏｗ", "pay now"),  # full width
        ("pay\u00a0now", "pay now"),
        ("pay\u200b now\ufeff", "pay now"),  # invisible
        ("ﬁne", "fine"),  # a ligature
        ("STRASSE", "straße"),
        ("e\u0301", "é"),
    ],
)
def test_texts_that_differ_in_dress_say_the_same(one: str, other: str) -> None:
    assert Example(True, "a", one).identity == Example(False, "b", other).identity


@pytest.mark.parametrize(
    ("one", "other"), [("pay", "p\u0430y"), ("pay now", "paynow"), ("pay 1", "pay 2")]
)
def test_letters_of_another_script_and_other_words_are_others(one: str, other: str) -> None:
    assert Example(True, "a", one).identity != Example(True, "a", other).identity


@given(st.text("aZé ßÇñü1.", max_size=20))
def test_case_is_no_difference(text: str) -> None:
    found = {Example(True, "", t).identity for t in (text, text.upper(), text.lower())}
    assert len(found) == 1


def test_a_conversation_is_not_the_text_of_its_messages() -> None:
    turns = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})
    assert Example(True, "", messages=turns).identity != Example(True, "", "a\nb").identity


def test_rows_that_can_carry_a_fit_are_told_nothing() -> None:
    assert check_fit([*rows(20, True), *rows(20, False)]) == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], [("one-class", "error")] * 2),
        (rows(30, True), [("one-class", "error")]),
        (rows(30, False), [("one-class", "error")]),
        ([*rows(30, True), *rows(19, False)], [("few", "error")]),
        # thirty rows of one source are one source
        (
            [*rows(30, True), *[Example(False, "same", f"b {i}") for i in range(30)]],
            [("few", "error")],
        ),
        ([*rows(30, True), *rows(30, False), Example(None, "x", "x")], [("label", "error")]),
    ],
)
def test_too_few_rows_or_one_class_are_refused(
    found: list[Example], expected: list[tuple[str, str]]
) -> None:
    assert codes(found) == expected


def test_a_text_under_both_labels_is_refused_at_the_second_of_them() -> None:
    second = Example(False, "z", "TEXT true\u00a03", place=Place("f", 9, 1))
    found = check_fit([*rows(30, True), *rows(30, False), second])
    assert [(one.code, one.severity, one.place.line) for one in found] == [
        ("both-labels", "error", 9)
    ]


def test_a_few_repeats_are_told_and_many_refused() -> None:
    base = [*rows(30, True), *rows(30, False)]
    twins = [Example(True, f"twin-{i}", f"Text true {i}") for i in range(12)]
    assert codes([*base, *twins[:3]]) == [("duplicate", "warning")]
    assert codes([*base, *twins]) == [("duplicate", "error")]


def test_what_stands_in_both_sets_is_a_leak_however_it_is_dressed() -> None:
    held = [Example(True, "h1", "TEXT  true 4"), Example(True, "h2", "new")]
    assert leaks(rows(9, True), held) == [held[0]]
    assert leaks([], held) == leaks(held, []) == []


def test_sets_are_told_by_name_and_those_of_other_features_left_alone(
    tmp_path: Path, write: Write
) -> None:
    """`scam_warning_fit.jsonl` would otherwise be a set `warning_fit` of `scam`, labelled for another."""
    row = {"text": "a", "label": 1}
    for name in ("scam_fit", "scam_wild", "scam_warning_fit", "deception_fit", "scams_fit"):
        write(row, name=f"{name}.jsonl")
    write({"text": "b"}, name="benign_chat.jsonl")
    write("not read", name="scam_notes.txt")
    assert sorted(sets_of(tmp_path, "scam", ["scam", "scam_warning"])) == [
        "benign_chat",
        "fit",
        "wild",
    ]
    assert sorted(sets_of(tmp_path, "scam_warning", ["scam", "scam_warning"])) == [
        "benign_chat",
        "fit",
    ]


def test_a_risky_row_among_the_benign_is_told_with_its_line(tmp_path: Path, write: Write) -> None:
    path = write({"text": "a"}, {"text": "b", "label": 1}, name="benign_calibrate.jsonl")
    with pytest.raises(InputError, match="a row of `benign_calibrate` is labelled 1") as caught:
        sets_of(tmp_path, "scam")
    assert caught.value.findings[0].place == Place(str(path), 2, 1)


def test_two_files_of_one_set_are_refused(tmp_path: Path, write: Write) -> None:
    write({"text": "a"}, name="benign_x.jsonl")
    write({"text": "a", "label": 1}, name="scam_benign_x.jsonl")
    with pytest.raises(InputError, match="is a second set `benign_x`"):
        sets_of(tmp_path, "scam")


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: None])
def test_a_folder_without_a_set_says_what_it_looks_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    folder = tmp_path / "sets"
    make(folder)
    with pytest.raises(InputError, match=r"is not a folder|holds neither `scam_<set>.jsonl`"):
        sets_of(folder, "scam")


@pytest.mark.parametrize(
    "path",
    sorted([*FEATURES.glob("*/*.jsonl"), *(FEATURES.parent / "benign").glob("*.jsonl")]),
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_our_own_files_are_read_without_a_complaint(path: Path) -> None:
    assert load_examples(path)
