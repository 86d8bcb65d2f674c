"""Where packed scores wait to be sent: a file a chunk of the archive, below a bound, and the account of them all.

    outbox/scores-SEQUENCE-TOKENS.packed   records of what chunk SEQUENCE brought, whole
    outbox/handed                          what the archive handed over or had no place for; written by it alone
    outbox/sent                            what became of it; written by `dosimeter deliver` alone

Exactly, in tokens: handed + full + room = what the archive kept since scores are sent, and handed = sent + dropped +
waiting. It knows nothing of Kafka, nor of what is in a record.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from re import compile as pattern
from typing import TypeVar

from dosimeter.monitor.history.archive_folder import keep, write_whole

NAME = pattern(r"scores-(\d{12})-(\d{1,15})\.packed")
FRAME = struct.Struct("<III")
"""Tokens, bytes of the key, bytes of the value; then the two."""
BEHIND_BYTES = 128 << 20
"""Of what waits: beyond it the oldest are not sent any more."""
FULL_BYTES = 2 * BEHIND_BYTES
"""Nothing is added beyond it: nobody sends, nor skips."""
T = TypeVar("T", "Handed", "Sent")
SAID = frozenset({"last_ack_ns", "last_error", "last_error_ns"})
"""Fields of an account that may be null; the others are counts."""
LOOKS = 5
"""At the folder, until nothing was settled in between."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One record of the topic. tokens: scored ones in it."""

    key: bytes
    value: bytes
    tokens: int


