"""The verdict of an evidence page as a sentence, with its checks, those that failed first.

It never decides: a verdict at odds with its checks is shown as both.
"""

from __future__ import annotations

from dosimeter.monitor.fitting.page import ABSENT, Document, mappings, more, name, part, shortest

MOST, SHOWN = 2000, 50
"""Checks that are read, and of them shown: a set more has seven more of them."""

VERDICTS = {
    "accepted": "Accepted",
    "experimental": "Experimental: to be watched, not relied on",
    "refused": "Refused: not to be used",
}


def verdict(evidence: Document) -> str:
    checks, unread = mappings(evidence, "checks", MOST)
    order = sorted(checks, key=_urgency)
    shown, left = order[:SHOWN], max(0, len(order) - SHOWN) + unread
    failed = sum(c.get("passed") is False for c in checks)
    passed = sum(c.get("passed") is True for c in checks)
    word = evidence.get("verdict")
    known = isinstance(word, str) and word in VERDICTS
    said = VERDICTS[str(word)] if known else f"No known verdict ({name(word, 60)})"
    told = f"{failed} of {len(checks)} checks failed, {passed} passed"
    if not checks:
        told = "no check is recorded"
    elif passed == len(checks) and not unread:
        told = "it passed the one check" if passed == 1 else f"it passed all {passed} checks"
    rows = "".join(_check(c) for c in shown)
    return (
        f'<section class="verdict {word if known else "unknown"}"><h2>{said}</h2><p>The detector of '
        f"<b>{name(evidence.get('feature'), 80)}</b> on {name(part(evidence, 'model').get('name'))}: {told}.</p>"
        + (f'<ul class="checks">{rows}</ul>' if rows else "")
        + f"{more(left, 'checks')}</section>"
    )


def _urgency(check: Document) -> int:
    """Failed, then open, then passed."""
    passed = check.get("passed")
    return 0 if passed is False else 2 if passed is True else 1


def _check(check: Document) -> str:
    kinds = {True: ("passed", "✓ passed"), False: ("failed", "✗ failed")}
    passed = check.get("passed")
    kind, word = kinds[passed] if isinstance(passed, bool) else ("open", f"? {ABSENT}")
    sentence = check.get("sentence")
    return (
        f'<li><span class="mark {kind}">{word}</span><div>{name(sentence, 400)}'
        f"<small>{name(check.get('check'), 80)}: value {shortest(check.get('value'))}, "
        f"bound {shortest(check.get('bound'))}</small></div></li>"
    )
