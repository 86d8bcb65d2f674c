"""A pack on sets of a folder: what is counted is what is there, and what cannot be measured is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.pack import Pack
from dosimeter.monitor.fitting import evaluating
from dosimeter.monitor.fitting.decoder import Decoder

pytestmark = pytest.mark.parts

COP = 1026
"""The token ` cop` of `copper`."""


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> list[Example]:
    """What words are learned from, in the place of our thousands of texts."""
    found = [Example(True, "a", "copper letter"), Example(False, "b", "silver stone")]
    monkeypatch.setattr(evaluating, "_known", lambda name: found)
    return found


def written(folder: Path, **sets: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows in sets.items():
        (folder / f"scam_{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def rows(suite: list[Example]) -> list[dict[str, Any]]:
    return [{"text": one.text, "label": int(bool(one.label))} for one in suite]


def evaluated(subject: Decoder, pack: Pack, folder: Path) -> dict[str, Any]:
    return evaluating.evaluate(
        subject, [pack], folder, folder.parent / "work", lambda what: lambda done, of: None
    )


def test_copies_of_a_row_make_no_interval_narrower(
    old: Decoder, pack: Pack, suite: list[Example], tmp_path: Path
) -> None:
    once = rows(suite)
    found = evaluated(old, pack, written(tmp_path / "data", wild=once, copied=once * 5))
    copied, wild = found["features"]["scam"]
    assert (copied["name"], copied["positives"], copied["negatives"]) == ("copied", 20, 20)
    assert copied["auroc"] == wild["auroc"]
    assert copied["tpr"] == wild["tpr"]


def test_a_text_under_both_labels_is_refused(
    old: Decoder, pack: Pack, suite: list[Example], tmp_path: Path
) -> None:
    both = [*rows(suite), {"text": suite[0].text, "label": 1}]
    with pytest.raises(InputError, match=r"scam_wild.jsonl:41:1: .*stands under both labels"):
        evaluated(old, pack, written(tmp_path / "data", wild=both))


def test_a_set_that_is_not_measured_is_named(
    old: Decoder, pack: Pack, suite: list[Example], tmp_path: Path
) -> None:
    folder = written(tmp_path / "data", wild=rows(suite), open=[*rows(suite), {"text": "a lamp"}])
    found = evaluated(old, pack, folder)
    assert [one["name"] for one in found["features"]["scam"]] == ["wild"]
    (said,) = found["warnings"]
    assert "nothing is measured on set `open`" in said


def test_words_are_of_all_that_the_model_has_read(old: Decoder, pack: Pack, tmp_path: Path) -> None:
    """The reply is the same for both classes; what it answers gives them away."""
    asked = [
        {"messages": [{"role": "user", "content": f"{'copper' if i % 2 else 'silver'} lamp {i}"},
                      {"role": "assistant", "content": "a river"}], "label": i % 2}
        for i in range(12)
    ]  # fmt: skip
    found = evaluated(old, pack, written(tmp_path / "data", wild=asked))
    assert found["features"]["scam"][0]["nulls"]["tfidf"] == 1.0


def test_a_text_without_a_score_is_named(
    version: Callable[..., Path], pack: Pack, suite: list[Example], tmp_path: Path
) -> None:
    """As by a model in half precision that overflows: one token is infinite, and those behind it are no numbers."""

    def overflow(model: Any) -> None:
        model.model.embed_tokens.weight[COP] = torch.inf

    model = Decoder(version(overflow))
    with pytest.raises(InputError, match=r"scam_wild.jsonl:2:1: .*no score"):
        evaluated(
            model, replace(pack, model=model.identity), written(tmp_path / "d", wild=rows(suite))
        )
