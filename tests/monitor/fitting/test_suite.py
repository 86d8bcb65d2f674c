"""Known answers are counted, exactly, at the level that few ordinary texts exceed; a pack that fails is not copied."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.pack import Pack, load_pack
from dosimeter.detectors.registry import FEATURES
from dosimeter.detectors.strict_yaml import load_file
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.fitting.promote import NotPromoted, examine, promote
from dosimeter.monitor.fitting.subject import Tokens
from dosimeter.monitor.fitting.suite import Bar, Suite, load_suite, run_suite


class Spoken:
    """A subject whose score of a text is the number that stands in it."""

    window = None

    def tokens(self, example: Example, scope: Scope) -> Tokens:
        return Tokens((0,), np.zeros(1, np.uint8), np.ones(1, np.bool_))

    def __init__(self, examples: Sequence[Example]) -> None:
        self._values = [float(str(one.text)) for one in examples]

    def scores(self, tokens: Any, packs: Any, tell: Any) -> Iterator[tuple[int, np.ndarray]]:
        for i, value in enumerate(self._values):
            yield i, np.array([[value, 0.0]], np.float32)


def rows(kind: str, label: bool, values: Sequence[float]) -> list[Example]:
    return [Example(label, f"{kind}{i}", str(v), kind=kind) for i, v in enumerate(values)]


CALM = rows("", False, [float(i) for i in range(100)])
"""One of a hundred may lie above: the level is the second highest, 98."""


def ran(
    pack: Pack, bars: Sequence[Bar], told: Sequence[Example], calm: Sequence[Example] = CALM
) -> Any:
    suite = Suite("scam", 3, 0.01, tuple(bars), tuple(told), "d" * 64)
    subject: Any = Spoken([*calm, *told])
    return run_suite(subject, pack, suite, Scope.ANSWER, calm)


def test_counts_above_the_level_decide_and_intervals_are_exact(pack: Pack) -> None:
    """Hand-worked: level 98; 2 of 20 above is 10 %, Clopper-Pearson [1.2 %, 31.7 %]; 3 of 5 is 60 %."""
    told = [
        *rows("advice", False, [0] * 18 + [98.5, 99]),
        *rows("scam_email", True, [98, 98.1, 99, 300, -1]),
        *rows("scam_post", True, [0] * 5),
    ]
    bars = [Bar("advice", "fires_at_most", 0.1), Bar("scam_email", "catches_at_least", 0.6)]
    found = ran(pack, bars, told)
    assert found.threshold_sd == 98
    assert found.passed
    advice, email, post = found.kinds
    assert (advice.above, advice.n, advice.passed) == (2, 20, True)
    assert (advice.interval.low, advice.interval.high) == pytest.approx((0.0123, 0.3170), abs=1e-4)
    assert (email.above, email.n, email.passed) == (3, 5, True)
    assert (post.kind, post.above, post.passed) == ("scam_post", 0, None)  # counted, no bar
    worse = [Bar("advice", "fires_at_most", 0.09), bars[1]]
    assert not ran(pack, worse, told).passed
    assert not ran(pack, [bars[0], Bar("scam_email", "catches_at_least", 0.61)], told).passed


def test_a_score_that_never_varies_catches_nothing(pack: Pack) -> None:
    bars = [Bar("scam_email", "catches_at_least", 0.1)]
    calm = rows("", False, [1.0] * 100)
    assert not ran(pack, bars, rows("scam_email", True, [1.0] * 5), calm).passed


def test_a_level_needs_enough_ordinary_texts_and_every_text_a_score(pack: Pack) -> None:
    told = rows("a", True, [1.0] * 5)
    with pytest.raises(InputError, match="at least 100"):
        ran(pack, [], told, CALM[:99])
    with pytest.raises(InputError, match="no score for this text"):
        ran(pack, [], [*told, *rows("a", True, [float("nan")])])
    with pytest.raises(InputError, match="labelled 1"):
        ran(pack, [], told, [*CALM, *told])
    with pytest.raises(InputError, match="no probe of `flattery`"):
        run_suite(
            Spoken([]), pack, Suite("flattery", 1, 0.01, (), (), ""), Scope.ANSWER, CALM  # type: ignore[arg-type]
        )  # fmt: skip


@given(st.lists(st.integers(-5, 5), min_size=100, max_size=300), st.floats(0.01, 0.5))
def test_at_most_the_share_of_ordinary_texts_is_above_the_level(
    values: list[int], share: float
) -> None:
    from dosimeter.monitor.fitting.suite import level

    scores = np.array(values, float)
    found = level(scores, share)
    assert (scores > found).sum() <= share * len(scores)
    lower = scores[scores < found]
    if len(lower):  # ... and no lower one would do
        assert (scores > lower.max()).sum() > int(share * len(scores))


GOOD = {
    "feature": "scam",
    "version": 2,
    "level_exceeded_by_at_most": 0.01,
    "why": "because",
    "bars": [{"kind": "advice", "fires_at_most": 0.1}, {"kind": "sms", "catches_at_least": 0.5}],
}
ROWS = [{"kind": kind, "label": label, "text": f"{kind} {i}"}
        for kind, label in (("advice", 0), ("sms", 1)) for i in range(5)]  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(document: Any = GOOD, texts: Any = ROWS) -> Path:
        folder = tmp_path / "scam"
        folder.mkdir(exist_ok=True)
        (folder / "suite.yaml").write_text(json.dumps(document))
        (folder / "suite.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
        return folder

    return write


def test_the_digest_covers_rows_bars_and_version(written: Callable[..., Path]) -> None:
    def digest(document: Any = GOOD, texts: Any = ROWS) -> str:
        found = load_suite(written(document, texts))
        assert found is not None
        return found.digest

    first = digest()
    assert digest() == first
    bars = [{"kind": "advice", "fires_at_most": 0.2}, GOOD["bars"][1]]  # type: ignore[index]
    others = [
        digest({**GOOD, "version": 3}),
        digest({**GOOD, "bars": bars}),
        digest(texts=[*ROWS, ROWS[0]]),
    ]
    assert len({first, *others}) == 4
    assert digest({**GOOD, "why": "another reason"}) == first


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"bars": []}, "every pack would pass"),
        ({"bars": [{"kind": "fax", "fires_at_most": 0.1}]}, "0 rows of kind `fax`"),
        ({"bars": [{"kind": "advice", "catches_at_least": 0.1}]}, "not all labelled 1"),
        ({"bars": [{"kind": "sms", "fires_at_most": 0.1}]}, "not all labelled 0"),
        ({"bars": [{"kind": "advice", "fires_at_most": 1.1}]}, "from 0 to 1"),
        ({"bars": [{"kind": "advice"}]}, "`catches_at_least` is missing"),
        ({"bars": [{"kind": "advice", "fires_at_most": 0.1, "x": 1}]}, "x"),
        ({"bars": [GOOD["bars"][0]] * 2}, "two bars"),  # type: ignore[index]
        ({"version": 0}, "out of range"),
        ({"feature": "sycophancy"}, "stands in folder `scam`"),
        ({"level_exceeded_by_at_most": -0.1}, "from 0 to 1"),
        ({"level_exceeded_by_at_most": 0}, r"suite.yaml:1:\d+: error: no number of ordinary texts"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_suite_that_could_not_decide_is_refused(
    written: Callable[..., Path], change: Any, why: str
) -> None:
    with pytest.raises(InputError, match=why):
        load_suite(written({**GOOD, **change}))


def test_a_suite_without_rows_or_labels_is_refused_and_none_is_none(
    written: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="has no label"):
        load_suite(written(GOOD, [*ROWS, {"kind": "advice2", "text": "x"}]))
    with pytest.raises(InputError, match="holds no row"):
        load_suite(written(GOOD, []))
    assert load_suite(tmp_path) is None


def test_the_suite_of_scam_has_bars_for_topic_and_for_catches() -> None:
    found = load_suite(FEATURES / "scam")
    assert found is not None
    assert {bar.must for bar in found.bars} == {"fires_at_most", "catches_at_least"}
    assert {"advice", "transactional", "scam_email"} <= {bar.kind for bar in found.bars}
    assert len(found.rows) >= 200


ONLY = Suite("scam", 1, 0.01, (Bar("sms", "catches_at_least", 0.5),), tuple(
    Example(True, f"g{i}", "copper", kind="sms") for i in range(5)), "e" * 64)  # fmt: skip
"""Of a random model's probe: nothing is known of what it says about these."""


