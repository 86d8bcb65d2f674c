"""Every manipulation is found, and where; clean logs raise no alarm, whatever moment they are in."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.tlog import findings, tiles
from dosimeter.monitor.tlog.findings import Kind, Verdict
from dosimeter.monitor.tlog.merkle import leaf_hash, tree_hash
from dosimeter.monitor.tlog.note import Checkpoint, Signer
from dosimeter.monitor.tlog.verify import verify
from dosimeter.monitor.tlog.writer import LogWriter

SIGNER = Signer.generate("example.org/log")
LEAVES = [f"entry {n:06}".encode() for n in range(2000)]
SIZES = (100, 300, 512, 700, 1500)
WIDE = 66_000


def make(folder: Path, sizes: Sequence[int], leaves: Sequence[bytes], signer: Signer) -> None:
    with LogWriter(folder, signer) as log:
        for size in sizes:
            log.append(log.size, leaves[log.size : size])
            log.checkpoint()


def at(size: int, leaves: Sequence[bytes] = LEAVES) -> Checkpoint:
    return Checkpoint(SIGNER.name, size, tree_hash(b"".join(map(leaf_hash, leaves[:size]))))


def check(folder: Path, **options: object) -> Verdict:
    return verify(folder, SIGNER.verifier, **options)  # type: ignore[arg-type]


def places(verdict: Verdict) -> list[tuple[Kind, int | None, int | None]]:
    return [(f.kind, f.first, f.last) for f in verdict.findings]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean")
    make(folder, SIZES, LEAVES, SIGNER)
    return folder


@pytest.fixture
def log(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "log"))


def change(path: Path, edit: Callable[[bytearray], object]) -> None:
    data = bytearray(path.read_bytes())
    edit(data)
    path.write_bytes(data)


def flip(path: Path, byte: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def test_a_clean_log_verifies_with_every_checkpoint_it_ever_signed(clean: Path) -> None:
    seen: list[bytes] = []
    verdict = check(
        clean,
        since=at(300),
        anchored=[at(1500), at(512), at(0)],
        look=lambda first, leaves: seen.extend(leaves) if first == len(seen) else None,
    )
    assert verdict.ok
    assert verdict.checkpoint == at(1500)
    assert (verdict.intact, verdict.kept, verdict.oldest) == (1500, 5, at(100))
    assert verdict.since_holds is True
    assert list(verdict.anchored) == [at(0), at(512), at(1500)]
    assert seen == LEAVES[:1500]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 512, 65_536, 65_537])
def test_clean_logs_of_awkward_sizes(tmp_path: Path, size: int) -> None:
    leaves = [b"%d" % n for n in range(size)]
    make(tmp_path, (size // 2, size), leaves, SIGNER)
    verdict = check(tmp_path, since=at(size // 2, leaves))
    assert (verdict.ok, verdict.intact, verdict.since_holds) == (True, size, True)


def test_a_log_in_the_middle_of_being_written_raises_no_alarm(log: Path) -> None:
    kept = (log / "checkpoints").read_text()
    with LogWriter(log, SIGNER) as writer:
        writer.append(1500, LEAVES[1500:2000])
        assert check(log).ok, "entries after the checkpoint are nobody's claim yet"
        published = (log / "checkpoint").read_text()
        writer.checkpoint()
    (log / "checkpoint").write_text(published)
    assert check(log).ok, "kept and not yet published"
    (log / "checkpoints").write_text(kept + "example.org/log\n2000\nAA")
    assert check(log).ok, "half of a note on its way"
    assert check(log).checkpoint == at(1500)


@given(index=st.integers(0, 1499), byte=st.integers(0, 11), bit=st.integers(0, 7))
@settings(max_examples=40, deadline=None)
def test_one_flipped_bit_of_an_entry_is_located_to_the_entry(
    clean: Path, index: int, byte: int, bit: int
) -> None:
    width = min(256, 1500 - index // 256 * 256)
    path = clean / tiles.name("entries", index // 256, width)
    saved = path.read_bytes()
    try:
        flip(path, index % 256 * 14 + 2 + byte, bit)
        verdict = check(clean)
    finally:
        path.write_bytes(saved)
    assert places(verdict) == [(Kind.ENTRY, index, index)]
    assert verdict.intact == 1499


@given(seed=st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_any_change_of_any_byte_of_any_file_is_found(clean: Path, seed: int) -> None:
    random_ = random.Random(seed)
    needed = [
        clean / tiles.name(level, index, width)
        for level, index, width in [*tiles.edge(1500)]
        if width
    ]
    whole = [path for path in clean.rglob("tile/*/00?") if path.is_file()]
    entries = [clean / tiles.name("entries", 5, 220)]
    signed = [clean / "checkpoint", clean / "checkpoints"]
    path = random_.choice([*needed, *whole, *entries, *signed])
    saved = path.read_bytes()
    at_byte = random_.randrange(len(saved))
    cut, flipped = saved[:at_byte], bytearray(saved)
    flipped[at_byte] ^= 1 << random_.randrange(8)
    try:
        path.write_bytes(random_.choice([cut, bytes(flipped)]))
        assert not check(clean).ok
    finally:
        path.write_bytes(saved)


def delete_one(data: bytearray) -> None:
    del data[14 * 10 : 14 * 11]


def insert_one(data: bytearray) -> None:
    data[14 * 10 : 14 * 10] = tiles.pack([b"never signed"])


def swap_two(data: bytearray) -> None:
    data[140:154], data[280:294] = data[280:294], data[140:154]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (delete_one, [(Kind.ENTRY, 522, 766), (Kind.TRUNCATED, 767, 767)]),
        (insert_one, [(Kind.ENTRY, 522, 767), (Kind.ENTRY, 512, 767)]),
        (swap_two, [(Kind.ENTRY, 522, 522), (Kind.ENTRY, 532, 532)]),
        (lambda data: data.extend(tiles.pack([b"one more"])), [(Kind.ENTRY, 512, 767)]),
        (lambda data: data.extend(b"\0"), [(Kind.ENTRY, 512, 767)]),
        (lambda data: data.__delitem__(slice(1400, None)), [(Kind.TRUNCATED, 612, 767)]),
        (lambda data: data.clear(), [(Kind.TRUNCATED, 512, 767)]),
    ],
)
def test_entries_deleted_inserted_reordered_cut(
    log: Path, edit: Callable[[bytearray], object], expected: list[object]
) -> None:
    change(log / "tile/entries/002", edit)
    assert places(check(log)) == expected


def test_two_bundles_swapped(log: Path) -> None:
    one, two = log / "tile/entries/001", log / "tile/entries/003"
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    assert places(check(log)) == [(Kind.ENTRY, 256, 511), (Kind.ENTRY, 768, 1023)]


@pytest.mark.parametrize(
    ("name", "span"),
    [("tile/0/002", (512, 767)), ("tile/0/005.p/220", (1280, 1499)), ("tile/1/000.p/5", (0, 1279))],
)
def test_a_changed_or_missing_tile_is_told_from_changed_entries(
    log: Path, name: str, span: tuple[int, int]
) -> None:
    flip(log / name, 40)
    verdict = check(log, since=at(700))
    assert places(verdict) == [(Kind.TILE, *span)]
    assert verdict.findings[0].path == name
    assert verdict.intact == 1500
    assert verdict.since_holds
    (log / name).unlink()
    assert places(check(log)) == [(Kind.MISSING, *span)]


def test_missing_bundles_are_named_together(log: Path) -> None:
    for name in ("001", "002", "004"):
        (log / "tile/entries" / name).unlink()
    verdict = check(log)
    assert places(verdict) == [(Kind.MISSING, 256, 767), (Kind.MISSING, 1024, 1279)]
    assert "tile/entries/001: missing" in str(verdict.findings[0])
    assert verdict.intact == 1500 - 768


def rewrite(log: Path, index: int, leaf: bytes, levels: int) -> None:
    """Changes an entry and, as far up as asked, every tile over it, as root could."""
    bundle = index // 256
    width = min(256, 1500 - bundle * 256)
    path = log / tiles.name("entries", bundle, width)
    leaves = tiles.unpack(path.read_bytes())
    leaves[index % 256] = leaf
    path.write_bytes(tiles.pack(leaves))
    hashes = b"".join(map(leaf_hash, leaves))
    if levels > 0:
        (log / tiles.name(0, bundle, width)).write_bytes(hashes)
    if levels > 1:
        change(
            log / "tile/1/000.p/5",
            lambda data: data.__setitem__(slice(bundle * 32, bundle * 32 + 32), tree_hash(hashes)),
        )


def test_an_entry_changed_together_with_its_tile_is_found_in_its_bundle(log: Path) -> None:
    rewrite(log, 600, b"entry 00060x", levels=1)
    verdict = check(log, anchored=[at(512), at(700)])
    assert places(verdict) == [(Kind.ENTRY, 512, 767)]
    assert list(verdict.anchored) == [at(512)]
    assert list(verdict.unchecked) == [700]


def test_an_entry_changed_up_to_the_root_is_found_between_two_checkpoints(log: Path) -> None:
    rewrite(log, 600, b"entry 00060x", levels=2)
    assert places(check(log)) == [(Kind.ROOT, 512, 699)]
    rewrite(log, 50, b"entry 00005x", levels=2)
    assert places(check(log)) == [(Kind.ROOT, 0, 99)]


def test_the_last_entry_changed_with_its_tile(log: Path) -> None:
    rewrite(log, 1499, b"entry 00149x", levels=1)
    assert places(check(log)) == [(Kind.ROOT, 700, 1499)]


def test_a_changed_checkpoint_fails_its_signature(log: Path) -> None:
    path = log / "checkpoint"
    path.write_text(path.read_text().replace("\n1500\n", "\n1499\n"))
    verdict = check(log)
    assert [f.kind for f in verdict.findings] == [Kind.SIGNATURE]
    assert verdict.findings[0].path == "checkpoint"
    assert verdict.checkpoint == at(1500), "the one that was kept"


def cut(log: Path, size: int) -> None:
    """The tail gone, as somebody without the key would leave it."""
    for path in sorted(log.rglob("tile/**/*"), reverse=True):
        if path.is_file():
            path.unlink()
    make(log.parent / "short", [size], LEAVES, SIGNER)
    shutil.copytree(log.parent / "short/tile", log / "tile", dirs_exist_ok=True)


def test_a_tail_cut_off_under_a_kept_checkpoint(log: Path) -> None:
    cut(log, 700)
    verdict = check(log, since=at(512))
    assert places(verdict) == [(Kind.TRUNCATED, 700, 1499)]
    assert verdict.since_holds, "what is left is still what was signed then"
    assert verdict.intact == 700


def test_bundles_cut_off_while_tiles_stay(log: Path) -> None:
    for name in ("entries/004", "entries/005.p/220"):
        (log / "tile" / name).unlink()
    assert places(check(log)) == [(Kind.MISSING, 1024, 1499)]


def test_a_rollback_is_found_by_the_checkpoint_kept_elsewhere_only(log: Path) -> None:
    cut(log, 700)
    notes = (log / "checkpoints").read_text().split(SIGNER.name + "\n1500")[0]
    (log / "checkpoints").write_text(notes)
    (log / "checkpoint").write_text(SIGNER.sign(str(at(700))))
    assert check(log).ok, "this is what a log alone cannot show"
    assert places(check(log, anchored=[at(1500)])) == [(Kind.ROLLED_BACK, 700, 1499)]
    verdict = check(log, since=at(1500))
    assert places(verdict) == [(Kind.ROLLED_BACK, 700, 1499)]
    assert verdict.since_holds is False


def test_an_old_checkpoint_put_back_is_found_by_the_kept_ones(log: Path) -> None:
    (log / "checkpoint").write_text(SIGNER.sign(str(at(300))))
    verdict = check(log)
    assert places(verdict) == [(Kind.ROLLED_BACK, 300, 1499)]
    assert verdict.checkpoint == at(1500)


def test_a_history_rewritten_by_the_holder_of_the_key_is_a_fork_to_every_anchor(
    tmp_path: Path,
) -> None:
    other = [*LEAVES[:600], b"something else", *LEAVES[601:]]
    make(tmp_path, SIZES, other, SIGNER)
    assert check(tmp_path).ok, "this is what a log alone cannot show"
    verdict = check(tmp_path, since=at(512), anchored=[at(300), at(700), at(1500)])
    assert places(verdict) == [(Kind.FORKED, 512, 699), (Kind.FORKED, 512, 1499)]
    assert verdict.since_holds
    assert list(verdict.anchored) == [at(300)]


def test_two_signed_roots_over_one_size(log: Path) -> None:
    second = SIGNER.sign(str(Checkpoint(SIGNER.name, 1500, bytes(32))))
    with (log / "checkpoints").open("a") as kept:
        kept.write(second)
    assert Kind.FORKED in {kind for kind, _, _ in places(check(log))}


def test_a_kept_checkpoint_of_another_history_is_a_fork(log: Path) -> None:
    kept = (log / "checkpoints").read_text().splitlines(keepends=True)
    notes = list(tiles.split_notes(kept))
    notes[2] = SIGNER.sign(str(Checkpoint(SIGNER.name, 512, bytes(32))))
    (log / "checkpoints").write_text("".join(notes))
    assert places(check(log)) == [(Kind.FORKED, 300, 511)]


def test_sizes_that_go_down_among_the_kept_checkpoints(log: Path) -> None:
    notes = list(tiles.split_notes((log / "checkpoints").read_text().splitlines(keepends=True)))
    (log / "checkpoints").write_text("".join([*notes, notes[1], notes[4]]))
    assert places(check(log)) == [(Kind.ROLLED_BACK, 300, 1499)]


def test_a_swapped_key_is_told_from_a_bad_signature(tmp_path: Path) -> None:
    make(tmp_path, SIZES, LEAVES, Signer.generate(SIGNER.name))
    verdict = check(tmp_path)
    assert {f.kind for f in verdict.findings} == {Kind.KEY}
    assert verdict.checkpoint is None


def test_a_checkpoint_of_another_log_is_said_to_be_that(clean: Path) -> None:
    verdict = check(clean, since=Checkpoint("example.org/other", 5, bytes(32)))
    assert [f.kind for f in verdict.findings] == [Kind.KEY]
    assert verdict.since_holds is False


@pytest.mark.parametrize("name", ["checkpoint", "checkpoints"])
def test_a_missing_checkpoint_file(log: Path, name: str) -> None:
    (log / name).unlink()
    verdict = check(log)
    assert [(f.kind, f.path) for f in verdict.findings] == [(Kind.MISSING, name)]
    assert verdict.checkpoint == at(1500)


def test_a_folder_without_a_log(tmp_path: Path) -> None:
    verdict = check(tmp_path)
    assert [f.kind for f in verdict.findings] == [Kind.MISSING]
    assert (verdict.ok, verdict.checkpoint) == (False, None)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide")
    make(folder, (WIDE,), [b"%06d" % n for n in range(WIDE)], SIGNER)
    return folder


def test_a_changed_tile_of_the_second_level_is_told_from_entries(wide: Path) -> None:
    path = wide / "tile/1/000"
    saved = path.read_bytes()
    flip(path, 32 * 200)
    verdict = check(wide)
    assert places(verdict) == [(Kind.TILE, 0, 65535)]
    assert verdict.intact == WIDE
    for level in (0, 1):  # the lowest tile over the entry, and the one over that
        flip(wide / "tile/entries/200", 2)
        leaves = tiles.unpack((wide / "tile/entries/200").read_bytes())
        tile = b"".join(map(leaf_hash, leaves))
        lowest = wide / "tile/0/200"
        before = lowest.read_bytes()
        lowest.write_bytes(tile)
        path.write_bytes(saved)
        if level:
            path.write_bytes(saved[:6400] + tree_hash(tile) + saved[6432:])
        expected = (200 * 256, 200 * 256 + 255) if not level else (0, 65535)
        assert (Kind.ENTRY, *expected) in places(check(wide))
        lowest.write_bytes(before)
        flip(wide / "tile/entries/200", 2)
        path.write_bytes(saved)
    assert check(wide).ok


def test_many_findings_are_counted_and_the_first_listed(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "MAX_FINDINGS", 5)
    for entry in range(0, 20, 2):
        flip(log / "tile/entries/000", entry * 14 + 2)
    verdict = check(log)
    assert (len(verdict.findings), verdict.more) == (5, 5)
    assert verdict.findings[1] == findings.Finding(
        Kind.ENTRY, "entry 2: not what was signed", 2, 2, "tile/entries/000"
    )


def test_progress_ends_at_the_whole(clean: Path) -> None:
    said: list[tuple[int, int]] = []
    check(clean, progress=lambda done, total: said.append((done, total)))
    assert said == [(0, 1500), (1500, 1500)]
