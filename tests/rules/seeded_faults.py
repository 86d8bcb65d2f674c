"""One fault each in files that are right otherwise, of every kind that reading and lint know.

The character after ‸ is where the one finding must point. A line of a fault stands in place of the line with the same
key in the last rule of BASE, or behind it.
"""

from __future__ import annotations

HOT = "{name: a, stream: [{answer: {scam: 9*8}}], expect: [{at: answer 8}]}"
CALM = "{name: b, stream: [{answer: {scam: 1}}], expect: []}"
BASE = """\
version: 1
lists:
  ours: [acme, zeta]
signals:
  hot: {feature: deception, in: answer, above: z 4}
rules:
  - rule: first
    when: {signal: hot}
    status: shadow
    severity: low
    only: {tenant: $ours}
    summary: "x"
    tests:
      - {name: hot, labels: {tenant: acme}, stream: [{answer: {deception: "9"}}], expect: [{at: answer 1}]}
      - {name: others, labels: {tenant: x}, stream: [{answer: {deception: "9"}}], expect: []}

  - rule: loud
    when: {feature: deception, in: answer, above: z 5}
    status: live
    severity: medium
    owner: trust-and-safety
    summary: "x"
    tests:
      - {name: hot, stream: [{answer: {deception: "9"}}], expect: [{at: answer 1}]}
      - {name: calm, stream: [{answer: {deception: "1*30"}}], expect: []}

  - rule: second
    when: {feature: scam, in: answer, above: 1 in 1000 answers, for: 8 tokens}
    status: shadow
    severity: high
    summary: "x"
"""
BASE += f"    tests: [{HOT}, {CALM}]\n"
FEATURES = ("deception", "scam", "sycophancy")

F = "feature: scam, in: answer"
Z = "{feature: scam, in: answer, above: z 2}"
D = "{feature: deception, in: answer, above: z 2}"
WHO = "reason: r, by: b, until: 2027-12-31"


def test(body: str) -> str:
    """`tests` of one that is right and this one."""
    return f"    tests: [{HOT}, {CALM}, {body}]"


UNKNOWN_KEYS = [
    ("unknown-key", "    ‸ownr: x"),
    ("unknown-key", "    ‸Status: shadow"),
    ("unknown-key", "    ‸repeat_after: 1h"),
    ("unknown-key", "    ‸groupby: [tenant]"),
    ("unknown-key", "    ‸quiet: [loud]"),
    ("unknown-key", "    ‸budget: 5"),
    ("unknown-key", "    when: {" + F + ", above: z 2, ‸averge: 3 tokens}"),
    ("unknown-key", "    when: {" + F + ", above: z 2, ‸min_tokens: 3}"),
    ("unknown-key", "    when: {" + F + ", above: z 2, ‸within: 3 tokens}"),
    ("unknown-key", "    when: {‸featrue: scam, in: answer, above: z 2}"),
    ("unknown-key", "    when: {feature: scam, in: answer, ‸abvoe: z 2}"),
    ("unknown-key", f"    when: {{all: [{Z}, {D}], ‸withn: 9 tokens}}"),
    ("unknown-key", f"    when: {{any: [{Z}, {D}], ‸within: 9 tokens}}"),
    ("unknown-key", f"    when: {{all: [{Z}, {D}], ‸any: [{Z}, {D}]}}"),
    ("unknown-key", f"    when: {{all: [{Z}, {{not: {D}, ‸within: 9 tokens}}]}}"),
    ("unknown-key", f"    when: {{all: [{Z}, {{any: [{Z}, {D}], ‸in: answer}}]}}"),
    ("unknown-key", "    when: {signal: hot, ‸above: z 2}"),
    ("unknown-key", "    clear: {below: 1 in 10 answers, for: 3 tokens, ‸in: answer}"),
    ("unknown-key", "    only: {‸tennant: acme}"),
    ("unknown-key", "    only: {‸conversation: c}"),
    ("unknown-key", "    unless: [{route: x, ‸reson: r, by: b, until: 2027-12-31}]"),
    ("unknown-key", test('{name: c, ‸straem: [{answer: {scam: "1"}}], expect: []}')),
    ("unknown-key", test('{name: c, stream: [{‸anser: {scam: "1"}}], expect: []}')),
    ("unknown-key", test('{name: c, labels: {‸tennant: x}, stream: [{gap: 1}, {answer: {scam: "1"}}], expect: []}')),
    ("unknown-key", test('{name: c, stream: [{answer: {scam: "9*8"}}], expect: [{at: answer 8, ‸exemt: true}]}')),
]  # fmt: skip

