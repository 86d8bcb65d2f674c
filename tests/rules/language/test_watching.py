"""A silence is told once, when it has lasted: while there are requests, and not while there is nothing to score."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dosimeter.rules.language.watching import Silence, Silent

S = 10**9
Look = tuple[int, bool, int, bool]  # seconds, requests, served, scored


def told(looks: list[Look], for_s: int = 60) -> list[tuple[int, int, int]]:
    """At which look, how many seconds, how many tokens."""
    silence = Silence(for_s * S)
    found = []
    for at, requests, served, scored in looks:
        said = silence.look(at * S, requests=requests, served=served, scored=scored)
        if said is not None:
            found.append((at, said.for_ns // S, said.served))
    return found


def test_it_is_told_once_and_again_after_a_score() -> None:
    looks = [(t, True, 10 * t, t in (5, 200)) for t in range(0, 400, 5)]
    assert told(looks) == [(65, 60, 600), (260, 60, 600)]


def test_a_feature_that_no_pack_scores_is_told() -> None:
    assert told([(t, True, t, False) for t in range(0, 100, 10)]) == [(60, 60, 60)]


def test_a_server_without_requests_is_not_silent() -> None:
    busy = [(t, True, t, False) for t in range(0, 50, 10)]  # 40 s
    idle = [(t, False, 40, False) for t in range(50, 5000, 10)]
    again = [(t, True, 40 + t - 5000, False) for t in range(5000, 5100, 10)]
    assert told(busy + idle) == []
    assert told(busy + idle + again) == [(5010, 60, 50)]


def test_a_request_that_waits_for_its_first_token_misses_no_score() -> None:
    waiting = [(t, True, 500, False) for t in range(0, 300, 10)]
    assert told(waiting) == []
    assert told([*waiting, (300, True, 501, False)]) == [(300, 300, 1)]


def test_what_was_served_before_the_first_look_is_not_its_business() -> None:
    assert told([(0, True, 10**9, False), (60, True, 10**9, False)]) == []


def test_a_score_at_the_last_moment_ends_it() -> None:
    looks = [
        (0, True, 0, False),
        (59, True, 9, True),
        (118, True, 18, False),
        (119, True, 19, False),
    ]
    assert told(looks) == [(119, 60, 10)]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.integers(0, 5), st.booleans())),
    st.integers(30, 90),
)
def test_it_is_told_exactly_where_the_time_with_requests_since_the_last_score_adds_up(
    steps: list[tuple[int, bool, int, bool]], for_s: int
) -> None:
    """Against the whole past, looked through anew at each look."""
    at = served = 0
    looks: list[Look] = []
    for seconds, requests, tokens, scored in steps:
        at, served = at + seconds, served + tokens
        looks.append((at, requests, served, scored))
    expected = []
    for i, look in enumerate(looks):
        last = max((j for j in range(i + 1) if j == 0 or looks[j][3]), default=0)

        def lasted(upto: int, last: int = last) -> tuple[int, int]:
            past = range(last + 1, upto + 1)
            seconds = sum(looks[j][0] - looks[j - 1][0] for j in past if looks[j][1])
            return seconds, looks[upto][2] - looks[last][2]

        enough = [lasted(j)[0] >= for_s and lasted(j)[1] > 0 for j in range(last, i + 1)]
        if i > last and enough[-1] and not any(enough[:-1]):
            expected.append((look[0], *lasted(i)))
    assert told(looks, for_s) == expected


def test_the_answer_is_a_record_of_plain_numbers() -> None:
    silence = Silence(S)
    silence.look(0, requests=True, served=0, scored=False)
    assert silence.look(S, requests=True, served=7, scored=False) == Silent(S, 7)


def test_one_that_was_told_is_told_once_more_when_it_is_asked_to() -> None:
    silence, found = Silence(60 * S), []
    for at in range(0, 100, 10):
        if at in (30, 80):
            silence.say_again()  # at 30 nothing was said: nothing changes
        said = silence.look(at * S, requests=True, served=at, scored=False)
        found += [(at, said.for_ns // S)] if said is not None else []
    assert found == [(60, 60), (80, 80)]
