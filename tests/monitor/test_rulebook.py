"""The rules as they are now: what is taken over, when, and what a broken set of files changes (nothing)."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

from dosimeter.detectors.bank import Column
from dosimeter.monitor import self_test
from dosimeter.monitor.cli.sidecar import wrong_rules
from dosimeter.monitor.config import Config
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.rules.language.schema import Rule

BANK = (Column("deception", "ab" * 32, "test"),)


def rule(name: str, level: str = "z 2", status: str = "shadow", fires: bool = True) -> str:
    """Three tokens above 2: the test holds for levels from 1 to 3."""
    expect = "[{at: answer 3}]" if fires else "[]"
    return f"""\
  - rule: {name}
    when: {{feature: deception, in: answer, above: {level}, for: 3 tokens}}
    status: {status}
    severity: low
    tests:
      - name: three hot tokens
        stream: [{{answer: {{deception: "3*3"}}}}]
        expect: {expect}
    summary: "{name}"
"""


def write(file: Path, *rules: str) -> None:
    """Replaced at once, as it should be: another inode each time."""
    new = file.with_suffix(".new")
    new.write_text("version: 1\nrules:\n" + "".join(rules), encoding="utf-8")
    new.replace(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    for number in range(4):
        write(folder / f"{number}.yaml", rule(f"a-{number}"), rule(f"b-{number}"))
    return folder


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Which rules' tests were run, each time; in this process, which is quicker than another."""
    found: list[list[str]] = []

    def run(rules: list[Rule]) -> object:
        found.append([one.id for one in rules])
        return inner(rules)

    inner = self_test._run
    monkeypatch.setattr(self_test, "_run", run)
    monkeypatch.setattr(self_test, "_run_apart", run)
    return found


def names(book: Rulebook) -> set[str]:
    """What would run, placed or not."""
    program = book.compile(BANK).program
    return {one.rule for one in program.rules} | set(program.inactive)


def test_a_change_is_taken_over_once_it_has_been_the_same_for_two_looks(folder: Path) -> None:
    book = Rulebook((folder,))
    assert not book.look()
    write(folder / "0.yaml", rule("a-0", "z 2.5"), rule("b-0"))
    assert not book.look()
    write(folder / "1.yaml", rule("a-1", "z 2.5"), rule("b-1"))
    assert not book.look()
    assert book.version == 1
    assert book.look()
    assert book.changed == {"a-0": "changed", "a-1": "changed"}
    assert not book.look()


