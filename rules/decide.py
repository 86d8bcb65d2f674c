"""What becomes of a hit after the engine: notified, or kept back and why. Every hit gets one decision.

Owns `Decider`, its stages and their order: exempt, silenced, deduped, limited; the first that holds a hit back is its
decision. Pure: the only time is that of the hits, and of `due`. It never learns what fired, nor where notifications
go. Shadow and live keep apart: what a rule would have sent never holds back what it sends once it is live.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.policy import QUIET_NS, Policy, span_text
from dosimeter.rules.remembered import Digest, Key, Memory, Window

Word = Literal["notified", "shadow", "deduped", "limited", "silenced", "exempt"]


@dataclass(frozen=True, slots=True)
class Decision:
    """would_act: it notified, or would have were the rule live. reason: in words; empty where it notified."""

    decision: Word
    would_act: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Stats:
    """groups: remembered now. evicted: forgotten too early, for want of room; they may notify again."""

    groups: int
    evicted: int


class Decider:
    """Give it every hit in the order in which hits were found, and ask what is `due` now and then.

    Time never goes backwards in here: a hit older than what was seen counts as if it were new. After a restart,
    `restore` the stored hits and digests in their order: every later decision is then what it would have been (as
    long as nobody had asked what is `due` at a time later than the hits that followed).
    """

    def __init__(self, max_groups: int = 100_000) -> None:
        """max_groups: remembered a rule; beyond it, the one that notified first is forgotten."""
        if max_groups < 1:
            raise ValueError(f"max_groups is {max_groups}: at least one is remembered")
        self._most = max_groups
        self._now = 0
        self._live: dict[str, _Rule] = {}
        self._shadow: dict[str, _Rule] = {}
        self._silencers: dict[str, _Silencer] = {}
        self._ended: list[Digest] = []
        self._next_end: int | None = None  # of the windows in which something was limited
        self._evicted = 0  # of rules that are no longer remembered

    def expect(self, policies: Iterable[Policy]) -> None:
        """At the start and at each reload, before hits: so that it is known whose notifications to remember.

        A rule that only the policy of a hit names in `quiet-when` silences from that hit on. Rules that have been
        quiet until all about them is over are forgotten here, for they may be gone for good.
        """
        for policy in policies:
            self._remember(policy)
        self._let_go()

    def anew(self) -> Decider:
        """One that has seen no hit, and knows whose notifications to remember."""
        found = Decider(self._most)
        for name, silencer in self._silencers.items():
            found._silencers[name] = _Silencer(self._most, silencer.groupings)
        return found

    def decide(self, o: Occurrence, policy: Policy) -> Decision:
        """policy: of the rule, in the program that the request ran, `on` the day."""
        rule = self._rule(o, policy)
        if o.exempt:
            return _decision("exempt", rule.live, _exemption(o, policy))
        key = _key(o, policy.group_by) or o.request
        for name in policy.quiet_when:
            if self._silencers[name].silences(key, self._now, rule.live):
                return _decision("silenced", rule.live, f"`{name}` notified for this {_kind(key)}")
        if rule.repeat_ns and rule.groups.within(key, self._now, rule.repeat_ns):
            return rule.deduped_request if isinstance(key, str) else rule.deduped_group
        if rule.window_ns:
            window = self._window(rule)
            if window.notified >= rule.most:
                self._limited(rule, window, key)
                return rule.limited
        self._notified(rule, key, o)
        return rule.notified

    def restore(self, o: Occurrence, policy: Policy, decided: Decision) -> None:
        """A stored hit, under its policy of then, and what was decided of it."""
        rule = self._rule(o, policy)
        key = _key(o, policy.group_by) or o.request
        if decided.would_act:
            self._notified(rule, key, o)
        elif decided.decision == "limited" and rule.window_ns:
            self._limited(rule, self._window(rule), key)

    def restore_digest(self, digest: Digest, *, early: bool = False) -> None:
        """A stored digest: it will not come again. early: made in its window, of which the rest is still to come."""
        if early:
            rule = self._live.get(digest.rule)
            span = digest.to_ns - digest.from_ns
            window = rule.windows.get(span) if rule is not None else None
            if rule is not None and window is not None and window.from_ns == digest.from_ns:
                del rule.windows[span]
        else:
            self._now = max(self._now, digest.to_ns)
            self._end_windows()
        said = (digest.rule, digest.from_ns, digest.to_ns)
        self._ended = [d for d in self._ended if (d.rule, d.from_ns, d.to_ns) != said]

    def due(self, time_ns: int) -> list[Digest]:
        """The digests of windows that have ended by then, each once. Hits that follow count as no older."""
        self._now = max(self._now, time_ns)
        if self._next_end is not None and self._now >= self._next_end:
            self._end_windows()
        ended, self._ended = self._ended, []
        return sorted(ended, key=lambda d: (d.to_ns, d.from_ns, d.rule))

    @property
    def stats(self) -> Stats:
        memories = [r.groups for r in (*self._live.values(), *self._shadow.values())]
        for silencer in self._silencers.values():
            memories += [silencer.live, silencer.either]
        evicted = self._evicted + sum(m.evicted for m in memories)
        return Stats(sum(len(m) for m in memories), evicted)

    def _remember(self, policy: Policy) -> None:
        for name in policy.quiet_when:
            if name not in self._silencers:
                self._silencers[name] = _Silencer(self._most)
            self._silencers[name].remember(policy.group_by)

    def _let_go(self) -> None:
        now = self._now
        for rules in (self._live, self._shadow):
            for name, rule in list(rules.items()):
                rule.groups.let_go(now, max(rule.repeat_ns, QUIET_NS))
                waits = any(w.limited or w.to_ns > now for w in rule.windows.values())
                if not waits and not len(rule.groups):
                    self._evicted += rule.groups.evicted
                    del rules[name]
        for silencer in self._silencers.values():
            silencer.live.let_go(now, QUIET_NS)
            silencer.either.let_go(now, QUIET_NS)

    def _rule(self, o: Occurrence, policy: Policy) -> _Rule:
        if o.time_ns > self._now:
            self._now = o.time_ns
        rules = self._live if o.status == "live" else self._shadow
        rule = rules.get(o.rule)
        if rule is None:
            rule = rules[o.rule] = _Rule(o.rule, o.status == "live", self._most)
        if rule.policy is not policy:
            self._remember(policy)
            rule.follow(policy)
        return rule

    def _window(self, rule: _Rule) -> Window:
        span = rule.window_ns
        window = rule.windows.get(span)
        if window is None or window.to_ns <= self._now:
            if window is not None and window.limited:
                self._ended.append(window.digest(rule.name))
            window = rule.windows[span] = Window(self._now, span)
        return window

    def _limited(self, rule: _Rule, window: Window, key: Key) -> None:
        if not rule.live:  # nobody misses what was never going to be sent
            return
        window.limit(key)
        if self._next_end is None or window.to_ns < self._next_end:
            self._next_end = window.to_ns

    def _notified(self, rule: _Rule, key: Key, o: Occurrence) -> None:
        if rule.window_ns:
            self._window(rule).notified += 1
        if rule.repeat_ns:
            rule.groups.note(key, self._now, rule.repeat_ns)
        if o.rule in self._silencers:
            self._silencers[o.rule].note(o, self._now, rule.live)

    def _end_windows(self) -> None:
        left: list[int] = []
        for rule in self._live.values():
            for span, window in list(rule.windows.items()):
                if window.to_ns <= self._now:
                    del rule.windows[span]
                    self._ended += [window.digest(rule.name)] if window.limited else []
                elif window.limited:
                    left.append(window.to_ns)
        self._next_end = min(left, default=None)


class _Rule:
    """What is remembered of one rule in one status, whatever policy it follows.

    windows: by length. Requests of two programs may run at once, and one changed the unit of the limit.
    """

    def __init__(self, name: str, live: bool, most: int) -> None:
        self.name, self.live = name, live
        self.groups = Memory(most)
        self.windows: dict[int, Window] = {}
        self.policy: Policy | None = None
        self.notified = _decision("notified", live, "")

    def follow(self, policy: Policy) -> None:
        """Reads the policy once, for a storm of hits under it."""
        self.policy, limit = policy, policy.limit
        self.repeat_ns = policy.repeat_after_ns
        self.window_ns, self.most = (limit.window_ns, limit.count) if limit else (0, 0)
        self.limited = _decision("limited", self.live, f"beyond {limit.text}" if limit else "")
        ago = f"less than {span_text(policy.repeat_after_s)} ago" if policy.repeat_after_s else ""
        group = " and ".join(policy.group_by)
        self.deduped_group = _decision("deduped", self.live, f"notified for this {group} {ago}")
        self.deduped_request = _decision("deduped", self.live, f"notified for this request {ago}")


class _Silencer:
    """Whom a rule that others name in `quiet-when` has notified for, by request and by their groupings.

    live: what was sent; either: that and what a shadow rule would have sent, for what is in shadow itself.
    """

    __slots__ = ("either", "groupings", "live")

    def __init__(self, most: int, groupings: Iterable[tuple[str, ...]] = ()) -> None:
        self.groupings = list(groupings)
        self.live, self.either = Memory(most), Memory(most)

    def remember(self, by: tuple[str, ...]) -> None:
        if by and by not in self.groupings:
            self.groupings.append(by)

    def silences(self, key: Key, now: int, live: bool) -> bool:
        return (self.live if live else self.either).within(key, now, QUIET_NS)

    def note(self, o: Occurrence, now: int, live: bool) -> None:
        for key in (o.request, *(_key(o, by) for by in self.groupings)):
            if key is not None:
                self.either.note(key, now, QUIET_NS)
                if live:
                    self.live.note(key, now, QUIET_NS)


def _key(o: Occurrence, by: tuple[str, ...]) -> Key | None:
    """None where there is no such group: nothing to group by, or a label that nobody vouches for."""
    values = o.group(by) if by else None
    return None if values is None else by + values


def _kind(key: Key) -> str:
    return "request" if isinstance(key, str) else " and ".join(key[: len(key) // 2])


def _exemption(o: Occurrence, policy: Policy) -> str:
    found = policy.exemption(o.labels, o.model)
    return "`unless` holds" if found is None else f"{found.reason} ({found.by})"


@lru_cache(maxsize=4096)
def _decision(stage: Word, live: bool, reason: str) -> Decision:
    """Of a rule in shadow it is always `shadow`, with what the stage would have meant."""
    acts = stage == "notified"
    if live:
        return Decision(stage, acts, reason)
    return Decision("shadow", acts, "the rule is in shadow" if acts else reason)
