"""The evidence of one detector as a page: the verdict, what it rests on, and what was not measured.

Owns the order and the words; every claim stands beside its interval and its nulls. It reads the evidence document
alone, trusts nothing in it, and estimates nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dosimeter.monitor.fitting import plots
from dosimeter.monitor.fitting.page import (
    ABSENT,
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
    page,
    part,
    real,
    share,
    shortest,
    table,
    text,
)
from dosimeter.monitor.fitting.report_examples import examples
from dosimeter.monitor.fitting.report_set import RATES, a_set, at_rate, caught
from dosimeter.monitor.fitting.report_verdict import verdict

TIERS = {
    "T0": "planted directions",
    "T1": "a small model trained for this project",
    "T2": "a real model",
}
POOLS = {
    "mean": "mean over the tokens that are read",
    "tokens": "tokens, each for itself",
    "last": "the last token that is read",
}


def html(evidence: Mapping[str, Any]) -> str:
    """The page; a key that is missing or makes no sense reads `not measured`."""
    sets, left = mappings(evidence, "sets", 20)
    body = [_head(evidence), verdict(evidence), "<h2>How well it separates</h2>"]
    body += [_overview(sets), *(a_set(one, i) for i, one in enumerate(sets)), more(left, "sets")]
    body += [_sweep(part(evidence, "fit")), _levels(evidence), _ablation(evidence)]
    body += [examples(evidence), _made(evidence)]
    model = text(part(evidence, "model").get("name"), 80)
    title = f"{text(evidence.get('feature'), 80)} on {model}: {text(evidence.get('verdict'), 40)}"
    return page(title, "\n".join(filter(None, body)))


def _head(evidence: Document) -> str:
    model = part(evidence, "model")
    reader = ""
    if evidence.get("reads") == "reader":
        reader = (
            '<p class="reader"><b>Read by a reader, not by the model.</b> A small encoder read the text; it shows what '
            "the words carry, and nothing of what the model computes.</p>"
        )
    return (
        f"<header><h1>{name(evidence.get('feature'), 80)}: evidence</h1>"
        f'<p class="facts">on <b>{name(model.get("name"))}</b> ({name(model.get("architecture"), 80)}) · '
        f"{_tier(evidence)} · {_reads(evidence)} · "
        f'<span class="whole">{name(evidence.get("date"), 20)}</span></p>{reader}</header>'
    )


def _tier(evidence: Document) -> str:
    tier = evidence.get("tier")
    means = TIERS.get(tier) if isinstance(tier, str) else None
    return f"tier <b>{name(tier, 20)}</b>" + (f", {means}" if means else "")


def _reads(evidence: Document) -> str:
    reads = evidence.get("reads")
    known = {
        "model": "reads the model's own activations",
        "reader": "reads the text with a <b>reader</b>",
    }
    return (known.get(reads) if isinstance(reads, str) else None) or f"reads: {name(reads, 40)}"


def _overview(sets: Sequence[Document]) -> str:
    if not sets:
        return f'<p class="absent">Sets: {ABSENT}.</p>'
    rows = []
    for i, one in enumerate(sets):
        margin, alarms = part(one, "margin"), members(one, "alarms", 50)[0]
        rows.append(
            [
                f'<a href="#set-{i}">{name(one.get("name"), 80)}</a>',
                f"{count(one.get('positives'))} + {count(one.get('negatives'))}",
                interval(part(one, "auroc")),
                interval(margin, number),
                caught(at_rate(one, RATES[0])),
                f"⚠ {len(alarms)}" if alarms else "none",
            ]
        )
    heads = [
        "set",
        "risky + benign rows",
        "AUROC",
        "above its null",
        "caught at 1 % false alarms",
    ]
    return table("All sets, with 95 % intervals", [*heads, "alarms"], rows, stack=True)


def _sweep(fit: Document) -> str:
    found, left = mappings(fit, "sweep", 300)
    points = [(real(s.get("layer")), real(s.get("auroc"))) for s in found]
    sane = [(a, b) for a, b in points if a is not None and b is not None and a in range(10_000)]
    sane.sort()
    chosen = [real(layer) for layer in members(fit, "layers", 300)[0]]
    kept = [layer for layer in chosen if layer is not None]
    numbers = ", ".join(f"{count(a)}: {figure_of_merit(b)}" for a, b in sane)
    says = ABSENT
    if sane:
        best = max(sane, key=lambda p: p[1])
        says = (
            f"Best alone: layer {count(best[0])} with {figure_of_merit(best[1])}. "
            f"Chosen: {', '.join(map(count, kept)) or ABSENT}."
        )
    drawn = plots.layers(sane, kept, f"AUROC by layer. {says}")
    drawing = figure("AUROC of every layer alone", drawn, says)
    listed = f'<p class="note">By layer: {numbers}.</p>' if sane else ""
    return (
        f'<section><h2>Where in the model</h2><div class="grid">{drawing}{listed}</div>'
        f"{more(left, 'layers')}</section>"
    )


def _levels(evidence: Document) -> str:
    levels, left = mappings(evidence, "levels", 100)
    rows = []
    for one in levels:
        certified = one.get("certified")
        kind, word = ("passed", "✓ certified") if certified is True else ("open", "✗ not certified")
        mark = f'<span class="mark {kind}">{word}</span>'
        rows.append(
            [
                " · ".join(name(one.get(k), 80) for k in ("level", "route", "scope", "shape")),
                number(one.get("threshold_sd"), 2),
                f"{count(one.get('exceedances'))} of {count(one.get('units'))}",
                share(one.get("bound95")),
                mark if isinstance(certified, bool) else ABSENT,
            ]
        )
    heads = [
        "level · route · scope · shape",
        "threshold, sd",
        "benign units above",
        "95 % bound",
        "state",
    ]
    certified_of = sum(one.get("certified") is True for one in levels)
    missing = "".join(
        f"<li>{' · '.join(name(one.get(k), 80) for k in ('level', 'route', 'scope', 'shape'))}: "
        f"<b>{name(one.get('says'), 300)}</b></li>"
        for one in levels
        if one.get("certified") is not True
    )
    told = f"<p>{certified_of} of {len(levels)} levels are certified.</p>" if levels else ""
    return (
        f"<section><h2>Calibration</h2>{told}"
        f"{table('Levels on benign traffic; the bound is of the true share above the threshold', heads, rows, True)}"
        + (f"<h3>Missing for certification</h3><ul>{missing}</ul>" if missing else "")
        + f"{more(left, 'levels')}</section>"
    )


def _ablation(evidence: Document) -> str:
    ablation = part(evidence, "ablation")
    if not ablation:
        return f'<section><h2>Ablation</h2><p class="absent">{ABSENT}</p></section>'
    rows = []
    kinds = (("plain", "the model as it is"), ("ablated", "direction of the detector removed"),
             ("random", "a random direction removed"))  # fmt: skip
    for key, says in kinds:
        found = real(ablation.get(key))
        shown = number(found, 2) + (plots.bar(found) if found is not None else "")
        rows.append([says, shown])
    caption = (
        "A direction that the behaviour rests on lowers it when removed; a random one does not"
    )
    heads = ["", f"{name(ablation.get('behaviour'), 200)}"]
    return f"<section><h2>Ablation</h2>{table(caption, heads, rows)}</section>"


def _made(evidence: Document) -> str:
    fit, model, pack = part(evidence, "fit"), part(evidence, "model"), part(evidence, "pack")
    layers = ", ".join(map(count, members(fit, "layers", 300)[0])) or ABSENT
    pool = fit.get("pool")
    pool = (POOLS.get(pool) if isinstance(pool, str) else None) or name(pool, 40)
    facts = {
        "date": name(evidence.get("date"), 40),
        "tier": _tier(evidence),
        "activations": _reads(evidence),
        "model": f"{name(model.get('name'))}, {name(model.get('architecture'), 80)}",
        "digest of the model": _code(model.get("digest")),
        "pack": name(pack.get("name")),
        "digest of the pack": _code(pack.get("digest")),
        "layers": f"{layers} of {count(fit.get('blocks'))} blocks",
        "pool": pool,
        "scope": name(fit.get("scope"), 40),
        "rows of the fit": f"{count(fit.get('positives'))} risky, {count(fit.get('negatives'))} benign, "
        f"in {count(fit.get('groups'))} groups; {count(fit.get('cut'))} cut for length",
        "benign tokens": f"{count(fit.get('benign_tokens'))}, for mean and standard deviation",
        "strength of regularisation": shortest(fit.get("strength")),
        "agreement": f"{number(fit.get('agreement'), 2)}, cosine with the difference of means",
        "version of the document": count(evidence.get("version")),
    }
    listed = "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in facts.items())
    return f"<section><h2>How it was made</h2><dl>{listed}</dl></section>"


def _code(value: Any) -> str:
    return f"<code>{text(value, 140)}</code>" if isinstance(value, str) and value else ABSENT
