"""The outbox: bounded, in the account to the token, and the same whatever dies and is done again."""

from __future__ import annotations

import contextlib
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.scores import outbox as outboxes
from dosimeter.monitor.scores.outbox import (
    FRAME,
    Account,
    AccountError,
    Broken,
    Outbox,
    Packed,
    Sent,
    read_packed,
)


def packed(sequence: int, count: int, tokens: int = 3) -> list[Packed]:
    return [Packed(b"key", f"{sequence}.{n}".encode(), tokens) for n in range(count)]


def account(outbox: Outbox) -> Account:
    found = outbox.account()
    assert found is not None
    assert found.archived == found.sent + found.waiting + sum(found.dropped.values())
    return found


def test_what_was_put_is_read_back_in_its_order(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    outbox.put(4, 9, packed(4, 3))
    outbox.put(7, 6, packed(7, 2))
    first, second = outbox.waiting()
    assert [one for one, _ in read_packed(first.path, 0, 9)] == packed(4, 3)
    assert [(one.sequence, one.tokens) for one in (first, second)] == [(4, 9), (7, 6)]
    (_, end), *_ = read_packed(first.path, 0, 1)
    assert [one for one, _ in read_packed(first.path, end, 9)] == packed(4, 3)[1:]
    assert account(outbox).waiting == 15


def test_a_chunk_that_is_read_again_after_a_crash_is_counted_once(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    outbox.put(4, 9, packed(4, 3))
    outbox.put(4, 9, packed(4, 3))
    assert (account(outbox).archived, account(outbox).waiting) == (9, 9)


def test_a_file_that_is_there_before_its_account_is_taken_into_it(tmp_path: Path) -> None:
    """Killed between the two: until the chunk is read again nobody counts, nor sends, what is in the file."""
    outbox = Outbox(tmp_path / "outbox")
    outbox.put(1, 3, packed(1, 1))
    before = (outbox.path / "handed").read_bytes()
    outbox.put(2, 9, packed(2, 3))
    (outbox.path / "handed").write_bytes(before)
    assert (account(outbox).archived, account(outbox).waiting) == (3, 3)
    outbox.put(2, 9, packed(2, 3))
    assert (account(outbox).archived, account(outbox).waiting) == (12, 12)


def test_killed_in_the_middle_of_a_file_nothing_of_it_is_left(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")

    def dies() -> Iterator[Packed]:
        yield from packed(1, 2)
        raise MemoryError

    with pytest.raises(MemoryError):
        outbox.put(1, 9, dies())
    assert (outbox.waiting(), outbox.account()) == ([], None)
    outbox.put(1, 9, packed(1, 3))
    assert sorted(path.name for path in outbox.path.iterdir()) == [
        "handed",
        "scores-000000000001-9.packed",
    ]


def test_nobody_sends_and_it_is_full(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", full_bytes=1)
    outbox.put(1, 9, packed(1, 3))
    outbox.put(2, 6, packed(2, 2))
    assert account(outbox).dropped["full"] == 6
    assert [one.sequence for one in outbox.waiting()] == [1]


def test_where_alerts_need_the_disk_nothing_is_added(tmp_path: Path) -> None:
    def none() -> None:
        raise OSError(28, "scores give way")

    outbox = Outbox(tmp_path / "outbox", none)
    outbox.put(1, 9, packed(1, 3))
    assert account(outbox).dropped["room"] == 9
    assert outbox.waiting() == []


def test_what_the_archive_kept_nothing_of_leaves_no_trace(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    outbox.put(1, 0, [])
    assert outbox.account() is None
    assert not outbox.path.exists()


def test_it_is_nobody_elses_to_read(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    outbox.put(1, 3, packed(1, 1))
    assert outbox.path.stat().st_mode & 0o077 == 0


def test_a_file_that_is_cut_anywhere_is_broken(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    outbox.put(1, 6, packed(1, 2))
    (file,) = outbox.waiting()
    whole = file.size
    ends = {0, *(end for _, end in read_packed(file.path, 0, 9))}
    for size in set(range(whole)) - ends:
        os.truncate(file.path, size)
        with pytest.raises(Broken, match="scores-0000"):
            list(read_packed(file.path, 0, 9))
        file.path.unlink()
        outbox._write(1, 6, packed(1, 2))


def test_an_account_that_makes_no_sense_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    outbox.put(1, 3, packed(1, 1))
    (outbox.path / "sent").write_text('{"later": 1}')
    with pytest.raises(AccountError, match=r"sent: no account of scores: .*later.*\n  hint: stop"):
        outbox.account()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"sent": "3"}',
        '{"through": null}',
        '{"at": 1.5}',
        '{"here": true}',
    ],
)
def test_whatever_stands_in_an_account_is_one_or_that_error(text: str, tmp_path: Path) -> None:
    """Delivery asks once a second, and alerts are its work."""
    outbox = Outbox(tmp_path / "outbox")
    outbox.put(1, 3, packed(1, 1))
    (outbox.path / "sent").write_text(text)
    with pytest.raises(AccountError):
        outbox.account()


def test_a_chunk_that_is_decided_otherwise_after_a_crash_is_what_its_account_says(
    tmp_path: Path,
) -> None:
    """Another `archive.sample` before the start after a kill: tokens were accounted for that no file had."""
    outbox = Outbox(tmp_path / "outbox")
    outbox.put(1, 3, packed(1, 1))
    before = (outbox.path / "handed").read_bytes()
    outbox.put(2, 9, packed(2, 3))
    (outbox.path / "handed").write_bytes(before)
    outbox.put(2, 6, packed(2, 2))
    assert (account(outbox).archived, account(outbox).waiting) == (9, 9)
    _, file = outbox.waiting()
    assert [one for one, _ in read_packed(file.path, 0, 9)] == packed(2, 2)


def test_lengths_that_a_file_does_not_have_are_not_asked_memory_for(tmp_path: Path) -> None:
    """8 GiB had been, where two lengths were overwritten; without so much the file was tried again for ever."""
    outbox = Outbox(tmp_path / "outbox")
    outbox.put(1, 3, packed(1, 1))
    (file,) = outbox.waiting()
    file.path.write_bytes(FRAME.pack(3, 0xFFFFFFFF, 0xFFFFFFFF) + b"x")
    tracemalloc.start()
    with pytest.raises(Broken, match="13 bytes of 8589934602"):
        list(read_packed(file.path, 0, 9))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20


def test_closed_nothing_waits_and_each_token_is_counted_once(tmp_path: Path) -> None:
    """Also what was settled of the first file, and a file that was there before its account."""
    outbox = Outbox(tmp_path / "outbox")
    outbox.put(1, 9, packed(1, 3))
    outbox.put(2, 6, packed(2, 2))
    before = (outbox.path / "handed").read_bytes()
    outbox.put(5, 12, packed(5, 4))
    (outbox.path / "handed").write_bytes(before)
    (outbox.path / "scores-000000000007-3.packed.part").write_bytes(b"of a writer that died")
    outbox.save(Sent(at=30, here=3, sent=3, records=1, last_error="away", last_error_ns=1))
    assert outbox.close() == 6 + 6 + 12
    found = account(outbox)
    assert (found.archived, found.sent, found.waiting, found.dropped["closed"]) == (27, 3, 0, 24)
    assert found.last_error is None
    assert sorted(path.name for path in outbox.path.iterdir()) == ["handed", "sent"]
    assert outbox.close() == 0
    outbox.put(9, 3, packed(9, 1))  # a topic is named again
    assert (account(outbox).archived, account(outbox).waiting) == (30, 3)


@pytest.mark.parametrize("call", range(5))
def test_killed_while_it_closes_it_goes_on_and_counts_each_token_once(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each of the files that it writes, or removes."""
    outbox = Outbox(tmp_path / "outbox")
    outbox.put(1, 9, packed(1, 3))
    before = (outbox.path / "handed").read_bytes()
    outbox.put(2, 6, packed(2, 2))
    (outbox.path / "handed").write_bytes(before)
    left = [call]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(5, "killed")
            return real(*args, **named)

        return act

    with monkeypatch.context() as patched:
        patched.setattr(outboxes, "_save", dying(outboxes._save))
        patched.setattr(Path, "unlink", dying(Path.unlink))
        with contextlib.suppress(OSError):
            outbox.close()
    assert account(outbox).archived in {9, 15}
    outbox.close()
    found = account(outbox)
    assert (found.archived, found.waiting, found.dropped["closed"]) == (15, 0, 15)
    assert outbox.waiting() == []
