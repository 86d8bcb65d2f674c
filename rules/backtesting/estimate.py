"""What hits on stored requests say of all traffic: alerts a day with an interval, groups, overlap, changes, precision.

An archive keeps every request that was flagged or near and some of the rest, each with a weight: how many it stands
for. A sum over kept requests times their weights is right in expectation whatever was kept (Horvitz and Thompson 1952);
the interval is that of independent requests under unchanged traffic (`detectors/poisson.py`): days that differ, or
one tenant that does the same all day, are not in it. Pure; it never learns where anything was kept.

An alert here is a hit that no `unless` exempts. `repeat-after`, `limit` and `quiet-when` hold some of them back live;
they need every request in its order, and a sample has not got them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.binomial import lower_bound, upper_bound
from dosimeter.detectors.evaluate import Interval
from dosimeter.detectors.poisson import weighted_interval
from dosimeter.rules.backtesting.backtest import HITS, Ints

DAY_NS = 86_400_000_000_000
EPOCH_DAY = date(1970, 1, 1).toordinal()

REQUESTS = np.dtype(
    [
        ("epoch", "<u8"),
        ("key", "<u8"),
        ("last_ns", "<i8"),  # wall clock of its last token
        ("one_in", "<i8"),  # how many requests it stands for
        ("tenant", "<i4"),  # index into `Found.tenants`
        ("route", "<i4"),
    ]
)
Identity = tuple[int, int]
"""Epoch and key."""


@dataclass(frozen=True, eq=False)
class Found:
    """Requests with a hit, and their hits. An empty name is none.

    requests  REQUESTS [Q]
    hits      HITS [H], with indices into `requests` and into `rules`
    """

    rules: tuple[str, ...]
    requests: npt.NDArray[np.void]
    hits: npt.NDArray[np.void]
    tenants: tuple[str, ...] = ("",)
    routes: tuple[str, ...] = ("",)

    @property
    def weights(self) -> Ints:
        """Of each hit."""
        return np.asarray(self.requests["one_in"][self.hits["request"]], np.int64)

    def alerts(self, rule: str | None = None) -> Found:
        """Hits that are alerts, of one rule or of all; the requests stay."""
        mine = ~self.hits["exempt"]
        if rule is not None:
            mine &= self.hits["rule"] == self.rules.index(rule)
        return Found(self.rules, self.requests, self.hits[mine], self.tenants, self.routes)


def nothing(rules: Sequence[str]) -> Found:
    return Found(tuple(rules), np.zeros(0, REQUESTS), np.zeros(0, HITS))


def joined(parts: Sequence[Found]) -> Found:
    """Of several archives' files as one; a rule that two of them name is one."""
    rules = _union(part.rules for part in parts)
    tenants = _union(part.tenants for part in parts)
    routes = _union(part.routes for part in parts)
    requests, hits, before = [np.zeros(0, REQUESTS)], [np.zeros(0, HITS)], 0
    for part in parts:
        own, fired = part.requests.copy(), part.hits.copy()
        for field, held, into in (
            ("tenant", part.tenants, tenants),
            ("route", part.routes, routes),
        ):
            own[field] = _renamed(held, into)[own[field]]
        fired["rule"] = _renamed(part.rules, rules)[fired["rule"]]
        fired["request"] += before
        before += len(own)
        requests.append(own)
        hits.append(fired)
    return Found(rules, np.concatenate(requests), np.concatenate(hits), tenants, routes)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one rule, or of all together. Weighted: an estimate of all traffic, kept or not.

    hits        on kept requests, those that are exempt left out
    requests    that have one
    exempt      hits for which an `unless` holds
    certain     hits on requests that stand for themselves alone
    total       alerts in the whole time, weighted, with its 95 % interval
    by_day      ISO day -> alerts, weighted
    tenants, routes   name -> requests, weighted; without those that have none
    """

    rule: str
    hits: int
    requests: int
    exempt: int
    certain: int
    total: Interval
    by_day: Mapping[str, int]
    tenants: Mapping[str, int]
    routes: Mapping[str, int]

    def a_day(self, days: float) -> Interval:
        return Interval(*(v / days for v in (self.total.value, self.total.low, self.total.high)))


def figures(found: Found, one_in: int, rule: str | None = None) -> Figures:
    """one_in: the largest weight in the archive; rule: None for all of them together."""
    alerts = found.alerts(rule)
    of, hits = np.unique(alerts.hits["request"], return_counts=True)
    requests = alerts.requests[of]
    weights = requests["one_in"]
    exempt = found.hits["exempt"]
    if rule is not None:
        exempt = exempt & (found.hits["rule"] == found.rules.index(rule))
    tenants = _counts([found.tenants[i] for i in requests["tenant"].tolist()], weights)
    routes = _counts([found.routes[i] for i in requests["route"].tolist()], weights)
    days = [day_of(day) for day in (requests["last_ns"] // DAY_NS).tolist()]
    return Figures(
        rule=rule or "",
        hits=len(alerts.hits),
        requests=len(of),
        exempt=int(exempt.sum()),
        certain=int(hits[weights == 1].sum()),
        total=total(weights * hits, one_in * max(int(hits.max(initial=1)), 1)),
        by_day=dict(sorted(_counts(days, weights * hits).items())),
        tenants=_named(tenants),
        routes=_named(routes),
    )


def total(weights: npt.NDArray[np.integer], heaviest: int) -> Interval:
    """Of weights that came, with the 95 % interval of what was to be expected."""
    return Interval(float(weights.sum()), *weighted_interval(weights, heaviest))


def overlap(found: Found) -> tuple[Ints, Ints]:
    """int64 [R, R] twice: requests on which both rules alert, as kept and weighted."""
    alerts = found.alerts()
    used, of = np.unique(alerts.hits["request"], return_inverse=True)
    fired = np.zeros((len(used), len(found.rules)), np.float64)
    fired[of, alerts.hits["rule"]] = 1
    weights = alerts.requests["one_in"][used]
    return (
        np.rint(fired.T @ fired).astype(np.int64),
        np.rint((fired * weights[:, None]).T @ fired).astype(np.int64),
    )


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A request on which a rule alerts now and did not, or the other way round. position: of the first alert."""

    rule: str
    last_ns: int
    epoch: int
    key: int
    position: int
    one_in: int
    tenant: str


