"""Made-up alerts are records as a sidecar writes them: taken apart without a complaint, and each its own."""

from __future__ import annotations

from dosimeter.monitor.audit.store.entries import from_record
from dosimeter.monitor.bench.audit_feed import FEATURES, SOURCE, Traffic
from dosimeter.monitor.history.evidence import decode_evidence


def test_every_alert_is_a_record_with_evidence_of_the_demos_size() -> None:
    for batch in Traffic().batches(40, size=16):
        for item in batch.items:
            taken = from_record(item.core, item.source, item.seq)
            assert taken.entry.id == item.event_id
            assert set(taken.entry.names) == {"tenant", "user", "conversation"}
            found = decode_evidence(item.evidence)
            assert found.columns == FEATURES
            assert 48 <= len(found.codes) <= 64
            assert taken.entry.fields["position"] < len(found.codes)


def test_positions_follow_each_other_from_batch_to_batch_and_ids_do_not_repeat() -> None:
    items = [item for batch in Traffic().batches(25, size=10, first_seq=4) for item in batch.items]
    assert [item.seq for item in items] == list(range(4, 29))
    assert len({item.event_id for item in items}) == 25
    assert {item.source for item in items} == {SOURCE}


def test_the_same_seed_gives_the_same_alerts_and_another_does_not() -> None:
    one, two, other = (Traffic(seed=seed).alert(1) for seed in (1, 1, 2))
    assert one == two != other


def test_known_traffic_is_of_the_same_people() -> None:
    def names(seed: int) -> set[str]:
        found = set()
        for batch in Traffic(known=True, seed=seed).batches(80):
            found |= {from_record(i.core, i.source, i.seq).labels["user"] for i in batch.items}
        return found

    assert names(1) == names(2)
    assert len(names(1)) == 40
