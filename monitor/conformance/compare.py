"""What a client asked, against what the tap said of it: position by position, count by count.

Three that share nothing meet here: what the client sent and got, the rows and records of the tap, and an
unbatched forward. It knows no server. Every figure is a count; the verdict follows from them alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dosimeter.detectors.frames import CODE_UNSCORED, ROW_REUSED, Codes
from dosimeter.monitor.conformance.asked import Asked, Read
from dosimeter.monitor.conformance.ear import Sequence as Told
from dosimeter.monitor.conformance.findings import Findings
from dosimeter.monitor.conformance.reference import Reference
from dosimeter.monitor.coverage import Account

TRACED = 500
"""Rows that disagree with their own reference, for which it is looked up whose they are."""
CALM = frozenset({"prefix_cache", "dropped", "no_sidecar", "not_finite"})
"""Reasons that are no fault of the row map. Any other in a mode that is scored means that it failed."""


def compare(
    asked: Sequence[Asked],
    told: Sequence[Told],
    account: Account,
    reference: Reference,
    read: Read,
) -> Findings:
    """Hold everything that was asked since the last time against everything that was told."""
    found = Findings(requests=len(asked))
    found.gone = sum(not one.ended for one in asked)
    found.served, found.scored = account.served, account.scored
    found.unscored, found.unaccounted = dict(account.unscored), abs(account.unaccounted)
    found.after_end = account.after_end
    pool: dict[str, Codes] = {}
    suspects: list[tuple[str, Codes]] = []
    for one, theirs in _paired(asked, told, found, reference, read):
        _counted(one, theirs, found)
        if one.scored and one.compare:
            ids = _ids(one, theirs, read, found)
            pool[_name(one, theirs)] = expected = reference.codes(ids)
            suspects += _rows(one, theirs, expected, found, reference)
    _trace(suspects, pool, found, reference)
    return found


def _paired(
    asked: Sequence[Asked],
    told: Sequence[Told],
    found: Findings,
    reference: Reference,
    read: Read,
) -> list[tuple[Asked, Told]]:
    """Calls and sequences by label: our own word in the call's header, which the tap never uses as a key."""
    by_label: dict[str | None, list[Told]] = {}
    for theirs in told:
        by_label.setdefault(theirs.label, []).append(theirs)
    pairs: list[tuple[Asked, Told]] = []
    for label, group in itertools.groupby(sorted(asked, key=lambda a: a.label), lambda a: a.label):
        mine, theirs_all = list(group), by_label.pop(label, [])
        if not theirs_all and not any(one.ended for one in mine):
            found.never_begun += len(mine)
            continue
        if len(mine) != len(theirs_all):
            found.strays += abs(len(mine) - len(theirs_all))
            found.note(f"call `{label}`: {len(theirs_all)} sequences told of, {len(mine)} asked")
            continue
        if any(one.place is None for one in mine):
            mine = _matched(mine, theirs_all, reference)
        else:
            mine.sort(key=lambda one: one.place or 0)
        pairs += zip(mine, theirs_all, strict=True)
    for label, left in by_label.items():
        found.strays += len(left)
        found.note(f"{len(left)} sequences told of call `{label}`, which nobody made")
    for one, theirs in pairs:
        if theirs.opened is None or theirs.closed is None:
            found.strays += 1
            found.note(f"{_name(one, theirs)}: {'no end' if theirs.opened else 'no beginning'}")
    return [(one, theirs) for one, theirs in pairs if theirs.opened and theirs.closed]


def _matched(mine: list[Asked], theirs: Sequence[Told], reference: Reference) -> list[Asked]:
    """Sequences of one call have no order of their own: the order in which the fewest rows disagree."""
    wrong: list[list[int]] = []  # [sequence told of][sequence asked]
    codes = [reference.codes([*one.prompt, *(one.answer or ())]) for one in mine]
    for one in theirs:
        wrong.append([])
        for expected in codes:
            rows = 0
            for start, part, _ in one.parts:
                inside = part[: max(0, len(expected) - start)]
                bad = reference.off(inside, expected[start : start + len(inside)])[1].sum()
                rows += int(bad) + len(part) - len(inside)
            wrong[-1].append(rows)
    orders = itertools.permutations(range(len(mine)))
    best = min(orders, key=lambda order: sum(wrong[i][j] for i, j in enumerate(order)))
    return [mine[index] for index in best]


