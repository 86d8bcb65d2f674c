"""The keys that have signed one log, one after the other: how trust in any of them reaches the others.

A rotation is a checkpoint that both keys have signed, with two extension lines that name them. Whoever believes either
key then believes the old one up to that size and the new one from there on, and neither beyond. It knows nothing of
where private keys are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dosimeter.monitor.tlog.note import Checkpoint, Note, NoteError, UnknownKey, Verifier

WAS, IS = "key-was ", "key-is "
"""The extension lines: each with a verifier key, `name+id+base64`."""


@dataclass(frozen=True, slots=True)
class Period:
    """One key, believed for checkpoints over first to last entries, both included; last None: up to the present."""

    verifier: Verifier
    first: int = 0
    last: int | None = None


@dataclass(frozen=True, slots=True)
class LogKeys:
    """In order of time. Stands for a `Verifier` where checkpoints are opened."""

    periods: tuple[Period, ...]

    @property
    def name(self) -> str:
        return self.current.name

    @property
    def current(self) -> Verifier:
        return self.periods[-1].verifier

    def open(self, note: str | bytes) -> Note:
        """The note, signed by the key of its size. Raises UnknownKey or NoteError."""
        found = Note.parse(note)
        size = Checkpoint.parse(found.text).size if len(self.periods) > 1 else 0
        unknown: UnknownKey | None = None
        for one in reversed(self.periods):
            if one.first <= size and (one.last is None or size <= one.last):
                try:
                    return one.verifier.open(note)
                except UnknownKey as error:
                    unknown = unknown or error
        assert unknown is not None  # periods leave out no size
        raise unknown


def extensions(old: Verifier, new: Verifier) -> tuple[str, str]:
    return WAS + old.vkey, IS + new.vkey


def log_keys(notes: Iterable[str], believed: Verifier) -> LogKeys:
    """notes: all checkpoints of the log, in order. Of those that are no rotation, or were made up, nothing follows."""
    found = [one for note in notes if f"\n{IS}" in note and (one := _rotation(note)) is not None]
    chain, ends = [believed], list[int]()
    for old, new, size in reversed(found):
        if new == chain[0]:
            chain.insert(0, old)
            ends.insert(0, size)
    for old, new, size in found:
        if old == chain[-1]:
            chain.append(new)
            ends.append(size)
    spans = zip(chain, [0, *ends], [*ends, None], strict=True)
    return LogKeys(tuple(Period(*span) for span in spans))


def _rotation(note: str) -> tuple[Verifier, Verifier, int] | None:
    try:
        checkpoint = Checkpoint.parse(Note.parse(note).text)
        was, now = (
            [
                Verifier.parse(line.removeprefix(word))
                for line in checkpoint.extensions
                if line.startswith(word)
            ]
            for word in (WAS, IS)
        )
        if len(was) != 1 or len(now) != 1 or {was[0].name, now[0].name} != {checkpoint.origin}:
            return None
        for key in (*was, *now):
            key.open(note)
    except NoteError:
        return None
    return was[0], now[0], checkpoint.size