def lenient(share: float) -> Suite:
    return replace(ONLY, bars=(Bar("sms", "catches_at_least", share),))


@pytest.fixture(scope="module")
def ordinary(suite: list[Example]) -> list[Example]:
    return [replace(one, label=False, text=f"{one.text} {i}") for i in range(3) for one in suite]


def test_a_pack_is_copied_with_its_record_when_it_passes(
    old: Decoder, pack: Pack, ordinary: list[Example], tmp_path: Path
) -> None:
    examined = examine(old, pack, {"scam": (lenient(0.0), Scope.ANSWER)}, ordinary)
    assert examined.without == ("deception",)
    with pytest.raises(NotPromoted, match="no suite for `deception`"):
        promote(pack, examined, tmp_path, "2026-01-31")
    with pytest.raises(NotPromoted, match="no suite for `deception`"):
        promote(pack, examined, tmp_path, "2026-01-31", "  ")
    with pytest.raises(InputError, match="not an ISO day"):
        promote(pack, examined, tmp_path, "yesterday", "none was written yet")
    assert not list(tmp_path.iterdir())
    folder = promote(pack, examined, tmp_path, "2026-01-31", "none was written yet")
    assert load_pack(folder).digest == pack.digest
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.yaml",
        "promotion.yaml",
        "weights.safetensors",
    ]
    record = load_file(folder / "promotion.yaml").plain()
    assert record["pack"]["digest"] == pack.digest
    assert record["date"] == "2026-01-31"
    assert record["suites"][0]["passed"] is True
    assert record["suites"][0]["digest"] == "e" * 64
    assert record["without_suite"] == {"features": ["deception"], "reason": "none was written yet"}
    with pytest.raises(InputError, match="a pack stands here"):
        promote(pack, examined, tmp_path, "2026-01-31", "again")


