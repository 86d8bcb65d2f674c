"""The list of attacks: enough of them, each named once, and each with its line in the docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dosimeter.monitor.chaos.attacks import ATTACKS, chosen, listing

THREATS = Path(__file__).resolve().parents[3] / "docs" / "threats.md"


def test_there_are_twenty_and_more_each_named_once() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len(set(names)) >= 20
    assert [line.split()[0] for line in listing().splitlines()] == names


def test_every_attack_stands_in_the_docs_and_no_other() -> None:
    section = THREATS.read_text().split("## Ways to blind it")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)`", section, re.M) == [attack.name for attack in ATTACKS]


def test_a_pattern_is_a_sound_expression_and_matches_no_silence() -> None:
    """A pattern that matches the empty word would pass a monitor that says nothing of use."""
    for attack in ATTACKS:
        if attack.says is not None:
            assert not re.search(attack.says, ""), attack.name


def test_attacks_are_chosen_by_name_and_an_unknown_one_is_an_error() -> None:
    assert [attack.name for attack in chosen(["impostor"])] == ["impostor"]
    assert chosen([]) == list(ATTACKS)
    with pytest.raises(KeyError, match="no attack `imposter`"):
        chosen(["imposter"])
