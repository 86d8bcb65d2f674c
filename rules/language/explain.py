"""A rule in plain English: when it fires, for whom, what becomes of its hits, and what it does not see.

Owns the order and the sentences of that. A condition's own words are `condition_words.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dosimeter.detectors.placement import LEAST_EXPECTED
from dosimeter.rules.language.condition import Condition
from dosimeter.rules.language.condition_words import level_said, said, unseen, when_decided
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.schema import Rule
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.language.watching import Absent
from dosimeter.rules.language.when import Part
from dosimeter.rules.policy import Policy, Whose, span_text

_STATUS = {
    "draft": "It is a draft: it does not run.",
    "shadow": "It is in shadow: its alerts are stored, and nobody is notified.",
    "live": "It is live: its alerts are stored, and delivered.",
    "retired": "It is retired: it does not run.",
}


def explain(rule: Rule | SecondRule) -> str:
    """A title and a few lines, each a sentence or two."""
    lines = [f"{rule.id} ({rule.status}, {rule.severity})"]
    body = _second(rule) if isinstance(rule, SecondRule) else _first(rule)
    lines += [f"  {line}" for line in body]
    lines += [f"  {line}" for line in _policy(rule.policy, isinstance(rule, Rule))]
    lines.append(
        f"  {_STATUS[rule.status]}" + (f" {rule.owner} answers for it." if rule.owner else "")
    )
    if rule.runbook:
        lines.append(f"  What to do: {rule.runbook}")
    if isinstance(rule, Rule):
        lines.append("  It does not see:")
        lines += [f"    - {one}" for one in _unseen(rule)]
    return "\n".join(lines)


def _first(rule: Rule) -> Iterator[str]:
    when, one = rule.when, rule.when.single
    if one is not None:
        yield f"Fires when, {said(one)}."
        yield f"It is decided {when_decided(one)}."
    elif len(when.parts) == 1:
        yield "Fires when one of these is so:"
        yield from (f"  - {said(c)}" for c in when.parts[0].conditions)
    else:
        near = f"within {_tokens(when.within)}" if when.within else "anywhere in the request"
        how = {"all": "come together", "sequence": "come one after the other"}[when.kind]
        yield f"Fires when these {how}, {near}:"
        for number, part in enumerate(when.parts, 1):
            mark = f"{number}." if when.kind == "sequence" else "-"
            yield f"  {mark} {_part(part)}"
        if any(part.negated for part in when.parts):
            yield "What may not be there counts up to the moment at which the rest is there."
    if rule.clear is None:
        yield "It fires at most once in a request."
    else:
        calm = level_said(rule.clear.level, -rule.clear.direction)
        yield f"It fires again in the same request after {_tokens(rule.clear.n)} in a row that are not {calm}."
    yield from _inactive(rule)


def _part(part: Part) -> str:
    some = "; or, ".join(said(condition) for condition in part.conditions)
    return f"never: {some}" if part.negated else some


def _second(rule: SecondRule) -> Iterator[str]:
    """Over hits, or over the monitor."""
    when = rule.when
    if isinstance(when, Count):
        of = _or(f"`{name}`" for name in when.of)
        what = {
            "hits": f"there are more than {when.more_than} hits of {of}",
            "conversations": f"more than {when.more_than} conversations have a hit of {of}",
            "users": f"more than {when.more_than} users have a hit of {of}",
        }
        yield f"Fires when {what[when.what]} within {span_text(when.within_s)}."
        by = _or(rule.policy.group_by, "and")
        yield f"It counts for each {by} by itself." if by else "It counts over all requests."
        yield (
            f"It fires again once the number has been at {when.more_than} or fewer, "
            f"then more than {when.more_than} again."
        )
    elif isinstance(when, Absent):
        yield (
            f"Fires when no token gets a score of `{when.feature}` for {span_text(when.for_s)}, "
            "while the server has requests."
        )
    else:
        scope = when.scope.name.lower()
        yield (
            f"Fires when requests no longer score `{when.feature}` in scope `{scope}` as those of the calibration did."
        )
        yield "It moves no threshold."


def _policy(policy: Policy, tokens: bool) -> Iterator[str]:
    if policy.only.labels:
        yield f"It is only for {_whose(policy.only)}; what nobody vouches for does not match."
    for exemption in policy.unless:
        yield (
            f"Hits of {_whose(exemption.whose)} do not count until {exemption.until}: "
            f"{exemption.reason} ({exemption.by})."
        )
    group = _or(policy.group_by, "and") or "request"
    if policy.repeat_after_s:
        yield f"After a notification the same {group} causes no other for {span_text(policy.repeat_after_s)}."
    elif policy.group_by and tokens and not (policy.quiet_when or policy.limit):
        yield f"`group-by` changes nothing here: nothing is kept back for the same {group}."
    if policy.quiet_when:
        of = _or(f"`{name}`" for name in policy.quiet_when)
        yield f"It keeps quiet for a day about a {group} for which {of} notified."
    if policy.limit:
        count, per = policy.limit.count, policy.limit.per
        yield (
            f"At most {count} of its notifications go out in {'an' if per == 'hour' else 'a'} {per}, "
            "whoever they are for; a digest tells of the others."
        )
    if policy.confirm:
        yield (
            f"Before a notification goes out `{policy.confirm}` is asked: a `no` keeps it back, and without an answer "
            "it goes out."
        )
    if policy.expires:
        yield f"The last day on which it runs is {policy.expires}."


def _whose(whose: Whose) -> str:
    return _or((f"{name} {_or(values)}" for name, values in whose.labels), "and")


def _unseen(rule: Rule) -> Iterator[str]:
    """Each once, however many conditions have it in common."""
    found: dict[str, None] = {}
    conditions: list[Condition] = [
        condition for part in rule.when.parts if not part.negated for condition in part.conditions
    ]
    for condition in conditions:
        found |= dict.fromkeys(unseen(condition))
    yield from found
    yield "turns that a client sends again: they were decided when they were new"


def _inactive(rule: Rule) -> Iterator[str]:
    """What a share asks of the traffic that places it."""
    for noun in ("answers", "messages"):
        most = max((c.level.value for c in rule.when.conditions if c.level.noun == noun), default=0)
        if most:
            yield f"Its level needs {LEAST_EXPECTED * most} benign {noun}; with fewer it is inactive."


def _tokens(count: int) -> str:
    return f"{count} token" + ("s" if count != 1 else "")


def _or(names: Iterable[str], word: str = "or") -> str:
    *first, last = list(names) or [""]
    return f"{', '.join(first)} {word} {last}" if first else last
