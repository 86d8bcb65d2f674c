"""Alerts by filters and time, as a person asks for them: first the access, then the rows and what the answer is worth.

Owns how filters become parameters of the named queries, and reading all pages of an answer. It never learns how an
answer is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Literal

from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.people.access import UNKNOWN, Actor, resolved
from dosimeter.monitor.audit.queries.names import check
from dosimeter.monitor.audit.queries.times import Range, shown
from dosimeter.monitor.audit.queries.watched import Watched
from dosimeter.monitor.audit.store.columns import NAMES

PAGE = 10_000
Standing = Literal["found", "none", "in part", "no data"]
"""none: and that time was watched. in part: none, and not all of it was. no data: nobody is known to have watched."""


@dataclass(frozen=True, slots=True)
class Question:
    """filters: as written, by the names of `resolved`, and verdict. what: the same with ids, as the log has it."""

    filters: Mapping[str, str]
    within: Range
    what: Mapping[str, Any]
    params: Mapping[str, Any]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """rows: newest first, at most as many as were asked for. total: all that there are. entry: of this access.

    unread: what was asked for and no rule looked for, ever or before some time, in words.
    """

    entry: str
    rows: list[dict[str, Any]]
    total: int
    live: int
    shadow: int
    watched: Watched
    unread: tuple[str, ...] = ()

    @property
    def standing(self) -> Standing:
        if self.total:
            return "found"
        if not self.watched.any_data:
            return "no data"
        return "none" if self.watched.whole and not self.unread else "in part"


def question(history: History, filters: Mapping[str, str], within: Range, actor: Actor) -> Question:
    """Names become ids; a name that nobody has matches nothing, and is said."""
    plain = {name: value for name, value in filters.items() if name != "verdict"}
    found = resolved(plain, history.keys)
    found |= {"from_ns": within.from_ns, "to_ns": within.to_ns}
    params = {"kind": "alert", **found}
    verdict = filters.get("verdict")
    if verdict == "none":
        params["labelled"] = 0
    elif verdict == "disputed":
        params["disagreed"] = 1
    elif verdict is not None:
        params["verdict"] = verdict
    own = history.access.tenants(actor)
    if own is not None:
        params["tenants"] = sorted(own)
    unknown = tuple(
        name
        for name, column in (
            ("tenant", "tenant"),
            ("user", "subject"),
            ("conversation", "conversation"),
        )
        if name in filters and found.get(column) == UNKNOWN
    )
    what = {**found, **({"verdict": verdict} if verdict else {})}
    return Question(filters, within, what, params, unknown)


def ask(
    history: History,
    asked: Question,
    actor: Actor,
    *,
    limit: int | None,
    kind: Literal["query", "export"] = "query",
    reason: str | None = None,
    text: bool = False,
) -> Answer:
    """limit None: all rows. Raises AccessRefused, and then nothing was read; UnknownName."""
    what = {**asked.what, **({"text": True} if text else {})}
    entry = history.access.ask(actor, kind, what, reason)
    watched = history.watched(asked.within.from_ns, asked.within.to_ns)
    total = 0 if asked.unknown else int(history.rows("count", **asked.params)[0]["n"])
    if not total:
        said = check(
            history,
            asked.filters,
            own=history.access.tenants(actor),
            from_ns=watched.from_ns,
            zone=asked.within.zone,
        )
        return Answer(entry, [], 0, 0, 0, watched, tuple(said))
    live, shadow = (_rules(history, asked.params, status) for status in ("live", "shadow"))
    rows = list(_pages(history, asked.params, limit))
    # More may have come in since they were counted, and of the newest as many would leave out the oldest.
    total = len(rows) if limit is None else max(total, len(rows))
    return Answer(entry, rows, total, live, shadow, watched)


def _rules(history: History, params: Mapping[str, Any], status: str) -> int:
    if params.get("status", status) != status:
        return 0
    return len(history.rows("count_by_rule", **{**params, "status": status}))


def _pages(
    history: History, params: Mapping[str, Any], limit: int | None
) -> Iterator[dict[str, Any]]:
    before: dict[str, int] = {}
    while limit is None or limit > 0:
        page = history.rows("alerts", **params, **before, limit=min(limit or PAGE, PAGE))
        yield from page
        if len(page) < PAGE:
            return
        limit = None if limit is None else limit - len(page)
        before = {"before_ns": page[-1]["time_ns"], "before_idx": page[-1]["idx"]}


def table_of(
    rows: Sequence[Mapping[str, Any]], zone: tzinfo
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns for files: those of an entry, its time in words, and the verdict of its reviewers."""
    names = ["idx", *(name for name in NAMES if name != "verdict")]
    columns = [*names[:2], "time", *names[2:], "verdict", "disagreed"]
    made = [
        (
            *(_cell(row[name]) for name in names[:2]),
            shown(row["time_ns"], zone, milliseconds=True),
            *(_cell(row[name]) for name in names[2:]),
            row["judged"],
            row["disagreed"],
        )
        for row in rows
    ]
    return columns, made


def _cell(value: Any) -> Any:
    """A text of nothing, such as the reason of what needs none, is no value."""
    return None if value == "" else value