def _counted(one: Asked, theirs: Told, found: Findings) -> None:
    """Every count of one request against every other: the client's, the server's, the tap's, our own."""
    opened, closed = theirs.opened or {}, theirs.closed or {}
    name, served = _name(one, theirs), int(closed["served"])
    top = max((start + len(part) for start, part, _ in theirs.parts), default=0)
    times = np.zeros(max(top, served), np.int64)
    unscored = np.zeros(len(times), bool)
    for start, part, flags in theirs.parts:
        times[start : start + len(part)] += 1
        unscored[start : start + len(part)] |= (part == CODE_UNSCORED).all(axis=1)
        found.reused += len(part) if flags & ROW_REUSED else 0
    seen, named = times > 0, closed["errors"]
    found.twice += int((times - 1).clip(0).sum())
    gap = served - int(seen[:served].sum()) - int(closed["cached"]) - sum(named.values())
    if gap:
        found.missing += max(0, gap)
        found.counted_over += max(0, -gap)
        found.note(f"{name}: {served} served, {int(seen[:served].sum())} scored, {gap} unexplained")
    wrong = []
    if opened["prompt_len"] != len(one.prompt):
        wrong.append(f"{len(one.prompt)} prompt tokens asked, {opened['prompt_len']} told of")
    if one.served is not None and served != one.served:
        wrong.append(f"{one.served} served by the client's count, {served} by the server's")
    if closed["emitted"] != int(seen.sum()) and "dropped" not in named:
        wrong.append(f"{closed['emitted']} rows sent by the tap's count, {int(seen.sum())} came")
    if int((times[served + 1 :] > 0).sum()):
        wrong.append("rows beyond the one that a server may run ahead")
    found.cancelled += closed["outcome"] == "cancelled"
    found.counts_differ += bool(wrong)
    for text in wrong:
        found.note(f"{name}: {text}")
    allowed = {"unsupported"} if not one.scored else CALM
    failed = {reason: tokens for reason, tokens in named.items() if reason not in allowed}
    if not one.scored and theirs.parts:
        failed["scored"] = int(seen.sum())
    found.failed += sum(failed.values())
    if failed:
        found.note(f"{name}: {_words(failed)}")


def _ids(one: Asked, theirs: Told, read: Read, found: Findings) -> list[int]:
    """The sequence, as far as it is known: from the client, else from what its CLOSE carried."""
    if one.answer is not None and one.ended:
        return [*one.prompt, *one.answer]
    told = read(one, theirs)
    if told is not None:
        if tuple(told[: len(one.prompt)]) != one.prompt:
            found.counts_differ += 1
            found.note(f"{_name(one, theirs)}: the text of its CLOSE begins with another prompt")
        if len(told) > len(one.prompt) + len(one.answer or ()):
            return [*one.prompt, *told[len(one.prompt) :]]
    return [*one.prompt, *(one.answer or ())]


def _rows(
    one: Asked, theirs: Told, expected: Codes, found: Findings, reference: Reference
) -> list[tuple[str, Codes]]:
    """Compare all rows of a request, also those that came twice; returns the ones that are not its own."""
    found.compared_requests += 1
    suspects = []
    for start, part, _ in theirs.parts:
        inside = part[: max(0, len(expected) - start)]
        found.beyond += len(part) - len(inside)
        finite = ~(inside == CODE_UNSCORED).all(axis=1)
        inside, own = inside[finite], expected[start : start + len(inside)][finite]
        if not len(inside):
            continue
        apart, wrong = reference.off(inside, own)
        found.compared += len(inside)
        found.worst = max(found.worst, int(apart.max()))
        found.differ += int(wrong.sum())
        positions = start + np.flatnonzero(finite)
        for index in np.flatnonzero(wrong).tolist():
            suspects.append((f"{_name(one, theirs)} position {positions[index]}", inside[index]))
    return suspects


def _trace(
    suspects: Sequence[tuple[str, Codes]],
    pool: Mapping[str, Codes],
    found: Findings,
    reference: Reference,
) -> None:
    """Whose rows are they that are not their own request's?"""
    for place, row in suspects[:TRACED]:
        whose = None
        for name, codes in pool.items():
            hits = np.flatnonzero(~reference.off(np.broadcast_to(row, codes.shape), codes)[1])
            if len(hits):
                whose = f"{name} position {hits[0]}"
                break
        found.misattributed += whose is not None
        found.note(f"{place}: is {whose or 'nobody’s row'}")


def _name(one: Asked, theirs: Told) -> str:
    return f"`{one.label}`" + (f" sequence {one.place}" if one.place else "") + f" key {theirs.key}"


def _words(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{tokens} {reason}" for reason, tokens in sorted(counts.items()))