MISSING = [
    ("missing-key", "    when: ‸{in: answer, above: z 2}"),
    ("missing-key", "    when: ‸{feature: scam, above: z 2}"),
    ("missing-key", "    when: {score: ‸scam, feature: scam, in: answer, above: z 2}"),
    ("missing-key", f"    when: ‸{{sequence: [{Z}, {D}]}}"),
    ("missing-key", "    clear: ‸{below: 1 in 10 answers}"),
    ("missing-key", "    clear: ‸{for: 3 tokens}"),
    ("missing-key", "    unless: [‸{route: x, by: b, until: 2027-12-31}]"),
    ("missing-key", "    unless: [‸{route: x, reason: r, until: 2027-12-31}]"),
    ("missing-key", "    unless: [‸{route: x, reason: r, by: b}]"),
    ("missing-key", test('‸{stream: [{answer: {scam: "1"}}], expect: []}')),
    ("missing-key", test('‸{name: c, stream: [{answer: {scam: "1"}}]}')),
    ("missing-key", test("‸{name: c, expect: []}")),
    ("missing-key", test('{name: c, stream: [{answer: {scam: "9*8"}}], expect: [‸{exempt: true}]}')),
    ("owner", "    status: ‸live"),
]  # fmt: skip

KINDS = [
    ("kind", "    when: ‸scam above z 2"),
    ("kind", "    when: ‸[scam]"),
    ("kind", "    when:‸"),
    ("kind", "    when: {feature: ‸12, in: answer, above: z 2}"),
    ("kind", "    when: {score: ‸12, in: answer, above: z 2}"),
    ("kind", "    when: {" + F + ", above: ‸[z 2]}"),
    ("kind", "    when: {" + F + ", above: ‸true}"),
    ("kind", "    when: {" + F + ", above: z 2, for: ‸[8]}"),
    ("kind", "    when: {" + F + ", above: z 2, average: answer, min-tokens: ‸many}"),
    ("shape", "    when: {" + F + ", above: z 2, average: answer, coverage: ‸80}"),
    ("kind", f"    when: {{all: ‸{Z}}}"),
    ("kind", "    when: {any: ‸scam}"),
    ("kind", f"    when: {{all: [{Z}, ‸scam]}}"),
    ("kind", f"    when: {{all: [{Z}, {{not: ‸[{D}]}}]}}"),
    ("kind", "    when: {signal: ‸7}"),
    ("status", "    status: ‸true"),
    ("severity", "    severity: ‸1"),
    ("kind", "    owner: ‸12"),
    ("kind", "    owner:‸"),
    ("kind", "    summary: ‸12.5"),
    ("kind", "    runbook: ‸[https://a.example]"),
    ("kind", "    clear: ‸below z 1"),
    ("kind", "    only: ‸acme"),
    ("kind", "    only: {tenant: ‸42}"),
    ("kind", "    only: {tenant: [a, ‸[b]]}"),
    ("kind", "    unless: ‸{route: x, " + WHO + "}"),
    ("kind", "    unless: [‸x]"),
    ("kind", "    unless: [{route: x, reason: ‸7, by: b, until: 2027-12-31}]"),
    ("kind", "    group-by: ‸tenant"),
    ("kind", "    repeat-after: ‸[1h]"),
    ("kind", "    limit:‸"),
    ("kind", "    quiet-when: ‸loud"),
    ("kind", "    labels: ‸[team]"),
    ("kind", "    labels: {team: ‸7}"),
    ("kind", "    tests: ‸{name: a}"),
    ("kind", "    tests: [‸hot]"),
    ("kind", test('{name: ‸7, stream: [{answer: {scam: "1"}}], expect: []}')),
    ("kind", test('{name: c, stream: ‸{answer: {scam: "1"}}, expect: []}')),
    ("kind", test('{name: c, stream: [{answer: ‸"1"}], expect: []}')),
    ("kind", test('{name: c, stream: [{answer: {scam: "1"}}], expect: ‸none}')),
    ("kind", test('{name: c, cancelled: ‸yes, stream: [{answer: {scam: "1"}}], expect: []}')),
]

