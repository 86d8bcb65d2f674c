"""What a card gathers: rows of data as pairs, and what packs say, believed no further than it goes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.detectors.bank import Column, Probe
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.fingerprint import Fingerprint
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import Pack, ProbeNote, save_pack
from dosimeter.detectors.registry import Data, Feature, Features, load_features
from dosimeter.monitor.feature_card import (
    Figure,
    card_json,
    card_of,
    known_calibrations,
    known_packs,
    pairs_of,
    quality_of,
    undefined,
    varied,
)

D = 4
METRICS = {"auroc": 0.9, "auroc_low": 0.85, "auroc_high": 0.94, "tpr_at_1pct_fpr": 0.5}


def a_pack(name: str = "acme/reader", feature: str = "scam", **note: Any) -> Pack:
    digest = "ab" * 32
    return Pack(
        name,
        "by hand",
        ModelIdentity("small", "BertModel", D, "float32", digest, digest, digest, digest),
        (Probe(feature, (1,), np.ones((1, D), np.float32), 0.0),),
        (ProbeNote("T2", 0.0, 1.0, 100, **note),),
        Fingerprint((5,), np.zeros((1, 1), np.float32), np.zeros((1, D), np.float32), 0.1),
    )


def row(label: bool | None, group: str, text: str = "x", kind: str = "") -> Example:
    return Example(label, group, text, kind=kind)


@pytest.fixture
def scam(tmp_path: Path) -> Feature:
    """scam with four pairs, of two formats, and three hard negatives."""
    pairs = [
        {
            "id": f"p{n}",
            "format": "sms" if n < 3 else "call",
            "risky": f"pay {n}",
            "benign": f"hi {n}",
        }
        for n in range(4)
    ]
    negatives = [
        {
            "id": f"n{n}",
            "kind": kind,
            "messages": [{"role": "assistant", "content": f"careful {n}"}],
        }
        for n, kind in enumerate(("advice", "advice", "news"))
    ]
    for name, rows in (("pairs.jsonl", pairs), ("hard_negatives.jsonl", negatives)):
        (tmp_path / name).write_text("\n".join(json.dumps(one) for one in rows))
    data = Data(tmp_path / "pairs.jsonl", tmp_path / "hard_negatives.jsonl")
    return replace(load_features()["scam"], data=data)


def test_a_pair_is_the_two_sides_of_one_group() -> None:
    rows = [row(True, "a", "one"), row(False, "b"), row(True, "b"), row(False, "a", "two")]
    rows += [row(True, "a", "another"), row(None, "c"), row(True, "c"), row(True, "d")]
    found = pairs_of(rows)
    assert [(pair.risky.group, pair.risky.words, pair.benign.words) for pair in found] == [
        ("a", "one", "two"),
        ("b", "x", "x"),
    ]
    assert pairs_of([]) == []


@given(st.lists(st.sampled_from("abc")), st.integers(0, 6))
def test_no_kind_is_shown_twice_before_every_kind_is_shown_once(kinds: list[str], n: int) -> None:
    found = varied(kinds, n)
    assert len(found) == len(set(found)) == min(n, len(kinds))
    shown = [kinds[i] for i in found]
    assert len(set(shown)) == min(len(shown), len(set(kinds)))


def test_the_examples_of_a_card_are_of_different_kinds(scam: Feature) -> None:
    card = card_of(scam, [])
    assert len(card.pairs) == 4
    assert [pair.risky.words for pair in card.shown_pairs] == ["pay 0", "pay 3", "pay 1"]
    assert [one.words for one in card.shown_negatives] == ["careful 0", "careful 2"]


def test_a_feature_without_data_has_a_card() -> None:
    card = card_of(replace(load_features()["scam"], data=Data()), [])
    assert (card.pairs, card.hard_negatives, card.shown_pairs, card.quality) == ((), (), (), ())


def test_data_that_cannot_be_read_is_named_with_its_line(scam: Feature) -> None:
    assert scam.data.pairs is not None
    scam.data.pairs.write_text('{"risky": "a", "benign": "b"}\n{"risky": "a"}\n')
    with pytest.raises(InputError, match=r"pairs\.jsonl:2:1"):
        card_of(scam, [])


def test_a_card_has_each_pack_that_reads_the_feature_with_its_nulls(scam: Feature) -> None:
    nulls = {"tfidf": 0.86, "clean_twin": None, "shuffled": {"value": 0.58}}
    packs = [a_pack(metrics=METRICS, nulls=nulls), a_pack("acme/other", "sycophancy")]
    (quality,) = card_of(scam, packs).quality
    assert (quality.pack, quality.tier, quality.model) == ("acme/reader", "T2", "small")
    assert quality.auroc == Figure(0.9, 0.85, 0.94)
    assert quality.tpr_at_1pct_fpr == Figure(0.5)
    assert quality.nulls == {"tfidf": 0.86, "clean_twin": None, "shuffled": 0.58}
    assert quality.calibrations == ()


def test_an_interval_inside_the_figure_reads_like_one_beside_it() -> None:
    metrics = {"auroc": {"value": 0.9, "low": 0.85, "high": 0.94}, "positives": 3, "negatives": 0}
    pack = a_pack(metrics=metrics)
    quality = quality_of(pack, pack.notes[0])
    assert quality.auroc == Figure(0.9, 0.85, 0.94)
    assert (quality.positives, quality.negatives) == (3, 0)


@pytest.mark.parametrize(
    "value", [None, "0.99", True, 1.01, -0.1, 1e300, 10**400, [], {}, {"value": "1"}, float("nan")]
)
def test_a_figure_that_is_none_is_not_shown(value: Any) -> None:
    """A pack's metrics are a stranger's free text."""
    pack = a_pack()
    note = ProbeNote("T0", 0.0, 1.0, 1, {"auroc": value, "positives": value}, {"length": value})
    quality = quality_of(pack, note)
    assert quality.auroc is None
    assert quality.nulls == {"length": None}
    if value != 10**400:
        assert quality.positives is None


@pytest.mark.parametrize(("low", "high"), [(None, 0.9), (0.95, 0.99), (0.8, 0.85), ("a", "b")])
def test_an_interval_without_the_figure_in_it_is_left_out(low: Any, high: Any) -> None:
    pack = a_pack()
    note = ProbeNote("T0", 0, 1, 1, {"auroc": 0.9, "auroc_low": low, "auroc_high": high})
    assert quality_of(pack, note).auroc == Figure(0.9)


def test_calibrated_is_what_carries_the_digest_of_the_pack(scam: Feature) -> None:
    one, other = a_pack(), a_pack("acme/other", metrics=METRICS)
    quiet = (np.zeros((4, 1), np.int16), np.full(4, Scope.ANSWER, np.uint8))
    traffic = Calibration.from_requests(
        [Column("scam", one.digest, one.name)], [quiet] * 3, corpus="chat", date="2026-01-31"
    )
    first, second = card_of(scam, [one, other], [traffic]).quality
    assert first.calibrations == ("3 requests: chat (2026-01-31)",)
    assert second.calibrations == ()


def test_our_own_packs_are_known_and_those_of_a_named_folder_once(tmp_path: Path) -> None:
    ours = known_packs()
    assert "lab/core" in [pack.name for pack in ours]
    save_pack(a_pack(), tmp_path / "deep" / "one")
    found = known_packs([tmp_path, tmp_path])
    assert [pack.name for pack in found] == [*(pack.name for pack in ours), "acme/reader"]


def test_a_folder_without_a_pack_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pack"):
        known_packs([tmp_path])


def test_the_labs_calibration_is_known() -> None:
    core = next(pack for pack in known_packs() if pack.name == "lab/core")
    assert any(core.digest in one.packs for one in known_calibrations())


def test_what_a_pack_reads_without_a_definition_is_named() -> None:
    packs = [a_pack(), a_pack("acme/urgency", "urgency")]
    assert undefined(packs, load_features()) == ["`urgency`, read by pack `acme/urgency`"]
    assert undefined([], Features([])) == []


def test_a_card_as_json_has_everything_that_the_card_has(scam: Feature) -> None:
    found = json.loads(json.dumps(card_json(card_of(scam, [a_pack(metrics=METRICS)]))))
    assert found["read"] == {"scope": "answer", "pool": "mean"}
    assert (found["data"]["pairs"], found["data"]["hard_negatives"]) == (4, 3)
    assert found["packs"][0]["auroc"] == {"value": 0.9, "low": 0.85, "high": 0.94}
    assert found["examples"]["pairs"][0] == {
        "risky": {"group": "p0", "kind": "sms", "text": "pay 0"},
        "benign": {"group": "p0", "kind": "sms", "text": "hi 0"},
    }
    said = found["examples"]["hard_negatives"][0]["messages"]
    assert said == [{"role": "assistant", "content": "careful 0"}]
    for key in ("definition", "claim", "maturity", "sources", "confusables", "known_failures"):
        value = getattr(scam, key)
        assert found[key] == (list(value) if isinstance(value, tuple) else value)
