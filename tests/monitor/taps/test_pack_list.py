"""The list of packs that a tap follows: who may have written it, what it may say, and when it is loaded.

A pack decides what is seen at all, so the list is as good as a switch: each way for somebody else to turn it is tried.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dosimeter.detectors.findings import InputError
from dosimeter.detectors.pack import Pack, save_pack
from dosimeter.monitor.taps import pack_list
from dosimeter.monitor.taps.pack_list import PackList
from dosimeter.monitor.taps.settings import TapSettings

from .conftest import Small, pack_of

OTHER = {"scam": 0.25, "hedging": 0.5}


@pytest.fixture(scope="module")
def other(small: Small, tmp_path_factory: pytest.TempPathFactory) -> tuple[Pack, Path]:
    """A second pack for the same model, and where it lies."""
    folder = tmp_path_factory.mktemp("other") / "pack"
    pack = pack_of(small.model(), small.folder, OTHER, seed=9, name="small/other")
    save_pack(pack, folder)
    return pack, folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    return folder / "packs"


def listed(path: Path, *lines: str, mode: int = 0o644) -> None:
    """As an editor that replaces the file."""
    new = path.with_name("new")
    new.write_text("".join(f"{line}\n" for line in lines))
    new.chmod(mode)
    new.replace(path)


def test_the_lines_of_a_list_name_packs_in_their_order(
    path: Path, small: Small, other: tuple[Pack, Path]
) -> None:
    first = pack_list.pinned(small.pack, small.pack_folder)
    second = pack_list.pinned(*other)
    listed(path, "# of November", first, "", f"  {second}")
    assert pack_list.read(path) == (first, second)
    assert first == f"{small.pack_folder}@sha256:{small.pack.digest}"
    assert [pack_list.load(line).digest for line in (first, second)] == [
        small.pack.digest,
        other[0].digest,
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["packs/core@sha256:" + "0" * 64], r"packs:1:1: .*names no pack"),
        (["# fine", "/packs/core"], r"packs:2:1: .*names no pack.*\n.*`dosimeter packs` does"),
        (["/packs/core@sha256:" + "0" * 63], "names no pack"),
        (["# nothing"], "names no pack"),
        ([f"# {'x' * (64 << 10)}"], "over 65536 bytes"),
    ],
)
def test_what_is_no_list_is_refused_with_its_place(path: Path, lines: list[str], said: str) -> None:
    listed(path, *lines)
    with pytest.raises(InputError, match=said):
        pack_list.read(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_list_or_refused_in_words(path: Path, data: bytes) -> None:
    path.write_bytes(data + b"\n/p@sha256:" + b"0" * 64)
    path.chmod(0o644)
    try:
        lines = pack_list.read(path)
    except InputError:
        return
    assert lines[-1] == f"/p@sha256:{'0' * 64}"
    for line in lines:
        with pytest.raises(InputError):  # there is no such folder, whatever its name
            pack_list.load(line)


def test_a_pack_that_was_exchanged_behind_its_list_is_not_the_one_that_was_listed(
    small: Small, other: tuple[Pack, Path], tmp_path: Path
) -> None:
    """Whoever fits packs may write into their folder; what is scored is for whoever writes the list to say."""
    save_pack(small.pack, tmp_path / "core")
    line = pack_list.pinned(small.pack, tmp_path / "core")
    assert pack_list.load(line).digest == small.pack.digest
    save_pack(other[0], tmp_path / "core")
    with pytest.raises(InputError, match=f"the list says {small.pack.digest[:12]}"):
        pack_list.load(line)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.chmod(0o646), r"packs: .*others may write it \(mode 0646\)"),
        (lambda path: path.chmod(0o664), r"packs: .*others may write it \(mode 0664\)"),
        (lambda path: path.parent.chmod(0o777), r"etc: .*others may write it \(mode 0777\)"),
        (lambda path: path.parent.chmod(0o775), r"etc: .*\n.*hint: chmod go-w "),
    ],
)
def test_a_list_that_somebody_else_may_write_is_not_followed(
    path: Path, small: Small, change: Callable[[Path], None], said: str
) -> None:
    listed(path, pack_list.pinned(small.pack, small.pack_folder))
    assert pack_list.read(path)
    change(path)
    with pytest.raises(InputError, match=said):
        pack_list.read(path)


def test_a_list_of_another_user_than_the_servers_is_not_followed(
    path: Path, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(path, pack_list.pinned(small.pack, small.pack_folder))
    found = path.stat()
    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result((*found[:4], 4242, *found[5:10])))
    with pytest.raises(InputError, match="is user 4242's, not root's nor the server's own"):
        pack_list.read(path)


def test_a_list_may_lie_in_a_sticky_folder_and_behind_the_links_of_a_mounted_configuration(
    path: Path, small: Small
) -> None:
    """As Kubernetes mounts one: the volume's own folder is anybody's, and read-only; what it links to is not."""
    line = pack_list.pinned(small.pack, small.pack_folder)
    (path.parent / "..2026").mkdir(mode=0o755)
    listed(path.parent / "..2026" / "packs", line)
    (path.parent / "..data").symlink_to("..2026")
    path.symlink_to(Path("..data") / "packs")
    path.parent.chmod(0o777)
    assert pack_list.read(path) == (line,)
    (path.parent / "..2026").chmod(0o1777)
    assert pack_list.read(path) == (line,)
    (path.parent / "..2026").chmod(0o777)
    with pytest.raises(InputError, match=r"\.\.2026: .*others may write it"):
        pack_list.read(path)


@dataclass
class Followed:
    """A list, and what was asked of a tap because of it. refuses: what the tap says to any packs."""

    path: Path
    loaded: list[list[str]] = field(default_factory=list)  # digests
    said: list[str | None] = field(default_factory=list)
    refuses: Exception | None = None

    def __post_init__(self) -> None:
        self.list = PackList(self.path, self._load, self.said.append)

    def _load(self, packs: Sequence[Pack]) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.loaded.append([pack.digest for pack in packs])


@pytest.fixture
def followed(path: Path, small: Small, monkeypatch: pytest.MonkeyPatch) -> Followed:
    """Begun with the small model's pack, and only this test looks."""
    monkeypatch.setattr(pack_list, "LOOK_S", 1e6)
    listed(path, pack_list.pinned(small.pack, small.pack_folder))
    found = Followed(path)
    found.list.begin([small.pack.digest])
    found.list.look()
    assert (found.loaded, found.said) == ([], [])
    return found


