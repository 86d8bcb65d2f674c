"""`dosimeter features`: what a reader sees, within the screen and harmless to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import visible
from dosimeter.detectors.registry import Feature, load_features
from dosimeter.monitor.cli.feature_view import card_lines, list_lines, wrapped
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.cli.screen import Screen, columns
from dosimeter.monitor.feature_card import Card, Figure, Pair, Quality

HOSTILE = "\x1b[31mred\u202e\n漢字" + "宽" * 90
CONVERSATION = (
    {"role": "system", "content": "unseen"},
    {"role": "user", "content": "Is 2 + 2 = 5?"},
    {"role": "assistant", "content": "first"},
    {"role": "user", "content": "Sure?"},
    {"role": "assistant", "content": "Yes, as you say.\n\n" + "words " * 200},
)


@pytest.fixture
def card() -> Card:
    feature: Feature = load_features()["sycophancy"]
    risky = Example(True, HOSTILE, messages=CONVERSATION, kind="chat")
    benign = Example(False, HOSTILE, HOSTILE, kind=HOSTILE)
    quality = Quality(
        pack="acme/one",
        digest="ab" * 32,
        model=HOSTILE,
        recipe=HOSTILE,
        tier="T2",
        auroc=Figure(0.9, 0.85, 0.94),
        tpr_at_1pct_fpr=Figure(0.5),
        positives=1200,
        negatives=80,
        nulls={"tfidf": 0.861, "clean_twin": None, HOSTILE: 0.5},
        calibrations=(HOSTILE,),
    )
    return Card(feature, (Pair(risky, benign),), (benign, benign), (quality,))


@pytest.mark.parametrize("width", [40, 80, 119, 120, 160, 300])
def test_nothing_is_wider_than_the_screen_and_nothing_acts_on_it(card: Card, width: int) -> None:
    lines = card_lines(card, Screen(width)) + list_lines([card], [HOSTILE], Screen(width))
    assert max(columns(line) for line in lines) <= width
    assert all(line.isprintable() for line in lines)


def test_the_sides_of_a_pair_stand_side_by_side_where_there_is_room(card: Card) -> None:
    wide = card_lines(card, Screen(160))
    assert any(line.startswith("risky ") and line.endswith("│ benign") for line in wide)
    narrow = [line.split(maxsplit=1)[0] for line in card_lines(card, Screen(80)) if line.strip()]
    assert narrow.index("risky") < narrow.index("benign")


def test_a_conversation_is_shown_by_its_last_messages_each_with_its_role(card: Card) -> None:
    shown = "\n".join(card_lines(card, Screen(80)))
    assert "unseen" not in shown
    assert "assistant: first" in shown
    assert "user: Sure?" in shown
    assert "assistant: Yes, as you say. ↵ words words" in shown
    assert shown.count("words") < 40


def test_quality_has_its_interval_and_every_null_beside_it(card: Card) -> None:
    shown = "\n".join(card_lines(card, Screen(160)))
    assert "AUROC           0.900 [0.850, 0.940]" in shown
    assert "TPR at 1 % FPR  0.500, no interval" in shown
    assert "tfidf 0.861 · clean_twin - ·" in shown
    assert "on 1,200 risky and 80 other rows" in shown


def test_a_probe_that_says_nothing_of_itself_is_shown_to_say_nothing(card: Card) -> None:
    bare = replace(
        card.quality[0], auroc=None, tpr_at_1pct_fpr=None, positives=None, nulls={}, calibrations=()
    )
    shown = "\n".join(card_lines(replace(card, quality=(bare,)), Screen(160)))
    assert "on rows not stated" in shown
    assert "none measured" in shown
    assert "it may not alert" in shown


def test_a_card_of_ten_thousand_nulls_stays_short(card: Card) -> None:
    many = replace(card.quality[0], nulls={f"n{i}": 0.5 for i in range(10_000)})
    lines = card_lines(replace(card, quality=(many,)), Screen(80))
    assert len(lines) < 120
    assert any("and 9988 more" in line for line in lines)


TEXTS = st.text(st.sampled_from("ab 漢🙂\u0301\x1b\n…"), max_size=60)


@given(TEXTS, st.integers(2, 12))
def test_wrapping_loses_nothing(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert all(columns(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(visible(text).split())


@given(TEXTS, st.integers(2, 12), st.integers(1, 3))
def test_a_cut_text_says_so(text: str, width: int, most: int) -> None:
    whole, lines = wrapped(text, width), wrapped(text, width, most)
    assert all(columns(line) <= width for line in lines)
    if len(whole) <= most:
        assert lines == whole
    else:
        assert len(lines) == most
        assert lines[-1].endswith("…")


def test_a_long_word_of_marks_without_width_is_wrapped_in_time() -> None:
    assert wrapped("\u0301" * 20_000, 10) == ["\u0301" * 20_000]


def test_the_list_has_every_feature(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["feature", "maturity", "pairs"]
    rows = [line.split()[:2] for line in lines[1 : 1 + len(load_features())]]
    assert rows == [[name, feature.maturity] for name, feature in load_features().items()]
    deception = next(line for line in lines if line.startswith("deception"))
    assert re.search(r"lab/core T1 [01]\.\d{3}$", deception)


def test_the_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["features"]] == list(load_features())
    assert found["undefined"] == []


def test_the_card_of_a_feature_has_the_words_of_its_definition(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["features", "show", "deception"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    feature = load_features()["deception"]
    for text in (feature.title, feature.definition, feature.claim, *feature.known_failures):
        assert " ".join(text.split()) in shown
    assert "lab/core, T1, on model dosimeter-lab" in shown
    assert main(["features", "show", "deception", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["claim"] == feature.claim


def test_an_unknown_name_is_answered_with_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["features", "show", "decepton\x1b[31m"]) == 2
    shown = capsys.readouterr().err
    assert "feature `decepton\\x1b[31m` is not defined" in shown
    assert "`deception`" in shown
    assert "\x1b" not in shown


def nothing(folder: Path) -> None:
    pass


def no_pack(folder: Path) -> None:
    (folder / "card.yaml").write_text("version: 1\n")


@pytest.mark.parametrize("make", [nothing, no_pack])
def test_a_folder_of_packs_that_are_none_is_a_matter_of_data(
    make: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path)
    assert main(["features", "show", "scam", "--packs", str(tmp_path)]) == 4
    assert str(tmp_path) in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_a_wrong_argument() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["features", "list", "--packs", "/nowhere"])
    assert caught.value.code == 2


def test_cards_need_neither_torch_nor_the_reader() -> None:
    program = (
        "import sys; from dosimeter.monitor.cli.main import main; "
        "code = main(['features', 'show', 'scam']); "
        "heavy = {'torch', 'kafka', 'transformers', 'sklearn'} & set(sys.modules); "
        "print(code, sorted(heavy))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.splitlines()[-1] == "0 []", found.stderr
