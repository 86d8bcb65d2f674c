"""Rules that surprise, each with what lint says of it, and rules that only look like one."""

from __future__ import annotations

from seeded_faults import D, F, Z

A = "{feature: scam, in: answer, above: 1 in 1000 answers}"
LOOSER = "{feature: scam, in: answer, above: 1 in 100 answers}"
STRICTER = "{feature: scam, in: answer, above: '1 in 2,000 answers'}"
WHO = "reason: r, by: b"
MESSAGE = "{feature: scam, in: message, above: z 2}"
WHOLE = "{feature: scam, in: answer, above: z 2, average: answer}"
WHOLE_D = "{feature: deception, in: answer, above: z 2, average: answer}"
TWO = "    only: {tenant: [a, b]}\n    group-by: [tenant]\n"

SURPRISES = [
    (
        "unknown-feature",
        "error",
        "    when: {feature: ‸scan, in: answer, above: z 2}\n    tests: []",
    ),
    (
        "unknown-feature",
        "error",
        "    when: {score: ‸scam - scan, in: answer, above: z 2}\n    tests: []",
    ),
    (
        "scope-unseen",
        "warning",
        "    when: {feature: scam, in: ‸reasoning, above: z 2, for: 8 tokens}",
    ),
    ("level-tokens", "warning", "    when: {" + F + ", above: ‸1 in 10000 tokens}"),
    ("level-tokens", "warning", "    when: {" + F + ", below: ‸1 in 10000 tokens}"),
    ("impossible", "error", f"    when: ‸{{all: [{A}, {{not: {A}}}]}}"),
    ("impossible", "error", f"    when: ‸{{all: [{A}, {{not: {LOOSER}}}], within: 9 tokens}}"),
    ("impossible", "error", f"    when: ‸{{all: [{A}, {{not: {{any: [{Z}, {LOOSER}]}}}}]}}"),
    ("impossible", "error", f"    when: ‸{{all: [{{any: [{A}, {STRICTER}]}}, {D}, {{not: {A}}}]}}"),
    ("impossible", "error", f"    when: {{sequence: [{Z}, {D}, {Z}], within: ‸2 tokens}}"),
    ("impossible", "error", f"    when: ‸{{sequence: [{Z}, {MESSAGE}], within: 9 tokens}}"),
    (
        "impossible",
        "error",
        f"    when: ‸{{sequence: [{MESSAGE}, {{any: [{Z}, {D}]}}, {MESSAGE}], within: 9 tokens}}",
    ),
    ("not-later", "note", f"    when: ‸{{all: [{A}, {{not: {D}}}]}}"),
    ("not-later", "note", f"    when: ‸{{all: [{MESSAGE}, {A}, {{not: {D}}}], within: 99 tokens}}"),
    ("not-later", "note", f"    when: ‸{{all: [{A}, {{not: {WHOLE_D}}}]}}"),
    ("repeated", "warning", f"    when: ‸{{all: [{A}, {D}, {A}]}}"),
    ("limit", "note", f"{TWO}    repeat-after: 2h\n    limit: ‸30 per hour"),
    ("limit", "note", f"{TWO}    repeat-after: 20m\n    limit: ‸6 per hour"),
    ("limit", "note", f"{TWO}    repeat-after: 25m\n    limit: ‸6 per hour"),
    ("repeated", "warning", f"    when: ‸{{any: [{A}, {D}, {A}]}}"),
    (
        "window-within",
        "warning",
        "    when: {all: [{" + F + ", above: z 2, for: 10 tokens}, " + D + "], within: ‸9 tokens}",
    ),
    (
        "window-within",
        "warning",
        "    when: {sequence: ["
        + D
        + ", {"
        + F
        + ", above: z 2, average: 10 tokens}], within: ‸9 tokens}",
    ),
    ("draft", "note", "    status: ‸draft"),
    ("retired", "note", "    status: ‸retired"),
    (
        "no-runbook",
        "warning",
        "    status: live\n    owner: x\n    severity: ‸critical",
    ),
    ("no-tests", "warning", "    status: live\n    owner: x\n    tests: ‸[]"),
    ("no-tests", "note", "    tests: ‸[]"),
    ("no-tests", "note", "    tests: ‸[{name: a, stream: [{answer: {scam: 1}}], expect: []}]"),
    (
        "no-tests",
        "note",
        "    tests: ‸[{name: a, stream: [{answer: {scam: 9*8}}], expect: [{at: answer 8}]}]",
    ),
    ("exemption-over", "warning", f"    unless: [{{tenant: a, {WHO}, until: ‸2027-01-30}}]"),
    ("exemption-ends", "note", f"    unless: [{{tenant: a, {WHO}, until: ‸2027-01-31}}]"),
    ("exemption-ends", "note", f"    unless: [{{tenant: a, {WHO}, until: ‸2027-03-02}}]"),
    ("expired", "warning", "    expires: ‸2027-01-30"),
    ("expires", "note", "    expires: ‸2027-01-31"),
    ("expires", "note", "    expires: ‸2027-03-02"),
    (
        "nothing-left",
        "warning",
        f"    only: {{tenant: [a, b]}}\n    unless: [‸{{tenant: [a, b, c], {WHO}, until: 2028-01-01}}]",
    ),
    (
        "nothing-left",
        "warning",
        f"    only: {{tenant: a, route: [x, y]}}\n    unless: [‸{{tenant: a, {WHO}, until: 2028-01-01}}]",
    ),
    (
        "nothing-left",
        "warning",
        f"    only: {{tenant: [a, b]}}\n    unless: ‸[{{tenant: a, {WHO}, until: 2028-01-01}}, "
        f"{{tenant: b, {WHO}, until: 2028-01-01}}]",
    ),
    ("repeat-after", "warning", "    repeat-after: ‸1h"),
    ("limit", "note", "    group-by: [tenant]\n    limit: ‸5 per hour"),
    ("unknown-rule", "error", "    quiet-when: [loud, ‸luod]"),
    ("quiet-never", "warning", "    status: live\n    owner: x\n    quiet-when: [‸first]"),
]

