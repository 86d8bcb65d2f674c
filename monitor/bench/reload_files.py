"""The rules and the calibration of `dosimeter bench reload`, as files: each set another one than the last.

Every rule says its own level, so that an alert whose level and whose words come from two versions is found.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import CODES_PER_SD

FILES, RULES = 4, 20
FEATURES = 16
PACK = "0" * 64


def features() -> tuple[str, ...]:
    return tuple(f"feature_{index:02d}" for index in range(FEATURES))


def write(folder: Path, number: int, rules: int = RULES, tests: int = 0) -> None:
    """All files as of this change, each replaced at once. Every rule is another one than before."""
    level = f"z {2 + number / 1000:.3f}"
    for file in range(FILES):
        lines = ["version: 1", "rules:"]
        for rule in range(file, rules, FILES):
            feature = features()[rule % FEATURES]
            lines += [
                f"  - rule: reload-{rule:03d}",
                f"    when: {{feature: {feature}, in: answer, above: {level}, average: 4 tokens}}",
                "    status: live",
                "    severity: low",
                "    owner: bench",
                f'    summary: "{level}"',
                *(["    tests:"] if tests else []),
            ]
            for test in range(tests):
                runs = f'"0*20 {test - 9}*20"' if test else '"9*20"'
                hits = "[]" if test else "[{at: answer 4}]"
                lines += [
                    f"      - name: test {test}",
                    f"        stream: [{{answer: {{{feature}: {runs}}}}}]",
                    f"        expect: {hits}",
                ]
        new = folder / "rules" / f"{file}.new"
        new.write_text("\n".join(lines) + "\n", encoding="utf-8")
        new.replace(folder / "rules" / f"{file}.yaml")


def noise() -> Calibration:
    """Benign codes, normal."""
    codes = np.random.default_rng(3).normal(0, CODES_PER_SD, (640, FEATURES))
    return Calibration(
        features=features(),
        packs=(PACK,) * FEATURES,
        codes=np.rint(codes).astype(np.int16),
        offsets=np.arange(11, dtype=np.int64) * 64,
        scopes=np.full(640, 3, np.uint8),
        corpus="noise",
        date="2026-01-01",
    )
