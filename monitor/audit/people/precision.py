"""What labels say: how often a rule is right, how often reviewers agree, what nobody was told of.

Owns the figures and their intervals. Labels and alerts are arguments; it never learns where they are kept. Where alerts
were reviewed as they came, precision is that of all; where only striking ones were, it is that of striking ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from dosimeter.detectors.binomial import wilson
from dosimeter.monitor.audit.people.labels import Label, Standing, latest, standing

Group = Literal["notified", "shadow", "held-back"]
"""What became of an alert: somebody was told, nobody as the rule is in shadow, or it was deduped, limited, silenced."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One alert, or one request of the sample (alert None), with what its labels say together."""

    standing: Standing
    request: str  # EPOCH/KEY
    alert: str | None = None
    rule: str = ""
    group: Group = "notified"
    one_in: int = 1


@dataclass(frozen=True, slots=True)
class Precision:
    """right of n, with Wilson's 95 % interval; unsure and disputed ones are in neither."""

    rule: str
    group: Group
    right: int
    n: int
    unsure: int
    disputed: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of things that two reviewers labelled: the first two. kappa: Cohen's; None where chance alone would agree."""

    twice: int
    agreed: int
    kappa: float | None

    @property
    def disagreement(self) -> float | None:
        return 1 - self.agreed / self.twice if self.twice else None


@dataclass(frozen=True, slots=True)
class Catch:
    """Requests that were right to be told of. caught: of those that were; missed: of the others, by the sample.

    share: caught of both; None where nothing was labelled, or none was right. Each bound takes the less favourable
    95 % bound of both figures, so the interval is wider than 95 %.
    """

    labelled: int
    positives: int
    caught: float
    missed: float
    missed_low: float
    missed_high: float
    share: float | None
    low: float
    high: float


def group_of(status: str, decision: str) -> Group:
    if decision == "notified":
        return "notified"
    return "shadow" if "shadow" in (status, decision) else "held-back"


def judged(
    labels: Iterable[Label], alerts: Mapping[str, tuple[str, str, str, str]]
) -> list[Judged]:
    """alerts: id -> rule, status, decision, request. A label of an alert that is not there is left out."""
    found = []
    for of, ones in latest(labels).items():
        said = standing(ones)
        assert said is not None  # there is one label at least
        if "/" in of:
            found.append(Judged(said, of, one_in=ones[0].one_in))
        elif of in alerts:
            rule, status, decision, request = alerts[of]
            found.append(Judged(said, request, of, rule, group_of(status, decision)))
    return found


def precision(found: Iterable[Judged]) -> list[Precision]:
    """By rule and group; the sample has no part in it."""
    counts: dict[tuple[str, Group], Counter[Standing]] = {}
    for one in found:
        if one.alert is not None:
            counts.setdefault((one.rule, one.group), Counter())[one.standing] += 1
    return [
        _precision(rule, group, counts[rule, group]) for rule, group in sorted(counts)
    ]  # fmt: skip


def _precision(rule: str, group: Group, said: Counter[Standing]) -> Precision:
    right, n = said["true"], said["true"] + said["false"]
    low, high = wilson(right / n if n else 0.0, n)
    return Precision(rule, group, right, n, said["unsure"], said["disputed"], low, high)


def agreement(labels: Iterable[Label]) -> Agreement:
    """Over all that two reviewers labelled, the sample included."""
    pairs = Counter(
        (ones[0].verdict, ones[1].verdict) for ones in latest(labels).values() if len(ones) > 1
    )
    twice = pairs.total()
    agreed = sum(n for (one, other), n in pairs.items() if one == other)
    first: Counter[str] = Counter()
    second: Counter[str] = Counter()
    for (one, other), n in pairs.items():
        first[one] += n
        second[other] += n
    by_chance = sum(first[verdict] * second[verdict] for verdict in first)  # of twice * twice
    if by_chance == twice * twice:
        return Agreement(twice, agreed, None)
    return Agreement(twice, agreed, (agreed * twice - by_chance) / (twice * twice - by_chance))


def catch(found: Iterable[Judged], notified: int, quiet: int) -> Catch:
    """notified: requests that somebody was told of; quiet: all others, by the archive's exact counts.

    The alerts that were labelled stand for all that were notified, the sample for all others.
    """
    each = list(found)
    told = [one for one in each if one.alert is not None and one.group == "notified"]
    told_right = sum(one.standing == "true" for one in told)
    told_n = sum(one.standing in ("true", "false") for one in told)
    precise = told_right / told_n if told_n else 0.0
    precise_low, precise_high = wilson(precise, told_n)
    sample = [one for one in each if one.alert is None and one.standing in ("true", "false")]
    weight = sum(one.one_in for one in sample)
    rate = sum(one.one_in for one in sample if one.standing == "true") / weight if weight else 0.0
    effective = weight**2 / sum(one.one_in**2 for one in sample) if weight else 0.0
    rate_low, rate_high = wilson(rate, effective)
    caught, missed = notified * precise, quiet * rate
    known = told_n and weight and caught + missed > 0
    return Catch(
        labelled=told_n + len(sample),
        positives=told_right + sum(one.standing == "true" for one in sample),
        caught=caught,
        missed=missed,
        missed_low=quiet * rate_low,
        missed_high=quiet * rate_high,
        share=caught / (caught + missed) if known else None,
        low=_share(notified * precise_low, quiet * rate_high, 0.0),
        high=_share(notified * precise_high, quiet * rate_low, 1.0),
    )


def _share(caught: float, missed: float, unknown: float) -> float:
    return caught / (caught + missed) if caught + missed > 0 else unknown


def labels_csv(
    found: Iterable[Judged], column: Literal["request", "event_id"], rule: str = ""
) -> str:
    """As `--labels` reads it: `request` for `rules backtest`, `rules plan` and `detectors calibrate`, `event_id` for
    `rules promote`. rule: its alerts alone. What is unsure or disputed is left out.

    A request of several alerts is right where one of them is, and wrong where all are.
    """
    said: dict[str, set[Standing]] = {}
    for one in found:
        name = one.request if column == "request" else one.alert
        if name is not None and (not rule or one.rule == rule):
            said.setdefault(name, set()).add(one.standing)
    rows = [f"{column},label"]
    for name in sorted(said):
        if "true" in said[name]:
            rows.append(f"{name},yes")
        elif said[name] == {"false"}:
            rows.append(f"{name},no")
    return "\n".join(rows) + "\n"