@dataclass(frozen=True, slots=True, order=True)
class Waiting:
    """One file of the outbox."""

    sequence: int
    tokens: int
    path: Path

    @property
    def size(self) -> int:
        """In bytes; 0 for one that is gone."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0


@dataclass(frozen=True, slots=True)
class Handed:
    """In tokens. full, room: that the outbox, or the disk beside the alerts, had no place for."""

    through: int = -1  # the last chunk that is in these
    handed: int = 0
    full: int = 0
    room: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """through: the last file that is done with. at: bytes of the one after it that are settled, and `here` tokens.

    behind, room  skipped because too much waited, or because alerts need the disk
    refused       the broker refuses the record for what it is
    unreadable    the file is not whole
    closed        it waited when the configuration named no topic any more
    """

    through: int = -1
    at: int = 0
    here: int = 0
    records: int = 0
    sent: int = 0
    behind: int = 0
    room: int = 0
    refused: int = 0
    unreadable: int = 0
    closed: int = 0
    last_ack_ns: int | None = None
    last_error: str | None = None
    last_error_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """What `/status` shows, in tokens; archived = sent + waiting + what was dropped, by reason."""

    archived: int
    sent: int
    waiting: int
    dropped: Mapping[str, int]
    records: int
    last_ack_ns: int | None
    last_error: str | None
    last_error_ns: int | None


class Broken(ValueError):
    """A file of the outbox that is not whole."""


class AccountError(RuntimeError):
    """A file of the account is there and makes no sense. Both are replaced whole: somebody else was at it."""


@dataclass(slots=True)
class Outbox:
    """The folder `outbox` of an archive. room: raises OSError while the disk is needed for alerts."""

    path: Path
    room: Callable[[], None] = lambda: None
    full_bytes: int = FULL_BYTES

    # --- the archive

    def put(self, sequence: int, tokens: int, packed: Iterable[Packed]) -> None:
        """What chunk `sequence` brought, once, however often it is said. Raises OSError: say it again."""
        handed = self.handed()
        if not tokens or sequence <= handed.through:
            return
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        files = {one.sequence: one for one in self.waiting()}
        if (
            sequence in files
        ):  # we died before it was in the account; what is kept of it may be decided otherwise now
            files.pop(sequence).path.unlink()
        if not self.has_room():
            reason = "room"
        elif sum(one.size for one in files.values()) >= self.full_bytes:
            reason = "full"
        else:
            reason = "handed"
            self._write(sequence, tokens, packed)
        counts = {reason: getattr(handed, reason) + tokens}
        _save(self.path / "handed", replace(handed, through=sequence, **counts))

    def _write(self, sequence: int, tokens: int, packed: Iterable[Packed]) -> None:
        for left in self.path.glob("scores-*.part"):  # of a writer that died
            left.unlink()
        path = self.path / f"scores-{sequence:012d}-{tokens}.packed"
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            for one in packed:
                file.write(
                    FRAME.pack(one.tokens, len(one.key), len(one.value)) + one.key + one.value
                )
        keep(part, path)

    # --- delivery

    def waiting(self) -> list[Waiting]:
        """Every file that is there, the oldest first; those that are done with included, and one not in the account."""
        try:
            names = [(NAME.fullmatch(path.name), path) for path in self.path.iterdir()]
        except FileNotFoundError:
            return []
        return sorted(Waiting(int(m[1]), int(m[2]), path) for m, path in names if m)

    def has_room(self) -> bool:
        try:
            self.room()
        except OSError:
            return False
        return True

    def handed(self) -> Handed:
        """Raises AccountError, OSError."""
        return _load(self.path / "handed", Handed)

    def sent(self) -> Sent:
        """Raises AccountError, OSError."""
        return _load(self.path / "sent", Sent)

    def save(self, sent: Sent) -> None:
        """Raises OSError: as it was."""
        _save(self.path / "sent", sent)

    # --- where no topic is named any more

    def close(self) -> int:
        """What waits goes, and is counted: returns its tokens. Only while nobody else writes either account.

        Raises AccountError, OSError: again, and each is counted once.
        """
        handed, sent, files = self.handed(), self.sent(), self.waiting()
        late = [one for one in files if one.sequence > handed.through]
        if late:  # the archive died before it was in the account, and hands on nothing any more
            here = handed.handed + sum(one.tokens for one in late)
            _save(self.path / "handed", replace(handed, through=late[-1].sequence, handed=here))
        left = [one for one in files if one.sequence > sent.through]
        tokens = sum(one.tokens for one in left) - (sent.here if left else 0)
        if left:
            over = replace(sent, through=left[-1].sequence, at=0, here=0)
            closed = sent.closed + tokens
            self.save(replace(over, closed=closed, last_error=None, last_error_ns=None))
        for path in (*(one.path for one in files), *self.path.glob("scores-*.part")):
            path.unlink(missing_ok=True)
        return tokens

    # --- whoever asks

    def account(self) -> Account | None:
        """None where scores were never sent. Raises AccountError, OSError."""
        for _ in range(LOOKS):
            sent, handed, files = self.sent(), self.handed(), self.waiting()
            if (self.sent(), self.handed()) == (sent, handed):
                break
        if handed.through < 0:
            return None
        there = [one for one in files if sent.through < one.sequence <= handed.through]
        dropped = {
            "full": handed.full,
            "room": handed.room + sent.room,
            "behind": sent.behind,
            "refused": sent.refused,
            "unreadable": sent.unreadable,
            "closed": sent.closed,
        }
        return Account(
            archived=handed.handed + handed.full + handed.room,
            sent=sent.sent,
            waiting=sum(one.tokens for one in there) - (sent.here if there else 0),
            dropped=dropped,
            records=sent.records,
            last_ack_ns=sent.last_ack_ns,
            last_error=sent.last_error,
            last_error_ns=sent.last_error_ns,
        )


def _load(path: Path, kind: type[T]) -> T:
    """As it begins where there is no file."""
    try:
        found = kind(**json.loads(path.read_bytes()))
        counts = {name: value for name, value in asdict(found).items() if name not in SAID}
        if wrong := [name for name, value in counts.items() if type(value) is not int]:
            raise TypeError(f"`{wrong[0]}` is no number")
        return found
    except FileNotFoundError:
        return kind()
    except (ValueError, TypeError, RecursionError) as error:
        hint = "stop the sidecar and remove its folder: what waits there is not sent"
        raise AccountError(f"{path}: no account of scores: {error}\n  hint: {hint}") from None


def _save(path: Path, account: Handed | Sent) -> None:
    write_whole(path, json.dumps(asdict(account)).encode())


def read_packed(path: Path, at: int, most: int) -> Iterator[tuple[Packed, int]]:
    """At most so many records from byte `at` on, each with where the next one begins. Raises Broken, OSError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(at)
        for _ in range(most):
            head = file.read(FRAME.size)
            if not head:
                return
            if len(head) < FRAME.size:
                raise Broken(f"{path}:{at}: {len(head)} bytes are no record")
            tokens, key, value = FRAME.unpack(head)
            end = at + FRAME.size + key + value
            if end > size:
                raise Broken(f"{path}:{at}: {size - at} bytes of {end - at}")
            body, at = file.read(key + value), end
            yield Packed(body[:key], body[key:], tokens), at