FINE = [
    f"    when: {{all: [{A}, {{not: {STRICTER}}}]}}",
    f"    when: {{all: [{WHOLE}, {{not: {D}}}]}}",
    f"    when: {{all: [{MESSAGE}, {{not: {D}}}]}}",
    f"    when: {{sequence: [{MESSAGE}, {Z}], within: 9 tokens}}",
    f"    when: {{sequence: [{{any: [{Z}, {MESSAGE}]}}, {MESSAGE}], within: 9 tokens}}",
    f"{TWO}    repeat-after: 20m\n    limit: 5 per hour",
    f"{TWO}    repeat-after: 25m\n    limit: 5 per hour",
    TWO.replace("[tenant]", "[tenant, user]") + "    repeat-after: 2h\n    limit: 30 per hour",
    "    group-by: [tenant]\n    repeat-after: 2h\n    limit: 30 per hour",
    f"    when: {{all: [{A}, {D}, {{not: {D.replace('answer', 'message', 1)}}}]}}",
    f"    when: {{all: [{{any: [{A}, {D}]}}, {{not: {A}}}]}}",
    f"    when: {{sequence: [{Z}, {D}, {Z}], within: 3 tokens}}",
    "    when: {sequence: [{" + F + ", above: z 2, average: answer}, " + D + "], within: 1 token}",
    f"    when: {{all: [{Z}, {D}], within: 1 token}}",
    "    when: {all: [{" + F + ", above: z 2, for: 9 tokens}, " + D + "], within: 9 tokens}",
    f"    unless: [{{tenant: a, {WHO}, until: 2027-03-03}}]",
    "    expires: 2027-03-03",
    f"    only: {{tenant: [a, b]}}\n    unless: [{{tenant: a, {WHO}, until: 2028-01-01}}]",
    f"    only: {{tenant: a}}\n    unless: [{{route: x, {WHO}, until: 2028-01-01}}]",
    f"    only: {{tenant: a}}\n    unless: [{{tenant: a, route: x, {WHO}, until: 2028-01-01}}]",
    f"    unless: [{{tenant: a, {WHO}, until: 2028-01-01}}]",
    "    repeat-after: 1h\n    clear: {below: 1 in 10 answers, for: 3 tokens}",
    "    repeat-after: 1h\n    group-by: [tenant]",
    "    limit: 5 per hour",
    "    limit: 5 per hour\n    group-by: [tenant]\n    repeat-after: 1h",
    "    quiet-when: [first, loud]",
    "    status: live\n    owner: x\n    quiet-when: [loud]",
]
