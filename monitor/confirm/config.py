"""Settings of those who look a second time: plain frozen records that import nothing of anybody's.

A rule names a confirmer; where that is and what it runs only the operator says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ConfirmerConfig:
    """Exactly one of url and call is given."""

    name: str
    url: str = ""  # asked with POST
    call: str = ""  # `my_package.review:confirm`, imported by the delivery process alone
    timeout_s: int = 3  # for one question; there is at most a second one
    headers: Mapping[str, str] = field(default_factory=dict)  # of url
