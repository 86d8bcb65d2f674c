"""A stranger's direction gets our scale, says that nothing was measured here, and cannot be ill-formed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.bank import Column, ProbeBank
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.fit import FitError
from dosimeter.detectors.frames import ActivationFrame
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import Fingerprint, Pack, load_pack, save_pack
from dosimeter.monitor.imports.direction import (
    MAX_SAID,
    Imported,
    Top,
    as_probe,
    check_sign,
    top_examples,
)


def imported(
    weights: object = ((1.0, 2.0),), layers: tuple[int, ...] = (3,), **others: object
) -> Imported:
    given = {"feature": "scam", "bias": 0.5, "source": "a file", "kind": "a kind", **others}
    return Imported(layers=layers, weights=np.array(weights, dtype=np.float64), **given)  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 999), st.integers(1, 3), st.integers(2, 9), st.floats(-50, 50))
def test_benign_tokens_score_0_with_sd_1_as_the_bank_reads_them(
    seed: int, layers: int, width: int, floor: float
) -> None:
    """And a raw score at the floor is the note's `floor_sd`, whatever the direction, bias and offset."""
    rng = np.random.default_rng(seed)
    benign = rng.standard_normal((300, layers, width)) * 3 + rng.standard_normal(width) * 20
    one = imported(
        rng.standard_normal((layers, width)), tuple(range(2, 2 + layers)), floor=floor, bias=7.0
    )
    probe, note = as_probe(one, benign)
    frame = ActivationFrame(benign.astype(np.float32).transpose(1, 0, 2), probe.layers)
    scores = ProbeBank([(Column("scam", "ab", "t"), probe)]).score(frame)[:, 0].astype(np.float64)
    raw = np.einsum("mld,ld->m", benign, one.weights) + 7.0
    assert abs(scores.mean()) < 1e-3
    assert scores.std() == pytest.approx(1, abs=1e-3)
    assert note.mean == pytest.approx(raw.mean(), rel=1e-6, abs=1e-9)
    slope, start = np.polyfit(raw, scores, 1)
    assert note.metrics["floor_sd"] == pytest.approx(slope * floor + start, rel=1e-2, abs=1e-2)


def test_a_pack_of_it_says_on_its_card_that_nothing_was_measured(
    tmp_path: Path, model: ModelIdentity
) -> None:
    rng = np.random.default_rng(0)
    one = imported(rng.standard_normal((1, 8)), notes=("first", "second"), floor=1.0)
    probe, note = as_probe(one, rng.standard_normal((50, 1, 8)))
    known = Fingerprint((1,), np.zeros((1, 1), np.float32), np.zeros((1, 8), np.float32), 0.1)
    save_pack(Pack("x/y", "imported", model, (probe,), (note,), known), tmp_path / "pack")
    (read,) = load_pack(tmp_path / "pack").notes
    assert read.metrics == note.metrics
    assert {k: read.metrics[k] for k in ("imported", "measured_here", "calibrated")} == {
        "imported": True,
        "measured_here": False,
        "calibrated": False,
    }
    assert read.metrics["source"] == "a file"
    assert read.metrics["kind"] == "a kind"
    assert read.metrics["notes"] == ["first", "second"]


@pytest.mark.parametrize(
    ("benign", "words"),
    [
        (np.zeros((5, 1, 3)), r"\[L, D\] = \[1, 2\], the benign tokens are \[5, 1, 3\]"),
        (np.zeros((5, 2)), "the benign tokens are"),
        (np.zeros((0, 1, 2)), "0 benign tokens"),
        (np.ones((1, 1, 2)), "1 benign tokens"),
        (np.full((5, 1, 2), np.nan), "finite"),
        (np.ones((500, 1, 2)) * 1234.567, "do not vary"),
        (np.array([[[2.0, -1.0]], [[4.0, -2.0]]]), "do not vary"),  # across the direction
    ],
)
def test_benign_tokens_that_carry_no_scale_are_refused(benign: np.ndarray, words: str) -> None:
    with pytest.raises(FitError, match=words):
        as_probe(imported(), benign)


def test_a_direction_too_steep_for_float32_is_refused_and_not_infinite() -> None:
    benign = np.array([[[1e-60, 0.0]], [[-1e-60, 0.0]]])
    with pytest.raises(FitError, match="finite after standardising"):
        as_probe(imported(((1.0, 1.0),)), benign)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"weights": ((np.nan, 1.0),)}, "NaN"),
        ({"weights": ((np.inf, 1.0),)}, "NaN or infinity"),
        ({"weights": ((0.0, 0.0),)}, "zero throughout"),
        ({"weights": ((),)}, "0 wide"),
        ({"weights": (1.0, 2.0)}, r"float64 \[L, D\]"),
        ({"layers": (1, 2)}, "1 rows for layers"),
        ({"layers": (-1,)}, "must ascend"),
        ({"layers": (2, 2), "weights": np.ones((2, 2))}, "must ascend"),
        ({"layers": (1000,)}, "must ascend"),
        ({"feature": "../etc"}, "feature `../etc`"),
        ({"feature": "a\x1b[2Jb"}, r"feature `a\\x1b"),
        ({"bias": float("nan")}, "NaN"),
        ({"floor": float("inf")}, "NaN"),
    ],
)
def test_an_ill_formed_direction_cannot_be_made(fields: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        imported(**fields)


def test_what_a_file_says_of_itself_is_capped_and_cannot_drive_a_terminal() -> None:
    one = imported(source="a\x1b[31m\u202e" + "x" * 10_000, notes=("n\n" * 1000,), kind="\x07")
    for text in (one.source, one.kind, *one.notes):
        assert text.isprintable()
        assert len(text) <= MAX_SAID


def contrast(shift: float, rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 1, 2)) + shift, rng.standard_normal((rows, 1, 2))


def test_the_sign_is_confirmed_contradicted_or_left_open_by_contrast_rows() -> None:
    (note,) = check_sign(imported(), *contrast(2, 30)).notes
    assert note.startswith("sign checked: AUROC 0.9")
    with pytest.raises(InputError, match=r"points the other way: AUROC 0\.0"):
        check_sign(imported(), *contrast(-2, 30))
    with pytest.raises(InputError, match="do not tell which way"):
        check_sign(imported(), *contrast(2, 1))
    with pytest.raises(InputError, match="do not tell which way"):
        check_sign(imported(), np.ones((40, 1, 2)), np.ones((40, 1, 2)))  # every score a tie


@pytest.mark.parametrize(
    "rows", [np.empty((0, 1, 2)), np.ones((3, 2)), np.ones((3, 1, 9)), np.full((3, 1, 2), np.nan)]
)
def test_contrast_rows_that_cannot_be_compared_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(InputError, match="rows"):
        check_sign(imported(), rows, np.ones((3, 1, 2)))


def test_the_top_texts_come_with_their_highest_token() -> None:
    scores = [[1.0, 5.0, 2.0], [], [np.nan, 5.0], [np.nan, np.inf], [9.0], [-1.0]]
    texts = ["a", "b", "c", "d", "e", "f"]
    assert top_examples([np.array(s) for s in scores], texts, 3) == [
        Top("e", 4, 0, 9.0),
        Top("a", 0, 1, 5.0),
        Top("c", 2, 1, 5.0),
    ]
    assert len(top_examples([np.array(s) for s in scores], texts, 99)) == 4
    with pytest.raises(ValueError, match="scores of 1 texts, 2 texts"):
        top_examples([np.zeros(1)], ["a", "b"], 1)
