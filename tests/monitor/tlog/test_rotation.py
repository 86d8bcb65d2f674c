"""Trust that goes from one key of a log to the next and back, and no further."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor.tlog.note import Checkpoint, NoteError, Signer, UnknownKey
from dosimeter.monitor.tlog.reader import notes_in
from dosimeter.monitor.tlog.rotation import LogKeys, extensions, log_keys
from dosimeter.monitor.tlog.verify import verify
from dosimeter.monitor.tlog.writer import LogWriter

NAME = "dosimeter/test"
A, B, C, EVIL = (Signer.generate(NAME) for _ in range(4))


def grow(folder: Path, signer: Signer, to: int, then: Signer | None = None) -> None:
    with LogWriter(folder, signer) as log:
        log.append(log.size, [b"%d" % n for n in range(log.size, to)])
        said = () if then is None else extensions(signer.verifier, then.verifier)
        log.checkpoint(said, also=then)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A signs up to 300, B from there to 600, and C from there on; each also in between."""
    for signer, to, then in (
        (A, 100, None), (A, 300, B), (B, 400, None), (B, 600, C), (C, 700, None),
    ):  # fmt: skip
        grow(tmp_path, signer, to, then)
    return tmp_path


def keys(folder: Path, believed: Signer) -> LogKeys:
    return log_keys(notes_in(folder), believed.verifier)


@pytest.mark.parametrize("believed", [A, B, C])
def test_whoever_believes_one_key_verifies_the_whole_log(folder: Path, believed: Signer) -> None:
    found = verify(folder, believed.verifier)
    assert (found.ok, found.intact, found.kept) == (True, 700, 5), found.findings
    each = [(one.verifier, one.first, one.last) for one in keys(folder, believed).periods]
    assert each == [(A.verifier, 0, 300), (B.verifier, 300, 600), (C.verifier, 600, None)]


def test_a_key_of_somebody_else_leads_nowhere(folder: Path) -> None:
    found = verify(folder, EVIL.verifier)
    assert found.checkpoint is None
    assert len(keys(folder, EVIL).periods) == 1


@pytest.mark.parametrize(("signer", "size"), [(A, 301), (A, 700), (B, 299), (B, 601), (C, 599)])
def test_no_key_is_believed_outside_its_time(folder: Path, signer: Signer, size: int) -> None:
    """Such as one that was stolen after it was replaced."""
    note = signer.sign(str(Checkpoint(NAME, size, b"\1" * 32)))
    with pytest.raises(UnknownKey):
        keys(folder, B).open(note)


def test_what_an_old_key_signs_after_its_time_is_a_finding(folder: Path) -> None:
    with (folder / "checkpoints").open("a") as file:
        file.write(A.sign(str(Checkpoint(NAME, 800, b"\1" * 32))))
    assert not verify(folder, C.verifier).ok


@pytest.mark.parametrize("missing", ["old", "new"])
def test_a_change_that_one_of_both_has_not_signed_is_none(tmp_path: Path, missing: str) -> None:
    grow(tmp_path, A, 10)
    text = str(Checkpoint(NAME, 20, b"\1" * 32, extensions(A.verifier, EVIL.verifier)))
    signer = EVIL if missing == "old" else A
    made = log_keys([*notes_in(tmp_path), signer.sign(text)], A.verifier)
    assert [one.verifier for one in made.periods] == [A.verifier]


def test_a_change_to_the_key_of_another_log_is_none(tmp_path: Path) -> None:
    other = Signer.generate("dosimeter/other")
    text = str(Checkpoint(NAME, 20, b"\1" * 32, extensions(A.verifier, other.verifier)))
    made = log_keys([A.sign(text) + other.line(text)], A.verifier)
    assert made.current == A.verifier


def test_what_is_no_checkpoint_is_no_note_of_it(folder: Path) -> None:
    with pytest.raises(NoteError):
        keys(folder, A).open(A.sign("some text\n"))
