"""What every tap must pass: the conformance kit over every way in which we can be asked to watch a model.

The kit is what users run on their own servers; here it is run on ours, whole, and nothing may be left out
without the reason that stands below.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from dosimeter.monitor.conformance import kit, report
from dosimeter.monitor.conformance.case import MIXED, Outcome
from dosimeter.monitor.conformance.continuous import CASES as CONTINUOUS
from dosimeter.monitor.conformance.generate import CASES as GENERATE

pytestmark = pytest.mark.parts
SHORT = kit.Wanted(tokens=3_000, cancels=5)
NOT_OFFERED = {
    "generate": set(),
    "continuous": {"offload"},  # without CUDA
    "serve": {"several answers", "drafts"},
    "serve-continuous": {"several answers", "drafts", "beams", "repeated ids at once"},
}


def by_case(server: str, wanted: kit.Wanted = SHORT) -> dict[str, Outcome]:
    outcomes = kit.run(replace(wanted, servers=(server,)))
    assert report.conforms(outcomes), report.as_table(outcomes)
    found = {one.case: one for one in outcomes}
    assert {name for name, one in found.items() if one.skipped} == NOT_OFFERED[server]
    mixed = found[MIXED].findings
    assert mixed is not None
    assert mixed.served >= wanted.tokens
    assert mixed.gone >= wanted.cancels
    return found


def unscored(outcome: Outcome) -> dict[str, int]:
    assert outcome.findings is not None
    return outcome.findings.unscored


def test_generate_conforms() -> None:
    found = by_case("generate")
    assert set(found) == {case.name for case in GENERATE} | {MIXED}
    assert set(unscored(found["beams"])) == {"unsupported"}
    # The one gap of all others is the one that its case is about.
    gaps = {name: unscored(one) for name, one in found.items() if unscored(one)}
    assert set(gaps) == {"beams", "a cache brought along"}
    assert gaps["a cache brought along"] == {"prefix_cache": 8}


def test_continuous_batching_conforms_and_no_token_of_a_cached_prefix_goes_without_its_score() -> (
    None
):
    found = by_case("continuous")
    assert set(found) == {case.name for case in CONTINUOUS} | {MIXED}
    assert [name for name, one in found.items() if not one.skipped and unscored(one)] == []
    for name in ("shared prefixes", "turns", "forks", MIXED):
        findings = found[name].findings
        assert findings is not None
        assert findings.reused > 0, name
    preempted = found["preemption"].findings
    assert preempted is not None
    assert preempted.twice > 0  # else nothing was put off and run again


@pytest.mark.parametrize("server", ["serve", "serve-continuous"])
def test_transformers_serve_conforms(server: str) -> None:
    found = by_case(server)
    shared = found["shared prefixes"].findings
    assert shared is not None
    assert (shared.reused > 0) == (server == "serve-continuous")