def test_what_changes_while_it_is_read_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first file may be of the old version then, and the second of the new."""
    book = Rulebook((folder,))
    write(folder / "0.yaml", rule("a-0", "z 2.5"), rule("b-0"))
    inner = self_test.SelfTest.run

    def meanwhile(*args: object, **more: object) -> None:
        write(folder / "1.yaml", rule("a-1", "z 2.5"), rule("b-1"))

    monkeypatch.setattr(self_test.SelfTest, "run", meanwhile)
    assert not book.refresh()
    assert book.version == 1
    monkeypatch.setattr(self_test.SelfTest, "run", inner)
    assert book.refresh()
    assert set(book.changed) == {"a-0", "a-1"}


def test_a_failing_test_keeps_the_last_good_rules_and_stands_in_the_error_with_its_place(
    folder: Path,
) -> None:
    book = Rulebook((folder,))
    before = book.digest
    write(folder / "2.yaml", rule("a-2"), rule("b-2", "z 4"))
    assert not book.refresh()
    assert (book.version, book.digest) == (1, before)
    assert book.error is not None
    assert f"{folder}/2.yaml:17:15: error: test `three hot tokens` of rule `b-2`" in book.error
    assert "expected answer 3; happened nothing" in book.error
    write(folder / "2.yaml", rule("a-2"), rule("b-2", "z 1"))
    assert book.refresh()
    assert book.error is None


def test_only_rules_that_changed_or_whose_tests_did_are_tested(
    folder: Path, asked: list[list[str]]
) -> None:
    book = Rulebook((folder,))
    write(folder / "0.yaml", rule("b-0"), rule("a-0", "z 1"))
    book.refresh()
    write(folder / "3.yaml", rule("a-3"), rule("b-3", fires=False))
    book.refresh()
    assert asked == [[f"{a}-{n}" for a in "ab" for n in range(4)], ["a-0"], ["b-3"]]
    assert "expected nothing; happened answer 3" in str(book.error)


def test_a_draft_may_fail_until_it_runs(folder: Path) -> None:
    book = Rulebook((folder,))
    write(folder / "0.yaml", rule("a-0", "z 4", "draft"), rule("b-0"))
    assert book.refresh()
    write(folder / "0.yaml", rule("a-0", "z 4"), rule("b-0"))
    assert not book.refresh()


def test_at_the_first_start_a_failing_test_is_refused(folder: Path, tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path / "data", rules=(folder,))
    assert wrong_rules(config) is None
    write(folder / "0.yaml", rule("a-0", fires=False))
    assert "0.yaml:8:15: error: test `three hot tokens`" in str(wrong_rules(config))


def test_a_file_that_is_no_rule_file_fills_no_status(folder: Path) -> None:
    """Twenty thousand unknown keys had been three megabytes of every answer, and more than `status` reads."""
    book = Rulebook((folder,))
    text = "".join(f"page.{n}.title: welcome\n" for n in range(300))
    (folder / "5.yaml").write_text(text)
    assert not book.refresh()
    lines = str(book.error).splitlines()
    assert lines[0].startswith(f"{folder / '5.yaml'}:1:1: error: ")
    assert sum(": error: " in line for line in lines) == 50
    assert lines[-1] == "and 252 more; `dosimeter rules lint` lists them"  # `version`, `rules`


def test_the_lock_of_an_editor_is_no_rule_file(folder: Path) -> None:
    """Emacs puts a link that leads nowhere beside a file while it is edited; a start had been refused for it."""
    whole = Rulebook((folder,))
    (folder / ".#0.yaml").symlink_to("ana@desk.4711:1764550000")
    assert not whole.refresh()
    begun = Rulebook((folder,))
    assert (begun.error, begun.digest) == (None, whole.digest)


def test_a_line_that_starts_again_and_has_no_last_good_rules_runs_those_that_fail_and_says_so(
    folder: Path,
) -> None:
    write(folder / "0.yaml", rule("a-0", fires=False))
    book = Rulebook((folder,))
    assert "a-0" in names(book)
    assert "three hot tokens" in str(book.error)
    write(folder / "1.yaml", rule("a-1", "z 1"))  # mends nothing
    assert not book.refresh()
    assert "three hot tokens" in str(book.error)


def test_tests_that_could_not_be_run_are_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Rulebook((folder,))
    write(folder / "0.yaml", rule("a-0", "z 1"))
    inner = self_test._run_apart

    def fails(_: object) -> None:
        raise self_test.NotRun("no memory")

    monkeypatch.setattr(self_test, "_run_apart", fails)
    assert not book.refresh()
    assert book.error == "no memory"
    monkeypatch.setattr(self_test, "_run_apart", inner)
    assert book.refresh()
    assert book.error is None


def test_sidecars_whose_rules_say_the_same_show_the_same_digest(folder: Path) -> None:
    one = Rulebook((folder,), time_ns=lambda: 17)
    other = folder.parent / "other.yaml"
    write(other, *(rule(f"{a}-{n}") for n in (3, 1, 0, 2) for a in "ba"))
    assert Rulebook((other,)).digest == one.digest
    assert one.changed_ns == 17
    write(other, *(rule(f"{a}-{n}") for n in (3, 1, 0) for a in "ba"), rule("c"))
    assert Rulebook((other,)).digest != one.digest


def test_which_rules_changed_is_said(folder: Path) -> None:
    times = iter(range(1, 100))
    book = Rulebook((folder,), time_ns=lambda: next(times))
    assert (book.changed_ns, book.changed) == (1, {})
    write(folder / "0.yaml", rule("a-0", "z 3"), rule("new"))
    (folder / "1.yaml").unlink()
    assert not book.refresh()  # `z 3` is not below the stream's 3: its test fails
    write(folder / "0.yaml", rule("a-0", "z 2.9"), rule("new"))
    assert book.refresh()
    assert book.changed == {
        "a-0": "changed", "a-1": "removed", "b-0": "removed", "b-1": "removed", "new": "added",
    }  # fmt: skip
    assert book.changed_ns == 2
    assert names(book) == {"a-0", "new", "a-2", "b-2", "a-3", "b-3"}


def cut_off(file: Path, rng: random.Random) -> None:
    """Anywhere inside a rule: at the end of one it is a set of rules too, only not the one that was meant."""
    text = file.read_text()
    which = rng.choice(text.split("  - rule: ")[1:])
    end = text.index(which) + rng.randrange(1, len(which) - 3)
    file.write_text(text[:end])


def other_bytes(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    at = rng.randrange(len(data))
    data[at:at] = rng.choice([b"\x00", b"\xff", b"\x1b", b"\xc3\x28", b"\r\t\x07"])
    file.write_bytes(bytes(data))


def half_copied(file: Path, rng: random.Random) -> None:
    """A rule moved to this file, and the file that had it was not replaced yet."""
    other = rng.choice([n for n in range(4) if f"{n}.yaml" != file.name])
    write(file, rule(f"a-{file.stem}"), rule(f"{rng.choice('ab')}-{other}", "z 1"))


def too_large(file: Path, rng: random.Random) -> None:
    with file.open("a") as end:
        end.write(f"# {'x' * rng.randrange(1 << 20, 1 << 21)}\n")


def leads_nowhere(file: Path, rng: random.Random) -> None:
    file.unlink()
    file.symlink_to(f"gone-{rng.random()}.yaml")


def wrong_word(file: Path, rng: random.Random) -> None:
    text = file.read_text()
    was, now = rng.choice([("status: shadow", "status: shady"), ("z 2", "2"), ("when:", "whem:")])
    file.write_text(text.replace(was, now, rng.randint(1, 2)))


def against_its_tests(file: Path, rng: random.Random) -> None:
    write(file, rule(f"a-{file.stem}"), rule(f"b-{file.stem}", f"z {rng.uniform(3.1, 9):.2f}"))


def empty(file: Path, _: random.Random) -> None:
    file.write_bytes(b"")


WAYS: tuple[Callable[[Path, random.Random], None], ...] = (
    cut_off, other_bytes, half_copied, too_large, leads_nowhere, wrong_word, against_its_tests, empty,
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_broken_and_partial_sets_of_files_change_nothing_and_are_named(
    way: Callable[[Path, random.Random], None], folder: Path
) -> None:
    """Eight ways, 25 sets each: 200. Between them the rules are changed, so that there is something to lose."""
    rng = random.Random(way.__name__)
    book = Rulebook((folder,))
    for number in range(25):
        file = folder / f"{rng.randrange(4)}.yaml"
        good, before = file.read_bytes(), (book.digest, book.version)
        way(file, rng)
        assert not book.refresh()
        assert (book.digest, book.version) == before
        assert file.name in str(book.error)
        file.unlink()
        file.write_bytes(good)
        which = rng.randrange(4)
        write(
            folder / f"{which}.yaml",
            rule(f"a-{which}", f"z {1 + number / 100:.2f}"),
            rule(f"b-{which}"),
        )
        assert book.refresh()
        assert book.error is None


EXPIRING = """\
version: 1
rules:
  - rule: old
    when: {feature: deception, in: answer, above: z 2}
    status: shadow
    severity: low
    summary: "old"
    expires: 2027-01-31
