"""What forms and programs send: pydantic models with every field bounded, one for both.

Owns the bounds and the words for verdicts' reasons. It never learns what is done with them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dosimeter.monitor.pages.filters import MAX_PAGE, Filters, Word

REASONS = {
    "": "no reason given",
    "as-defined": "as the feature is defined",
    "fiction": "fiction or role play",
    "quoted": "quoted or reported, not done",
    "warned": "warns against it",
    "confusable": "a known confusable",
    "wrong-speaker": "not the model's own words",
    "too-little": "too little to decide",
    "other": "something else (see note)",
}
ReasonCode = Literal[
    "", "as-defined", "fiction", "quoted", "warned", "confusable", "wrong-speaker", "too-little", "other"
]  # fmt: skip
MAX_ROWS = 60
MAX_NOTE, MAX_REASON, MAX_RULE = 2000, 300, 128 << 10


def _printable(text: str) -> str:
    if any(0xD800 <= ord(c) < 0xE000 or (ord(c) < 32 and c not in "\r\n\t") for c in text):
        raise ValueError("contains control characters")
    return text


def _worded(text: str) -> str:
    text = " ".join(text.split())
    if len(text) < 3:
        raise ValueError("write at least three characters that say why")
    return text


Text = Annotated[str, AfterValidator(_printable)]
AlertId = Annotated[str, Path(pattern=r"^[0-9a-f]{8,32}$", description="whole, or its beginning")]
SubjectId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]


class QueueAsk(Filters):
    """A page of the queue."""

    after: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")] | None = None
    limit: int = Field(50, ge=1, le=MAX_PAGE)


class QueueVisit(QueueAsk):
    """The same in a browser, where a page stays small. saved: what was labelled just before."""

    limit: int = Field(50, ge=1, le=MAX_ROWS)
    saved: Annotated[str, Field(pattern=r"^[0-9a-f]{8,32}$")] | None = None


class LabelIn(BaseModel):
    """A verdict on one alert or sample."""

    model_config = ConfigDict(extra="forbid")

    verdict: Literal["true", "false", "unsure"]
    reason: ReasonCode = ""
    note: Annotated[Text, Field(max_length=MAX_NOTE)] = ""


class EvidenceIn(BaseModel):
    """Why somebody has to read what was said."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[
        str, Field(min_length=3, max_length=MAX_REASON), AfterValidator(_printable), AfterValidator(_worded)
    ]  # fmt: skip


class QueryIn(BaseModel):
    """Parameters of a named query, all as text."""

    model_config = ConfigDict(extra="forbid")

    parameters: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")], Word], Field(max_length=16)
    ] = Field(default_factory=dict)
    limit: int = Field(1000, ge=1, le=10_000)
    reason: Annotated[Text, Field(max_length=MAX_REASON)] = ""


class _Form(BaseModel):
    form_token: Annotated[str, Field(max_length=128, pattern=r"^[0-9a-f]*$")] = ""


class LabelForm(_Form):
    """back: the queue's filters that the reader came from; None: the alert's own page."""

    verdict: Literal["true", "false", "unsure"]
    reason: ReasonCode = ""
    note: Annotated[Text, Field(max_length=MAX_NOTE)] = ""
    back: Annotated[str, Field(max_length=4096)] | None = None


class EvidenceForm(_Form, EvidenceIn):
    model_config = ConfigDict(extra="ignore")

    back: Annotated[str, Field(max_length=4096)] | None = None


class TryForm(_Form):
    text: Annotated[Text, Field(max_length=MAX_RULE)]
    do: Literal["lint", "test", "backtest", "patch"]


class ZoneForm(_Form):
    tz: Annotated[str, Field(max_length=64)]
