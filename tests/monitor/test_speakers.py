"""An epoch is no secret: whoever else speaks for it is refused, or could end other people's requests."""

from __future__ import annotations

import pytest

from dosimeter.monitor.speakers import Speakers, may_say
from dosimeter.monitor.taps.wire import Kind, WireError

SERVER, OTHER, STRANGER = (10, 500, 500), (11, 500, 500), (12, 501, 501)


def admitted(*spoken: tuple[str, tuple[int, int, int]]) -> Speakers:
    speakers = Speakers()
    for role, peer in spoken:
        speakers.admit(role, peer)
    return speakers


@pytest.mark.parametrize("role", ["tap", "tap+front"])
def test_a_tap_belongs_to_one_process(role: str) -> None:
    """It may come back on another connection, and nobody else may."""
    speakers = admitted((role, SERVER), (role, SERVER))
    with pytest.raises(WireError, match="pid 11 speaks for the server of pid 10"):
        speakers.admit(role, OTHER)


def test_a_front_of_its_own_may_be_several_processes_of_the_same_user() -> None:
    speakers = admitted(("tap", SERVER), ("front", OTHER), ("front", (13, 500, 500)))
    with pytest.raises(WireError, match="user 501 speaks for a server of user 500"):
        speakers.admit("front", STRANGER)


def test_a_front_that_came_with_the_tap_has_no_second_process() -> None:
    speakers = admitted(("tap+front", SERVER))
    with pytest.raises(WireError, match="pid 11"):
        speakers.admit("front", OTHER)


def test_a_front_may_come_first_and_then_the_tap_is_of_its_user() -> None:
    speakers = admitted(("front", OTHER))
    with pytest.raises(WireError, match="user 501"):
        speakers.admit("tap", STRANGER)
    speakers.admit("tap", SERVER)


def test_whoever_was_refused_changes_nothing() -> None:
    speakers = admitted(("tap", SERVER))
    with pytest.raises(WireError):
        speakers.admit("tap+front", OTHER)
    speakers.admit("front", OTHER)  # still a server whose front is its own
    speakers.admit("tap", SERVER)


def test_a_front_counts_and_never_ends_a_request() -> None:
    assert {kind for kind in Kind if may_say("front", kind)} == {Kind.HELLO, Kind.USAGE, Kind.BEAT}
    assert all(may_say("tap", kind) and may_say("tap+front", kind) for kind in Kind)
