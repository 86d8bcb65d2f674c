"""The log as it lies on disk: what is written, what a crash leaves, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dosimeter.monitor.history.lock import AlreadyWriting
from dosimeter.monitor.tlog import tiles
from dosimeter.monitor.tlog.files import Files
from dosimeter.monitor.tlog.merkle import leaf_hash, tree_hash
from dosimeter.monitor.tlog.note import Checkpoint, Signer
from dosimeter.monitor.tlog.writer import LogConflict, LogDamaged, LogError, LogWriter

SIGNER = Signer.generate("example.org/log")
LEAVES = [f"entry {n}".encode() * (n % 3 + 1) for n in range(70_000)]


def root(size: int) -> bytes:
    return tree_hash(b"".join(map(leaf_hash, LEAVES[:size])))


def written(folder: Path, *sizes: int) -> None:
    """A log with a checkpoint at each of these sizes."""
    with LogWriter(folder, SIGNER) as log:
        for size in sizes:
            log.append(log.size, LEAVES[log.size : size])
            log.checkpoint()


def kept(folder: Path) -> list[Checkpoint]:
    lines = (folder / "checkpoints").read_text().splitlines(keepends=True)
    return [Checkpoint.open(note, SIGNER.verifier) for note in tiles.split_notes(lines)]


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in (folder / "tile").rglob("*") if p.is_file()}


def test_the_files_of_the_specifications_tree_of_70000(tmp_path: Path) -> None:
    written(tmp_path, 70_000)
    found = files(tmp_path)
    assert len([name for name in found if name.startswith("tile/0/")]) == 274
    assert {n for n in found if not n.startswith(("tile/0/", "tile/entries/"))} == {
        "tile/1/000",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    }
    assert {"tile/0/272", "tile/0/273.p/112", "tile/entries/273.p/112"} <= found
    assert tiles.unpack((tmp_path / "tile/entries/001").read_bytes()) == LEAVES[256:512]
    note = (tmp_path / "checkpoint").read_text()
    assert Checkpoint.open(note, SIGNER.verifier) == Checkpoint(SIGNER.name, 70_000, root(70_000))


def test_every_checkpoint_is_kept_and_partial_tiles_go_once_the_whole_one_is_there(
    tmp_path: Path,
) -> None:
    written(tmp_path, 3, 100)
    assert files(tmp_path) == {
        f"tile/{part}/000.p/{width}" for part in ("0", "entries") for width in (3, 100)
    }
    written(tmp_path, 256, 300)
    assert files(tmp_path) == {
        *(f"tile/{part}/000" for part in ("0", "entries")),
        *(f"tile/{part}/001.p/44" for part in ("0", "entries")),
        "tile/1/000.p/1",
    }
    assert [(c.size, c.root) for c in kept(tmp_path)] == [(n, root(n)) for n in (3, 100, 256, 300)]


def test_an_empty_log_can_be_signed(tmp_path: Path) -> None:
    written(tmp_path, 0)
    assert kept(tmp_path) == [Checkpoint(SIGNER.name, 0, tree_hash(b""))]
    written(tmp_path, 5)
    assert kept(tmp_path)[-1].size == 5


def test_nothing_new_is_no_new_checkpoint_but_other_extension_lines_are(tmp_path: Path) -> None:
    with LogWriter(tmp_path, SIGNER) as log:
        log.append(0, LEAVES[:5])
        assert log.checkpoint(["time 1"]) == log.checkpoint(["time 1"])
        log.checkpoint(["time 2"])
    assert [c.extensions for c in kept(tmp_path)] == [("time 1",), ("time 2",)]


def test_entries_given_again_must_be_the_same(tmp_path: Path) -> None:
    written(tmp_path, 600)
    with LogWriter(tmp_path, SIGNER) as log:
        log.append(100, LEAVES[100:700])
        log.append(690, LEAVES[690:695])
        assert log.size == 700
        for index in (0, 255, 256, 599, 699):
            with pytest.raises(LogConflict, match=f"entry `{index}` is another"):
                log.append(index, [b"another"])
        with pytest.raises(LogError, match="entries 700 to 700 were left out"):
            log.append(701, [b"later"])
        with pytest.raises(LogError, match="an entry of 65536 bytes"):
            log.append(700, [bytes(65536)])
        log.append(700, [bytes(65535)])
        assert log.size == 701


def test_two_writers_on_one_log_are_refused(tmp_path: Path) -> None:
    with LogWriter(tmp_path, SIGNER), pytest.raises(AlreadyWriting):
        LogWriter(tmp_path, SIGNER)
    LogWriter(tmp_path, SIGNER).close()


TORN = "example.org/log\n77\nAAAA\n\n— example.org/l"


class Crash(BaseException):
    """What no code of the writer can be prepared for."""


@pytest.mark.parametrize("half_done", [False, True])
def test_a_crash_at_any_file_is_healed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half_done: bool
) -> None:
    sizes = (3, 256, 300)
    left = 0

    def step(files: Files, act: str, name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            if half_done and act == "append":
                with (files.folder / name).open("ab") as torn:
                    torn.write(TORN.encode())
            elif half_done:
                (files.folder / "unfinished").write_bytes(b"half of it")
            raise Crash

    for act in ("write", "publish", "append"):
        real = getattr(Files, act)

        def dying(
            self: Files, name: str, *rest: object, act: str = act, real: object = real
        ) -> None:
            step(self, act, name)
            real(self, name, *rest)  # type: ignore[operator]

        monkeypatch.setattr(Files, act, dying)
    crashes = 0
    while True:
        folder = tmp_path / str(crashes)
        left = crashes
        try:
            written(folder, *sizes)
            break
        except Crash:
            left = 10_000
        notes = folder / "checkpoints"
        before = notes.read_text().removesuffix(TORN) if notes.exists() else ""
        written(folder, *sizes)
        assert kept(folder)[-1].root == root(300)
        assert notes.read_text().startswith(before), "what was signed stays"
        assert not (folder / "unfinished").exists()
        crashes += 1
    assert crashes == 4 + 5 + 5, "files of tile/, the kept notes and the published one"


@pytest.mark.parametrize("torn", [b"", b"\0" * 1000, b"\0\7entry"])
def test_whole_tiles_torn_by_a_power_cut_after_the_last_checkpoint_are_written_again(
    tmp_path: Path, torn: bytes
) -> None:
    written(tmp_path, 300)
    with LogWriter(tmp_path, SIGNER) as log:
        log.append(300, LEAVES[300:1100])
    for name in ("tile/entries/001", "tile/0/002", "tile/entries/003"):
        (tmp_path / name).write_bytes(torn)
    with LogWriter(tmp_path, SIGNER) as log:
        assert log.size == 300
        log.append(300, LEAVES[300:1100])
        assert Checkpoint.open(log.checkpoint(), SIGNER.verifier).root == root(1100)
    assert (tmp_path / "tile/entries/001").read_bytes() == tiles.pack(LEAVES[256:512])


def test_other_entries_than_those_written_after_the_last_checkpoint_are_a_conflict(
    tmp_path: Path,
) -> None:
    written(tmp_path, 300)
    with LogWriter(tmp_path, SIGNER) as log:
        log.append(300, LEAVES[300:600])
    with LogWriter(tmp_path, SIGNER) as log, pytest.raises(LogConflict) as conflict:
        log.append(300, [*LEAVES[300:400], b"another", *LEAVES[401:600]])
    assert conflict.value.index == 400


def test_without_checkpoints_old_entries_are_not_overwritten(tmp_path: Path) -> None:
    written(tmp_path, 300)
    (tmp_path / "checkpoint").unlink()
    (tmp_path / "checkpoints").unlink()
    with LogWriter(tmp_path, SIGNER) as log, pytest.raises(LogConflict, match="entry `0`"):
        log.append(0, [b"another history"] * 300)


def test_a_checkpoint_over_more_than_the_tiles_hold_is_refused(tmp_path: Path) -> None:
    written(tmp_path, 100, 300)
    for name in ("tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"):
        saved = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        with pytest.raises(LogDamaged, match=f"{name}: missing, though the checkpoint names 300"):
            LogWriter(tmp_path, SIGNER)
        (tmp_path / name).write_bytes(saved)
    LogWriter(tmp_path, SIGNER).close()


def test_tiles_or_entries_that_do_not_give_the_signed_root_are_refused(tmp_path: Path) -> None:
    written(tmp_path, 300)
    for name, why in (
        ("tile/0/001.p/44", "do not give the root"),
        ("tile/1/000.p/1", "do not give the root"),
        ("tile/entries/001.p/44", "not those of the tile"),
    ):
        saved = (tmp_path / name).read_bytes()
        for spoiled in (saved[:-1], saved[:-1] + bytes([saved[-1] ^ 1])):
            (tmp_path / name).write_bytes(spoiled)
            with pytest.raises(LogDamaged, match=why):
                LogWriter(tmp_path, SIGNER)
        (tmp_path / name).write_bytes(saved)
    LogWriter(tmp_path, SIGNER).close()


def test_checkpoints_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "a", 100, 300)
    with LogWriter(tmp_path / "b", SIGNER) as other:
        other.append(0, [b"another history"] * 300)
        other.checkpoint()
    shutil.copy(tmp_path / "b/checkpoint", tmp_path / "a/checkpoint")
    with pytest.raises(LogDamaged, match="two roots were signed over the same 300"):
        LogWriter(tmp_path / "a", SIGNER)


def test_kept_checkpoints_that_were_cut_back_are_refused(tmp_path: Path) -> None:
    written(tmp_path, 100, 300)
    path = tmp_path / "checkpoints"
    path.write_text(path.read_text()[:100])
    with pytest.raises(LogDamaged, match="does not hold the one over 300 entries"):
        LogWriter(tmp_path, SIGNER)
    path.unlink()
    with pytest.raises(LogDamaged, match="does not hold the one over 300 entries"):
        LogWriter(tmp_path, SIGNER)


def test_a_log_of_another_key_is_refused(tmp_path: Path) -> None:
    written(tmp_path, 10)
    with pytest.raises(LogDamaged, match="not signed by"):
        LogWriter(tmp_path, Signer.generate(SIGNER.name))


def test_nothing_is_signed_after_the_disk_refused_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(opened: int) -> None:
        raise OSError(5, "Input/output error")

    written(tmp_path, 100)
    with LogWriter(tmp_path, SIGNER) as log:
        log.append(100, LEAVES[100:300])
        with monkeypatch.context() as patched:
            patched.setattr("os.fsync", refuse)
            with pytest.raises(OSError, match="Input/output"):
                log.checkpoint()
        with pytest.raises(OSError, match="Input/output"):
            log.checkpoint()
    assert [c.size for c in kept(tmp_path)] == [100]
    written(tmp_path, 300)
    assert kept(tmp_path)[-1].root == root(300)


def test_a_full_disk_leaves_the_log_able_to_take_the_same_entries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(opened: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    with LogWriter(tmp_path, SIGNER) as log:
        log.append(0, LEAVES[:200])
        with monkeypatch.context() as patched:
            patched.setattr("os.write", full)
            with pytest.raises(OSError, match="No space left"):
                log.append(200, LEAVES[200:400])
            with pytest.raises(OSError, match="No space left"):
                log.checkpoint()
        log.append(log.size, LEAVES[log.size : 400])
        assert Checkpoint.open(log.checkpoint(), SIGNER.verifier).root == root(400)
