"""docs/features.md says of every feature what its definition says, word for word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dosimeter.detectors.registry import MATURITIES, POOLS, READ_SCOPES, load_features
from dosimeter.detectors.strict_yaml import load_file

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "features.md"


def table(head: str) -> list[list[str]]:
    """Rows, first cell without backticks, of the table whose head begins with `head`."""
    found: list[list[str]] = []
    inside = False
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == head:
            inside = True
        elif inside and not set(cells[0]) <= {"-"}:
            found.append([cells[0].strip("`"), *cells[1:]])
    assert found, f"docs/features.md: no table headed `{head}`"
    return found


def test_the_page_claims_of_a_feature_what_its_definition_claims() -> None:
    written = [[f.name, f.maturity, f.claim] for f in load_features().values()]
    assert table("feature") == written


def test_every_maturity_is_explained() -> None:
    assert [row[0] for row in table("maturity")] == list(MATURITIES)


@pytest.mark.parametrize("name", load_features())
def test_every_key_of_a_definition_is_documented_in_its_order(name: str) -> None:
    node = load_file(ROOT / "detectors" / "features" / name / "feature.yaml")
    documented = [row[0] for row in table("key of a feature")]
    assert list(node.entries) == [key for key in documented if key in node.entries]
    optional = [row[0] for row in table("key of a feature") if row[1].startswith("optional")]
    assert set(documented) - set(node.entries) <= set(optional)


def test_every_word_that_says_how_a_feature_is_read_is_documented() -> None:
    read = next(row[1] for row in table("key of a feature") if row[0] == "read")
    assert set(re.findall("`([^`]+)`", read)) == {"scope", "pool", *READ_SCOPES, *POOLS}
