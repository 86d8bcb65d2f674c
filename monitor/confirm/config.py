"""Settings of those who look a second time: plain frozen records that import nothing of anybody's.

A rule names a confirmer; where that is and what it runs only the operator says.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dosimeter.monitor.sinks.config import OverHttp


@dataclass(frozen=True, slots=True)
class ConfirmerConfig(OverHttp):
    """Exactly one of url and call is given; what is over HTTP is of url, but for the time."""

    name: str
    url: str = ""  # asked with POST
    call: str = ""  # `my_package.review:confirm`, imported by the delivery process alone
    timeout_s: float = field(default=3.0, kw_only=True)  # of a question; at most a second is put