"""


@pytest.mark.parametrize("broken", ["rules: [", "not run"])
def test_a_rule_expires_on_its_day_though_its_file_is_broken_or_untested(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, day = tmp_path / "r.yaml", [date(2027, 1, 31)]
    file.write_text(EXPIRING)
    book = Rulebook((file,), today=lambda: day[0])
    assert "expired" not in book.compile(BANK).program.inactive.get("old", "")
    if broken == "not run":
        monkeypatch.setattr(self_test.SelfTest, "run", cannot)
    file.write_text(EXPIRING + f"# {broken}\n" if broken == "not run" else broken)
    assert not book.refresh()
    error, changed_ns = book.error, book.changed_ns
    day[0] = date(2027, 2, 1)
    assert book.refresh()
    program = book.compile(BANK).program
    assert (book.version, book.second[2]) == (2, day[0])
    assert program.rules == ()
    assert program.inactive["old"].startswith("it expired on 2027-01-31")
    assert (book.error, book.changed_ns) == (error, changed_ns)
    assert error is not None
    assert not book.refresh()


def cannot(*_: object, **__: object) -> None:
    raise self_test.NotRun("no memory")


def test_tests_that_cannot_be_run_are_tried_again_after_pauses_that_grow_to_ten_minutes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, tried = [0.0], list[float]()
    book = Rulebook((folder,), monotonic=lambda: now[0])

    def fails(*_: object, **__: object) -> None:
        tried.append(now[0])
        cannot()

    monkeypatch.setattr(self_test.SelfTest, "run", fails)
    write(folder / "0.yaml", rule("a-0", "z 1"))
    for half_seconds in range(1, 8000):
        now[0] = half_seconds / 2
        book.look()
    pauses = [after - before for before, after in pairwise(tried)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600, 600][: len(pauses)]
    assert len(pauses) > 11
    write(folder / "0.yaml", rule("a-0", "z 1.5"))  # other files are not made to wait
    for _ in range(2):
        now[0] += 0.5
        book.look()
    assert tried[-1] == now[0]


def test_at_the_first_start_tests_that_could_not_be_run_hold_up_no_rules_and_are_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    with monkeypatch.context() as patched:
        patched.setattr(self_test.SelfTest, "run", cannot)
        book = Rulebook((folder,), monotonic=lambda: now[0])
    assert (book.version, book.error) == (1, "no memory")
    assert "a-0" in names(book)
    assert not book.look()
    assert not book.look()  # not before the pause
    now[0] = 1.0
    assert book.look()
    assert book.error is None
