"""What is known of a feature on one page: its definition, its data, and what packs have shown.

It owns the gathering: definitions, the rows beside them, the packs that came with us and those of
folders that were named. How a card looks is the command's; fitting and scoring are not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.examples import Example, load_examples
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.pack import Pack, ProbeNote
from dosimeter.detectors.registry import Feature, Features, load_calibrations, load_packs

HERE = Path(__file__).parent
OWN = (HERE / "lab", HERE / "sources")
"""Each may have `packs` and `calibration` in it."""

SHOWN_PAIRS, SHOWN_NEGATIVES = 3, 2


@dataclass(frozen=True, slots=True)
class Figure:
    """A share or an AUROC, in 0..1, with its 95 % interval where the pack has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """What one pack says of its probe; None or left out: it does not say.

    positives, negatives   rows that the figures are measured on
    nulls                  AUROC by name, of what would have done without a probe; None: not measured
    calibrations           the traffic on which it is calibrated, in words
    """

    pack: str
    digest: str
    model: str
    recipe: str
    tier: str
    auroc: Figure | None
    tpr_at_1pct_fpr: Figure | None
    positives: int | None
    negatives: int | None
    nulls: Mapping[str, float | None]
    calibrations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """The two sides of one group of rows."""

    risky: Example
    benign: Example


@dataclass(frozen=True, slots=True)
class Card:
    """A feature with all that is known of it here."""

    feature: Feature
    pairs: tuple[Pair, ...]
    hard_negatives: tuple[Example, ...]
    quality: tuple[Quality, ...]

    @property
    def shown_pairs(self) -> tuple[Pair, ...]:
        kinds = [pair.risky.kind for pair in self.pairs]
        return tuple(self.pairs[i] for i in varied(kinds, SHOWN_PAIRS))

    @property
    def shown_negatives(self) -> tuple[Example, ...]:
        kinds = [row.kind for row in self.hard_negatives]
        return tuple(self.hard_negatives[i] for i in varied(kinds, SHOWN_NEGATIVES))


def known_packs(folders: Iterable[Path] = ()) -> list[Pack]:
    """The packs that came with us, then those of the folders; none twice.

    Raises InputError, also where a folder holds no pack, and RegistryError.
    """
    found = [pack for home in OWN for pack in load_packs(home / "packs")]
    for folder in folders:
        packs = load_packs(folder)
        if not packs:
            raise InputError.at(folder, "holds no pack", "a pack is a folder with `card.yaml`")
        found += packs
    return list({pack.digest: pack for pack in found}.values())


def known_calibrations(folders: Iterable[Path] = ()) -> list[Calibration]:
    """Likewise; a folder without one is no error. Raises InputError, RegistryError."""
    found = [one for folder in (*OWN, *folders) for one in load_calibrations(folder)]
    return list({one.digest: one for one in found}.values())


def undefined(packs: Iterable[Pack], features: Features) -> list[str]:
    """What packs read without a definition here: such a probe has no card."""
    return [
        f"`{name}`, read by pack `{pack.name}`"
        for pack in packs
        for name in pack.features
        if name not in features
    ]


def card_of(
    feature: Feature, packs: Iterable[Pack], calibrations: Sequence[Calibration] = ()
) -> Card:
    """Reads the feature's data. Raises InputError."""
    data = feature.data
    return Card(
        feature,
        tuple(pairs_of(load_examples(data.pairs))) if data.pairs else (),
        tuple(load_examples(data.hard_negatives)) if data.hard_negatives else (),
        tuple(
            quality_of(pack, note, _traffic(pack, feature.name, calibrations))
            for pack in packs
            for probe, note in zip(pack.probes, pack.notes, strict=True)
            if probe.feature == feature.name
        ),
    )


def pairs_of(rows: Iterable[Example]) -> list[Pair]:
    """Groups that have rows of both labels, the first of each; rows of no such group are left out."""
    sides: dict[str, dict[bool, Example]] = {}
    for row in rows:
        if row.label is not None:
            sides.setdefault(row.group, {}).setdefault(row.label, row)
    return [Pair(one[True], one[False]) for one in sides.values() if len(one) == 2]


