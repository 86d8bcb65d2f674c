"""The parts of `dosimeter bench audit` on a little of everything: each figure is there; how fast is not asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.bench import (
    audit_ingest,
    audit_pods,
    audit_queries,
    audit_verify,
)
from dosimeter.monitor.bench.audit_rows import write_history
from dosimeter.monitor.bench.figures import Figure
from dosimeter.monitor.tlog.note import Signer
from dosimeter.monitor.tlog.verify import verify


def values(figures: list[Figure]) -> dict[str, float]:
    assert len({f.name for f in figures}) == len(figures)
    return {f.name: f.value for f in figures if f.value is not None}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = HistoryFolder(tmp_path_factory.mktemp("data") / "history").make()
    with HotStore(folder.hot) as hot:
        write_history(folder, hot, 3000)
    return folder.root.parent


def test_ingest_states_what_an_entry_takes_at_rest() -> None:
    found = values(audit_ingest.figures(600, 500))
    assert 30 < found["core at rest, sealed"] < 400
    assert 200 < found["evidence at rest, sealed"] < 500
    assert 600 < found["the log"] < 1000
    assert all(value > 0 for value in found.values())


def test_questions_are_asked_warm_and_cold(data: Path) -> None:
    found = values(audit_queries.figures(HistoryFolder(data / "history"), 2))
    kinds = {name.partition(":")[0] for name in found} - {"queries"}
    assert kinds == set(audit_queries.GOALS)


def test_the_log_that_is_timed_verifies(tmp_path: Path) -> None:
    signer = Signer.generate("bench")
    audit_verify.write_log(tmp_path, signer, 700)
    found = verify(tmp_path, signer.verifier)
    assert (found.ok, found.intact) == (True, 700)


def test_all_verifiers_at_hand_are_timed() -> None:
    assert values(audit_verify.figures(600))["verify, the log"] > 0


def test_every_record_lost_of_a_pod_is_in_a_gap_and_no_other() -> None:
    found = audit_pods.figures(pods=6, lives=3, seed=1)
    assert values(found)["records lost on the way"] > 10
    assert values(found)["lives of theirs"] == 18
    assert all(one.met for one in found if one.goal is not None)
