"""Examples of an evidence page, each token shaded by its score, with the numbers for those who see no shade.

It never learns where the texts come from: each is hostile.
"""

from __future__ import annotations

import re

from dosimeter.monitor.fitting.page import (
    ABSENT,
    Document,
    mappings,
    members,
    more,
    name,
    number,
    real,
    text,
)
from dosimeter.monitor.fitting.report_set import LABELS

STEPS = (1.0, 2.0, 3.0, 4.0, 5.0)
"""Benign standard deviations at which a token's shade grows stronger."""


def examples(evidence: Document) -> str:
    found, left = mappings(evidence, "examples", 12)
    legend = "".join(
        f'<span class="s{i + 1}"> {at:.0f}{"+" if at == STEPS[-1] else ""} </span> '
        for i, at in enumerate(STEPS)
    )
    told = (
        "".join(_example(one, i) for i, one in enumerate(found))
        or f'<p class="absent">{ABSENT}</p>'
    )
    # The first set is cross-validation, on the rows of the fit.
    held_out = len(mappings(evidence, "sets", 2)[0]) > 1
    seen = "From rows that the fit has" + (
        " not seen." if held_out else " seen: new ones score less apart."
    )
    return (
        f'<section><h2>Examples</h2><p class="note">{seen} Shade and underline grow with '
        "a token's score, in standard deviations above the benign mean:</p>"
        f'<p class="tokens">{legend}</p>{told}{more(left, "examples")}</section>'
    )


def _example(one: Document, number_of: int) -> str:
    tokens, left = members(one, "tokens", 600)
    spans, scored = [], []
    for token in tokens:
        if not isinstance(token, list | tuple) or len(token) != 2 or not isinstance(token[0], str):
            continue
        score = real(token[1])
        step = sum(score >= at for at in STEPS) if score is not None else 0
        kind = f' class="s{step}"' if step else ""
        title = "not scored" if score is None else f"{number(score, 2)} sd"
        spans.append(f'<span{kind} title="{title}">{_token(token[0])}</span>')
        if score is not None and token[0].strip():
            scored.append((score, token[0]))
    strongest = sorted(scored, key=lambda s: -s[0])[:3]
    named = (
        ", ".join(f"<code>{name(t.strip(), 40)}</code> {number(s, 2)}" for s, t in strongest)
        or ABSENT
    )
    label = one.get("label")
    kind = LABELS.get(label, ABSENT) if isinstance(label, int) else "no label"
    return (
        f'<article class="example"><h4>{number_of + 1}. {kind}, score {number(one.get("score"), 2)} sd '
        f"<span>{name(one.get('kind'), 80)}</span></h4>"
        f'<p class="tokens" dir="auto">{"".join(spans) or ABSENT}</p>'
        f'<p class="note">Strongest tokens: {named}.</p>{more(left, "tokens")}</article>'
    )


def _token(written: str) -> str:
    """Line ends are kept, one for a run, with a sign that can be shaded."""
    lines = re.split(r"[\r\n]+", written[:80])
    return "↵\n".join(text(line, 80) if line else "" for line in lines)
