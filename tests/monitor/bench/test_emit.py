"""`dosimeter bench emit`: its sums by hand, what it says of its own process, and every part of it on a little."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dosimeter.monitor.bench import emit_enqueue, emit_outage
from dosimeter.monitor.bench.emit_process import Peak, cpu_s, pss_mib, rss_mib
from dosimeter.monitor.bench.emit_scene import missing, out_of_order, records, staged


def both(kafka: int, otlp: int) -> dict[str, int]:
    return {"kafka": kafka, "otlp": otlp}


def test_a_rate_is_from_the_first_progress_to_the_last() -> None:
    """Nothing for 5 s, while nobody tries; then 100 to 4,100 within 2 s. What comes after is OTLP's alone."""
    marks = [
        (10.0, both(0, 0)),
        (15.0, both(100, 0)),
        (16.0, both(2100, 500)),
        (17.0, both(4100, 1000)),
        (18.0, both(4100, 4100)),
    ]
    assert emit_outage.rate(marks, "kafka") == 2000.0
    assert emit_outage.rate(marks, "otlp") == 1800.0
    assert emit_outage.noticed_s(marks, 9.5) == 6.5
    assert emit_outage.rate(marks[:2], "kafka") == 0.0  # of one look nothing can be said
    assert emit_outage.rate(marks[4:], "kafka") == 0.0  # all was there when it was looked at first
    assert emit_outage.noticed_s(marks[4:], 17.5) == 0.5


def test_order_is_of_each_key_and_repeats_do_not_break_it() -> None:
    assert out_of_order([(b"a", 1), (b"b", 9), (b"a", 2), (b"a", 1), (b"b", 10)]) == 0
    assert out_of_order([(b"a", 2), (b"b", 9), (b"a", 1), (b"a", 3), (b"b", 8)]) == 2


def test_what_did_not_come_is_counted_once() -> None:
    assert missing([0, 2, 2, 4, 99], 5) == 2


def test_records_have_ids_that_count_and_stay_whole() -> None:
    made = list(records(498, 4))
    assert [int(one.event_id, 16) for one in made] == [498, 499, 500, 501]
    cores = [json.loads(one.core) for one in made]
    assert [core["event_id"] for core in cores] == [one.event_id for one in made]
    assert len({core["labels"]["conversation"] for core in cores}) == 4


def test_the_kernel_says_what_a_process_takes() -> None:
    pid = os.getpid()
    assert 0 < pss_mib(pid) <= rss_mib(pid) + 1
    before = cpu_s(pid)
    with Peak({"this": pid}) as peak:
        held = bytearray(os.urandom(1)) * (64 << 20)
        peak.look()
        del held
    assert 60 < peak.grown("this") < 200
    assert cpu_s(pid) >= before


def test_every_call_of_the_line_is_timed_and_committed() -> None:
    found = {figure.name: figure for figure in emit_enqueue.figures(50)}
    assert found["enqueue: not committed"].value == 0
    assert all((one.value or 0) > 0 for name, one in found.items() if "p" in name.split()[-1])


@pytest.mark.parts
def test_a_short_outage_is_measured_and_nothing_is_lost_in_it(tmp_path: Path) -> None:
    with staged(tmp_path) as scene:
        scene.out.start_deliver()
        found = [*emit_outage.outage(scene, 600, 0.0), *emit_outage.read_back(scene)]
    assert len({one.name for one in found}) == len(found)
    exact = [one for one in found if one.goal is not None and one.goal.startswith(("==", ">= 600"))]
    assert len(exact) == 4
    assert [one.name for one in exact if not one.met] == []
    assert all(one.value is not None for one in found)