def test_another_list_is_loaded_once_and_the_same_again_is_not(
    followed: Followed, small: Small, other: tuple[Pack, Path]
) -> None:
    mine, theirs = pack_list.pinned(small.pack, small.pack_folder), pack_list.pinned(*other)
    listed(followed.path, theirs)
    followed.list.look()
    followed.list.look()
    listed(followed.path, "# the same", theirs)
    followed.list.look()
    assert followed.loaded == [[other[0].digest]]
    listed(followed.path, mine)
    followed.list.look()
    assert followed.loaded == [[other[0].digest], [small.pack.digest]]
    assert followed.said == []


def test_what_is_refused_is_said_once_with_its_reason_and_taken_back_when_it_is_mended(
    followed: Followed, other: tuple[Pack, Path]
) -> None:
    listed(followed.path, pack_list.pinned(*other), mode=0o666)
    followed.list.look()
    followed.list.look()
    (reason,) = followed.said
    assert "others may write it (mode 0666)" in str(reason)
    assert followed.loaded == []
    followed.path.chmod(0o644)
    followed.list.look()
    assert followed.loaded == [[other[0].digest]]
    assert followed.said == [reason, None]


def test_a_folder_that_was_mended_is_looked_at_again(
    followed: Followed, other: tuple[Pack, Path]
) -> None:
    followed.path.parent.chmod(0o777)
    listed(followed.path, pack_list.pinned(*other))
    followed.list.look()
    assert (followed.loaded, len(followed.said)) == ([], 1)
    followed.path.parent.chmod(0o755)
    followed.list.look()
    assert followed.loaded == [[other[0].digest]]


def test_a_list_that_is_gone_and_packs_that_the_tap_refuses_leave_what_is_there(
    followed: Followed, small: Small, other: tuple[Pack, Path]
) -> None:
    followed.path.unlink()
    followed.list.look()
    assert "cannot be read: no such file" in str(followed.said[-1])
    followed.refuses = ValueError("no room")
    listed(followed.path, pack_list.pinned(*other))
    followed.list.look()
    assert followed.said[-1] == "no room"
    listed(followed.path, pack_list.pinned(small.pack, small.pack_folder))
    followed.list.look()
    assert (followed.loaded, followed.said[-1]) == ([], None)


def test_a_tap_that_begins_anew_is_held_against_the_list_again(
    followed: Followed, small: Small, other: tuple[Pack, Path]
) -> None:
    """The model was loaded again, with what its list named then."""
    followed.list.begin([other[0].digest])
    followed.list.look()
    assert followed.loaded == [[small.pack.digest]]


def test_settings_get_the_packs_of_their_list_unless_they_have_some(
    path: Path, small: Small
) -> None:
    """The first process of a server reads the list; those that it starts take what it found."""
    line = pack_list.pinned(small.pack, small.pack_folder)
    listed(path, line)
    settings = pack_list.resolved(TapSettings("s", pack_list=str(path)))
    assert settings.packs == (line,)
    path.unlink()
    assert pack_list.resolved(settings) == settings
    assert pack_list.resolved(TapSettings("s")).packs == ()
