"""What is attacked, by name. A target takes any bytes and raises only where a promise is broken.

One function serves the fuzzer, the replay of the corpus and the property tests, so that a finding of one
is a finding of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from targets import artefacts, config, front, identity, line, rules, shown, wire

TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "artefacts": artefacts.attack,
    "config": config.attack,
    "front": front.attack,
    "identity": identity.attack,
    "line": line.attack,
    "rules": rules.attack,
    "shown": shown.attack,
    "wire": wire.attack,
}