def changes(new: Found, old: Found) -> tuple[list[Change], list[Change]]:
    """(added, removed), by rule and time. Another position in the same request is no change."""
    before, after = _firsts(old), _firsts(new)
    added = [change for at, change in after.items() if at not in before]
    removed = [change for at, change in before.items() if at not in after]
    return sorted(added), sorted(removed)


@dataclass(frozen=True, slots=True)
class Precision:
    """Of labelled requests on which a rule alerts: how many are what it looks for. low, high: exact, 95 %."""

    right: int
    labelled: int

    @property
    def interval(self) -> Interval | None:
        """None without a label. It is that of the labelled ones: who chose them, chose the figure."""
        if not self.labelled:
            return None
        bounds = (
            lower_bound(self.right, self.labelled, 0.975),
            upper_bound(self.right, self.labelled, 0.975),
        )
        return Interval(self.right / self.labelled, *bounds)


def precision(found: Found, rule: str | None, labels: Mapping[Identity, bool]) -> Precision:
    alerts = found.alerts(rule)
    requests = alerts.requests[np.unique(alerts.hits["request"])]
    said = [
        labels[at]
        for at in zip(requests["epoch"].tolist(), requests["key"].tolist(), strict=True)
        if at in labels
    ]
    return Precision(sum(said), len(said))


def day_of(day: int) -> str:
    """ISO day of so many days after 1970-01-01."""
    return date.fromordinal(EPOCH_DAY + day).isoformat()


def _firsts(found: Found) -> dict[tuple[str, int, int], Change]:
    alerts = found.alerts()
    hits = alerts.hits[np.lexsort((alerts.hits["position"], alerts.hits["request"]))]
    firsts: dict[tuple[str, int, int], Change] = {}
    for hit, request in zip(hits, alerts.requests[hits["request"]], strict=True):
        rule = found.rules[hit["rule"]]
        epoch, key = int(request["epoch"]), int(request["key"])
        change = Change(
            rule,
            int(request["last_ns"]),
            epoch,
            key,
            int(hit["position"]),
            int(request["one_in"]),
            found.tenants[request["tenant"]],
        )
        firsts.setdefault((rule, epoch, key), change)
    return firsts


def _counts(names: Sequence[str], weights: npt.NDArray[np.integer]) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, weight in zip(names, weights.tolist(), strict=True):
        found[name] += weight
    return found


def _named(counts: Counter[str]) -> dict[str, int]:
    """Largest first."""
    named = ((name, count) for name, count in counts.items() if name)
    return dict(sorted(named, key=lambda one: (-one[1], one[0])))


def _union(of: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in of for name in names))


def _renamed(held: Sequence[str], into: Sequence[str]) -> npt.NDArray[np.int32]:
    index = {name: i for i, name in enumerate(into)}
    return np.array([index[name] for name in held], np.int32)
