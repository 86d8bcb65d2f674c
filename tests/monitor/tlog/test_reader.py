"""Entries, proofs and checkpoints read from a log's folder, against the tree computed at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.tlog import merkle
from dosimeter.monitor.tlog.note import Checkpoint, Signer
from dosimeter.monitor.tlog.reader import LogReader, LogUnreadable
from dosimeter.monitor.tlog.writer import LogWriter

SIGNER = Signer.generate("example.org/log")
SIZE = 66_000  # three levels of tiles, each with a partial one
LEAVES = [f"entry {n}".encode() for n in range(SIZE)]
HASHES = list(map(merkle.leaf_hash, LEAVES))


def root(size: int) -> bytes:
    return merkle.tree_hash(b"".join(HASHES[:size]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    with LogWriter(folder, SIGNER) as log:
        for size in (300, SIZE):
            log.append(log.size, LEAVES[log.size : size])
            log.checkpoint()
    return folder


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_every_proof_verifies_whatever_the_sizes(folder: Path, data: st.DataObject) -> None:
    log = LogReader(folder)
    size = data.draw(st.integers(1, SIZE) | st.sampled_from([255, 256, 257, 65536, SIZE]))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    now = root(size)
    merkle.verify_inclusion(HASHES[index], index, size, log.inclusion_proof(index, size), now)
    merkle.verify_consistency(old, size, log.consistency_proof(old, size), root(old), now)
    assert log.root_at(size) == now


def test_entries_by_index_and_range(folder: Path) -> None:
    log = LogReader(folder)
    assert [log.leaf(n) for n in (0, 255, 256, SIZE - 1)] == [
        LEAVES[n] for n in (0, 255, 256, SIZE - 1)
    ]
    assert list(log.leaves(250, 520)) == [(n, LEAVES[n]) for n in range(250, 520)]
    assert [leaf for _, leaf in log.leaves(0)] == LEAVES
    assert list(log.leaves(7, 7)) == []
    for first, end in ((-1, 3), (5, 4), (0, SIZE + 1), (SIZE, SIZE + 1)):
        with pytest.raises(LogUnreadable, match=f"not within its {SIZE}"):
            list(log.leaves(first, end))


def test_the_checkpoint_and_all_before_it(folder: Path) -> None:
    log = LogReader(folder)
    assert log.checkpoint == Checkpoint(SIGNER.name, SIZE, root(SIZE))
    found = [Checkpoint.open(note, SIGNER.verifier) for note in log.notes()]
    assert [(c.size, c.root) for c in found] == [(300, root(300)), (SIZE, root(SIZE))]
    assert list(log.notes())[-1] == log.note
    with pytest.raises(merkle.ProofError, match=f"holds {SIZE} entries, not `{SIZE + 1}`"):
        log.inclusion_proof(0, SIZE + 1)


def test_a_reader_keeps_to_its_checkpoint_until_it_looks_again(tmp_path: Path) -> None:
    with LogWriter(tmp_path, SIGNER) as writer:
        writer.append(0, LEAVES[:200])
        writer.checkpoint()
        log = LogReader(tmp_path)
        proof = log.inclusion_proof(150)
        writer.append(200, LEAVES[200:600])
        writer.checkpoint()
        assert log.size == 200
        assert log.leaf(150) == LEAVES[150], "the partial bundle is gone, the whole one is there"
        assert log.inclusion_proof(150) == proof
        log.refresh()
        merkle.verify_inclusion(HASHES[599], 599, 600, log.inclusion_proof(599), root(600))


def test_what_is_missing_or_cut_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogUnreadable, match="checkpoint: missing"):
        LogReader(tmp_path)
    with LogWriter(tmp_path, SIGNER) as writer:
        writer.append(0, LEAVES[:300])
        writer.checkpoint()
    bundle, tile = tmp_path / "tile/entries/000", tmp_path / "tile/0/000"
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[:-1])
    with pytest.raises(LogUnreadable, match="entries/000: ends inside its entry 255"):
        LogReader(tmp_path).leaf(3)
    bundle.write_bytes(whole[:-11])
    with pytest.raises(LogUnreadable, match="entries/000: 255 entries where 256 should be"):
        LogReader(tmp_path).leaf(3)
    bundle.unlink()
    with pytest.raises(
        LogUnreadable, match="entries/000: missing, though the checkpoint names 300"
    ):
        LogReader(tmp_path).leaf(3)
    tile.write_bytes(tile.read_bytes()[:-1])
    with pytest.raises(LogUnreadable, match="tile/0/000: 8191 bytes where 8192 should be"):
        LogReader(tmp_path).inclusion_proof(3)
    (tmp_path / "checkpoint").write_text("nothing signed\n")
    with pytest.raises(LogUnreadable, match="checkpoint: a note without signature lines"):
        LogReader(tmp_path)
