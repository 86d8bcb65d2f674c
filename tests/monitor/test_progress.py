"""Long work says how far it is: redrawn on a terminal, seldom into a file, and never left half drawn."""

from __future__ import annotations

import io

from dosimeter.monitor.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def told(stream: io.StringIO, at_s: list[float]) -> str:
    clock = Clock()
    progress = Progress("replaying", clock, stream)
    for index, now in enumerate(at_s):
        clock.now = now
        progress(100 * index, 1000)
    progress.close()
    return stream.getvalue()


def test_into_a_file_a_line_comes_every_few_seconds() -> None:
    lines = told(io.StringIO(), [0.1, 1, 2, 5, 6, 7, 9.5]).splitlines()
    assert lines == [
        "replaying ██████░░░░░░░░░░░░░░ 300 of 1,000, 12 s left",
        "replaying ████████████░░░░░░░░ 600 of 1,000, 6 s left",
    ]


def test_where_nothing_is_done_yet_it_is_said_all_the_same() -> None:
    assert told(io.StringIO(), [5]) == "replaying ░░░░░░░░░░░░░░░░░░░░ 0 of 1,000\n"


def test_on_a_terminal_one_line_is_redrawn_and_removed() -> None:
    text = told(Terminal(), [1, 2])
    assert text.count("\r\x1b[K") == 3
    assert text.endswith("\r\x1b[K")
    assert "\n" not in text


def test_quick_work_says_nothing() -> None:
    assert told(Terminal(), [0.01, 0.1]) == ""