def varied(kinds: Sequence[str], count: int) -> list[int]:
    """Indices of `count` members at most: the first of each kind before the second of any."""
    seen: dict[str, int] = {}
    turns = []
    for index, kind in enumerate(kinds):
        turns.append((seen.get(kind, 0), index))
        seen[kind] = seen.get(kind, 0) + 1
    return [index for _, index in sorted(turns)[:count]]


def quality_of(pack: Pack, note: ProbeNote, calibrations: Sequence[str] = ()) -> Quality:
    return Quality(
        pack=pack.name,
        digest=pack.digest,
        model=pack.model.name,
        recipe=pack.recipe,
        tier=note.tier,
        auroc=_figure(note.metrics, "auroc"),
        tpr_at_1pct_fpr=_figure(note.metrics, "tpr_at_1pct_fpr"),
        positives=_count(note.metrics.get("positives")),
        negatives=_count(note.metrics.get("negatives")),
        nulls={name: _share(value) for name, value in note.nulls.items()},
        calibrations=tuple(calibrations),
    )


def card_json(card: Card, examples: bool = True) -> dict[str, Any]:
    """The card as plain data; its examples whole."""
    feature = card.feature
    found: dict[str, Any] = {
        "name": feature.name,
        "title": feature.title,
        "maturity": feature.maturity,
        "claim": feature.claim,
        "read": {"scope": feature.read.scope.name.lower(), "pool": feature.read.pool},
        "definition": feature.definition,
        "sources": list(feature.sources),
        "confusables": list(feature.confusables),
        "known_failures": list(feature.known_failures),
        "data": {
            "pairs": len(card.pairs),
            "hard_negatives": len(card.hard_negatives),
            "files": [str(path) for path in feature.data.files],
        },
        "packs": [_quality_json(one) for one in card.quality],
    }
    if examples:
        found["examples"] = {
            "pairs": [
                {"risky": _example_json(pair.risky), "benign": _example_json(pair.benign)}
                for pair in card.shown_pairs
            ],
            "hard_negatives": [_example_json(row) for row in card.shown_negatives],
        }
    return found


def _quality_json(one: Quality) -> dict[str, Any]:
    def figure(found: Figure | None) -> dict[str, Any] | None:
        return None if found is None else asdict(found)

    return {
        "pack": one.pack,
        "digest": one.digest,
        "model": one.model,
        "recipe": one.recipe,
        "tier": one.tier,
        "auroc": figure(one.auroc),
        "tpr_at_1pct_fpr": figure(one.tpr_at_1pct_fpr),
        "positives": one.positives,
        "negatives": one.negatives,
        "nulls": dict(one.nulls),
        "calibrations": list(one.calibrations),
    }


def _example_json(row: Example) -> dict[str, Any]:
    said = {"messages": list(row.messages)} if row.text is None else {"text": row.text}
    return {"group": row.group, "kind": row.kind, **said}


def _traffic(pack: Pack, feature: str, calibrations: Iterable[Calibration]) -> list[str]:
    return [
        f"{one.requests:,} requests: {one.corpus} ({one.date})"
        for one in calibrations
        if (feature, pack.digest) in zip(one.features, one.packs, strict=True)
    ]


def _figure(metrics: Mapping[str, Any], name: str) -> Figure | None:
    """`name: {value, low, high}`, or `name` with `name_low` and `name_high` beside it."""
    given = metrics.get(name)
    if isinstance(given, Mapping):
        parts = [given.get(key) for key in ("value", "low", "high")]
    else:
        parts = [given, metrics.get(f"{name}_low"), metrics.get(f"{name}_high")]
    value, low, high = map(_share, parts)
    if value is None:
        return None
    whole = low is not None and high is not None and low <= value <= high
    return Figure(value, low, high) if whole else Figure(value)


def _share(value: Any) -> float | None:
    """A number in 0..1 or a mapping's `value`; a card is a stranger's, and anything else is not shown."""
    if isinstance(value, Mapping):
        value = value.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return None
    return float(value)


def _count(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and value >= 0 else None
