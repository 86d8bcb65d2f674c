"""After an erasure nobody can be told by anything that is left, and the attacks would have noticed."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from dosimeter.monitor.audit.erasure.erase_selftest import Attacked, selftest
from dosimeter.monitor.audit.store.keys import Destroyed, KeyStore
from tests.monitor.audit.people_scene import MARCH_NS, SECOND_NS


def test_of_300_alerts_of_people_who_were_erased_none_can_be_told(tmp_path: Path) -> None:
    ticks = count(MARCH_NS, SECOND_NS)
    proof = selftest(tmp_path, 300, now_ns=lambda: next(ticks))
    assert proof.before.alerts == proof.planted == 300
    assert proof.before.keys == proof.subjects == 31  # thirty users of the tenant, and one
    assert "keys.db" in " ".join(proof.before.files)
    assert proof.after == Attacked((), 0, 0)
    assert proof.lost == 0
    assert proof.ok
    assert "300 alerts of 31 subjects" in str(proof)
    assert "0 re-identified" in str(proof)


def test_an_erasure_that_leaves_the_keys_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeyStore, "destroy_all", lambda *_: Destroyed(0, 0))
    proof = selftest(tmp_path, 40)
    assert proof.after.alerts == 40
    assert proof.after.keys == proof.subjects
    assert proof.after.files
    assert not proof.ok


def test_an_erasure_that_leaves_copies_in_free_pages_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SQLite leaves without VACUUM: rows that were moved for others, in the free space of pages."""
    monkeypatch.setattr(KeyStore, "_clean", lambda self: None)
    proof = selftest(tmp_path, 700)
    assert proof.after.alerts == 0
    assert proof.after.keys > 0
    assert not proof.ok
