"""Changed texts say the same, are made again alike, and never lose a row."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from dosimeter.detectors.examples import Example
from dosimeter.monitor.fitting.robust import CHANGES, shortened, typos, variants

TURNS = ({"role": "user", "content": "Hm."}, {"role": "assistant", "content": "All is\nwell."})
ROWS = [Example(True, "a", text="Send the PIN now, please!"), Example(False, "b", messages=TURNS)]


def test_each_change_does_what_its_name_says() -> None:
    found = {name: [row.words for row in rows] for name, rows in variants(ROWS).items()}
    assert found["capitals"] == ["SEND THE PIN NOW, PLEASE!", "ALL IS\nWELL."]
    assert found["lower case"][0] == "send the pin now, please!"
    assert found["no marks"] == ["Send the PIN now please", "All is\nwell"]
    assert found["one line"][1] == "All is well."
    assert found["twice"][1] == "All is\nwell.\n\nAll is\nwell."
    assert shortened("a b c d e f", random.Random(0)) == "a b c d"


def test_of_a_conversation_only_the_last_message_changes() -> None:
    for rows in variants(ROWS).values():
        assert rows[1].messages[0] == ROWS[1].messages[0]
        assert [row.label for row in rows] == [True, False]


@given(st.text(min_size=1, max_size=200))
def test_a_text_that_would_vanish_stays_as_it_was(text: str) -> None:
    for name, rows in variants([Example(True, "a", text=text)]).items():
        assert rows[0].words.strip() or not text.strip(), name


def test_typos_are_about_one_in_sixteen_letters_and_the_same_for_a_seed() -> None:
    text = "abcdefghijklmnopqrstuvwxyz " * 200
    once, again = (typos(text, random.Random(3)) for _ in range(2))
    assert once == again
    changed = sum(word not in text for word in once.split())
    assert (
        0.4 < changed / 200 <= 1.0
    )  # 26 letters a word at 6 % each leave a fifth of the words whole
    assert set(CHANGES) == set(variants(ROWS))