VALUES = [
    ("level", "    when: ‸{" + F + "}"),
    ("level", "    when: ‸{" + F + ", above: z 2, below: z 1}"),
    ("level", "    when: {" + F + ", above: ‸0.93}"),
    ("level", "    when: {" + F + ", above: ‸2}"),
    ("level", "    when: {" + F + ", above: ‸99 %}"),
    ("level", "    when: {" + F + ", above: ‸1 in 1000}"),
    ("level", "    when: {" + F + ", above: ‸1 in 1000 users}"),
    ("level", "    when: {" + F + ", above: ‸1 in 1 answers}"),
    ("level", "    when: {" + F + ", above: ‸1 in 1000 messages}"),
    ("level", "    when: {feature: scam, in: message, above: ‸1 in 1000 answers}"),
    ("level", "    when: {" + F + ", above: ‸z 500}"),
    ("level", "    when: {" + F + ", above: ‸z two}"),
    ("level", "    when: {" + F + ", above: ‸0 a day}"),
    ("level", "    when: {" + F + ", above: ‸20 an hour}"),
    ("level", "    when: {" + F + ", above: ‸1 in 9 tokens, average: answer}"),
    ("level", "    when: {" + F + ", above: ‸1 in 9 tokens, average: last 2 tokens}"),
    ("level", "    when: {" + F + ", above: ‸1 in 9 tokens, share: 20 % of answer}"),
    ("scope", "    when: {feature: scam, in: ‸anser, above: z 2}"),
    ("scope", "    when: {feature: scam, in: ‸prompt, above: z 2}"),
    ("scope", "    when: {feature: scam, in: ‸history, above: z 2}"),
    ("shape", "    when: {" + F + ", above: z 2, for: ‸16}"),
    ("shape", "    when: {" + F + ", above: z 2, for: ‸0 tokens}"),
    ("shape", "    when: {" + F + ", above: z 2, for: ‸4097 tokens}"),
    ("shape", "    when: {" + F + ", above: z 2, for: ‸answer}"),
    ("shape", "    when: {" + F + ", above: z 2, for: ‸16 tok}"),
    ("shape", "    when: {" + F + ", above: z 2, for: ‸30 seconds}"),
    ("shape", "    when: {" + F + ", above: z 2, average: ‸message}"),
    ("shape", "    when: {" + F + ", above: z 2, average: ‸last 0 tokens}"),
    ("shape", "    when: {" + F + ", above: z 2, average: ‸first 4 tokens}"),
    ("shape", "    when: {" + F + ", above: z 2, at-least: ‸9 of 8 tokens}"),
    ("shape", "    when: {" + F + ", above: z 2, at-least: ‸0 of 8 tokens}"),
    ("shape", "    when: {" + F + ", above: z 2, at-least: ‸4 of 65 tokens}"),
    ("shape", "    when: {" + F + ", above: z 2, at-least: ‸4 tokens}"),
    ("shape", "    when: {" + F + ", above: z 2, at-least: ‸half of 8 tokens}"),
    ("shape", "    when: {" + F + ", above: z 2, share: ‸20 %}"),
    ("shape", "    when: {" + F + ", above: z 2, share: ‸20 % of message}"),
    ("shape", "    when: {" + F + ", above: z 2, share: ‸0 % of answer}"),
    ("shape", "    when: {" + F + ", above: z 2, share: ‸101 % of answer}"),
    ("shape", "    when: {" + F + ", above: z 2, share: ‸0.2 of answer}"),
    ("shape", "    when: {" + F + ", above: z 2, for: 2 tokens, average: ‸2 tokens}"),
    ("shape", "    when: {" + F + ", above: z 2, for: 2 tokens, share: ‸2 % of answer}"),
    ("shape", "    when: {" + F + ", above: z 2, for: 2 tokens, at-least: ‸1 of 2 tokens}"),
    ("shape", "    when: {" + F + ", above: z 2, min-tokens: ‸30}"),
    ("shape", "    when: {" + F + ", above: z 2, for: 2 tokens, coverage: ‸80 %}"),
    ("shape", "    when: {" + F + ", above: z 2, average: last 2 tokens, min-tokens: ‸2}"),
    ("value", "    when: {" + F + ", above: z 2, average: answer, min-tokens: ‸0}"),
    ("shape", "    when: {" + F + ", above: z 2, average: answer, coverage: ‸101 %}"),
    ("score", "    when: {score: ‸max(scam), in: answer, above: z 2}"),
    ("score", "    when: {score: scam ‸> 2, in: answer, above: z 2}"),
    ("score", "    when: {score: scam ‸* deception, in: answer, above: z 2}"),
    ("score", "    when: {score: scam ‸and deception, in: answer, above: z 2}"),
    ("score", "    when: {score: 'scam +‸', in: answer, above: z 2}"),
    ("score", "    when: {score: '‸maximum(scam, deception)', in: answer, above: z 2}"),
    ("score", "    when: {score: scam ‸/ 0, in: answer, above: z 2}"),
    ("score", "    when: {score: ‸1 + 2, in: answer, above: z 2}"),
    ("score", "    when: {score: '(scam + deception‸', in: answer, above: z 2}"),
    ("condition", f"    when: {{all: ‸[{Z}]}}"),
    ("condition", "    when: {all: ‸[]}"),
    ("condition", f"    when: {{any: ‸[{Z}]}}"),
    ("condition", f"    when: {{sequence: ‸[{Z}], within: 9 tokens}}"),
    ("condition", f"    when: {{all: ‸[{{not: {Z}}}, {{not: {D}}}]}}"),
    ("condition", f"    when: {{sequence: [{Z}, ‸{{not: {D}}}], within: 9 tokens}}"),
    ("condition", f"    when: {{all: [{Z}, ‸{{all: [{Z}, {D}]}}]}}"),
    ("condition", f"    when: {{all: [{Z}, ‸{{sequence: [{Z}, {D}], within: 9 tokens}}]}}"),
    ("condition", f"    when: {{all: ‸[{', '.join([Z] * 17)}]}}"),
    ("condition", f"    when: {{sequence: ‸[{', '.join([Z] * 7)}], within: 90 tokens}}"),
    ("shape", f"    when: {{all: [{Z}, {D}], within: ‸64}}"),
    ("shape", f"    when: {{all: [{Z}, {D}], within: ‸5m}}"),
    ("shape", f"    when: {{all: [{Z}, {D}], within: ‸0 tokens}}"),
    ("shape", f"    when: {{all: [{Z}, {D}], within: ‸1000001 tokens}}"),
    ("unknown-signal", "    when: {signal: ‸hott}"),
    ("unknown-signal", f"    when: {{all: [{Z}, {{not: {{signal: ‸other}}}}]}}"),
    ("unknown-list", "    only: {tenant: ‸$our}"),
    ("unknown-list", "    unless: [{tenant: [acme, ‸$other], " + WHO + "}]"),
    ("clear", "    clear: {below: ‸1 in 1000 answers, for: 3 tokens}"),
    ("clear", "    clear: {below: ‸1 in 2000 answers, for: 3 tokens}"),
    ("clear", "    clear: {below: ‸z 1, for: 3 tokens}"),
    ("clear", "    clear: {‸above: 1 in 10 answers, for: 3 tokens}"),
    ("condition", "    when: {‸not: {feature: scam, in: answer, above: z 2}}"),
    ("shape", "    clear: {below: 1 in 10 answers, for: ‸3}"),
    ("level", "    clear: {below: ‸0.5, for: 3 tokens}"),
    ("clear", f"    when: {{any: [{Z}, {D}]}}\n    clear: ‸{{below: z 1, for: 3 tokens}}"),
    ("status", "    status: ‸alive"),
    ("status", "    status: ‸shaddow"),
    ("severity", "    severity: ‸hgih"),
    ("severity", "    severity: ‸urgent"),
    ("value", '    owner: ‸""'),
    ("value", "    owner: ‸" + "o" * 101),
    ("control", '    owner: ‸"a\\eb"'),
    ("summary-field", '    summary: ‸"{tennant} did it"'),
    ("summary-field", '    summary: ‸"{user} did it"'),
    ("summary-field", '    summary: ‸"{} did it"'),
    ("summary-field", '    summary: ‸"a } brace"'),
    ("summary-field", '    summary: ‸"{value!r}"'),
    ("value", "    summary: ‸" + "s" * 301),
    ("value", "    runbook: ‸javascript:alert(1)"),
    ("value", "    runbook: ‸example.org/runbook"),
    ("rule-id", "  - rule: ‸Bad_Name"),
    ("rule-id", "  - rule: ‸" + "n" * 65),
    ("duplicate-id", "  - rule: ‸first"),
    ("label", "    only: ‸{}"),
    ("label", "    unless: [‸{" + WHO + "}]"),
    ("list", "    only: {tenant: ‸[]}"),
    ("unless", "    unless: ‸[]"),
    ("date", "    unless: [{route: x, reason: r, by: b, until: ‸2027-02-30}]"),
    ("date", "    unless: [{route: x, reason: r, by: b, until: ‸31.12.2027}]"),
    ("date", "    expires: ‸2027-13-01"),
    ("date", "    expires: ‸soon"),
    ("group-by", "    group-by: ‸[]"),
    ("group-by", "    group-by: [tenant, ‸usr]"),
    ("duplicate", "    group-by: [tenant, ‸tenant]"),
    ("repeat-after", "    repeat-after: ‸60"),
    ("repeat-after", "    repeat-after: ‸1 h"),
    ("repeat-after", "    repeat-after: ‸31d"),
    ("limit", "    limit: ‸50"),
    ("limit", "    limit: ‸50 per week"),
    ("limit", "    limit: ‸0 per hour"),
    ("quiet", "    quiet-when: ‸[]"),
    ("quiet", "    quiet-when: [‸second]"),
    ("duplicate", "    quiet-when: [loud, ‸loud]"),
    ("rule-id", "    quiet-when: [‸Loud Rule]"),
    ("label", "    labels: ‸{}"),
    ("label", "    labels: {‸Team: x}"),
    ("duplicate-test", test('{name: ‸a, stream: [{answer: {scam: "1"}}], expect: []}')),
    ("unknown-feature", test('{name: c, stream: [{answer: {‸scan: "1"}}], expect: []}')),
    ("runs", test('{name: c, stream: [{answer: {scam: "1*20 ‸x*3"}}], expect: []}')),
    ("stream", test("{name: c, stream: ‸[], expect: []}")),
    ("at", test('{name: c, stream: [{answer: {scam: "9*8"}}], expect: [{at: ‸token 8}]}')),
    ("at", test('{name: c, stream: [{answer: {scam: "9*8"}}], expect: [{at: ‸8th}]}')),
]  # fmt: skip

