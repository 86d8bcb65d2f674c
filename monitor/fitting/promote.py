"""Promotion: a pack is copied to where packs are loaded from only when the suites of its features pass.

What was run, and what was let through without, stands in `promotion.yaml` beside the copy. The copy holds the
two files of a pack and nothing else that lay in its folder.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dosimeter.detectors.artefact import CARD
from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.pack import Pack, bind, save_pack
from dosimeter.detectors.strict_yaml import dump
from dosimeter.monitor.fitting.subject import Subject, Tell
from dosimeter.monitor.fitting.suite import Suite, SuiteResult, run_suite

RECORD = "promotion.yaml"
VERSION = 1
MAX_REASON = 400


class NotPromoted(Exception):
    """A suite failed, or a feature has none and nobody said why it may pass."""


@dataclass(frozen=True, slots=True)
class Examined:
    """results: of the suites that were run · without: features that have none."""

    results: tuple[SuiteResult, ...]
    without: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)


def examine(
    subject: Subject,
    pack: Pack,
    suites: Mapping[str, tuple[Suite, Scope]],
    ordinary: Sequence[Example] | None = None,
    tell: Callable[[str], Tell] = lambda _: lambda done, of: None,
) -> Examined:
    """Run the suite of every feature of the pack that has one. Raises InputError."""
    if found := bind(pack, subject.identity):
        raise InputError.at(f"pack {pack.name}", f"is bound to another model: {found[0]}")
    results = [
        run_suite(subject, pack, *suites[name], ordinary, tell(f"suite of {name}"))
        for name in pack.features
        if name in suites
    ]
    return Examined(tuple(results), tuple(name for name in pack.features if name not in suites))


def promote(pack: Pack, examined: Examined, to: Path, date: str, reason: str | None = None) -> Path:
    """The folder below `to` that now holds the pack. date: ISO day.

    reason: why features without a suite may pass. Raises NotPromoted, and InputError where a pack of this
    name stands already.
    """
    try:
        datetime.date.fromisoformat(date)
    except ValueError:
        raise InputError.at("promotion", f"date `{date[:20]}` is not an ISO day") from None
    failed = [result.feature for result in examined.results if not result.passed]
    if failed:
        raise NotPromoted(f"pack {pack.name}: the suite of `{'`, `'.join(failed)}` does not pass")
    if examined.without and not (reason or "").strip():
        raise NotPromoted(
            f"pack {pack.name}: no suite for `{'`, `'.join(examined.without)}`\n"
            "  hint: write one, or say why it may pass: --without-suite REASON"
        )
    folder = to / pack.name
    if (folder / CARD).exists():
        raise InputError.at(folder, "a pack stands here", "remove it first, or promote elsewhere")
    folder.mkdir(parents=True, exist_ok=True)
    # The card is written last: before it, the folder is no pack to anyone.
    (folder / RECORD).write_bytes(dump(record(pack, examined, date, reason)))
    save_pack(pack, folder)
    return folder


def record(pack: Pack, examined: Examined, date: str, reason: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "version": VERSION,
        "pack": {"name": pack.name, "digest": pack.digest},
        "model": {"name": pack.model.name, "digest": pack.model.digest},
        "date": date,
        "suites": [_plain(result) for result in examined.results],
    }
    if examined.without:
        found["without_suite"] = {
            "features": list(examined.without),
            "reason": (reason or "")[:MAX_REASON],
        }
    return found


def _plain(result: SuiteResult) -> dict[str, Any]:
    """As YAML has it: lists, no tuples."""
    return {
        "feature": result.feature,
        "version": result.version,
        "digest": result.digest,
        "passed": result.passed,
        "level": {
            "threshold_sd": result.threshold_sd,
            "ordinary_texts": result.ordinary,
            "ordinary_digest": result.ordinary_digest,
        },
        "kinds": [
            {
                "kind": kind.kind,
                "label": int(kind.label),
                "n": kind.n,
                "above": kind.above,
                "low": kind.interval.low,
                "high": kind.interval.high,
                "bar": None if kind.must is None else f"{kind.must} {kind.share}",
                "passed": kind.passed,
            }
            for kind in result.kinds
        ],
    }