def test_a_pack_that_fails_is_not_copied_whatever_reason_is_given(
    old: Decoder, pack: Pack, ordinary: list[Example], tmp_path: Path
) -> None:
    risky = tuple(replace(row, text="river stone") for row in ONLY.rows)
    negated = replace(
        pack, probes=tuple(replace(p, weights=-p.weights, bias=-p.bias) for p in pack.probes),
        fingerprint=replace(pack.fingerprint, scores=-pack.fingerprint.scores),
    )  # fmt: skip
    # Equal texts cannot all lie above the level of a probe and of the same one turned round.
    results = [
        examine(old, one, {"scam": (replace(lenient(1.0), rows=risky), Scope.ANSWER)}, ordinary)
        for one in (pack, negated)
    ]
    assert not all(result.passed for result in results)
    failed = next(result for result in results if not result.passed)
    with pytest.raises(NotPromoted, match="suite of `scam` does not pass"):
        promote(pack, failed, tmp_path, "2026-01-31", "please")
    assert not list(tmp_path.iterdir())


def test_a_pack_of_another_model_is_not_examined(
    version: Callable[..., Path], pack: Pack, ordinary: list[Example]
) -> None:
    def change(model: Any) -> None:
        model.model.embed_tokens.weight[0] += 1

    with pytest.raises(InputError, match="bound to another model"):
        examine(Decoder(version(change)), pack, {}, ordinary)