TRAPS = [  # what YAML 1.1 took for something else
    ("status", "    status: ‸on"),
    ("kind", "    severity: ‸~"),
    ("kind", "    owner: ‸true"),
    ("kind", "    labels: {team: ‸0x1f}"),
    ("repeat-after", "    repeat-after: ‸1:30"),
    ("limit", "    limit: ‸1_000 per hour"),
    ("shape", "    when: {" + F + ", above: z 2, for: ‸010}"),
    ("level", "    when: {" + F + ", above: ‸1e-3}"),
    ("kind", "    summary:‸"),
    ("kind", "    only: {tenant: ‸null}"),
]

RULE_FAULTS = [*UNKNOWN_KEYS, *MISSING, *KINDS, *VALUES, *TRAPS]

FILES = [
    ("empty", "‸"),
    ("kind", "‸[]\n"),
    ("unknown-key", "version: 1\nrules: []\n‸ruels: []\n"),
    ("unknown-key", "version: 1\n‸list: {a: [b]}\nrules: []\n"),
    ("missing-key", "‸rules: []\n"),
    ("missing-key", "‸version: 1\n"),
    ("value", "version: ‸2\nrules: []\n"),
    ("value", 'version: ‸"1"\nrules: []\n'),
    ("kind", "version: 1\nrules: ‸{}\n"),
    ("kind", "version: 1\nrules:‸\n"),
    ("kind", "version: 1\nrules: [‸scam]\n"),
    ("duplicate-key", "version: 1\n‸version: 1\nrules: []\n"),
    ("syntax", "version: 1\nrules: [‸\n"),
    ("syntax", "version: 1\nrules:\n‸\t- rule: a\n"),
    ("documents", "version: 1\nrules: []\n‸---\nversion: 1\n"),
    ("alias", "version: 1\nlists: {a: ‸&a [b]}\nrules: []\n"),
    ("tag", "version: 1\nrules: ‸!!set []\n"),
    ("merge", "version: 1\n‸<<: {a: b}\nrules: []\n"),
    ("directive", "‸%YAML 1.1\n---\nversion: 1\nrules: []\n"),
    ("encoding", "version: 1\n# ‸\x07\nrules: []\n"),
    ("key", "version: 1\n‸1: a\nrules: []\n"),
    ("key", "version: 1\n‸true: a\nrules: []\n"),
    ("number", "version: ‸.inf\nrules: []\n"),
    ("kind", "version: 1\nlists: ‸[a]\nrules: []\n"),
    ("kind", "version: 1\nlists: {a: ‸b}\nrules: []\n"),
    ("kind", "version: 1\nsignals: ‸[a]\nrules: []\n"),
    ("list", "version: 1\nlists: {a: ‸[]}\nrules: []\n"),
    ("list", "version: 1\nlists: {‸A: [b]}\nrules: []\n"),
    ("list", "version: 1\nlists: {a: [‸$b]}\nrules: []\n"),
    ("duplicate", "version: 1\nlists: {a: [b, ‸b]}\nrules: []\n"),
    ("kind", "version: 1\nlists: {a: [no, ‸1]}\nrules: []\n"),
    ("rule-id", "version: 1\nsignals: {‸Hot: {feature: scam, in: answer, above: z 2}}\nrules: []\n"),
    ("level", "version: 1\nsignals: {hot: {feature: scam, in: answer, above: ‸2}}\nrules: []\n"),
    ("condition", "version: 1\nsignals: {hot: {‸signal: a}}\nrules: []\n"),
    ("condition", f"version: 1\nsignals: {{hot: {{‸any: [{Z}, {D}]}}}}\nrules: []\n"),
]  # fmt: skip


