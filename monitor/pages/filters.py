"""The queue's filters in an address, as people and programs write them, and back into an address.

Owns the names, their bounds and their reading in a time zone. Every link that carries filters is made here, so that
whoever opens it sees the same. It never learns what the queue holds.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import parse_qs, urlencode

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dosimeter.monitor.pages.source import QueueFilter
from dosimeter.monitor.pages.times import BadTime, parse, zone_named
from dosimeter.rules.decide import Word as Decision


def _absent(value: object) -> object:
    """A form sends its empty fields too."""
    return None if value == "" else value


def _no_controls(text: str | None) -> str | None:
    if text is not None and any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in text):
        raise ValueError("contains control characters")
    return text


Word = Annotated[str, Field(max_length=256), AfterValidator(_no_controls)]
Said = Annotated[Word | None, BeforeValidator(_absent)]
When = Annotated[
    Annotated[str, Field(max_length=40, description="`2026-03-01` or `2026-03-01T14:05`, in `tz`")]
    | None,
    BeforeValidator(_absent),
]
Severity = Literal["critical", "high", "medium", "low", "info"]
Status = Literal["shadow", "live"]
Labelled = Literal["yes", "no"]
MAX_PAGE = 200


class Filters(BaseModel):
    """As they stand behind `?`; left out or empty: not filtered."""

    model_config = ConfigDict(populate_by_name=True)

    tenant: Said = None
    rule: Said = None
    feature: Said = None
    severity: Annotated[Severity | None, BeforeValidator(_absent)] = None
    status: Annotated[Status | None, BeforeValidator(_absent)] = None
    decision: Annotated[Decision | None, BeforeValidator(_absent)] = None
    since: When = Field(None, alias="from")
    until: When = Field(None, alias="to", description="no more part of the time")
    tz: Annotated[
        Annotated[str, Field(max_length=64, description="IANA name of `from` and `to`")] | None,
        BeforeValidator(_absent),
    ] = None
    labelled: Annotated[Labelled | None, BeforeValidator(_absent)] = None
    mine: Annotated[bool | None, BeforeValidator(_absent)] = Field(
        None, description="labelled by you"
    )
    samples: Annotated[bool | None, BeforeValidator(_absent)] = Field(
        None, description="`false`: without the random sample of requests on which nothing fired"
    )

    def resolved(self, zone: str) -> QueueFilter:
        """zone: where the address names none. Raises BadTime."""
        there = zone_named(self.tz or zone)
        since = None if self.since is None else parse(self.since, there)
        until = None if self.until is None else parse(self.until, there, end=True)
        if since is not None and until is not None and since >= until:
            raise BadTime("`to` is not after `from`")
        return QueueFilter(
            tenant=self.tenant or "",
            rule=self.rule or "",
            feature=self.feature or "",
            severity=self.severity or "",
            status=self.status or "",
            decision=self.decision or "",
            from_ns=since,
            to_ns=until,
            labelled=None if self.labelled is None else self.labelled == "yes",
            mine=bool(self.mine),
            zone=there.key,
            samples=self.samples is not False,
        )

    def written(self, **changed: str | None) -> str:
        """What stands behind `?`; `changed` over it, None takes one away."""
        found = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        texts = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in found.items()}
        return urlencode({k: v for k, v in (texts | changed).items() if v is not None})

    @property
    def any_set(self) -> bool:
        return bool(self.model_dump(exclude_none=True, exclude={"tz"}))


def back_to(text: str) -> str:
    """The address of the queue that `text` (behind `?`) means; of anything else, the queue unfiltered."""
    try:
        pairs = parse_qs(text[:4096], max_num_fields=20, keep_blank_values=False)
        found = Filters.model_validate({name: values[-1] for name, values in pairs.items()})
    except (ValueError, ValidationError):
        return "/queue"
    written = found.written()
    return f"/queue?{written}" if written else "/queue"
