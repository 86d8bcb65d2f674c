"""A calibration: what levels mean on its traffic, and an artefact that reads back equal."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.bank import Column
from dosimeter.detectors.calibrate import Calibration, NotCalibrated, NotEnough
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import CODE_UNSCORED, Scope
from dosimeter.detectors.levels import Level, LevelError, Shape

PACK = "ab" * 32
ONCE = Shape("once")


def calibration(
    answers: list[list[int]], messages: list[list[int]] | None = None, per_day: int | None = None
) -> Calibration:
    """One column; each request a message (if given) and then an answer."""
    before = messages or [[] for _ in answers]
    codes = [c for m, a in zip(before, answers, strict=True) for c in m + a]
    scopes = [
        s
        for m, a in zip(before, answers, strict=True)
        for s in [Scope.MESSAGE] * len(m) + [Scope.ANSWER] * len(a)
    ]
    lengths = [len(m) + len(a) for m, a in zip(before, answers, strict=True)]
    return Calibration(
        features=("scam",),
        packs=(PACK,),
        codes=np.array(codes, dtype=np.int16).reshape(-1, 1),
        offsets=np.cumsum([0, *lengths]).astype(np.int64),
        scopes=np.array(scopes, dtype=np.uint8),
        corpus="made by hand",
        date="2026-01-31",
        answers_per_day=per_day,
    )


def level(text: str) -> Level:
    return Level.parse(text)


def test_one_in_ten_answers_lets_the_ten_highest_of_a_hundred_pass() -> None:
    """Answer i peaks at i; its other tokens lie far below."""
    c = calibration([[-500, i, -500] for i in range(100)])
    placement = c.place(level("1 in 10 answers"), "scam", Scope.ANSWER, ONCE)
    assert (placement.threshold, placement.exceedances, placement.n_units) == (89, 10, 100)
    assert placement.expected_exceedances == Fraction(10)
    assert placement.bound95 == pytest.approx(0.1637, abs=1e-4)  # beta(11, 90) at 0.95
    assert placement.noun == "answers"


def test_the_same_level_lies_lower_for_an_average_than_for_a_peak() -> None:
    c = calibration([[0, i, 0, 0] for i in range(100)])
    mean = c.place(level("1 in 10 answers"), "scam", Scope.ANSWER, Shape("average", 4))
    assert mean.threshold == 23  # answer 89 has the sum 89, and 89 does not exceed 23 * 4
    assert mean.exceedances == 7  # sums above 92: 93 to 99


def test_tokens_and_answers_are_different_units() -> None:
    """1 in 10 tokens fires in far more than a tenth of the answers, and the placement says so."""
    c = calibration([[i % 7, i, 3, 2] for i in range(100)])
    placement = c.place(level("1 in 10 tokens"), "scam", Scope.ANSWER, ONCE)
    assert (placement.n_units, placement.exceedances) == (400, 40)
    assert placement.threshold == 59
    assert "fires in 40.0% of the benign requests" in placement.warnings[0]


def test_messages_are_placed_on_messages() -> None:
    c = calibration([[1000]] * 100, [[i] for i in range(100)])
    placement = c.place(level("1 in 10 messages"), "scam", Scope.MESSAGE, ONCE)
    assert (placement.threshold, placement.noun) == (89, "messages")


def test_a_daily_level_uses_the_volume_of_the_traffic() -> None:
    """200 requests of a traffic of 2000 a day: 100 a day are 10 of them."""
    c = calibration([[i] for i in range(200)], per_day=2000)
    placement = c.place(level("100 a day"), "scam", Scope.ANSWER, ONCE)
    assert (placement.threshold, placement.exceedances) == (189, 10)


def test_a_daily_level_counts_requests_without_the_scope_as_quiet() -> None:
    """Only half of the requests have a message; the allowance is still that of all of them."""
    c = calibration([[0]] * 200, [[i] if i % 2 else [] for i in range(200)], per_day=2000)
    placement = c.place(level("100 a day"), "scam", Scope.MESSAGE, ONCE)
    assert (placement.n_units, placement.exceedances) == (100, 10)


def test_a_daily_level_without_a_volume_says_what_is_missing() -> None:
    with pytest.raises(LevelError, match="needs the traffic's volume"):
        calibration([[1]] * 99).place(level("5 a day"), "scam", Scope.ANSWER, ONCE)


def test_a_daily_level_on_too_few_requests_says_how_many_more() -> None:
    c = calibration([[i] for i in range(200)], per_day=2000)
    with pytest.raises(NotEnough) as caught:
        c.place(level("30 a day"), "scam", Scope.ANSWER, ONCE)
    assert (caught.value.need, caught.value.more) == (667, 467)  # 10 * 2000 / 30, rounded up


def test_a_day_with_fewer_answers_than_the_level_is_told_as_that() -> None:
    c = calibration([[i] for i in range(200)], per_day=50)
    with pytest.raises(LevelError, match="`50 a day` lets every answer fire: a day has 50"):
        c.place(level("50 a day"), "scam", Scope.ANSWER, ONCE)


def test_z_needs_no_count_and_promises_no_rate() -> None:
    placement = calibration([[511], [512], [513]]).place(level("z 2"), "scam", Scope.ANSWER, ONCE)
    assert (placement.threshold, placement.exceedances) == (512, 1)
    assert placement.expected_exceedances is None


def test_a_feature_without_streams_may_not_alert_not_even_by_z() -> None:
    with pytest.raises(NotCalibrated, match=r"may not alert\n  hint: .*did you mean `scam`"):
        calibration([[1]]).place(level("z 2"), "scamm", Scope.ANSWER, ONCE)


def test_a_scope_nobody_used_has_not_enough() -> None:
    with pytest.raises(NotEnough, match="needs 20 benign answers, this calibration has 0"):
        calibration([[1]] * 99).place(level("1 in 2 answers"), "scam", Scope.TOOL, ONCE)


def test_unscored_tokens_break_windows_and_are_no_tokens() -> None:
    c = calibration([[i, i, CODE_UNSCORED, i] for i in range(100)])
    assert c.place(level("z 0"), "scam", Scope.ANSWER, Shape("for", 3)).exceedances == 0
    assert c.place(level("1 in 10 tokens"), "scam", Scope.ANSWER, ONCE).n_units == 300


def test_it_reads_back_with_its_digest(tmp_path: Path) -> None:
    c = calibration([[1, 2], [3]], [[4], []], per_day=77)
    digest = c.save(tmp_path / "c")
    again = Calibration.load(tmp_path / "c")
    assert again.digest == digest == c.digest
    assert (again.codes == c.codes).all()
    assert (again.corpus, again.date, again.answers_per_day) == ("made by hand", "2026-01-31", 77)
    assert replace(c, answers_per_day=None).digest != digest


def test_it_is_collected_request_by_request() -> None:
    columns = [Column("scam", PACK, "test/one"), Column("deception", PACK, "test/one")]
    one = (np.array([[1, 10], [2, 20]], np.int16), np.array([2, 3], np.uint8))
    two = (np.array([[3, 30]], np.int16), np.array([3], np.uint8))
    c = Calibration.from_requests(columns, [one, two], corpus="two requests", date="2026-02-01")
    assert c.features == ("scam", "deception")
    assert c.offsets.tolist() == [0, 2, 3]
    assert c.stream("deception").codes.tolist() == [10, 20, 30]
    assert Calibration.from_requests(columns, [], corpus="none", date="2026-02-01").requests == 0


def test_its_arrays_cannot_be_changed_behind_the_digest() -> None:
    c = calibration([[1]])
    with pytest.raises(ValueError, match="read-only"):
        c.codes[0, 0] = 5


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"version: 2", b"version: 3", "card.yaml:1:10: error: calibration format 3, this build"),
        (b"tokens: 3", b"tokens: 4", "is int16 [3, 1], not int16 [4, 1]"),
        (b"requests: 2", b"requests: 1", "is int64 [3], not int64 [2]"),
        (b"date: 2026-01-31", b"date: yesterday", "date `yesterday` is not an ISO day"),
        (
            b"answers_per_day: null",
            b"answers_per_day: 0",
            "card.yaml:4:18: error: `0` is out of range",
        ),
        (b"corpus:", b"exec: x\ncorpus:", "unknown key `exec`"),
    ],
)
def test_an_edited_card_is_refused(tmp_path: Path, old: bytes, new: bytes, words: str) -> None:
    calibration([[1, 2], [3]]).save(tmp_path)
    raw = (tmp_path / "card.yaml").read_bytes()
    assert old in raw
    (tmp_path / "card.yaml").write_bytes(raw.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        Calibration.load(tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("offsets", np.array([0, 2, 1, 3]), "must not descend"),
        ("offsets", np.array([0, 2]), "must run from 0 to 3"),
        ("offsets", np.array([0, 2**63 - 1, 4 - 2**63, 3]), "must not descend"),  # differences wrap
        ("offsets", np.array([], dtype=np.int64), "must run from 0 to 3"),
        ("scopes", np.array([3, 3, 9], dtype=np.uint8), "scope 9 is not known"),
        ("scopes", np.array([3], dtype=np.uint8), "scopes uint8"),
        ("codes", np.zeros((3, 1), np.int32), "codes int16"),
        ("codes", np.zeros((3, 2), np.int16), "one feature, given once"),
    ],
)
def test_arrays_that_do_not_agree_are_refused(part: str, value: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(calibration([[1, 2], [3]]), **{part: value})


ANSWERS = st.lists(
    st.lists(st.one_of(st.integers(-20, 20), st.just(CODE_UNSCORED)), min_size=1, max_size=8),
    min_size=40,
    max_size=60,
)


@settings(max_examples=25, deadline=None)
@given(ANSWERS, st.sampled_from([ONCE, Shape("for", 2), Shape("average", 2)]), st.randoms())
def test_achieved_never_exceeds_expected_and_order_of_answers_does_not_matter(
    answers: list[list[int]], shape: Shape, random: object
) -> None:
    def place(rows: list[list[int]], text: str) -> object:
        try:
            return calibration(rows).place(level(text), "scam", Scope.ANSWER, shape)
        except NotEnough:
            return None

    shuffled = list(answers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, rare = place(answers, "1 in 2 answers"), place(answers, "1 in 4 answers")
    assert one == place(shuffled, "1 in 2 answers")
    if one is not None:
        assert one.exceedances <= one.expected_exceedances  # type: ignore[attr-defined]
    if one is not None and rare is not None:
        assert rare.threshold >= one.threshold  # type: ignore[attr-defined]


def routed(n_pool: int, n_own: int) -> Calibration:
    """A large route with scores 0 to 99 over and over, and a small one that sits 1000 codes higher."""
    requests = [(np.array([[i % 100]], np.int16), np.array([3], np.uint8)) for i in range(n_pool)]
    requests += [
        (np.array([[1000 + i % 100]], np.int16), np.array([3], np.uint8)) for i in range(n_own)
    ]
    return Calibration.from_requests(
        [Column("scam", "ab" * 32, "t")],
        requests,
        corpus="made by hand",
        date="2026-01-31",
        routes=["web"] * n_pool + ["fax"] * n_own,
    )


def test_a_route_with_enough_traffic_is_placed_on_its_own_alone() -> None:
    """1 in 10 of 100 units from 1000 to 1099: the ten highest exceed 1089."""
    placed = routed(5000, 100).place(
        Level.parse("1 in 10 answers"), "scam", Scope.ANSWER, Shape("once"), "fax"
    )
    assert (placed.threshold, placed.exceedances, placed.own) == (1089, 10, 1.0)


def test_a_route_with_little_traffic_is_shrunk_towards_the_pool() -> None:
    """50 units expect 5 exceedances, so half of the weight is the route's: of its own (1000 to 1049) those
    above t, halved, plus half of the pool's share above t, may be .1. The pool holds the route's 50 of 5050.
    """
    calibration = routed(5000, 50)
    placed = calibration.place(
        Level.parse("1 in 10 answers"), "scam", Scope.ANSWER, Shape("once"), "fax"
    )
    for t in range(1000, 1050):
        above = sum(value > t for value in range(1000, 1050))
        if 0.5 * above / 50 + 0.5 * above / 5050 <= 0.1:
            break
    assert placed.threshold == t
    assert placed.own == 0.5
    assert any("50%" in warning for warning in placed.warnings)


def test_an_unknown_route_names_the_known_ones() -> None:
    with pytest.raises(LevelError, match=r"`fxa` is not calibrated[^?]*did you mean `fax`"):
        routed(100, 100).place(
            Level.parse("1 in 10 answers"), "scam", Scope.ANSWER, Shape("once"), "fxa"
        )


def test_routes_survive_the_disk(tmp_path: Path) -> None:
    made = routed(30, 20)
    made.save(tmp_path)
    read = Calibration.load(tmp_path)
    assert (read.routes, read.by_route.tolist()) == (made.routes, made.by_route.tolist())
    assert read.digest == made.digest


def test_a_certificate_needs_the_bound_below_the_level_and_says_how_many_are_missing() -> None:
    """0 of n is below 1 in 100 from n = 299 on: (1 - .01)^299 < .05."""
    certificate = routed(250, 0).certify(
        Level.parse("1 in 100 answers"), "scam", Scope.ANSWER, Shape("once")
    )
    assert (certificate.certified, certificate.more) == (False, 49)
    enough = routed(299, 0).certify(
        Level.parse("1 in 100 answers"), "scam", Scope.ANSWER, Shape("once")
    )
    assert (enough.certified, enough.threshold, enough.allowed) == (True, 99, 0)


def test_the_certified_threshold_is_the_lowest_whose_bound_holds() -> None:
    """Against every threshold, one by one."""
    from scipy.stats import beta

    calibration = routed(3000, 0)
    level = Level.parse("1 in 10 answers")
    certificate = calibration.certify(level, "scam", Scope.ANSWER, Shape("once"))
    holds = []
    for t in range(100):
        above = 30 * (99 - t)
        bound = beta.ppf(0.95, above + 1, 3000 - above)
        if bound <= 0.1:
            holds.append(t)
    assert certificate.threshold == min(holds)


def test_unlabelled_traffic_says_what_its_level_bounds() -> None:
    made = routed(200, 0)
    unlabelled = replace(made, labelled=False)
    placed = unlabelled.place(Level.parse("1 in 10 answers"), "scam", Scope.ANSWER, Shape("once"))
    assert any("share of alerts" in warning for warning in placed.warnings)


def test_what_to_label_first_is_what_scores_highest() -> None:
    first = routed(100, 3).label_first("scam", Scope.ANSWER, Shape("once"), 5)
    assert first == [(102, 1002), (101, 1001), (100, 1000), (99, 99), (98, 98)]


def test_what_cannot_exceed_is_not_to_be_labelled_first() -> None:
    """Of 20 answers two are as long as the window."""
    c = calibration([[i] * (16 if i > 17 else 3) for i in range(20)])
    assert c.label_first("scam", Scope.ANSWER, Shape("average", 16)) == [(19, 19), (18, 18)]


def test_routes_without_end_are_refused() -> None:
    one = (np.array([[1]], np.int16), np.array([3], np.uint8))
    with pytest.raises(InputError, match="70000 routes, at most 1000"):
        Calibration.from_requests(
            [Column("scam", PACK, "t")], [one] * 70_000, corpus="x", date="2026-01-31",
            routes=[str(i) for i in range(70_000)],
        )  # fmt: skip