COUNT = "count: hits, of: [loud], more-than: 5, within: 1h"
SECOND = [
    ("unknown-key", "{" + COUNT + ", ‸per: 1h}"),
    ("missing-key", "‸{count: hits, of: [loud], more-than: 5}"),
    ("missing-key", "‸{of: [loud], more-than: 5, within: 1h}"),
    ("kind", "{" + COUNT.replace("[loud]", "‸loud") + "}"),
    ("kind", "{" + COUNT.replace("5", "‸few") + "}"),
    ("value", "{" + COUNT.replace("5", "‸0") + "}"),
    ("count", "{" + COUNT.replace("hits", "‸requests") + "}"),
    ("count", "{" + COUNT.replace("[loud]", "‸[]") + "}"),
    ("count", "{" + COUNT.replace("loud", "‸third") + "}"),
    ("duplicate", "{" + COUNT.replace("loud", "loud, ‸loud") + "}"),
    ("unknown-rule", "{" + COUNT.replace("loud", "‸luod") + "}"),
    ("span", "{" + COUNT.replace("1h", "‸60") + "}"),
    ("unknown-key", "{absent: scam, for: 5m, ‸whilst: requests}"),
    ("missing-key", "‸{absent: scam, while: requests}"),
    ("span", "{absent: scam, for: ‸5 tokens, while: requests}"),
    ("while", "{absent: scam, for: 5m, while: ‸idle}"),
    ("unknown-feature", "{absent: ‸scan, for: 5m, while: requests}"),
    ("missing-key", "‸{shift: scam}"),
    ("scope", "{shift: scam, in: ‸anser}"),
    ("unknown-feature", "{shift: ‸scan, in: answer}"),
]
"""What stands under `when` of a third rule."""


def with_third(when: str) -> str:
    """BASE with a third rule that is in shadow."""
    keys = ("status: shadow", "severity: low", "summary: x")
    lines = ["  - rule: third", f"    when: {when}", *(f"    {key}" for key in keys)]
    return BASE + "\n".join(lines) + "\n"


def with_lines(fault: str) -> str:
    """BASE with these lines in its last rule, the mark still in it."""
    start = BASE.index("  - rule: second")
    lines = BASE[start:].splitlines()
    for line in fault.split("\n"):
        key = line.replace("‸", "").split(":")[0]
        at = next((i for i, old in enumerate(lines) if old.split(":")[0] == key), len(lines))
        lines[at : at + 1] = [line]
    return BASE[:start] + "\n".join(lines) + "\n"


def marked(text: str) -> tuple[str, int, int]:
    """The text without its mark, and the line and column of that, from 1."""
    before = text[: text.index("‸")]
    return text.replace("‸", ""), before.count("\n") + 1, len(before) - before.rfind("\n")
