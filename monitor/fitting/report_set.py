"""One set of an evidence page: the detector beside its nulls, its false alarms, scores, slices and alarms.

Owns the names of the nulls and the false-alarm rates that every set answers for. It never learns what made the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dosimeter.monitor.fitting import plots
from dosimeter.monitor.fitting.page import (
    ABSENT,
    THIN,
    Document,
    count,
    figure,
    figure_of_merit,
    interval,
    mappings,
    members,
    more,
    name,
    number,
    part,
    real,
    share,
    table,
    text,
)

NULLS = {
    "tfidf": "TF-IDF on the same text",
    "length": "length alone",
    "embedding": "embedding layer",
    "random_p95": "random directions, 95th percentile",
    "random_mean": "random directions, mean",
    "difference_of_means": "difference of means, a simpler probe",
    "shuffled_p95": "shuffled labels, 95th percentile",
    "clean_twin": "clean twin of the model",
}
LABELS = {1: "risky", 0: "benign"}
RATES = (0.01, 0.001)


def a_set(one: Document, number_of: int) -> str:
    leaked, alarms = real(one.get("leaked")), members(one, "alarms", 50)
    facts = f"{count(one.get('positives'))} risky and {count(one.get('negatives'))} benign rows · "
    facts += f"rows also in the fit: {count(one.get('leaked'))}" + (" ⚠" if leaked else "")
    margin, least = part(one, "margin"), one.get("smallest_difference")
    null = margin.get("null")
    null = (NULLS.get(null) if isinstance(null, str) else None) or name(null, 80)
    rows, risen, falls = _curves(one)
    told = "".join(f'<p class="alarm"><b>⚠ Alarm.</b> {name(a, 400)}</p>' for a in alarms[0])
    return (
        f'<section><h3 id="set-{number_of}">{name(one.get("name"), 80)}</h3><p class="facts">{facts}</p>'
        f"<p>Above the null it is held against ({null}) by <b>{interval(margin, number)}</b>. A difference of "
        f"{number(least)} is the smallest that this many rows show with a power of 80{THIN}%.</p>"
        f'<div class="grid">{_against(one)}{_nulls(one)}</div>{rows}'
        f'<div class="grid">{risen}{falls}</div>{_slices(one)}'
        f"<h4>Alarms</h4>{told or '<p>None.</p>' if isinstance(one.get('alarms'), list) else _absent()}"
        f"{more(alarms[1], 'alarms')}</section>"
    )


def _absent() -> str:
    return f'<p class="absent">{ABSENT}</p>'


def _measured(one: Document) -> list[tuple[str, float | None]]:
    """Nulls by name, the strongest first, those without a value last."""
    nulls = part(one, "nulls")
    keys = [*NULLS, *sorted(k for k in nulls if isinstance(k, str) and k not in NULLS)][:20]
    found = [(NULLS.get(k, k), real(nulls.get(k))) for k in keys]
    return sorted(found, key=lambda f: -(f[1] if f[1] is not None else float("-inf")))


def _against(one: Document) -> str:
    auroc = part(one, "auroc")
    value, low, high = (real(auroc.get(key)) for key in ("value", "low", "high"))
    nulls = [(label, at) for label, at in _measured(one) if at is not None]
    numbers = "; ".join(f"{text(label, 60)} {figure_of_merit(at)}" for label, at in nulls)
    says = f"AUROC of the detector {interval(auroc)}; {numbers or 'no null ' + ABSENT}"
    drawn = None if value is None else plots.dots(("the detector", value, low, high), nulls, says)
    caption = "● the detector with its 95 % interval, which the shaded band carries down; ◇ what does without it."
    return figure("AUROC beside every null", drawn, caption)


def _nulls(one: Document) -> str:
    own = real(part(one, "auroc").get("value"))
    rows = [["<b>the detector</b>", f"<b>{interval(part(one, 'auroc'))}</b>", "—"]]
    for label, at in _measured(one):
        gap = "—" if own is None or at is None else number(own - at)
        rows.append([name(label, 80), figure_of_merit(at), gap])
    return table("AUROC of the detector and of every null", ["", "AUROC", "ahead by"], rows)


def at_rate(one: Document, rate: float) -> Document:
    found = mappings(one, "tpr", 20)[0]
    return next((t for t in found if real(t.get("fpr")) == rate), {})


def caught(of: Document) -> str:
    if of and of.get("shown") is not True:
        return "not shown: too few benign rows"
    return interval(of, share)


def _curves(one: Document) -> tuple[str, str, str]:
    """The table of true positives, the ROC and the histogram."""
    rates = [t for t in mappings(one, "tpr", 20)[0] if real(t.get("fpr")) not in (None, *RATES)]
    rows = [[share(rate), caught(at_rate(one, rate))] for rate in RATES]
    rows += [[share(t.get("fpr")), caught(t)] for t in rates]
    rates_table = table(
        "Risky rows caught, where the threshold lets this share of benign rows fire",
        ["false alarms", "caught, with 95 % interval"],
        rows,
    )
    drawn = _pairs(one, "roc")
    marks = []
    for t in mappings(one, "tpr", 20)[0]:
        fpr, value, low, high = (real(t.get(k)) for k in ("fpr", "value", "low", "high"))
        if t.get("shown") is True and fpr is not None and value is not None:
            marks.append(
                (fpr, value, value if low is None else low, value if high is None else high)
            )
    says = "; ".join(f"at {share(r)} false alarms: {caught(at_rate(one, r))}" for r in RATES)
    risen = figure(
        "ROC",
        plots.roc(drawn, marks, f"Risky rows caught {says}"),
        f"Risky rows caught {says}. The dashed line is chance.",
    )
    return rates_table, risen, _scores(part(one, "histogram"))


def _scores(of: Document) -> str:
    edges, risky, benign = (_reals(of, key) for key in ("edges", "risky", "benign"))
    sane = len(edges) > 1 and max(map(abs, edges)) < 1e9 and edges[-1] - edges[0] > 1e-9
    drawn, says = None, ABSENT
    sane = sane and max(*risky, *benign, 0.0, 0.0) < 1e12
    if sane and len(risky) == len(benign) == len(edges) - 1:
        told = [f"{word}: half of {count(sum(c))} rows {_middle(edges, c)}" for word, c in
                (("risky", risky), ("benign", benign)) if sum(c) > 0]  # fmt: skip
        says = "; ".join(told)
        drawn = plots.histogram(edges, risky, benign, f"Scores. {says}")
    caption = f"Each side as a share of its own rows. {says}." if drawn else ABSENT
    return figure("Scores, risky above and benign below", drawn, caption)


def _middle(edges: Sequence[float], counts: Sequence[float]) -> str:
    """Where the bin of the median ends."""
    below = 0.0
    for (_, end), held in zip(pairwise(edges), counts, strict=True):
        below += held
        if below >= sum(counts) / 2:
            return f"score below {number(end, 2)}"
    return ABSENT


def _reals(of: Document, key: str) -> list[float]:
    """All of a list of numbers, or nothing."""
    values, left = members(of, key, 400)
    found = [real(v) for v in values]
    return [] if left or None in found else [v for v in found if v is not None]


def _pairs(of: Document, key: str) -> list[tuple[float, float]]:
    values, _ = members(of, key, 1000)
    found = [
        (real(v[0]), real(v[1])) for v in values if isinstance(v, list | tuple) and len(v) == 2
    ]
    return [(a, b) for a, b in found if a is not None and b is not None]


def _slices(one: Document) -> str:
    slices, left = mappings(one, "slices", 60)
    rows = []
    for s in slices:
        fires, label = real(s.get("fires")), s.get("label")
        kind = (
            "both"
            if label is None
            else LABELS.get(label, ABSENT)
            if isinstance(label, int)
            else ABSENT
        )
        shown = share(fires)
        if fires is not None:
            shown = f'<span class="whole">{shown}{plots.bar(fires, bad=label == 0)}</span>'
        auroc = figure_of_merit(s.get("auroc"))
        if (shown == ABSENT) != (
            auroc == ABSENT
        ):  # one of the two is all that such a slice can have
            shown, auroc = (a.replace(ABSENT, "—") for a in (shown, auroc))
        rows.append([name(s.get("kind"), 100), kind, count(s.get("n")), shown, auroc])
    heads = ["kind of row", "label", "rows", "fires", "AUROC"]
    note = "Slices, worst first. Of benign rows, those that fire are false alarms; of risky rows, those caught"
    return table(note, heads, rows, stack=True) + more(left, "slices")
