"""What an answer is worth, in words: the same on the command line, in exports and on the pages.

Owns the wording of coverage and of "none". It reads nothing, and its figures are `watched.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import tzinfo

from dosimeter.monitor.audit.queries.lives import Span
from dosimeter.monitor.audit.queries.times import lasting, shown
from dosimeter.monitor.audit.queries.watched import WEAK, Gap, Watched, Window

NOTHING = "nothing follows: nobody is known to have watched then"
NOT_KNOWN = "is not known to history: never seen here, or erased"
UNKNOWN = "coverage is not known: no count of tokens came for that time"
MOST = 12


def worth(
    found: Watched, zone: tzinfo, *, total: int, unread: Sequence[str] = (), most: int = MOST
) -> list[str]:
    """The figure in one line; where nothing was found what that means; then the particulars.

    unread: what no rule looked for, in words. most: listed of each sort.
    """
    none = [none_found(found, unread)] if not total else []
    head = short(found) if found.any_data or not total else UNKNOWN
    return [head, *none, *_particulars(found, zone, most)]


def none_found(found: Watched, unread: Sequence[str] = ()) -> str:
    """What follows from an answer without a single row."""
    if not found.any_data:
        return "nothing follows: that time has not come yet" if _all_later(found) else NOTHING
    if found.whole and not unread:
        until = " until now; the rest has not come yet" if found.later else ""
        return f"none, and that time was watched{until}"
    doubts = list(unread)
    if found.unwatched:
        doubts.append(f"{_unwatched(found)} not known to be watched")
    if found.silent:
        silent = _names(found, (source for source, _ in found.silent))
        doubts.append(f"{silent} not known to have watched all the time")
    if found.share is None:
        doubts.append(_coverage(found))
    elif found.scored < found.served:
        doubts.append(f"{found.served - found.scored:,} of {found.served:,} tokens not scored")
    if found.unaccounted:
        doubts.append(f"{found.unaccounted:,} tokens unaccounted")
    if found.gaps:
        count = sum(one.last - one.first + 1 for one in found.gaps)
        doubts.append(f"{_times(count, 'record')} never came here")
    return f"none found, but {'; '.join(doubts)}"


def short(found: Watched) -> str:
    """For one line: coverage, how many weak hours, what was not watched, the gaps."""
    if not found.any_data:
        return "that time has not come yet" if _all_later(found) else "no data in that time"
    said = [_coverage(found)]
    if found.weak:
        said[0] += f"; {_times(len(found.weak), 'hour')} under {percent(WEAK)}"
    if found.unwatched:
        said.append(f"not known to be watched: {_unwatched(found)}")
    if found.silent:
        said.append(f"silent while others watched: {_names(found, (s for s, _ in found.silent))}")
    said.append(f"gaps: {gaps(found)}")
    return " · ".join(said)


def gaps(found: Watched) -> str:
    """`none`, or the first few of them."""
    if not found.gaps:
        return "none"
    some = ", ".join(f"{_name(g.source, found)} seq {_range(g)}" for g in found.gaps[:3])
    return some + (f" and {len(found.gaps) - 3} more" if len(found.gaps) > 3 else "")


def _particulars(found: Watched, zone: tzinfo, most: int) -> list[str]:
    said = []
    if found.unscored:
        each = " · ".join(f"{reason} {tokens:,}" for reason, tokens in found.unscored.items())
        said.append(f"  unscored: {each}")
    if found.unaccounted:
        said.append(f"  unaccounted: {found.unaccounted:,} tokens; it must be 0")
    said += _listed(
        f"under {percent(WEAK)}: absence there is weak evidence",
        [_weak(one, found, zone) for one in found.weak],
        most,
    )  # fmt: skip
    said += _listed(
        "not known to be watched",
        [_lasted(one, zone) + _who(one, found) for one in found.unwatched],
        most,
    )
    said += _listed(
        "no sign of life, while others watched",
        [f"{_lasted(part, zone)}  {_name(source, found)}" for source, part in found.silent],
        most,
    )
    said += _listed(
        "silent since before that time, and not heard again",
        [f"{_name(one.source, found)} since {shown(one.from_ns, zone)}" for one in found.gone],
        most,
    )
    if found.uncounted_ns and found.windows:
        said.append(
            f"  no count of tokens for {_hours(found.uncounted_ns)} of the time watched: "
            "nothing was served then, or it is not counted yet"
        )
    said += _listed(
        "gaps: accepted there, never came here",
        [f"{_name(g.source, found)} seq {_range(g)}" for g in found.gaps],
        most,
    )
    if found.over_edge:
        said.append(f"  {found.over_edge} windows reach over the edge of the range and count whole")
    if found.later is not None:
        said.append(f"  not yet: {_span(found.later, zone)}")
    return said


def percent(share: float) -> str:
    """Never rounded up to a hundred."""
    return "100 %" if share >= 1 else f"{int(share * 10_000) / 100:g} %"


def _coverage(found: Watched) -> str:
    if found.share is not None:
        return f"coverage {percent(found.share)} of {found.served:,} tokens"
    return "no tokens were served in the hours that were counted" if found.windows else UNKNOWN


def _all_later(found: Watched) -> bool:
    return found.later is not None and found.until_ns <= found.from_ns


def _unwatched(found: Watched) -> str:
    return f"{_hours(found.unwatched_ns)} of {_hours(found.until_ns - found.from_ns)}"


def _who(span: Span, found: Watched) -> str:
    """Those who might have watched then, and what is the last that is known of them."""
    each = dict.fromkeys(
        f"{_name(one.source, found)} {'had ended' if one.said else 'gave no sign of life'}"
        for one in found.silences
        if one.from_ns < span[1] and one.to_ns > span[0]
    )
    some = list(each)[:3] + ([f"and {len(each) - 3} more"] if len(each) > 3 else [])
    return f"  {', '.join(some)}" if some else ""


def _names(found: Watched, sources: Iterable[str]) -> str:
    names = list(dict.fromkeys(_name(one, found) for one in sources))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _listed(head: str, each: Sequence[str], most: int) -> list[str]:
    if not each:
        return []
    more = [f"    and {len(each) - most:,} more"] if len(each) > most else []
    return [f"  {head}", *(f"    {one}" for one in each[:most]), *more]


def _weak(one: Window, found: Watched, zone: tzinfo) -> str:
    share = f"{percent(one.scored / one.served)} of {one.served:,}"
    span = _span((one.from_ns, one.to_ns), zone)
    return f"{span}  {share}  {_name(one.source, found)}"


def _lasted(span: Span, zone: tzinfo) -> str:
    return f"{_span(span, zone)}  ({_hours(span[1] - span[0])})"


def _span(span: Span, zone: tzinfo) -> str:
    first, last = shown(span[0], zone), shown(span[1], zone)
    return f"{first} to {last[11:] if first[:10] == last[:10] else last}"


def _range(gap: Gap) -> str:
    return f"{gap.first}" if gap.first == gap.last else f"{gap.first}-{gap.last}"


def _name(source: str, found: Watched) -> str:
    return found.names.get(source) or source[:16]


def _hours(ns: int) -> str:
    return lasting(ns / 1e9)


def _times(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("s" if count != 1 else "")
