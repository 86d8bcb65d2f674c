"""What anchors hold: what is of this log and signed, and what is odd is said."""

from __future__ import annotations

from dataclasses import dataclass, field

from dosimeter.monitor.audit.checks.anchored import read_anchors
from dosimeter.monitor.tlog.note import Checkpoint, Signer

OURS, THEIRS = Signer.generate("log/one"), Signer.generate("log/two")


def signed(signer: Signer, size: int, name: str = "log/one") -> str:
    return signer.sign(str(Checkpoint(name, size, bytes(32))))


@dataclass
class Held:
    """An anchor as somebody else wrote it."""

    found: list[str] = field(default_factory=list)
    fails: Exception | None = None
    name: str = "held"
    outside: bool = True
    readable: bool = True

    def notes(self) -> list[str]:
        if self.fails is not None:
            raise self.fails
        return self.found


def test_checkpoints_of_the_log_are_given_with_their_signature_checked() -> None:
    (one,) = read_anchors([Held([signed(OURS, 3), signed(OURS, 9)])], OURS.verifier)
    assert [c.size for c in one.checkpoints] == [3, 9]
    assert (one.name, one.outside, one.wrong, one.error) == ("held", True, 0, "")


def test_a_note_in_the_name_of_the_log_that_its_key_did_not_sign_is_wrong() -> None:
    other = Signer.generate("log/one")
    flipped = signed(OURS, 3).replace("\n3\n", "\n4\n")
    (one,) = read_anchors([Held([signed(OURS, 3), signed(other, 9), flipped])], OURS.verifier)
    assert ([c.size for c in one.checkpoints], one.wrong) == ([3], 2)


def test_notes_of_other_logs_do_not_concern_it_unless_there_is_nothing_else() -> None:
    foreign = signed(THEIRS, 5, "log/two")
    one, other, none = read_anchors(
        [Held([foreign, signed(OURS, 3), "no note"]), Held([foreign]), Held()], OURS.verifier
    )
    assert ([c.size for c in one.checkpoints], one.wrong, one.error) == ([3], 0, "")
    assert other.error == "holds nothing of `log/one`, but of log/two: was the key swapped?"
    assert none.error == "holds nothing yet"


def test_one_that_cannot_be_read_keeps_no_other_from_being_asked() -> None:
    away, blind, there = read_anchors(
        [Held(fails=OSError("no route")), Held(readable=False), Held([signed(OURS, 3)])],
        OURS.verifier,
    )
    assert away.error == "cannot be read: no route"
    assert blind.error.startswith("is read by other means")
    assert len(there.checkpoints) == 1
